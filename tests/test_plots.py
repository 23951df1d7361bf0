"""The figures' promises: scales, centre, colour bars; the progress bar."""

from io import BytesIO

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt  # noqa: E402
import numpy as np  # noqa: E402
import pytest  # noqa: E402
from PIL import Image  # noqa: E402

from xai_utils import plots  # noqa: E402
from xai_utils._core import progress  # noqa: E402
from xai_utils.data import photos  # noqa: E402

pytestmark = pytest.mark.quick


@pytest.fixture
def axes():
    figure, axes = plots.row(2)
    yield axes
    plt.close(figure)


def test_signed_maps_are_centred_at_zero(axes):
    plots.heat(axes[0], np.array([[-1.0, 3.0], [0, 2]]), signed=True)
    shown = axes[0].images[0]
    assert shown.get_clim() == (-3, 3)
    white = shown.cmap(shown.norm(0.0))
    assert np.allclose(white, shown.cmap(0.5)) and min(white[:3]) > 0.95


def test_unsigned_maps_start_at_zero_and_share_a_limit(axes):
    for panel, scale in zip(axes, (1, 5)):
        plots.heat(panel, scale * np.ones((3, 3)), limit=10)
        assert panel.images[0].get_clim() == (0, 10)
        assert len(panel.child_axes) == 1, "a colour bar for each"
    plots.heat(axes[0], np.ones((3, 3)), bar=False)
    assert len(axes[0].child_axes) == 1, "no second one"


def test_a_map_keeps_its_values_and_zeros_have_a_scale(axes):
    values = np.arange(6.0).reshape(2, 3)
    plots.heat(axes[0], values)
    assert (axes[0].images[0].get_array() == values).all()
    assert axes[0].images[0].get_clim() == (0, 5)
    plots.heat(axes[1], np.zeros((2, 2)))
    assert axes[1].images[0].get_clim() == (0, 1)


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.float16])
def test_whole_numbers_have_a_scale_around_zero(axes, dtype):
    plots.heat(axes[0], np.array([[0, 100]], dtype), signed=True)
    assert axes[0].images[0].get_clim() == (-100, 100)


def test_a_limit_of_zero_is_the_largest_value(axes):
    plots.heat(axes[0], np.array([[0, 0, 0.5]]), limit=0)
    assert axes[0].images[0].get_clim() == (0, 0.5)


@pytest.mark.parametrize(
    "values, message", [([[0, np.nan]], "finite"), ([[-2, 1]], "got -2")]
)
def test_values_that_have_no_colour(axes, values, message):
    with pytest.raises(ValueError, match=message):
        plots.heat(axes[0], values)


def test_a_map_over_a_picture_covers_it(axes):
    picture = np.zeros((40, 60, 3), np.uint8)
    plots.heat(axes[0], np.ones((4, 6)), over=picture)
    below, above = axes[0].images
    assert tuple(below.get_extent()) == tuple(above.get_extent())


def test_pictures_look_like_themselves(axes):
    picture = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)
    plots.picture(axes[0], picture)
    assert (axes[0].images[0].get_array() == picture).all()


def shown_levels(axes, image):
    plots.picture(axes, image)
    return axes.images[-1].get_array()


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16])
def test_the_fraction_of_a_level_is_cut_off(axes, dtype):
    image = np.array([[[0, 1.5, 254.9], [2, 127.99, 255]]]).astype(dtype)
    expected = [[[int(level) for level in pixel] for pixel in image[0]]]
    assert shown_levels(axes[0], image).tolist() == expected


@pytest.mark.parametrize("dtype", [np.uint8, np.int64, float, np.float16])
def test_a_black_picture_is_black(axes, dtype):
    assert not shown_levels(axes[0], np.zeros((4, 5, 3), dtype)).any()


def test_whole_numbers_up_to_1_are_a_very_dark_picture(axes):
    image = np.ones((4, 5, 3), np.uint8)
    assert (shown_levels(axes[0], image) == 1).all()


RAMP = np.linspace(0, 1, 60).reshape(4, 5, 3)


@pytest.mark.parametrize(
    "image, error, message, advice, wanted",
    [
        (
            RAMP,
            ValueError,
            r"0–255; got floats up to 1\.0\. .*0–1: \(255 \* image\)\.astype",
            lambda image: (255 * image).astype(np.uint8),
            (255 * RAMP).astype(int),
        ),
        (
            RAMP / 1000,
            ValueError,
            r"0–255; got floats up to 0\.001\. .*0–1: \(255 \* image\)\.ast",
            lambda image: (255 * image).astype(np.uint8),
            0,
        ),
        (
            RAMP,
            ValueError,
            r"in 0–255 that is so dark: image\.astype\(np\.uint8\)$",
            lambda image: image.astype(np.uint8),
            RAMP == 1,
        ),
        (
            np.full((4, 5, 3), 300),
            ValueError,
            r"0–255; got 300 to 300.*np\.clip\(image, 0, 255\)",
            lambda image: np.clip(image, 0, 255),
            255,
        ),
        (
            RAMP - 1.5,
            ValueError,
            r"0–255; got -1\.5 to -0\.5",
            lambda image: np.clip(image, 0, 255),
            0,
        ),
        (
            np.full((4, 5, 3), 255.01),
            ValueError,
            r"got 255\.01 to 255\.01: np\.clip\(image, 0, 255\)",
            lambda image: np.clip(image, 0, 255),
            255,
        ),
        (
            RAMP > 0.5,
            TypeError,
            r"got dtype bool: 255 \* image\.astype\(int\)",
            lambda image: 255 * image.astype(int),
            255 * (RAMP > 0.5),
        ),
        (
            200 * RAMP[..., 0],
            ValueError,
            r"\(h, w, 3\).*got \(4, 5\): np\.stack\(\[image\] \* 3, axis=-1\)",
            lambda image: np.stack([image] * 3, axis=-1),
            (200 * RAMP[..., :1]).astype(int),
        ),
        (
            200 * RAMP[..., :1],
            ValueError,
            r"got \(4, 5, 1\): np\.repeat\(image, 3, axis=-1\)",
            lambda image: np.repeat(image, 3, axis=-1),
            (200 * RAMP[..., :1]).astype(int),
        ),
        (
            np.full((4, 5, 4), 7),
            ValueError,
            r"got \(4, 5, 4\): .*image\[\.\.\., :3\]",
            lambda image: image[..., :3],
            7,
        ),
        (
            np.full((2, 4, 5, 3), 7),
            ValueError,
            r"got \(2, 4, 5, 3\): .*images\[0\]",
            lambda images: images[0],
            7,
        ),
    ],
)
def test_what_is_no_picture_is_refused_with_advice_that_works(
    axes, image, error, message, advice, wanted
):
    with pytest.raises(error, match=message):
        plots.picture(axes[0], image)
    assert not axes[0].images, "nothing was drawn"
    assert (shown_levels(axes[0], advice(image)) == wanted).all()


@pytest.mark.parametrize(
    "image, error, message",
    [
        (np.full((4, 5, 3), np.nan), ValueError, "finite; got NaN"),
        (np.full((4, 5, 3), np.inf), ValueError, "finite; got NaN"),
        (np.full((4, 5, 3), "7"), TypeError, "got dtype <U1"),
        (np.full((4, 5, 3), 7j), TypeError, "got dtype complex128"),
        (np.zeros((0, 5, 3)), ValueError, r"got \(0, 5, 3\)"),
        (np.zeros((4, 5, 2)), ValueError, r"got \(4, 5, 2\)"),
        (np.zeros(3), ValueError, r"got \(3,\)"),
    ],
)
def test_what_can_not_be_shown(axes, image, error, message):
    with pytest.raises(error, match=message):
        plots.picture(axes[0], image)


def test_an_arrow_says_that_values_lie_beyond_the_scale(axes, monkeypatch):
    extends = []
    figure = axes[0].figure
    monkeypatch.setattr(
        figure, "colorbar", lambda *_, extend, **__: extends.append(extend)
    )
    for limit, signed in ((2, False), (2, True), (5, True), (None, False)):
        with pytest.raises(AttributeError):  # the stand-in returns no bar
            plots.heat(axes[0], np.eye(3) * 5, signed=signed, limit=limit)
    assert extends == ["max", "both", "neither", "neither"]


def test_the_outline_runs_around_the_mask(axes):
    mask = np.zeros((9, 9), bool)
    mask[3:6, 2:7] = True
    plots.heat(axes[0], mask * 1.0, mask=mask, bar=False)
    (line,) = axes[0].collections[-1].get_paths()
    low, high = line.vertices.min(axis=0), line.vertices.max(axis=0)
    assert low.tolist() == [1.5, 2.5] and high.tolist() == [6.5, 5.5]


@pytest.mark.parametrize("bars", ["each", "last", "none"])
@pytest.mark.parametrize("labelled", [False, True])
def test_panels_have_the_size_that_was_asked_for(bars, labelled):
    figure, axes = plots.row(3, 2.5, 2.4, 2, bars, labelled)
    figure.canvas.draw()
    assert len(axes) == 6
    boxes = [panel.get_window_extent() for panel in axes]
    for box in boxes:
        assert (box.width, box.height) == pytest.approx((250, 240))
    for first, second in ((0, 1), (1, 2), (3, 4), (4, 5)):
        gap = boxes[second].x0 - boxes[first].x1
        assert gap >= (60 if bars == "each" or labelled else 8)
    room = figure.bbox.width - boxes[2].x1
    assert room >= (8 if bars == "none" else 60)
    assert boxes[0].y0 - boxes[3].y1 >= 30, "room for the title"
    plt.close(figure)
    with pytest.raises(ValueError, match="'none'; got 'all'"):
        plots.row(2, bars="all")


def test_an_outline_is_closed_at_the_edges(axes):
    plots.picture(axes[0], np.zeros((6, 8, 3), np.uint8))
    mask = np.zeros((6, 8), bool)
    mask[:, 5:] = True  # touches three edges
    limits = axes[0].get_xlim(), axes[0].get_ylim()
    plots.outline(axes[0], mask)
    assert (axes[0].get_xlim(), axes[0].get_ylim()) == limits
    (lines,) = axes[0].collections
    (path,) = lines.get_paths()
    (ring,) = path.to_polygons(closed_only=False)
    assert (ring[0] == ring[-1]).all()
    assert ring.min(axis=0).tolist() == [4.5, -0.25]
    assert ring.max(axis=0).tolist() == [7.25, 5.25]
    for wrong, error, message in (
        (mask * 255, TypeError, "mask must be bool; got int64"),
        (mask[None], ValueError, r"got \(1, 6, 8\)"),
    ):
        with pytest.raises(error, match=message):
            plots.outline(axes[0], wrong)


def test_a_box_goes_around_its_pixels(axes):
    plots.picture(axes[0], np.zeros((9, 9, 3), np.uint8))
    plots.box(axes[0], (2, 1, 5, 8), "white")
    (drawn,) = axes[0].patches
    # Pixel (2, 1) has its centre at x = 1, y = 2 and is one wide.
    assert drawn.get_bbox().extents.tolist() == [0.5, 1.5, 7.5, 4.5]


def test_each_class_that_occurs_has_a_colour_and_its_name(axes):
    names = [f"class ${k}$" for k in range(10)]
    grid = np.array([[7, 7, 2], [2, 9, 7]], float)  # targets give floats
    plots.classes(axes[0], grid, names, "winners")
    image = axes[0].images[0]
    assert image.get_array().tolist() == [[1, 1, 0], [0, 2, 1]]
    colours = image.cmap(image.norm(image.get_array()))
    assert len(np.unique(colours.reshape(-1, 4), axis=0)) == 3
    (bar,) = axes[0].child_axes
    shown = [label.get_text() for label in bar.get_yticklabels()]
    assert shown == ["class $2$", "class $7$", "class $9$"]
    assert not any(label.get_parse_math() for label in bar.get_yticklabels())
    # The bar's colours are those of the panel.
    assert bar.get_ylim() == (-0.5, 2.5)


@pytest.mark.parametrize(
    "grid, message",
    [
        (np.arange(9).reshape(3, 3), "1 to 8 different classes; got 9"),
        ([1, 2], r"shape \(2,\)"),
        (np.zeros((0, 3)), r"got 0 in an array of shape \(0, 3\)"),
        ([[1, 10]], r"from 0 to 9, .* got \[1, 10\]"),
        ([[-1, 2]], r"got \[-1, 2\]"),
        ([[1.5, 2]], r"whole numbers .* got \[1.5, 2.0\]"),
        ([[np.nan, 2]], "whole numbers"),
    ],
)
def test_classes_that_can_not_be_shown(axes, grid, message):
    with pytest.raises(ValueError, match=message):
        plots.classes(axes[0], grid, [str(k) for k in range(10)])


def shown(monkeypatch, draw):
    """What `show` displays of a figure on which `draw` drew."""
    calls = []
    monkeypatch.setattr(
        plots,
        "display",
        lambda data, metadata, raw: calls.append((data, metadata)),
    )
    figure, axes = plots.row(2)
    draw(axes)
    plots.show(figure, "Nothing to see.")
    assert not plt.fignum_exists(figure.number)
    return calls[0]


def decoded(data):
    return np.asarray(Image.open(BytesIO(data)).convert("RGB"), float)


def test_maps_are_stored_as_png_with_their_colours(monkeypatch):
    values = np.linspace(0, 1, 64 * 64).reshape(64, 64)
    data, metadata = shown(
        monkeypatch, lambda axes: plots.heat(axes[0], values)
    )
    assert data["text/plain"] == "<Nothing to see.>"
    about = metadata["image/png"]
    assert about["alt"] == "Nothing to see."
    levels = decoded(data["image/png"])
    # Stored at twice the size at which it is shown.
    assert levels.shape[:2] == (2 * about["height"], 2 * about["width"])
    height = levels.shape[0]
    bottom = levels[height - 30, 30]
    top = levels[80, 30]
    assert np.abs(bottom - 255 * np.array(plots.UNSIGNED(1.0)[:3])).max() < 20
    assert np.abs(top - 255 * np.array(plots.UNSIGNED(0.0)[:3])).max() < 20


def test_photographs_are_stored_as_jpeg_in_full_colours(monkeypatch):
    photo = photos.sample("coffee", 224)
    data, metadata = shown(
        monkeypatch, lambda axes: plots.picture(axes[0], photo)
    )
    assert metadata["image/jpeg"]["alt"] == "Nothing to see."
    levels = decoded(data["image/jpeg"])
    panel = levels[64:-20, 20:540]  # the axes of the first panel
    mean = panel.mean(axis=(0, 1))
    np.testing.assert_allclose(mean, photo.mean(axis=(0, 1)), atol=3)
    assert len(np.unique(panel.reshape(-1, 3), axis=0)) > 10_000


def test_who_can_not_see_is_told_the_titles_of_the_panels(monkeypatch):
    def draw(axes):
        plots.heat(axes[0], np.eye(4), "drop 3.1")
        plots.heat(axes[1], np.eye(4), "mask")

    data, metadata = shown(monkeypatch, draw)
    about = metadata["image/png"]
    assert about["alt"] == "Nothing to see. Panels: drop 3.1; mask."
    assert data["text/plain"] == "<Nothing to see.>"


def test_the_bar_can_be_kept_out_of_stored_outputs(monkeypatch):
    monkeypatch.setenv("TQDM_DISABLE", "1")
    assert progress.bar(5).disable
    monkeypatch.delenv("TQDM_DISABLE")
    with progress.bar(5) as shown:
        assert not shown.disable and shown.total == 5 and not shown.leave


def test_around_grey_by_hand():
    values = np.zeros((2, 100, 3))
    values[0] = 1.0
    values[0, 0] = [-1, 0.5, 100]
    picture = plots.around_grey(values)
    assert (picture[1] == 127.5).all(), "grey is zero"
    assert (picture[0, 1:] == 255).all(), "the quantile is 1"
    assert picture[0, 0].tolist() == [0, 191.25, 255], "what sticks out is cut"
    np.testing.assert_array_equal(picture, plots.around_grey(7 * values))
    assert (plots.around_grey(values * 0) == 127.5).all()


@pytest.mark.parametrize(
    "values, says",
    [
        (np.zeros((4, 4)), r"shape \(h, w, 3\); got \(4, 4\)"),
        (np.zeros((2, 4, 4, 3)), r"images\[0\]"),
        (np.full((4, 4, 3), np.nan), "finite"),
    ],
)
def test_around_grey_says_what_is_wrong(values, says):
    with pytest.raises(ValueError, match=says):
        plots.around_grey(values)


def test_side_by_side():
    image = np.full((10, 20, 3), 200, np.uint8)
    rng = np.random.default_rng(0)
    unsigned, signed = rng.uniform(size=(10, 20)), rng.normal(size=(10, 20))
    maps = {str(i): unsigned for i in range(4)} | {"signed": signed}
    mask = np.zeros((10, 20), bool)
    mask[2:5, 3:9] = True
    figure = plots.side_by_side(image, maps, "photograph", mask=mask)
    panels = [axes for axes in figure.axes if axes.get_title()]
    titles = [axes.get_title() for axes in panels]
    assert titles == ["photograph", *maps]
    tops = sorted({round(axes.get_position().y0, 3) for axes in panels})
    assert len(tops) == 2  # six panels in rows of four
    scales = [axes.images[0].get_clim() for axes in panels[1:]]
    limit = np.quantile(unsigned, 0.99)
    np.testing.assert_allclose(scales[0], (0, limit))
    limit = np.quantile(np.abs(signed), 0.99)
    np.testing.assert_allclose(scales[-1], (-limit, limit))
    np.testing.assert_array_equal(panels[1].images[0].get_array(), unsigned)
    assert all(axes.collections for axes in panels[1:])  # the outline
    plt.close(figure)


@pytest.mark.parametrize(
    "wrong, message",
    [
        ({"maps": {}}, "maps"),
        ({"maps": [np.ones((10, 20))]}, "maps"),
        ({"maps": {"small": np.ones((5, 20))}}, "small.*shape"),
        ({"maps": {"nan": np.full((10, 20), np.nan)}}, "finite"),
        ({"quantile": 0}, "quantile"),
        ({"quantile": 99}, "quantile"),
        ({"image": np.ones((10, 20))}, "image"),
    ],
)
def test_side_by_side_names_what_is_wrong(wrong, message):
    given = {
        "image": np.zeros((10, 20, 3), np.uint8),
        "maps": {"map": np.ones((10, 20))},
    }
    with pytest.raises((TypeError, ValueError), match=message):
        plots.side_by_side(**(given | wrong))
    plt.close("all")
