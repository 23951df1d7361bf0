"""Photographs: samples that scikit-image ships, and anybody's picture file."""

import os
import stat
from functools import lru_cache
from pathlib import Path

import numpy as np
import skimage.data
from PIL import Image

from ._decoding import check_size, decode

#: Name -> (how scikit-image calls it, who made it and its terms, as
#: scikit-image's documentation states them). All lie in the package itself:
#: nothing is downloaded.
SAMPLES = {
    "astronaut": ("astronaut", "NASA, public domain"),
    "brick": ("brick", "CC0Textures, CC0"),
    "camera": ("camera", "Lav Varshney, CC0"),
    "chelsea": ("chelsea", "Stefan van der Walt, CC0"),
    "coffee": ("coffee", "Rachel Michetti, CC0"),
    "coins": (
        "coins",
        "Brooklyn Museum Collection, no known copyright restrictions",
    ),
    "grass": ("grass", "linolafett, CC0"),
    "gravel": ("gravel", "CC0Textures, CC0"),
    "hubble": ("hubble_deep_field", "NASA, public domain"),
    "motorcycle": (
        "stereo_motorcycle",
        "Middlebury Stereo 2014, Scharstein et al.",
    ),
    "rocket": ("rocket", "SpaceX, public domain"),
    "tissue": (
        "immunohistochemistry",
        "CMMI, no known copyright restrictions",
    ),
}


@lru_cache
def sample(name: str, size: int | None = None) -> np.ndarray:
    """One of scikit-image's sample photographs, by its name in `SAMPLES`.

    Args:
        name: a key of `SAMPLES`, for example ``"chelsea"``.
        size: as in `load`.

    Returns:
        uint8 `(h, w, 3)`, RGB, read-only (the array is shared by all calls).

    Raises:
        ValueError: there is no sample of that name; `size` as in `load`.
    """
    if name not in SAMPLES:
        raise ValueError(
            f"name must be one of {', '.join(SAMPLES)}; got {name!r}"
        )
    picture = getattr(skimage.data, SAMPLES[name][0])()
    if isinstance(picture, tuple):  # the stereo pair: left, right, disparity
        picture = picture[0]
    picture = np.array(Image.fromarray(picture).convert("RGB"))
    picture = _fit(picture, size)
    picture.flags.writeable = False
    return picture


def load(path: str | os.PathLike, size: int | None = None) -> np.ndarray:
    """Read a picture file as a viewer would show it.

    JPEG, PNG, WebP, GIF, TIFF and BMP (of several frames the first): grey,
    16-bit (rounded to 8 if grey, else cut to the higher 8), palette, CMYK or
    with transparency (laid on white). The EXIF orientation and a usable
    embedded colour profile are applied.

    Args:
        path: the file, a string or a path.
        size: None for the picture as it is, or the side in pixels of the
            square that a network wants: the picture is resized so that its
            short side is `size`·256/224, then cropped to its centre.

    Returns:
        uint8 `(h, w, 3)`, RGB in 0–255; with `size`: `(size, size, 3)`.

    Raises:
        TypeError: `path` is neither a string nor a path.
        FileNotFoundError, IsADirectoryError: there is no file at `path`.
        PermissionError: there is one that you may not read.
        ValueError: what `path` names is no regular file, is no picture of
            these formats, is damaged or of a kind that cannot be read
            faithfully, or has fewer than 16 pixels a side or more than
            50.3 million (8192 × 6144) in all, which might take more than
            1 GiB of memory; `size` is no whole number or too large.
    """
    if not isinstance(path, (str, os.PathLike)):
        raise TypeError(
            "path must be a string or a path to a picture file; "
            f"got {type(path).__name__}"
        )
    path = Path(path)
    _check_file(path)
    return _fit(decode(path), size)


def _check_file(path):
    """Raise a helpful error unless `path` is a file that can be read."""
    wanted = "path must be a picture file"
    try:
        kind = path.stat().st_mode
        if stat.S_ISREG(kind):
            with open(path, "rb") as file:
                first = file.read(1)
    except (FileNotFoundError, NotADirectoryError):
        raise FileNotFoundError(
            f"{wanted}; there is no file {path} (working folder: {Path.cwd()})"
        ) from None
    except PermissionError:
        raise PermissionError(
            f"{wanted} that you may read; you lack the permission for {path}. "
            "Change the permissions of the file and of its folders, or use a "
            "copy of your own"
        ) from None
    except OSError as error:  # too long a name, a circle of links
        name = str(path) if len(str(path)) <= 100 else f"{str(path)[:100]}…"
        raise ValueError(
            f"{wanted}; {name} cannot be opened: {error.strerror}"
        ) from error
    except ValueError:  # NUL, or what the file system cannot encode
        raise ValueError(
            f"{wanted}; {str(path)!r} has a character that no file name has"
        ) from None
    if stat.S_ISDIR(kind):
        raise IsADirectoryError(f"{wanted}; {path} is a folder")
    if not stat.S_ISREG(kind):  # reading a pipe might wait for ever
        raise ValueError(f"{wanted}; {path} is a pipe, a socket or a device")
    if not first:
        raise ValueError(f"{wanted}; {path} is empty (0 bytes)")


def _fit(pixels, size):
    """Short side to `size`·256/224, then the central square; None: as is."""
    if size is None:
        return pixels
    if not isinstance(size, (int, np.integer)) or size < 1:
        raise ValueError(
            f"size must be None or a whole number of pixels, at "
            f"least 1; got {size!r}"
        )
    picture = Image.fromarray(pixels)
    short = round(size * 256 / 224)
    scale = short / min(picture.size)
    width, height = (max(round(side * scale), short) for side in picture.size)
    check_size("the picture, resized,", width, height)
    left, top = (width - size) // 2, (height - size) // 2
    return np.array(
        picture.resize((width, height), Image.Resampling.BILINEAR).crop(
            (left, top, left + size, top + size)
        )
    )
