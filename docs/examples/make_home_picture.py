"""Draw docs/home.png by the lines of Python on the first page.

usage: python docs/examples/make_home_picture.py
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import matplotlib as mpl

DOCS = Path(__file__).parents[1]


def main() -> None:
    """Run the page's code, and draw its record once more, next to membranes."""
    mpl.use("agg")
    from matplotlib import pyplot

    import neurozoo as nz

    (code,) = re.findall(r"```python\n(.*?)```", (DOCS / "index.md").read_text(encoding="utf-8"), re.DOTALL)
    names: dict[str, Any] = {}
    exec(compile(code, "index.md", "exec"), names)
    pyplot.close("all")
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(9, 3.3), layout="constrained")
    nz.plot.raster(names["seen"], ax=left)
    nz.plot.membrane(names["seen"], layer="1", ax=right)
    left.set_title("spikes of one sample")
    right.set_title("membranes of layer 1")
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(DOCS / "home.png", dpi=110)


if __name__ == "__main__":
    main()
