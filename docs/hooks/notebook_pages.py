"""A hook of mkdocs: each notebook below docs/ becomes a page, with the outputs that it holds, and a file to download.

Nothing is run. Links to ``tutorials/NAME.ipynb`` lead to the page, here as where the repository is looked at.
"""

from __future__ import annotations

import html
import json
import posixpath
import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

SUFFIX = ".ipynb"
DOWNLOADS = "notebooks"
_FENCE = re.compile(r"^ {0,3}(`{3,})", re.MULTILINE)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Take each notebook for a page, and offer its file next to it."""
    from mkdocs.structure.files import File

    class NotebookFile(File):
        def is_documentation_page(self) -> bool:
            return True

    for file in [each for each in files if each.src_uri.endswith(SUFFIX)]:
        files.remove(file)
        source = NotebookFile(file.src_uri, config.docs_dir, config.site_dir, config.use_directory_urls)
        source.inclusion = file.inclusion  # so that one that the menu lacks is found
        files.append(source)
        files.append(File.generated(config, _download(file.src_uri), content=file.content_bytes))
    return files


def on_page_read_source(page: Page, config: MkDocsConfig) -> str | None:
    """Write a notebook as Markdown; other pages are read as ever."""
    if not page.file.src_uri.endswith(SUFFIX):
        return None
    first, *others = json.loads(page.file.content_string)["cells"]
    name = posixpath.basename(page.file.src_uri)
    note = f"This page is a notebook: [download {name}]({DOWNLOADS}/{name}) and run it with Jupyter."
    return "\n\n".join([_text(first["source"]), note, *(part for cell in others for part in parts(cell))]) + "\n"


def _download(src_uri: str) -> str:
    folder, name = posixpath.split(src_uri)
    return posixpath.join(folder, DOWNLOADS, name)


def parts(cell: Mapping[str, Any]) -> Iterator[str]:
    """The Markdown of a cell: its text, or its code, what that printed and its pictures."""
    text = _text(cell["source"])
    if cell["cell_type"] != "code":
        yield text
        return
    if text.startswith("!"):
        yield fenced("\n".join(f"$ {line.removeprefix('!')}" for line in text.splitlines()), "console")
    else:
        yield fenced(text, "python")
    for output in cell["outputs"]:
        if output["output_type"] == "stream":
            yield fenced(_text(output["text"]), "text")
        elif picture := output.get("data", {}).get("image/png"):
            # As HTML, since a Markdown parser looks at each of its letters.
            alt = html.escape(cell["metadata"].get("alt", ""), quote=True)
            data = "".join(_text(picture).split())
            yield f'<p><img alt="{alt}" src="data:image/png;base64,{data}"></p>'
        elif shown := output.get("data", {}).get("text/plain"):
            yield fenced(_text(shown), "text")


def fenced(text: str, language: str) -> str:
    """A block of code, fenced by more backticks than any line of it begins with."""
    fence = max((f"{each}`" for each in _FENCE.findall(text)), key=len, default="```")
    return f"{fence}{language}\n{text.rstrip()}\n{fence}"


def _text(lines: str | list[str]) -> str:
    return "".join(lines)
