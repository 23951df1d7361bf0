"""The notebook with a widget in a real JupyterLab, driven in Chromium.

``python -m pytest tests/browser/browse_lab.py`` needs Playwright and a
Chromium (CHROMIUM names it, where it is not in the PATH).
"""

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
from playwright.sync_api import expect, sync_playwright

ROOT = Path(__file__).parents[2]
NAME = "02_occlusion_sensitivity.ipynb"


@pytest.fixture
def lab(tmp_path):
    """The address of a JupyterLab over a copy of the collection."""
    for folder in ("notebooks", "xai_utils", "images"):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "jupyterlab",
            "--no-browser",
            "--allow-root",
            f"--ServerApp.port={port}",
            f"--ServerApp.root_dir={tmp_path}",
            "--IdentityProvider.token=",
            "--ServerApp.password=",
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    address = f"http://127.0.0.1:{port}"
    for _ in range(120):
        try:
            urllib.request.urlopen(address + "/api/status")
            break
        except OSError:
            time.sleep(0.5)
    yield address
    server.terminate()
    server.wait()


@pytest.fixture
def page():
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=os.environ.get("CHROMIUM")
            or shutil.which("chromium"),
            args=[
                "--no-sandbox",
                "--disable-gpu",
                "--disable-background-networking",
            ],
        )
        yield browser.new_page(viewport={"width": 1300, "height": 900})
        browser.close()


def test_moving_the_occluder_by_hand(lab, page):
    page.goto(f"{lab}/lab/tree/notebooks/{NAME}")
    expect(page.get_by_text("Python 3 (ipykernel) | Idle")).to_be_visible(
        timeout=60_000
    )
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_text("Run All Cells", exact=True).click()
    screen = page.locator(".jupyter-widgets img")
    expect(screen).to_have_count(1, timeout=240_000)
    screen.scroll_into_view_if_needed()
    before = picture(page, screen)
    handle = page.locator(".jupyter-widgets .noUi-handle").first
    handle.focus()
    for _ in range(5):
        handle.press("ArrowRight")
    reading = page.locator(".jupyter-widgets .widget-readout").first
    expect(reading).to_have_text("56", timeout=60_000)
    for _ in range(100):
        if picture(page, screen) != before:
            break
        page.wait_for_timeout(200)
    assert picture(page, screen) != before, "the picture did not change"
    expect(
        page.locator(".jupyter-widgets", has_text="telephone:").first
    ).to_be_visible()
    # Run all went on to the end, without an error on the way.
    last = page.locator(
        ".jp-OutputArea-output", has_text="positions: (11, 11)"
    )
    expect(last.first).to_be_attached(timeout=240_000)
    assert page.get_by_text("Traceback").count() == 0


def picture(page, screen):
    """What the image widget shows: the pixels, as a data address."""
    return screen.evaluate("""img => {
        const canvas = document.createElement('canvas');
        canvas.width = img.naturalWidth; canvas.height = img.naturalHeight;
        canvas.getContext('2d').drawImage(img, 0, 0);
        return canvas.toDataURL();
    }""")
