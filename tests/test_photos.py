"""Reading picture files: as a viewer shows them, or an error in words."""

import os
import struct
import subprocess
import sys
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
import tifffile
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


def chunk(kind, data):
    crc = zlib.crc32(kind + data)
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", crc)


def write_png(path, levels, kind, bits, *chunks):
    """PNG of a kind that Pillow does not write: levels `(h, w[, c])`.

    `kind`: 0 is grey, 2 RGB, 3 palette, 4 grey with alpha, 6 RGBA.
    """
    lines = levels.reshape(len(levels), -1)
    if bits == 16:
        lines = lines.astype(">u2").view(np.uint8)
    else:
        binary = np.unpackbits(lines.astype(np.uint8)[..., None], axis=2)
        lines = np.packbits(binary[..., 8 - bits :].reshape(len(lines), -1), 1)
    filtered = b"".join(b"\0" + line.tobytes() for line in lines)
    height, width = levels.shape[:2]
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + chunk(
            b"IHDR", struct.pack(">2I5B", width, height, bits, kind, *[0] * 3)
        )
        + b"".join(chunks)
        + chunk(b"IDAT", zlib.compress(filtered))
        + chunk(b"IEND", b"")
    )


def grey_profile():
    """A grey colour profile: light is (level / 255) ** (461 / 256)."""

    def xyz(*values):
        return struct.pack(">3i", *(round(v * 65536) for v in values))

    d50 = xyz(0.9642, 1, 0.8249)
    tags = {
        b"wtpt": b"XYZ \0\0\0\0" + d50,
        b"kTRC": struct.pack(">4s4xIH2x", b"curv", 1, 461),  # 461 / 256
    }
    start, table, data = 128 + 4 + 12 * len(tags), b"", b""
    for name, value in tags.items():
        place = start + len(data)
        table += name + struct.pack(">2I", place, len(value))
        data += value
    header = struct.pack(
        ">I4xI4s4s4s12x4s28x12s48x",
        start + len(data),
        0x02400000,
        b"mntr",
        b"GRAY",
        b"XYZ ",
        b"acsp",
        d50,
    )
    return header + struct.pack(">I", len(tags)) + table + data


def on_white(colour, alpha):
    """What lies on white paper, in 0–255, of `colour`, `alpha` in 0–1."""
    return 255 * (colour * alpha + 1 - alpha)


def test_16_bit_colour_png(tmp_path):
    path = tmp_path / "deep.png"
    pixels = np.full((20, 20, 3), (0xC8C8, 0x1E1E, 0x2828))
    write_png(path, pixels, kind=2, bits=16)
    assert (photos.load(path) == RED).all()


@pytest.mark.parametrize("kind, channels", [(4, 2), (6, 4)])
def test_16_bit_transparency(tmp_path, kind, channels):
    levels = np.random.default_rng(0).integers(0, 65536, (20, 30, channels))
    path = tmp_path / "deep.png"
    write_png(path, levels, kind, bits=16)
    shares = levels / 65535
    expected = on_white(shares[..., :-1], shares[..., -1:])
    # Colour and alpha are cut to 8 bits each: up to 1 level each.
    assert np.abs(photos.load(path) - expected).max() <= 2


@pytest.mark.parametrize("bits", [1, 2, 4, 8, 16])
def test_one_grey_level_is_transparent(tmp_path, bits):
    white = 2**bits - 1
    levels = np.random.default_rng(0).integers(0, white + 1, (20, 30))
    levels[0, 0] = clear = white // 3
    path = tmp_path / "key.png"
    write_png(path, levels, 0, bits, chunk(b"tRNS", struct.pack(">H", clear)))
    expected = np.rint(levels * (255 / white))
    expected[levels == clear] = 255
    assert (photos.load(path) == expected[..., None]).all()


def test_one_16_bit_colour_is_transparent(tmp_path):
    """Cut to 8 bits, it cannot be told from its neighbours."""
    path = tmp_path / "key.png"
    key = chunk(b"tRNS", struct.pack(">3H", 1000, 30000, 60000))
    pixels = np.full((20, 20, 3), (1001, 30001, 60001))
    write_png(path, pixels, 2, 16, key)
    with pytest.raises(ValueError, match="transparent; save it as 8-bit PNG"):
        photos.load(path)


def test_a_palette_without_its_colours(tmp_path):
    path = tmp_path / "palette.png"
    write_png(path, np.ones((20, 20)), kind=3, bits=8)
    with pytest.raises(ValueError, match="damaged.*PLTE. is missing"):
        photos.load(path)


def test_a_png_without_pixels(tmp_path):
    path = tmp_path / "header.png"
    header = struct.pack(">2I5B", 20, 20, 8, 2, 0, 0, 0)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IEND", b"")
    )
    with pytest.raises(ValueError, match="damaged.*no pixels .IDAT"):
        photos.load(path)


def test_a_bad_checksum_is_damage(tmp_path):
    """Of the second of five chunks: Pillow shows what came before it."""
    lines = np.random.default_rng(0).integers(0, 256, (64, 193), np.uint8)
    lines[:, 0] = 0  # no filter
    stream = zlib.compress(lines.tobytes())
    parts = [
        chunk(b"IDAT", stream[start : start + 3000])
        for start in range(0, len(stream), 3000)
    ]
    parts[1] = parts[1][:-4] + b"\0\0\0\0"
    path = tmp_path / "checksum.png"
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">2I5B", 64, 64, 8, 2, 0, 0, 0))
        + b"".join(parts)
        + chunk(b"IEND", b"")
    )
    with pytest.raises(ValueError, match="damaged.*checksum in b'IDAT'"):
        photos.load(path)


@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize("dtype", ["int8", "int16", "int32", "uint32"])
def test_tiff_whose_white_is_unknown(tmp_path, dtype, compression):
    path = tmp_path / "levels.tiff"
    levels = np.full((20, 20), 100, dtype)
    tifffile.imwrite(
        path, levels, photometric="minisblack", compression=compression
    )
    # Some versions of Pillow do not know int8 at all.
    with pytest.raises(ValueError, match="is white|not a.*that can be read"):
        photos.load(path)


@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize("dtype, white", [("uint8", 255), ("uint16", 65535)])
def test_tiff_whose_zero_is_white(tmp_path, dtype, white, compression):
    path = tmp_path / "film.tiff"
    levels = np.linspace(0, white, 20 * 30).reshape(20, 30).astype(dtype)
    tifffile.imwrite(
        path, levels, photometric="miniswhite", compression=compression
    )
    expected = np.rint(255 - levels * (255 / white))
    assert (photos.load(path) == expected[..., None]).all()


@pytest.mark.parametrize("compression", [None, "zlib"])
def test_tiff_of_16_bits_in_planes(tmp_path, compression):
    """Compressed, Pillow reads it through libtiff, and correctly."""
    path = tmp_path / "planes.tiff"
    planes = np.random.default_rng(0).integers(0, 65536, (3, 20, 30), "uint16")
    tifffile.imwrite(
        path,
        planes,
        photometric="rgb",
        planarconfig="separate",
        compression=compression,
    )
    if compression is None:
        with pytest.raises(ValueError, match="separate planes; save it as"):
            photos.load(path)
    else:
        assert (photos.load(path) == planes.transpose(1, 2, 0) >> 8).all()


@pytest.mark.parametrize("planes", [False, True])
def test_tiff_with_missing_strips(tmp_path, planes):
    """Pillow leaves their pixels black."""
    path = tmp_path / "strips.tiff"
    grey = np.full((3, 64, 64) if planes else (64, 64, 3), 200, np.uint8)
    organised = "separate" if planes else "contig"
    tifffile.imwrite(
        path, grey, photometric="rgb", planarconfig=organised, rowsperstrip=8
    )
    assert (photos.load(path) == 200).all()
    with tifffile.TiffFile(path) as tiff:
        entries = [tiff.pages[0].tags[code].offset for code in (273, 279)]
    content = bytearray(path.read_bytes())
    for entry in entries:  # code, type, count, place
        content[entry + 4 : entry + 8] = struct.pack("<I", 4)
    path.write_bytes(content)
    with pytest.raises(ValueError, match="damaged.*pixels are missing"):
        photos.load(path)


@pytest.mark.parametrize("kind", ["8", "16", "8 + alpha", "16 + alpha", "key"])
def test_grey_colour_profile(tmp_path, kind):
    path = tmp_path / "grey.png"
    levels = np.arange(0, 256).reshape(16, 16)
    profile = chunk(b"iCCP", b"grey\0\0" + zlib.compress(grey_profile()))
    light = (levels / 255) ** (461 / 256)
    expected = 255 * np.where(  # the definition of sRGB
        light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055
    )
    if kind == "key":
        write_png(path, levels, 0, 8, profile, chunk(b"tRNS", b"\0\5"))
        expected[levels == 5] = 255
    else:
        bits = int(kind.split()[0])
        stored = levels if bits == 8 else levels * 257
        if "alpha" in kind:
            alpha = np.full_like(stored, (2**bits - 1) * 3 // 5)
            write_png(path, np.stack([stored, alpha], 2), 4, bits, profile)
            expected = on_white(expected / 255, 3 / 5)
        else:
            write_png(path, stored, 0, bits, profile)
    difference = photos.load(path) - expected[..., None]
    assert np.abs(difference).max() <= 1.5


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


@pytest.mark.parametrize("suffix", [".png", ".tiff"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(tmp_path, two_halves, orientation, suffix):
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
    path = tmp_path / ("turned" + suffix)
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
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    white = Image.new("LAB", (20, 20), (255, 128, 128))  # L* = 100
    white.save(tmp_path / "lab.tiff", icc_profile=lab)
    assert (photos.load(tmp_path / "lab.tiff") >= 250).all()


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


@pytest.mark.parametrize("rows", [8, 64])
def test_a_cut_tiff_puts_nothing_on_stderr(tmp_path, capfd, rows):
    path = tmp_path / "cut.tiff"
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    tifffile.imwrite(
        path, noise, photometric="rgb", compression="zlib", rowsperstrip=rows
    )
    path.write_bytes(path.read_bytes()[:9000])
    with pytest.raises(ValueError, match="damaged.*cut off after 9,000 bytes"):
        photos.load(path)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("case", ["EXIF", "cut"])
def test_no_warnings_of_pillow(tmp_path, case):
    path = tmp_path / "picture"
    if case == "EXIF":  # announces five entries and has none
        exif = b"Exif\0\0II*\0\x08\0\0\0\x05\0"
        Image.new("RGB", (20, 20), RED).save(path, "jpeg", exif=exif)
    else:
        Image.new("RGB", (20, 20)).save(path, "tiff", compression="tiff_lzw")
        path.write_bytes(path.read_bytes()[:-10])
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        if case == "EXIF":
            assert np.abs(photos.load(path).astype(int) - RED).max() <= 3
        else:
            with pytest.raises(ValueError, match="damaged|not a picture"):
                photos.load(path)
    assert not [str(warning.message) for warning in seen]


def test_no_log_on_stderr(tmp_path):
    """In another process: pytest catches what is logged in this one."""
    path = tmp_path / "ten_channels.tiff"
    channels = np.zeros((20, 20, 10), np.uint8)
    tifffile.imwrite(
        path, channels, photometric="minisblack", planarconfig="contig"
    )
    program = """
import sys
from xai_utils.data import photos
try:
    photos.load(sys.argv[1])
except ValueError as error:
    print(error)
"""
    found = _run(program, path)
    assert "not a picture that can be read" in found.stdout
    assert found.stderr == ""


def _run(program, *arguments):
    return subprocess.run(
        [sys.executable, "-c", program, *map(str, arguments)],
        cwd=Path(__file__).parents[1],
        capture_output=True,
        text=True,
        check=True,
        timeout=100,
    )


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_of_the_largest_picture(tmp_path):
    """16-bit grey, which once took the most; base: Python and libraries."""
    path = tmp_path / "largest.png"
    levels = np.full((6144, 8192), 40 * 257, np.uint16)
    Image.fromarray(levels).save(path, compress_level=1)
    # Not resource.getrusage, which counts the parent process, too.
    program = """
import sys
from pathlib import Path
from xai_utils.data import photos
picture = photos.load(sys.argv[1])
assert picture.shape == (6144, 8192, 3) and (picture[::999] == 40).all()
print(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0])
"""
    assert int(_run(program, path).stdout) < 2**20  # KiB: 1 GiB


def test_one_more_line_is_too_large(tmp_path):
    path = tmp_path / "large.png"
    write_png(path, np.zeros((1, 1)), 0, 8)
    content = bytearray(path.read_bytes())
    header = b"IHDR" + struct.pack(">2I5B", 8192, 6145, 8, 0, 0, 0, 0)
    content[12:33] = header + struct.pack(">I", zlib.crc32(header))
    path.write_bytes(content)
    with pytest.raises(ValueError, match="shrink it to at most 50,331,648"):
        photos.load(path)


@pytest.mark.parametrize(
    "content",
    ids=["PPM", "PostScript"],
    argvalues=[
        b"P6 20 20 255\n" + bytes(1200),
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 20 20\n%%EndComments\n",
    ],
)
def test_other_formats_are_not_opened(tmp_path, content):
    """PostScript would start Ghostscript, a program of its own."""
    path = tmp_path / "picture.jpg"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="not a picture.*JPEG, PNG, WebP"):
        photos.load(path)


def test_the_jpeg_of_a_phone(tmp_path):
    """MPO: a JPEG that has further pictures after it."""
    path = tmp_path / "phone.jpg"
    Image.new("RGB", (32, 32), RED).save(
        path,
        "MPO",
        save_all=True,
        append_images=[Image.new("RGB", (32, 32), BLUE)],
    )
    with Image.open(path) as opened:
        assert opened.format == "MPO"
    assert np.abs(photos.load(path).astype(int) - RED).max() <= 3


@pytest.mark.parametrize(
    "name, message",
    ids=["long", "NUL"],
    argvalues=[
        ("a" * 5000 + ".jpg", "path must be.*… cannot be opened: File name"),
        ("a\0b.jpg", "path must be.*has a character that no file name has"),
    ],
)
def test_names_that_no_file_has(tmp_path, name, message):
    with pytest.raises(ValueError, match=message) as caught:
        photos.load(tmp_path / name)
    assert len(str(caught.value)) < 300


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no such files here")
def test_a_pipe_or_a_device_is_no_file(tmp_path):
    os.mkfifo(tmp_path / "pipe.jpg")
    for path in (tmp_path / "pipe.jpg", "/dev/zero"):
        with pytest.raises(
            ValueError, match="is a pipe, a socket or a device"
        ):
            photos.load(path)


@pytest.mark.parametrize("of", ["file", "folder"])
def test_no_permission(tmp_path, two_halves, monkeypatch, of):
    """Simulated: whoever runs the tests as root may read everything."""

    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    path = tmp_path / "picture.png"
    Image.fromarray(two_halves).save(path)
    with monkeypatch.context() as patch:
        if of == "file":
            patch.setattr("builtins.open", refuse)
        else:
            patch.setattr(Path, "stat", refuse)
        with pytest.raises(PermissionError, match="lack the permission"):
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
