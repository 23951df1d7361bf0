"""Generated pictures with a known truth: a pictogram pasted on a photograph.

The class is the pictogram, and the mask says which pixels it covers. Whatever
a map marks outside the mask did not decide the label.
"""

from functools import lru_cache
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.font_manager import get_font
from PIL import Image, ImageDraw, ImageFont

from .photos import sample

SIZE = 96
FONT = Path(matplotlib.get_data_path(), "fonts/ttf/DejaVuSans.ttf")

#: Class name -> pictogram, in the order of the class indices. The glyphs are
#: drawn from DejaVu Sans, the font that ships with Matplotlib.
CLASSES = {
    "umbrella": "☂",
    "aeroplane": "✈",
    "telephone": "☎",
    "scissors": "✂",
    "anchor": "⚓",
    "heart": "♥",
    "knight": "♞",
    "snowman": "☃",
    "envelope": "✉",
    "star": "★",
}

#: Class name -> part name -> the box (left, top, right, bottom) of the ellipse
#: around the part, in pixels of the pictogram as `pictogram` draws it.
PARTS = {
    "telephone": {
        "dial": (58, 43, 121, 107),
        "left end": (0, 20, 46, 52),
        "right end": (132, 20, 178, 52),
    },
    "anchor": {
        "ring": (37, 0, 79, 42),
        "left fluke": (0, 80, 26, 109),
        "right fluke": (87, 80, 113, 109),
    },
    "knight": {
        "eye": (14, 29, 32, 45),
        "nostril": (5, 67, 19, 82),
        "ear": (36, 0, 53, 20),
    },
}

#: Training and test never share a photograph.
BACKGROUNDS = {
    "train": (
        "grass",
        "brick",
        "coffee",
        "rocket",
        "motorcycle",
        "tissue",
        "hubble",
    ),
    "test": ("gravel", "astronaut", "chelsea"),
}


def make(
    n: int,
    *,
    seed: int,
    split: str = "test",
    classes: dict[str, str] = CLASSES,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draw `n` sticker pictures; the same seed draws the same pictures.

    Args:
        n: how many pictures, at least 1.
        seed: an integer, the seed of the random generator.
        split: ``"train"`` or ``"test"``: which photographs lie behind.
        classes: dict, class name -> pictogram, a character of DejaVu Sans.

    Returns:
        images: uint8 `(n, 96, 96, 3)`, RGB.
        labels: int64 `(n,)`, class indices in the order of `classes`.
        masks: bool `(n, 96, 96)`, True where the pictogram covers more than
            half of the pixel.

    Raises:
        ValueError: `n` below 1, a `split` that does not exist, no `classes`
        or a pictogram that is not one character of the font.
    """
    photographs = _photographs(n, split)
    _check_pictograms(classes)
    rng = np.random.default_rng(seed)
    labels = rng.integers(len(classes), size=n)
    images = np.empty((n, SIZE, SIZE, 3), np.uint8)
    masks = np.empty((n, SIZE, SIZE), bool)
    for i, glyph in enumerate(np.array(list(classes.values()))[labels]):
        background = _crop(photographs[rng.integers(len(photographs))], rng)
        (cover,) = _place([pictogram(glyph)], rng)
        images[i] = _paste(background, cover, rng)
        masks[i] = cover > 127
    return images, labels, masks


def parts(
    n: int, name: str, *, seed: int, split: str = "test"
) -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
    """Draw `n` sticker pictures of one class, and say where its parts are.

    For the correspondence analysis of Zeiler & Fergus, §4.3.

    Args:
        n: how many pictures, at least 1.
        name: a class whose parts are known, a key of `PARTS`.
        seed: an integer, the seed of the random generator.
        split: as in `make`.

    Returns:
        images: uint8 `(n, 96, 96, 3)`, RGB.
        masks: bool `(n, 96, 96)`, the pictogram, as in `make`.
        parts: dict, part name -> bool `(n, 96, 96)`, True in the ellipse
            around the part, its gaps included (those of a dial, say).

    Raises:
        ValueError: `n` below 1, or a `name` or `split` that does not exist.
    """
    if name not in PARTS:
        raise ValueError(
            f"name must be one of {', '.join(PARTS)}; got {name!r}"
        )
    photographs = _photographs(n, split)
    rng = np.random.default_rng(seed)
    glyph = pictogram(CLASSES[name])
    layers = [glyph]
    for box in PARTS[name].values():
        layers.append(Image.new("L", glyph.size))
        ImageDraw.Draw(layers[-1]).ellipse(box, fill=255)
    images = np.empty((n, SIZE, SIZE, 3), np.uint8)
    masks = np.empty((len(layers), n, SIZE, SIZE), bool)
    for i in range(n):
        background = _crop(photographs[rng.integers(len(photographs))], rng)
        placed = _place(layers, rng)
        images[i] = _paste(background, placed[0], rng)
        masks[:, i] = placed > 127
    return images, masks[0], dict(zip(PARTS[name], masks[1:]))


def _photographs(n, split):
    """The photographs of a split; complain about bad arguments first."""
    if n < 1:
        raise ValueError(f"n is the number of pictures, at least 1; got {n}")
    if split not in BACKGROUNDS:
        raise ValueError(f"split must be 'train' or 'test'; got {split!r}")
    return [sample(name) for name in BACKGROUNDS[split]]


def _check_pictograms(classes):
    known = get_font(str(FONT)).get_charmap()
    if not classes or any(
        len(glyph) != 1 or ord(glyph) not in known
        for glyph in classes.values()
    ):
        raise ValueError(
            "classes must have at least one pictogram, each one "
            f"character of DejaVu Sans; got {classes!r}"
        )


def _crop(photograph, rng):
    """A random square of the photograph, resized to 96 × 96: uint8 RGB."""
    height, width = photograph.shape[:2]
    side = rng.integers(SIZE, min(height, width) + 1)
    top = rng.integers(height - side + 1)
    left = rng.integers(width - side + 1)
    square = photograph[top : top + side, left : left + side]
    return np.asarray(Image.fromarray(square).resize((SIZE, SIZE)))


def _place(layers, rng):
    """The pictogram at a random angle, size and place: cover, 0–255. Further
    layers, drawn on the same canvas, are moved with it."""
    angle = rng.uniform(-40, 40)
    turned = [
        layer.rotate(angle, Image.Resampling.BICUBIC, expand=True)
        for layer in layers
    ]
    box = turned[0].getbbox()
    turned = [layer.crop(box) for layer in turned]
    scale = rng.uniform(42, 72) / max(turned[0].size)
    width, height = (max(round(side * scale), 1) for side in turned[0].size)
    corner = (
        int(rng.integers(SIZE - width + 1)),
        int(rng.integers(SIZE - height + 1)),
    )
    canvases = [Image.new("L", (SIZE, SIZE)) for _ in layers]
    for canvas, layer in zip(canvases, turned):
        canvas.paste(layer.resize((width, height)), corner)
    return np.stack(canvases)


@lru_cache
def pictogram(glyph: str) -> Image.Image:
    """A character of the font as a grey picture, white on black, cropped."""
    font = ImageFont.truetype(str(FONT), 160)
    canvas = Image.new("L", (256, 256))
    ImageDraw.Draw(canvas).text((24, 24), glyph, fill=255, font=font)
    return canvas.crop(canvas.getbbox())


def _paste(background, cover, rng):
    """Lay the pictogram on the background in a colour that can be seen: of
    eight random ones that which stands out most where it stands out least.
    """
    behind = background[cover > 127].astype(float)
    colours = rng.integers(256, size=(8, 3))
    contrast = np.linalg.norm(behind[:, None] - colours, axis=-1)
    colour = colours[np.quantile(contrast, 0.1, axis=0).argmax()]
    alpha = cover[..., None] / 255
    mixed = alpha * colour + (1 - alpha) * background
    return np.rint(mixed).astype(np.uint8)
