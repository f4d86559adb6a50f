"""Fails the build of a site whose pages load a script, style, font or picture from elsewhere.

What a script loads while it runs is not seen. The theme's does so in one case, diagrams of mermaid, which are refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

LOADING = {
    "script": ("src",),
    "img": ("src", "srcset"),
    "iframe": ("src",),
    "source": ("src", "srcset"),
    "video": ("src", "poster"),
    "audio": ("src",),
    "embed": ("src",),
    "object": ("data",),
    "image": ("href", "xlink:href"),
    "use": ("href", "xlink:href"),
}
# A link that a browser follows on its own; others, such as the canonical address, are only names.
LINKS = {"stylesheet", "icon", "preload", "prefetch", "preconnect", "dns-prefetch", "modulepreload", "manifest"}
FOREIGN = re.compile(r"\s*(?:[a-z][a-z0-9+.-]*:)?//", re.IGNORECASE)
IN_STYLE = re.compile(r"""(?:url\(\s*["']?|@import\s+["'])((?:[a-z][a-z0-9+.-]*:)?//[^"')\s]+)""", re.IGNORECASE)


class _Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.in_style = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        loaded = [given.get(name, "") for name in LOADING.get(tag, ())]
        if tag == "link" and LINKS & {*given.get("rel", "").lower().split()}:
            loaded.append(given.get("href", ""))
        self.found += [f"<{tag}> {address}" for address in loaded if FOREIGN.match(address)]
        self.found += [f"<{tag} style> {address}" for address in IN_STYLE.findall(given.get("style", ""))]
        if "mermaid" in given.get("class", "").split():
            self.found.append(f"<{tag}> a diagram of mermaid, whose script the theme loads from elsewhere")
        self.in_style = tag == "style"

    def handle_endtag(self, tag: str) -> None:
        self.in_style = False

    def handle_data(self, data: str) -> None:
        if self.in_style:
            self.found += [f"<style> {address}" for address in IN_STYLE.findall(data)]


def foreign(name: str, text: str) -> list[str]:
    """Return what a file of a site, HTML, SVG or CSS by its name, loads from elsewhere."""
    if name.endswith(".css"):
        return IN_STYLE.findall(text)
    page = _Page()
    page.feed(text)
    page.close()
    return page.found


def foreign_in(site: Path) -> Iterator[str]:
    """Yield a line for each thing that a file below a folder loads from elsewhere."""
    for path in sorted(site.rglob("*")):
        if path.suffix in (".html", ".svg", ".css"):
            for each in foreign(path.name, path.read_text(encoding="utf-8")):
                yield f"{path.relative_to(site)}: {each}"


def on_post_build(config: Any) -> None:
    """Called by mkdocs when the site is written."""
    from mkdocs.exceptions import PluginError

    found = [*foreign_in(Path(config.site_dir))]
    if found:
        raise PluginError("\n".join(["the site loads from elsewhere, and has to work without a network:", *found]))
