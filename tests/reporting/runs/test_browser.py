"""The page in a browser: nothing is missing, nothing sticks out, and it follows the reader's dark."""

from __future__ import annotations

import html
import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from neurozoo.reporting.runs import report_runs

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium; `make browser` installs it")

DESKTOP, PHONE, HEIGHT = 1200, 390, 3000

# Goes into a copy of the page, and says what a reader would see of it.
CHECK = """<script>addEventListener("load", () => {
  const boxes = [...document.querySelectorAll("svg, img, image")].map(each => each.getBoundingClientRect());
  parent.postMessage(JSON.stringify({
    width: innerWidth,
    pictures: boxes.length,
    missing: boxes.filter(box => !(box.width > 0 && box.height > 0)).length,
    sticking_out: boxes.filter(box => box.right > innerWidth + 1 || box.left < -1).length,
    overflow: document.documentElement.scrollWidth - innerWidth,
    ink: getComputedStyle(document.querySelector("svg text")).fill,
    ground: matchMedia("(prefers-color-scheme: dark)").matches,
    loaded: performance.getEntriesByType("resource").map(each => each.name),
  }), "*");
});</script></body>"""

# A window of a browser without a screen is no narrower than 500 pixels; a frame may be.
FRAMES = f"""<!DOCTYPE html><body style="margin:0;display:flex"><pre id="said" hidden></pre><script>
addEventListener("message", event => {{ document.getElementById("said").textContent += event.data + "\\n"; }});
</script><iframe src="page.html" style="border:0;width:{DESKTOP}px;height:{HEIGHT}px"></iframe
><iframe src="page.html" style="border:0;width:{PHONE}px;height:{HEIGHT}px"></iframe></body>"""


@pytest.fixture
def folder(run: Path, stopped: Path, tmp_path: Path) -> Path:
    """A page of two runs, with what looks at it."""
    page = report_runs([run, stopped]).page
    assert page.count("</body>") == 1
    (tmp_path / "page.html").write_text(page.replace("</body>", CHECK), "utf-8")
    return tmp_path


@pytest.fixture
def screenshots(tmp_path: Path) -> Path:
    """Where pictures of the page go: NEUROZOO_SCREENSHOTS, or a folder of the test."""
    place = Path(os.environ.get("NEUROZOO_SCREENSHOTS") or tmp_path / "screenshots").absolute()
    place.mkdir(parents=True, exist_ok=True)
    return place


def seen(folder: Path, screenshot: Path, *options: str) -> tuple[dict[int, Any], list[str]]:
    """What the page says of itself at each width, and what the browser's console says."""
    command = [
        CHROMIUM or "",
        *("--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"),
        *("--disable-component-update", "--disable-sync", "--no-first-run", "--hide-scrollbars"),
        f"--user-data-dir={folder / ('browser-' + screenshot.stem)}",
        f"--window-size={DESKTOP + PHONE},{HEIGHT}",
        "--enable-logging=stderr",
        "--virtual-time-budget=10000",
        "--dump-dom",
        f"--screenshot={screenshot}",
        *options,
        (folder / "frames.html").as_uri(),
    ]
    (folder / "frames.html").write_text(FRAMES, "utf-8")
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120, cwd=folder)
    (said,) = re.findall(r'<pre id="said" hidden="">(.*?)</pre>', done.stdout, re.DOTALL)
    told = [json.loads(line) for line in html.unescape(said).splitlines()]
    return {each["width"]: each for each in told}, [line for line in done.stderr.splitlines() if "CONSOLE" in line]


@pytest.mark.slow
def test_in_light_and_dark_on_a_desk_and_on_a_phone(folder: Path, screenshots: Path) -> None:
    inks = {}
    for scheme, options in {"light": (), "dark": ("--blink-settings=preferredColorScheme=0",)}.items():
        picture = screenshots / f"report-{scheme}.png"
        found, console = seen(folder, picture, *options)
        assert console == []
        assert set(found) == {DESKTOP, PHONE}
        for each in found.values():
            assert each["pictures"] > 30
            assert (each["missing"], each["sticking_out"], each["overflow"]) == (0, 0, 0), each
            assert each["loaded"] == []
            assert each["ground"] is (scheme == "dark")
        inks[scheme] = found[PHONE]["ink"]
        assert picture.stat().st_size > 20_000
    assert inks == {"light": "rgb(0, 0, 0)", "dark": "rgb(255, 255, 255)"}


def test_the_check_sees_what_is_wrong(tmp_path: Path, screenshots: Path) -> None:
    wrong = (
        '<svg width="0" height="0"><text>t</text></svg><img src="gone.png" width="2000" height="9">'
        '<script>console.error("oh")</script>'
    )
    (tmp_path / "page.html").write_text(f'<!DOCTYPE html><body style="margin:0">{wrong}{CHECK}', "utf-8")
    found, console = seen(tmp_path, screenshots / "wrong.png")
    assert console
    assert found[PHONE]["missing"] == 1
    assert found[PHONE]["sticking_out"] == 1
    assert found[PHONE]["overflow"] > 1000
