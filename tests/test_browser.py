"""README's first command, and what JupyterLab then shows in Chromium.

``python -m pytest -m browser`` needs Playwright and a Chromium (CHROMIUM
names it, where it is not in the PATH).
"""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import time
import urllib.request
from pathlib import Path

import pytest

pytestmark = pytest.mark.browser

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
WITH_WIDGET = "02_occlusion_sensitivity.ipynb"
TO_INSTALL = 1200  # seconds that the command may take where it installs first


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """The address of the JupyterLab that README's first command starts."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    command = re.search(r"```bash\n(.* lab)\n```", readme)[1].split()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command += [
        "--no-browser",
        "--allow-root",
        f"--ServerApp.port={port}",
        "--IdentityProvider.token=",
        "--ServerApp.password=",
    ]
    home = tmp_path_factory.mktemp("home")
    before = [path.read_bytes() for path in NOTEBOOKS]
    with (home / "log").open("w") as log:
        server = subprocess.Popen(
            command,
            cwd=ROOT,
            env={**os.environ, **newcomer(home)},
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    address = f"http://127.0.0.1:{port}"
    try:
        wait_for(address, server)
        yield address
    except RuntimeError as error:
        pytest.fail(f"{error}:\n{(home / 'log').read_text()[-3000:]}")
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait()
    assert before == [path.read_bytes() for path in NOTEBOOKS]


def newcomer(home):
    """Nobody's own settings; and no saving, for these are the originals."""
    settings = home / "settings" / "@jupyterlab" / "docmanager-extension"
    settings.mkdir(parents=True)
    (settings / "plugin.jupyterlab-settings").write_text(
        json.dumps({"autosave": False})
    )
    return {
        "JUPYTERLAB_SETTINGS_DIR": str(home / "settings"),
        "JUPYTERLAB_WORKSPACES_DIR": str(home / "workspaces"),
        "JUPYTER_CONFIG_DIR": str(home / "config"),
    }


def wait_for(address, server):
    end = time.monotonic() + TO_INSTALL
    while time.monotonic() < end:
        if server.poll() is not None:
            raise RuntimeError(f"README's command ended: {server.returncode}")
        try:
            urllib.request.urlopen(address + "/api/status")
            return
        except OSError:
            time.sleep(0.5)
    raise RuntimeError("README's command did not start JupyterLab")


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

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
        yield browser
        browser.close()


@pytest.fixture
def page(browser):
    page = browser.new_page(viewport={"width": 1300, "height": 900})
    yield page
    page.close()


def test_it_opens_the_first_notebook(lab, page):
    page.goto(lab)
    heading = page.get_by_role("heading", name="00 · Start here")
    heading.wait_for(timeout=60_000)
    assert page.url.endswith("/lab/tree/notebooks/00_start_here.ipynb")


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_the_picture_at_the_head(lab, page, path):
    page.goto(f"{lab}/lab/tree/notebooks/{path.name}?reset")
    picture = page.locator(f"img[src*='images/{path.stem}.']")
    picture.wait_for(state="attached", timeout=60_000)
    page.wait_for_function(
        "picture => picture.complete",
        arg=picture.element_handle(),
        timeout=20_000,
    )
    assert picture.evaluate("picture => picture.naturalWidth") > 0
    assert picture.evaluate("picture => picture.alt")


def test_moving_the_occluder_by_hand(lab, page):
    from playwright.sync_api import expect

    page.goto(f"{lab}/lab/tree/notebooks/{WITH_WIDGET}?reset")
    expect(page.get_by_text("Python 3 (ipykernel) | Idle")).to_be_visible(
        timeout=60_000
    )
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_text("Run All Cells", exact=True).click()
    screen = page.locator(".jupyter-widgets img")
    expect(screen).to_have_count(1, timeout=240_000)
    # Run all goes on to the end, and only then has the kernel time for us.
    last = page.locator(
        ".jp-OutputArea-output", has_text="positions: (11, 11)"
    )
    expect(last.first).to_be_attached(timeout=240_000)
    expect(page.get_by_text("Python 3 (ipykernel) | Idle")).to_be_visible(
        timeout=240_000
    )
    assert page.get_by_text("Traceback").count() == 0
    screen.scroll_into_view_if_needed()
    before = pixels(screen)
    handle = page.locator(".jupyter-widgets .noUi-handle").first
    handle.focus()
    for _ in range(5):
        handle.press("ArrowRight")
    reading = page.locator(".jupyter-widgets .widget-readout").first
    expect(reading).to_have_text("56", timeout=60_000)
    for _ in range(300):
        if pixels(screen) != before:
            break
        page.wait_for_timeout(200)
    assert pixels(screen) != before, "the picture did not change"
    expect(
        page.locator(".jupyter-widgets", has_text="telephone:").first
    ).to_be_visible()


def pixels(screen):
    """What the image widget shows, as a data address."""
    return screen.evaluate("""img => {
        const canvas = document.createElement('canvas');
        canvas.width = img.naturalWidth; canvas.height = img.naturalHeight;
        canvas.getContext('2d').drawImage(img, 0, 0);
        return canvas.toDataURL();
    }""")
