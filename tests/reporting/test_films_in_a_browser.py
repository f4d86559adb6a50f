"""A film in a browser: it moves, and holds still for readers who ask for that."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from html import unescape
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from neurozoo.core.signals import SignalShape
from neurozoo.reporting.page import html_page
from neurozoo.reporting.sample_pictures import sample_picture
from neurozoo.reporting.samples import Sample

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium; `make browser` installs it")

# Says what the film does at half a second, and once the box is ticked.
LOOK = """<pre id="said"></pre><script>addEventListener("load", () => {
  const film = document.querySelector(".moving"), animation = film.getAnimations()[0];
  const shown = () => getComputedStyle(film).animationPlayState;
  const said = { state: shown(), stills: document.querySelectorAll(".film image:not(.moving)").length };
  animation.pause(); animation.currentTime = 0;
  const box = film.getBoundingClientRect();
  said.left = [0, 0.5, 3.5].map(frame => {
    animation.currentTime = (frame + 0.01) * 300;
    return film.getBoundingClientRect().left - box.left;
  });
  said.width = box.width / 4;
  film.style.animation = "";
  document.querySelector(".hold input").click();
  said.held = getComputedStyle(film).animationPlayState;
  document.getElementById("said").textContent = JSON.stringify(said);
});</script></body>"""


def seen(folder: Path, *options: str) -> dict[str, Any]:
    frames = np.zeros((4, 2, 8, 8), bool)
    frames[range(4), 0, :, range(4)] = True
    sample = Sample("s", "s", {"f": (frames, SignalShape((2, 8, 8), 4, "bool"))})
    page = html_page("films", [sample_picture(sample, room=100_000)[0]])
    (folder / "page.html").write_text(page.replace("</body>", LOOK), "utf-8")
    command = [CHROMIUM or "", "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", *options]
    command += [f"--user-data-dir={folder / 'browser'}", "--dump-dom", (folder / "page.html").as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120, cwd=folder)
    (said,) = re.findall(r'<pre id="said">(.+?)</pre>', done.stdout)
    found: dict[str, Any] = json.loads(unescape(said))
    return found


def test_it_moves_a_frame_at_a_time_until_the_box_is_ticked(tmp_path: Path) -> None:
    found = seen(tmp_path)
    assert (found["state"], found["held"], found["stills"]) == ("running", "paused", 1)
    assert found["left"] == pytest.approx([0, 0, -3 * found["width"]], abs=1)


def test_it_holds_still_where_less_motion_is_asked_for(tmp_path: Path) -> None:
    assert seen(tmp_path, "--force-prefers-reduced-motion")["state"] == "paused"
