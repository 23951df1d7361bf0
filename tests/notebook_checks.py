"""What nbval leaves out: it compares texts; here figures are compared, and
the cells that need ImageNet weights run wherever the weights can be had."""

import base64
import io
import os
from functools import lru_cache

import numpy as np
import pytest
from PIL import Image


@lru_cache
def imagenet_missing():
    """None, or why the ImageNet network can't be loaded here."""
    from xai_utils import networks

    try:
        networks.labels(networks.photos_net())
    except RuntimeError as error:
        return str(error)


def skip_without_imagenet():
    if imagenet_missing():
        if os.environ.get("CI"):
            pytest.fail(f"CI runs every photograph: {imagenet_missing()}")
        pytest.skip(imagenet_missing())


def figures(outputs):
    """The PNGs among a cell's outputs, as grey levels `(h, w, 3)`."""
    found = []
    for output in outputs:
        png = output.get("data", {}).get("image/png")
        if png:
            picture = Image.open(io.BytesIO(base64.b64decode(png)))
            found.append(np.asarray(picture.convert("RGB"), float))
    return found


def difference(stored, new):
    """None, or in words how two figures differ beyond what another
    processor's last bits can change."""
    if stored.shape != new.shape:
        return f"stored {stored.shape[:2]}, now {new.shape[:2]} pixels"
    off = np.abs(stored - new).mean(axis=-1)
    height, width = (side // 8 * 8 for side in off.shape)
    blocks = off[:height, :width].reshape(height // 8, 8, -1, 8)
    worst = blocks.mean(axis=(1, 3)).max()
    if off.mean() > 1 or worst > 40:
        return (
            f"grey levels differ by {off.mean():.1f} on average, and by "
            f"{worst:.0f} in the worst 8 × 8 pixels"
        )


def pytest_runtest_setup(item):
    if "imagenet" in item.cell.metadata.get("tags", []):
        skip_without_imagenet()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item):
    result = yield
    stored, new = figures(item.cell.outputs), figures(item.test_outputs)
    if len(stored) != len(new):
        pytest.fail(f"{len(stored)} figures stored, {len(new)} drawn")
    for number, pair in enumerate(zip(stored, new), start=1):
        if difference(*pair):
            pytest.fail(f"figure {number} of the cell: {difference(*pair)}")
    return result
