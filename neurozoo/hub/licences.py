"""Licences by their SPDX expressions, and by the names that the Hugging Face hub gives them."""

from __future__ import annotations

import re

from packaging.licenses import InvalidLicenseExpression, canonicalize_license_expression

from neurozoo.errors import UserError

__all__ = ["checked_licence", "hub_licence"]

# Those of https://huggingface.co/docs/hub/repositories-licenses that are SPDX identifiers, in lower case.
_OF_THE_HUB = """
afl-3.0 agpl-3.0 apache-2.0 artistic-2.0 bsd-2-clause bsd-3-clause bsd-3-clause-clear bsl-1.0 cc-by-2.0 cc-by-2.5
cc-by-3.0 cc-by-4.0 cc-by-nc-2.0 cc-by-nc-3.0 cc-by-nc-4.0 cc-by-nc-nd-3.0 cc-by-nc-nd-4.0 cc-by-nc-sa-2.0
cc-by-nc-sa-3.0 cc-by-nc-sa-4.0 cc-by-nd-4.0 cc-by-sa-3.0 cc-by-sa-4.0 cc0-1.0 cdla-permissive-1.0
cdla-permissive-2.0 cdla-sharing-1.0 ecl-2.0 epl-1.0 epl-2.0 etalab-2.0 eupl-1.1 eupl-1.2 gpl-2.0 gpl-3.0 isc
lgpl-2.1 lgpl-3.0 lppl-1.3c mit mpl-2.0 ms-pl ncsa ofl-1.1 osl-3.0 postgresql unlicense wtfpl zlib
"""


def checked_licence(expression: str) -> str:
    """An SPDX expression in its usual spelling, such as ``Apache-2.0``.

    Raises:
        UserError: It is none.
    """
    try:
        return str(canonicalize_license_expression(expression))
    except InvalidLicenseExpression as error:
        raise UserError(
            f"the licence {expression!r} is no SPDX expression ({error}); give one such as Apache-2.0 or CC-BY-4.0, "
            "or LicenseRef-NAME for a licence of your own"
        ) from error


def hub_licence(expression: str | None) -> dict[str, str]:
    """The keys of a model card that tell the hub of a licence.

    Args:
        expression: As :func:`checked_licence` gives it; None where none was named.
    """
    if expression is None:
        return {"license": "unknown"}
    name = expression.lower().removesuffix("-only").removesuffix("-or-later")
    if name in _OF_THE_HUB.split():
        return {"license": name}
    return {"license": "other", "license_name": re.sub(r"[^a-z0-9.+-]+", "-", expression.lower()).strip("-")}
