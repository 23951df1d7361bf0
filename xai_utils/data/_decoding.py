"""Decode any permitted picture file to upright pixels, 8-bit sRGB."""

import logging
import warnings
from contextlib import contextmanager
from io import BytesIO

import numpy as np
from PIL import Image, ImageCms

#: A smaller picture shows nothing. A larger one may need more than 1 GiB:
#: there are decoders that take 20 bytes for each pixel.
MIN_SIDE = 16
MAX_PIXELS = 8192 * 6144

#: What may be opened. Without this list Pillow would also run Ghostscript on
#: a PostScript file. "JPEG" includes MPO, which many phones write.
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP")

ADVICE = "save it as 8-bit PNG or JPEG"

# Pixels that are converted at a time, so that no second copy is needed.
BAND = 1_000_000

# The numbers of those TIFF and EXIF tags that are read here.
BITS, COMPRESSION, PHOTOMETRIC, ORIENTATION, PLANES = 258, 259, 262, 274, 284
OFFSETS, COUNTS = (273, 324), (279, 325)  # of strips, of tiles
SAMPLE_FORMAT, UNSIGNED = 339, 1

# EXIF orientation -> how to turn the stored pixels upright.
TURNS = {
    2: lambda pixels: pixels[:, ::-1],
    3: lambda pixels: pixels[::-1, ::-1],
    4: lambda pixels: pixels[::-1],
    5: lambda pixels: pixels.swapaxes(0, 1),
    6: lambda pixels: np.rot90(pixels, -1),
    7: lambda pixels: pixels[::-1, ::-1].swapaxes(0, 1),
    8: lambda pixels: np.rot90(pixels, 1),
}


def decode(path):
    """Read the first frame of a picture file.

    Args:
        path: a readable file, a `pathlib.Path`.

    Returns:
        uint8 `(h, w, 3)`, RGB in 0–255, sRGB, upright; what is transparent
        lies on white.

    Raises:
        ValueError: the file is none of `FORMATS`, is damaged, is of a kind
            that Pillow does not decode truthfully, is smaller than
            `MIN_SIDE` or larger than `MAX_PIXELS`.
    """
    with _quiet(), _open(path) as opened:
        check_size(path, *opened.size)
        try:
            _refuse_damaged(path, opened)
            _refuse_unusual(opened)
            _scale_transparent_level(opened)
            notes = _notes(opened)
            opened.load()
            pixels = _to_srgb(opened, notes)
            orientation = 1
            if opened.format != "TIFF":  # which load() has turned
                orientation = opened.getexif().get(ORIENTATION, 1)
        except Exception as error:  # decoders raise many kinds
            raise ValueError(
                f"{path} is a damaged or unusual picture and "
                f"cannot be decoded: {error}"
            ) from error
    turn = TURNS.get(orientation, lambda pixels: pixels)
    return np.ascontiguousarray(turn(pixels))


def check_size(name, width, height):
    """ValueError if a picture of that size, in pixels, is not permitted."""
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


@contextmanager
def _quiet():
    """No warnings of Pillow: what matters in them becomes an error here."""
    pillow, nobody = logging.getLogger("PIL"), logging.NullHandler()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="PIL")
        pillow.addHandler(nobody)  # without any, Python writes to stderr
        try:
            yield
        finally:
            pillow.removeHandler(nobody)


def _open(path):
    try:
        return Image.open(path, formats=FORMATS)
    except Image.DecompressionBombError as error:  # larger than MAX_PIXELS
        raise ValueError(
            f"{path} is too large: {error}. Shrink it to "
            f"at most {MAX_PIXELS:,} pixels"
        ) from error
    except Exception as error:  # decoders raise many kinds
        raise ValueError(
            f"{path} is not a picture that can be read (JPEG, PNG, WebP, "
            f"GIF, TIFF, BMP): {error}. If other programs show it, {ADVICE}"
        ) from error


def _refuse_damaged(path, opened):
    """ValueError for damage that reading the pixels would not report."""
    if opened.format == "PNG":
        if not opened.tile:
            raise ValueError("it holds no pixels (IDAT)")
        # Reading the pixels skips their checksums.
        with Image.open(path, formats=["PNG"]) as again:
            again.verify()
    if opened.format == "TIFF":
        if opened.tag_v2.get(COMPRESSION, 1) == 1:
            _refuse_missing_strips(opened)
        else:
            _refuse_cut_off_strips(opened, path.stat().st_size)


def _refuse_missing_strips(opened):
    """ValueError if an uncompressed TIFF has no data for some pixels.

    Pillow leaves them black.
    """
    width, height = opened.size
    planes = 1
    if opened.tag_v2.get(PLANES, 1) == 2:
        planes = len(opened.getbands())
    there = sum(
        (right - left) * (lower - upper)
        for _, (left, upper, right, lower), *_ in opened.tile
    )
    if there < width * height * planes:
        raise ValueError("some of its pixels are missing")


def _refuse_cut_off_strips(opened, file_size):
    """ValueError if a compressed TIFF goes on after the end of its file.

    libtiff would find it, too, but write a message of its own to stderr.
    """
    for offsets, counts in zip(OFFSETS, COUNTS):
        for offset, count in zip(
            opened.tag_v2.get(offsets, ()), opened.tag_v2.get(counts, ())
        ):
            if offset + count > file_size:
                raise ValueError(
                    f"it is cut off after {file_size:,} bytes, of at least "
                    f"{offset + count:,}"
                )


def _refuse_unusual(opened):
    """ValueError for kinds of pictures that Pillow decodes wrongly."""
    if opened.format == "PNG":
        if opened.mode == "P" and opened.palette is None:
            raise ValueError("its palette (PLTE) is missing")
        if opened.tile[0][3] == "RGB;16B" and "transparency" in opened.info:
            # Pillow keeps 8 bits, which do not tell that colour from others.
            raise ValueError(
                f"one of its 16-bit colours is transparent; {ADVICE}"
            )
    if opened.format == "TIFF":
        _refuse_unusual_tiff(opened)


def _refuse_unusual_tiff(opened):
    tags = opened.tag_v2
    bits = max(tags.get(BITS, (1,)))
    if bits not in (1, 2, 4, 8, 16) or any(
        kind != UNSIGNED for kind in tags.get(SAMPLE_FORMAT, (UNSIGNED,))
    ):
        raise ValueError(
            "its levels are not unsigned numbers of 8 or 16 bits, so "
            f"that it is not known which value is white; {ADVICE}"
        )
    in_planes = len(opened.getbands()) > 1 and tags.get(PLANES, 1) == 2
    if in_planes and bits == 16 and tags.get(COMPRESSION, 1) == 1:
        raise ValueError(
            f"its 16-bit colours lie in separate planes; {ADVICE}"
        )


def _scale_transparent_level(opened):
    """Pillow spreads grey of 2 or 4 bits over 0–255, but not that level."""
    if opened.format == "PNG" and "transparency" in opened.info:
        steps = {"L;2": 3, "L;4": 15}.get(opened.tile[0][3], 255)
        if steps < 255:
            opened.info["transparency"] *= 255 // steps


def _notes(opened):
    """A set of words: what Pillow's mode does not tell of the pixels."""
    notes = set()
    if opened.format == "TIFF" and opened.tag_v2.get(PHOTOMETRIC, 0) == 0:
        notes.add("white is zero")  # Pillow minds that up to 8 bits
    if opened.format == "PNG" and opened.tile[0][3] == "LA;16B":
        notes.add("grey")  # its mode is RGBA
    return notes


def _to_srgb(opened, notes):
    """A loaded picture of any mode -> uint8 `(h, w, 3)`, on white paper."""
    width, height = opened.size
    corner, _ = _split(opened.crop((0, 0, 1, 1)), notes)
    transform = _transform(opened.info.get("icc_profile"), corner.mode)
    pixels = np.empty((height, width, 3), np.uint8)
    rows = max(1, BAND // width)
    for top in range(0, height, rows):
        bottom = min(top + rows, height)
        band = opened.crop((0, top, width, bottom))
        colours, alpha = _split(band, notes)
        if transform is None:
            opaque = colours.convert("RGB")
        else:
            opaque = ImageCms.applyTransform(colours, transform)
        if alpha is not None:
            paper = Image.new("RGB", band.size, "white")
            paper.paste(opaque, mask=alpha)
            opaque = paper
        pixels[top:bottom] = opaque
    return pixels


def _transform(profile, mode):
    """From the embedded profile, bytes, to sRGB; None without a usable one."""
    if not profile:
        return None
    try:
        return ImageCms.buildTransform(
            ImageCms.ImageCmsProfile(BytesIO(profile)),
            ImageCms.createProfile("sRGB"),
            mode,
            "RGB",
        )
    except (ImageCms.PyCMSError, OSError):
        return None  # viewers, too, show a picture whose profile is unusable


def _split(picture, notes):
    """Any Pillow mode -> (colours of 8 bits a channel, alpha or None)."""
    clear = picture.info.get("transparency")
    if picture.mode.startswith("I"):
        return _from_deep_grey(picture, "white is zero" in notes, clear)
    if picture.mode in ("1", "L"):
        if clear is None:
            return picture.convert("L"), None
        return picture.convert("L"), picture.convert("RGBA").getchannel("A")
    if picture.mode in ("La", "RGBa"):  # colours times alpha
        picture = picture.convert(picture.mode[:-1] + "A")
    elif picture.mode == "PA" or clear is not None:
        picture = picture.convert("RGBA")
    elif picture.mode == "P":
        picture = picture.convert("RGB")
    if picture.mode == "LA":
        return picture.getchannel("L"), picture.getchannel("A")
    if picture.mode == "RGBA":
        colours = picture.convert("L" if "grey" in notes else "RGB")
        return colours, picture.getchannel("A")
    return picture, None


def _from_deep_grey(picture, white_is_zero, clear):
    """16-bit grey: 65535 is white. Pillow's own conversion clips at 255."""
    levels = np.asarray(picture)
    grey = np.rint(levels / 257).astype(np.uint8)
    if white_is_zero:
        grey = 255 - grey
    if clear is None:
        return Image.fromarray(grey), None
    alpha = np.where(levels == clear, 0, 255).astype(np.uint8)
    return Image.fromarray(grey), Image.fromarray(alpha)
