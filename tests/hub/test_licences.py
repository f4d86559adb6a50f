"""Licences: by SPDX, and as the hub calls them."""

from __future__ import annotations

import pytest

from neurozoo.errors import UserError
from neurozoo.hub.metadata import checked_licence, hub_licence


@pytest.mark.parametrize(
    ("given", "spdx", "hub"),
    [
        ("apache-2.0", "Apache-2.0", {"license": "apache-2.0"}),
        ("GPL-3.0-or-later", "GPL-3.0-or-later", {"license": "gpl-3.0"}),
        ("cc-by-nc-sa-4.0", "CC-BY-NC-SA-4.0", {"license": "cc-by-nc-sa-4.0"}),
        ("0BSD", "0BSD", {"license": "other", "license_name": "0bsd"}),
        ("mit OR apache-2.0", "MIT OR Apache-2.0", {"license": "other", "license_name": "mit-or-apache-2.0"}),
        ("LicenseRef-mine", "LicenseRef-mine", {"license": "other", "license_name": "licenseref-mine"}),
    ],
)
def test_a_licence_and_its_name_on_the_hub(given: str, spdx: str, hub: dict[str, str]) -> None:
    assert checked_licence(given) == spdx
    assert hub_licence(spdx) == hub


def test_no_licence_is_unknown_and_another_word_is_refused() -> None:
    assert hub_licence(None) == {"license": "unknown"}
    with pytest.raises(UserError, match="'do what you like' is not an SPDX expression"):
        checked_licence("do what you like")
