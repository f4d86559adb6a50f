"""A comparison as a Markdown page, which holds nothing that is another each time."""

from __future__ import annotations

from neurozoo.compare.result import Comparison
from neurozoo.reporting.backend_comparison import SYNTHETIC, said_verdict, sections, traits_table
from neurozoo.reporting.tables import markdown

__all__ = ["as_page"]

_INTRODUCTION = """\
# What differs between the backends

This page is written by a command, and nothing here is typed by hand:

```
{command}
```

A backend marked as another model is what its library gives by itself, for the same recipe and the same weights.
[What equivalent means](equivalence.md) says how the rest is judged. Time and memory are left out, because they are
others on each machine.
"""


def as_page(comparison: Comparison, command: str) -> str:
    """The page.

    Args:
        comparison: What was found.
        command: How it was found, for whoever wants to do it again.
    """
    traits = traits_table(comparison.backends)
    heading, *others = sections(comparison, measured=False, all_traits=True)
    first, *lines = [line for line in heading.title.splitlines() if line != SYNTHETIC]
    overview = type(heading)("The comparison", heading.head, heading.rows, [first, *lines[:-1], *heading.notes])
    notice = [f"**{SYNTHETIC}.**", ""] if comparison.setting.synthetic else []
    tables = [traits, overview, *(table for table in others if table != traits)]
    titled = [type(each)(each.title[:1].upper() + each.title[1:], each.head, each.rows, each.notes) for each in tables]
    verdict = f"**Verdict: {said_verdict(comparison)}.**"
    return "\n".join([_INTRODUCTION.format(command=command), *notice, verdict, "", markdown(titled)])
