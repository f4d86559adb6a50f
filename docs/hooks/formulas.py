"""Sets ``$...$`` and blocks of ``$$`` as MathML while the site is built, so that no browser needs a script for them.

The syntax is that of GitHub, which shows the same pages. Code, in fences or backticks, keeps its dollars.
"""

from __future__ import annotations

import re
from typing import Any
from xml.etree.ElementTree import Element

from latex2mathml.converter import convert
from markdown import Markdown
from markdown.extensions import Extension
from markdown.inlinepatterns import InlineProcessor
from markdown.preprocessors import Preprocessor

INLINE = r"(?<![\\$\w])\$(?![\s$])([^$\n]+?)(?<![\s\\])\$(?![$\w])"
UNKNOWN = re.compile(r"\\\w*|(?<=>)&(?=<)")
BLOCK = re.compile(r"^\$\$\n(.+?)\n\$\$$", re.MULTILINE | re.DOTALL)

# Between the fences (25), whose content is kept from it, and raw HTML (20). Between backticks (190) and escapes (180).
AFTER_FENCES, AFTER_BACKTICKS = 22, 185


def mathml(formula: str, display: str) -> str:
    """Return a LaTeX formula as MathML, ``inline`` or as a ``block``.

    Raises:
        ValueError: A part of the formula is not understood.
    """
    made = convert(formula.strip(), display=display)
    # The converter passes on what it does not know: commands, and columns of environments.
    left = UNKNOWN.findall(made)
    if left:
        raise ValueError(f"this part of a formula is not understood: {', '.join(left)}; the formula is: {formula}")
    return made


class _Inline(InlineProcessor):
    def handleMatch(self, m: re.Match[str], data: str) -> tuple[Element | str, int, int]:  # type: ignore[override]
        return self.md.htmlStash.store(mathml(m[1], "inline")), m.start(0), m.end(0)


class _Blocks(Preprocessor):
    def run(self, lines: list[str]) -> list[str]:
        def block(found: re.Match[str]) -> str:
            # A formula wider than a phone scrolls within its frame.
            html = f'<div class="formula" tabindex="0">{mathml(found[1], "block")}</div>'
            return f"\n\n{self.md.htmlStash.store(html)}\n\n"

        return BLOCK.sub(block, "\n".join(lines)).split("\n")


class Formulas(Extension):
    """The extension of Python-Markdown."""

    def extendMarkdown(self, md: Markdown) -> None:
        md.preprocessors.register(_Blocks(md), "formula-blocks", AFTER_FENCES)
        md.inlinePatterns.register(_Inline(INLINE, md), "formulas", AFTER_BACKTICKS)


def on_config(config: Any) -> Any:
    """Called by mkdocs when it has read its file."""
    config.markdown_extensions.append(Formulas())
    return config
