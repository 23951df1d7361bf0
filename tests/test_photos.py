"""Reading picture files: as a viewer shows them, or an error in words."""

import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageCms

from xai_utils.data import photos

pytestmark = pytest.mark.quick

RED, BLUE = (200, 30, 40), (20, 60, 220)


@pytest.fixture
def two_halves():
    """40 × 60 pixels: left half red, right half blue."""
    pixels = np.empty((40, 60, 3), np.uint8)
    pixels[:, :30], pixels[:, 30:] = RED, BLUE
    return pixels


@pytest.mark.parametrize(
    "suffix, options, tolerance",
    [
        (".png", {}, 0),
        (".tiff", {}, 0),
        (".webp", {"lossless": True}, 0),
        (".gif", {}, 0),
        (".jpg", {"quality": 95}, 12),
        (".bmp", {}, 0),
    ],
)
def test_formats(tmp_path, two_halves, suffix, options, tolerance):
    path = tmp_path / ("picture" + suffix)
    Image.fromarray(two_halves).save(path, **options)
    found = photos.load(path)
    assert found.dtype == np.uint8 and found.shape == (40, 60, 3)
    inner = np.s_[:, [5, 55]]  # JPEG blurs the colours at the seam
    difference = found[inner].astype(int) - two_halves[inner]
    assert np.abs(difference).max() <= tolerance


@pytest.mark.parametrize("suffix", [".gif", ".tiff", ".webp"])
def test_first_of_several_frames(tmp_path, two_halves, suffix):
    path = tmp_path / ("frames" + suffix)
    options = {"lossless": True} if suffix == ".webp" else {}
    Image.fromarray(two_halves).save(
        path,
        save_all=True,
        append_images=[Image.new("RGB", (60, 40))],
        **options,
    )
    assert (photos.load(path) == two_halves).all()


@pytest.mark.parametrize("suffix", [".png", ".tiff"])
def test_grey_of_8_and_16_bits(tmp_path, suffix):
    levels = np.linspace(0, 255, 20 * 30).reshape(20, 30).astype(np.uint8)
    Image.fromarray(levels).save(tmp_path / ("8" + suffix))
    deep = Image.fromarray(levels.astype(np.uint16) * 257)
    deep.save(tmp_path / ("16" + suffix))
    for name in "8", "16":
        found = photos.load(tmp_path / (name + suffix))
        assert (found == levels[..., None]).all()


def test_16_bit_colour_png(tmp_path):
    """Written by hand: Pillow does not write this kind."""

    def chunk(kind, data):
        crc = zlib.crc32(kind + data)
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", crc)
        )

    line = b"\0" + struct.pack(">3H", 0xC8C8, 0x1E1E, 0x2828) * 20
    path = tmp_path / "deep.png"
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">2I5B", 20, 20, 16, 2, 0, 0, 0))
        + chunk(b"IDAT", zlib.compress(line * 20))
        + chunk(b"IEND", b"")
    )
    assert (photos.load(path) == RED).all()


def test_palette_and_black_and_white(tmp_path, two_halves):
    Image.fromarray(two_halves).quantize(4).save(tmp_path / "palette.png")
    assert (photos.load(tmp_path / "palette.png") == two_halves).all()
    Image.new("1", (20, 20), 1).save(tmp_path / "white.png")
    assert (photos.load(tmp_path / "white.png") == 255).all()


@pytest.mark.parametrize(
    "mode, colour",
    [("RGBA", (200, 30, 40, 0)), ("RGBA", (0, 0, 0, 0)), ("LA", (0, 0))],
)
def test_transparent_is_white_paper(tmp_path, mode, colour):
    Image.new(mode, (20, 20), colour).save(tmp_path / "clear.png")
    assert (photos.load(tmp_path / "clear.png") == 255).all()


def test_half_transparent_and_transparent_palette(tmp_path):
    Image.new("RGBA", (20, 20), (0, 0, 0, 51)).save(tmp_path / "half.png")
    assert (photos.load(tmp_path / "half.png") == 204).all()
    picture = Image.new("P", (20, 20), 1)
    picture.putpalette([0, 0, 0, *RED])
    picture.save(tmp_path / "key.png", transparency=1)
    assert (photos.load(tmp_path / "key.png") == 255).all()
    Image.new("RGB", (20, 20), RED).save(
        tmp_path / "rgb.png", transparency=RED
    )
    assert (photos.load(tmp_path / "rgb.png") == 255).all()


@pytest.mark.parametrize("suffix", [".jpg", ".tiff"])
def test_cmyk(tmp_path, suffix):
    path = tmp_path / ("print" + suffix)
    Image.new("CMYK", (32, 32), (0, 255, 255, 0)).save(path)
    red, green, blue = photos.load(path)[16, 16].astype(int)
    assert red > 240 and green < 15 and blue < 15


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(tmp_path, two_halves, orientation):
    pixels = two_halves.copy()
    pixels[:20] //= 2  # no symmetry left
    back = {
        1: lambda p: p,
        2: lambda p: p[:, ::-1],
        3: lambda p: p[::-1, ::-1],
        4: lambda p: p[::-1],
        5: lambda p: p.transpose(1, 0, 2),
        6: lambda p: np.rot90(p, 1),
        7: lambda p: np.rot90(p[:, ::-1], 1)[::1],
        8: lambda p: np.rot90(p, 3),
    }
    stored = back[orientation](pixels)
    if orientation == 7:  # mirrored along the other diagonal
        stored = pixels[::-1, ::-1].transpose(1, 0, 2)
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / "turned.png"
    Image.fromarray(np.ascontiguousarray(stored)).save(path, exif=exif)
    assert (photos.load(path) == pixels).all()


def test_colour_profile(tmp_path):
    """A profile that swaps no colour leaves pixels; a broken one, too."""
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    picture = Image.new("RGB", (20, 20), RED)
    for name, profile in (("srgb", srgb), ("broken", b"no profile")):
        picture.save(tmp_path / f"{name}.png", icc_profile=profile)
        found = photos.load(tmp_path / f"{name}.png").astype(int)
        assert np.abs(found - RED).max() <= 1
    lab = Image.new("LAB", (20, 20), (255, 128, 128))
    lab.info["icc_profile"] = ImageCms.ImageCmsProfile(
        ImageCms.createProfile("LAB")
    ).tobytes()
    assert (np.array(photos._to_rgb(lab)) >= 250).all()  # L* = 100 is white


@pytest.mark.parametrize(
    "write, error, message",
    [
        (
            lambda p: None,
            FileNotFoundError,
            "there is no file .*working folder",
        ),
        (lambda p: p.mkdir(), IsADirectoryError, "is a folder"),
        (lambda p: p.write_bytes(b""), ValueError, "is empty"),
        (lambda p: p.write_text("I am a text"), ValueError, "not a picture"),
        (
            lambda p: Image.new("RGB", (1, 1)).save(p, "png"),
            ValueError,
            "too small: 1 × 1",
        ),
        (
            lambda p: Image.fromarray(np.ones((20, 20), np.float32)).save(
                p, "tiff"
            ),
            ValueError,
            "which value is white",
        ),
    ],
)
def test_what_is_no_picture(tmp_path, write, error, message):
    path = tmp_path / "picture.jpg"
    write(path)
    with pytest.raises(error, match=message):
        photos.load(path)


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".gif", ".webp", ".tiff"])
@pytest.mark.parametrize("share", [0.02, 0.5, 0.9])
def test_truncated(tmp_path, suffix, share):
    path = tmp_path / ("cut" + suffix)
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    Image.fromarray(noise).save(path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(ValueError, match="damaged|not a picture"):
        photos.load(path)


@pytest.mark.parametrize("side", [12_000, 100_000])
def test_a_huge_picture_is_refused_before_it_is_decoded(tmp_path, side):
    """A header alone: decoding would need 0.4 or 30 GB and then fail."""
    header = struct.pack(">2I5B", side, side, 8, 2, 0, 0, 0)
    chunk = b"IHDR" + header
    path = tmp_path / "huge.png"
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + struct.pack(">I", 13)
        + chunk
        + struct.pack(">I", zlib.crc32(chunk))
        + struct.pack(">I", 10)
        + b"IDAT"
        + b"\0" * 14
    )
    with pytest.raises(ValueError, match="too large.*[Ss]hrink it"):
        photos.load(path)


def test_size_crops_the_centre(tmp_path, two_halves):
    path = tmp_path / "picture.png"
    Image.fromarray(two_halves).save(path)
    found = photos.load(path, size=35)  # short side 40: no resizing
    assert (found == two_halves[2:37, 12:47]).all()
    assert photos.load(str(path), size=224).shape == (224, 224, 3)


def test_size_resizes_the_short_side_to_256_for_224(tmp_path):
    stripes = np.zeros((512, 600, 3), np.uint8)
    stripes[:, 100:500] = 255  # after halving: columns 50 to 250 of 300
    Image.fromarray(stripes).save(tmp_path / "stripes.png")
    found = photos.load(tmp_path / "stripes.png", size=224)
    left = (300 - 224) // 2
    white = found[112, :, 0] > 127
    assert white.nonzero()[0][[0, -1]].tolist() == [50 - left, 249 - left]


def test_bad_arguments(tmp_path, two_halves):
    path = tmp_path / "picture.png"
    Image.fromarray(two_halves).save(path)
    with pytest.raises(ValueError, match="size must be None or"):
        photos.load(path, size=0)
    with pytest.raises(TypeError, match="path must be a string"):
        photos.load(two_halves)
    Image.new("RGB", (40_000, 16)).save(path)
    with pytest.raises(ValueError, match="resized, is too large"):
        photos.load(path, size=224)


def test_samples_need_no_download(monkeypatch):
    import socket

    def refuse(*_):
        raise OSError("no network here")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    photos.sample.cache_clear()
    for name in photos.SAMPLES:
        picture = photos.sample(name)
        assert picture.ndim == 3 and picture.dtype == np.uint8, name
    assert photos.sample("chelsea", 224).shape == (224, 224, 3)
    with pytest.raises(ValueError, match="name must be one of astronaut"):
        photos.sample("dog")


def test_a_sample_is_what_load_gives(tmp_path):
    Image.fromarray(photos.sample("coffee")).save(tmp_path / "coffee.png")
    assert (
        photos.load(tmp_path / "coffee.png", 224)
        == photos.sample("coffee", 224)
    ).all()
