"""A model card's metadata: the licence as SPDX and as the Hugging Face hub names it, and the YAML that holds it all."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence

from packaging.licenses import InvalidLicenseExpression, canonicalize_license_expression

from neurozoo.errors import UserError

__all__ = ["checked_licence", "front_matter", "hub_licence"]

# The hub's licences that are SPDX identifiers: https://huggingface.co/docs/hub/repositories-licenses
_HUB_LICENCES = """
afl-3.0 agpl-3.0 apache-2.0 artistic-2.0 bsd-2-clause bsd-3-clause bsd-3-clause-clear bsl-1.0 cc-by-2.0 cc-by-2.5
cc-by-3.0 cc-by-4.0 cc-by-nc-2.0 cc-by-nc-3.0 cc-by-nc-4.0 cc-by-nc-nd-3.0 cc-by-nc-nd-4.0 cc-by-nc-sa-2.0
cc-by-nc-sa-3.0 cc-by-nc-sa-4.0 cc-by-nd-4.0 cc-by-sa-3.0 cc-by-sa-4.0 cc0-1.0 cdla-permissive-1.0
cdla-permissive-2.0 cdla-sharing-1.0 ecl-2.0 epl-1.0 epl-2.0 etalab-2.0 eupl-1.1 eupl-1.2 gpl-2.0 gpl-3.0 isc
lgpl-2.1 lgpl-3.0 lppl-1.3c mit mpl-2.0 ms-pl ncsa ofl-1.1 osl-3.0 postgresql unlicense wtfpl zlib
"""


def checked_licence(expression: str) -> str:
    """Return an SPDX expression in its canonical spelling, such as ``Apache-2.0``.

    Raises:
        UserError: It is not an SPDX expression.
    """
    try:
        return str(canonicalize_license_expression(expression))
    except InvalidLicenseExpression as error:
        raise UserError(
            f"the licence {expression!r} is not an SPDX expression ({error}); give one such as Apache-2.0 or "
            "CC-BY-4.0, or LicenseRef-NAME for a licence of your own"
        ) from error


def hub_licence(expression: str | None) -> dict[str, str]:
    """Return the keys of a model card that declare a licence of :func:`checked_licence`, or that there is none."""
    if expression is None:
        return {"license": "unknown"}
    name = expression.lower().removesuffix("-only").removesuffix("-or-later")
    if name in _HUB_LICENCES.split():
        return {"license": name}
    return {"license": "other", "license_name": re.sub(r"[^a-z0-9.+-]+", "-", expression.lower()).strip("-")}


# Not printable in YAML, or a line's end there, but left unescaped by JSON.
_ESCAPED = re.compile("[\x7f-\x9f\u2028\u2029\ud800-\udfff\ufeff\ufffe\uffff]")
_KEY = re.compile(r"[a-z][a-z0-9_-]*")


def front_matter(content: Mapping[str, object]) -> str:
    """Nested mappings, lists and scalars between two lines ``---``.

    Every text is in double quotes, so that no reader of YAML 1.1 or 1.2 takes one for a number, a date or ``false``.
    Values are text, numbers, truth values, None, and lists and mappings of them that are not empty.

    Raises:
        ValueError: A key is no lower-case word, or a number is not finite.
    """
    return "\n".join(["---", *_mapping(content), "---", ""])


def _mapping(content: Mapping[str, object]) -> Iterator[str]:
    for key, value in content.items():
        if not _KEY.fullmatch(key):
            raise ValueError(f"{key!r} cannot be a key; give a lower-case word")
        if isinstance(value, Mapping):
            yield f"{key}:"
            yield from (f"  {line}" for line in _mapping(value))
        elif isinstance(value, Sequence) and not isinstance(value, str):
            yield f"{key}:"
            yield from (f"  {line}" for line in _list(value))
        else:
            yield f"{key}: {_scalar(value)}"


def _list(values: Sequence[object]) -> Iterator[str]:
    for value in values:
        lines = _mapping(value) if isinstance(value, Mapping) else iter((_scalar(value),))
        yield f"- {next(lines)}"
        yield from (f"  {line}" for line in lines)


def _scalar(value: object) -> str:
    if isinstance(value, str):
        quoted = json.dumps(value, ensure_ascii=False)
        return _ESCAPED.sub(lambda sign: f"\\u{ord(sign[0]):04x}", quoted)
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"{value} is not a finite number; leave it out")
        # YAML 1.1 takes 1e-05 for text.
        return re.sub(r"^(-?\d+)e", r"\1.0e", repr(value))
    return json.dumps(value)
