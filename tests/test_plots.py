"""The figures' promises: scales, centre, colour bars; the progress bar."""

from io import BytesIO

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt  # noqa: E402
import numpy as np  # noqa: E402
import pytest  # noqa: E402
from PIL import Image  # noqa: E402

from xai_utils import plots, progress  # noqa: E402


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
    assert len(axes[0].figure.axes) == 4  # a colour bar for each


def test_a_map_keeps_its_values_and_zeros_have_a_scale(axes):
    values = np.arange(6.0).reshape(2, 3)
    plots.heat(axes[0], values)
    assert (axes[0].images[0].get_array() == values).all()
    assert axes[0].images[0].get_clim() == (0, 5)
    plots.heat(axes[1], np.zeros((2, 2)))
    assert axes[1].images[0].get_clim() == (0, 1)


def test_a_map_over_a_picture_covers_it(axes):
    picture = np.zeros((40, 60, 3), np.uint8)
    plots.heat(axes[0], np.ones((4, 6)), over=picture)
    below, above = axes[0].images
    assert tuple(below.get_extent()) == tuple(above.get_extent())


def test_pictures_look_like_themselves(axes):
    picture = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)
    plots.picture(axes[0], picture)  # 64 colours: all are kept
    shown = np.asarray(axes[0].images[0].get_array()).astype(int)
    assert np.abs(shown - picture).max() <= 4


def test_a_figure_comes_with_its_text(monkeypatch):
    calls = []
    monkeypatch.setattr(
        plots,
        "display",
        lambda *data, **options: calls.append((data, options)),
    )
    figure, _ = plots.row(1)
    plots.show(figure, "Nothing to see.")
    (data,), options = calls[0]
    assert data["image/png"].startswith(b"\x89PNG")
    assert data["text/plain"] == "<Nothing to see.>"
    assert options["metadata"]["image/png"]["alt"] == "Nothing to see."
    assert not plt.fignum_exists(figure.number)


def test_a_figure_in_few_colours(monkeypatch):
    shown = []
    monkeypatch.setattr(
        plots,
        "display",
        lambda data, **_: shown.append(
            Image.open(BytesIO(data["image/png"])).convert("RGB")
        ),
    )
    grain = np.random.default_rng(0).integers(0, 256, (60, 60, 3), np.uint8)
    for colours in (None, 16):
        figure, axes = plots.row(1)
        axes[0].imshow(grain)
        plots.show(figure, "Grain.", colours)
    every, few = shown
    assert len(few.getcolors()) <= 16 < len(every.getcolors(10**6))
    assert few.size == every.size
    off = np.asarray(few).astype(float) - np.asarray(every)
    assert np.abs(off.mean()) < 5 and few.getpixel((0, 0)) == (255,) * 3


def test_the_bar_can_be_kept_out_of_stored_outputs(monkeypatch):
    monkeypatch.setenv("TQDM_DISABLE", "1")
    assert progress.bar(5).disable
    monkeypatch.delenv("TQDM_DISABLE")
    with progress.bar(5) as shown:
        assert not shown.disable and shown.total == 5 and not shown.leave
