"""Photographs: samples that scikit-image ships, and anybody's picture file."""

import os
import warnings
from functools import lru_cache
from io import BytesIO
from pathlib import Path

import numpy as np
import skimage.data
from PIL import Image, ImageCms, ImageOps

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

#: A smaller picture shows nothing; a larger one may not fit into memory.
MIN_SIDE = 16
MAX_PIXELS = 100_000_000


@lru_cache
def sample(name, size=None):
    """One of scikit-image's sample photographs, by its name in `SAMPLES`.

    Args:
        name: a key of `SAMPLES`, for example ``"chelsea"``.
        size: as in `load`.

    Returns:
        uint8 `(h, w, 3)`, RGB, read-only (the array is shared by all calls).

    Raises:
        ValueError: there is no sample of that name.
    """
    if name not in SAMPLES:
        raise ValueError(
            f"name must be one of {', '.join(SAMPLES)}; got {name!r}"
        )
    picture = getattr(skimage.data, SAMPLES[name][0])()
    if isinstance(picture, tuple):  # the stereo pair: left, right, disparity
        picture = picture[0]
    picture = np.array(_fit(Image.fromarray(picture).convert("RGB"), size))
    picture.flags.writeable = False
    return picture


def load(path, size=None):
    """Read a picture file as a viewer would show it.

    JPEG, PNG, WebP, GIF and TIFF (of several frames the first), grey, 16-bit,
    palette, CMYK or with transparency (laid on white). The EXIF orientation
    and an embedded colour profile are applied.

    Args:
        path: the file, a string or a path.
        size: None for the picture as it is, or the side in pixels of the
            square that a network wants: the picture is resized so that its
            short side is `size`·256/224, then cropped to its centre.

    Returns:
        uint8 `(h, w, 3)`, RGB in 0–255; with `size`: `(size, size, 3)`.

    Raises:
        FileNotFoundError, IsADirectoryError: there is no file at `path`.
        ValueError: the file is no picture, is damaged, or has fewer than
            16 pixels a side or more than 100 million in all.
    """
    if not isinstance(path, (str, os.PathLike)):
        raise TypeError(
            "path must be a string or a path to a picture file; "
            f"got {type(path).__name__}"
        )
    path = Path(path)
    if path.is_dir():
        raise IsADirectoryError(
            f"path must be a picture file; {path} is a folder"
        )
    if not path.exists():
        raise FileNotFoundError(
            f"path must be a picture file; there is no "
            f"file {path} (working folder: {Path.cwd()})"
        )
    if path.stat().st_size == 0:
        raise ValueError(
            f"path must be a picture file; {path} is empty (0 bytes)"
        )
    # MAX_PIXELS is our own, lower limit: Pillow's warning would only repeat
    # it, and its error comes without a hint at what to do.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        try:
            opened = Image.open(path)
        except Image.DecompressionBombError as error:
            raise ValueError(
                f"{path} is too large: {error}. Shrink it to "
                f"at most {MAX_PIXELS:,} pixels"
            ) from error
        except Exception as error:  # decoders raise many kinds
            raise ValueError(
                f"{path} is not a picture that can be read (JPEG, PNG, WebP, "
                f"GIF, TIFF): {error}"
            ) from error
    with opened:
        _check_size(path, *opened.size)
        try:
            upright = ImageOps.exif_transpose(opened)
            rgb = _to_rgb(upright)
        except Exception as error:
            raise ValueError(
                f"{path} is a damaged or unusual picture and "
                f"cannot be decoded: {error}"
            ) from error
    return np.array(_fit(rgb, size))


def _check_size(name, width, height):
    if min(width, height) < MIN_SIDE:
        raise ValueError(
            f"{name} is too small: {width} × {height} pixels; "
            f"at least {MIN_SIDE} × {MIN_SIDE} are needed"
        )
    if width * height > MAX_PIXELS:
        raise ValueError(
            f"{name} is too large: {width:,} × {height:,} "
            f"pixels; shrink it to at most {MAX_PIXELS:,}"
        )


def _to_rgb(picture):
    """Any Pillow mode -> RGB, 8 bits a channel, in the sRGB colours."""
    if picture.mode == "F" or picture.mode.startswith("I"):
        return _from_deep_grey(picture)
    if picture.mode in ("LA", "PA", "La", "RGBa") or (
        "transparency" in picture.info
    ):
        picture = picture.convert("RGBA")
    elif picture.mode in ("1", "P"):
        picture = picture.convert("RGB")
    opaque = _to_srgb(picture)
    if picture.mode == "RGBA":
        paper = Image.new("RGB", picture.size, "white")
        paper.paste(opaque, mask=picture.getchannel("A"))
        return paper
    return opaque


def _to_srgb(picture):
    """Apply the embedded colour profile, where there is a usable one."""
    profile = picture.info.get("icc_profile")
    if profile:
        opaque = picture.convert("RGB") if picture.mode == "RGBA" else picture
        try:
            return ImageCms.profileToProfile(
                opaque,
                ImageCms.ImageCmsProfile(BytesIO(profile)),
                ImageCms.createProfile("sRGB"),
                outputMode="RGB",
            )
        except (ImageCms.PyCMSError, OSError):
            pass  # viewers, too, show a picture whose profile is unusable
    return picture.convert("RGB")


def _from_deep_grey(picture):
    """16-bit grey: 65535 is white. Pillow's own conversion clips at 255."""
    levels = np.asarray(picture, np.float64)
    if picture.mode == "F" or levels.min() < 0 or levels.max() > 65535:
        raise ValueError(
            "its grey levels are not 8 or 16 bits, so that it "
            "is not known which value is white"
        )
    grey = np.rint(levels / 257).astype(np.uint8)
    return Image.fromarray(grey).convert("RGB")


def _fit(picture, size):
    """Short side to `size`·256/224, then the central square; None: as is."""
    if size is None:
        return picture
    if not isinstance(size, (int, np.integer)) or size < 1:
        raise ValueError(
            f"size must be None or a whole number of pixels, at "
            f"least 1; got {size!r}"
        )
    short = round(size * 256 / 224)
    scale = short / min(picture.size)
    width, height = (max(round(side * scale), short) for side in picture.size)
    _check_size("the picture, resized,", width, height)
    left, top = (width - size) // 2, (height - size) // 2
    return picture.resize((width, height), Image.Resampling.BILINEAR).crop(
        (left, top, left + size, top + size)
    )
