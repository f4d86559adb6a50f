"""Front matter: what is written is what every YAML reader reads."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from neurozoo.hub.metadata import front_matter

KEYS = st.from_regex(r"[a-z][a-z0-9_-]{0,8}", fullmatch=True)
TEXTS = st.text(st.characters(codec="utf-8"), max_size=12)
SCALARS = (
    TEXTS | st.integers(-(10**9), 10**9) | st.booleans() | st.none() | st.floats(allow_nan=False, allow_infinity=False)
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner.filter(lambda x: not isinstance(x, list)), min_size=1, max_size=3)
        | st.dictionaries(KEYS, inner, min_size=1, max_size=3)
    ),
    max_leaves=8,
)


def read(text: str, version: str) -> Any:
    yaml = YAML(typ="safe", pure=True)
    yaml.version = version  # type: ignore[assignment]
    first, body, last = text.split("---\n", 1)[0], text[4:-4], text[-4:]
    assert (first, last) == ("", "---\n")
    return yaml.load(body)


# Hypothesis makes its table of characters on the first run, which takes long on a busy machine.
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.dictionaries(KEYS, VALUES, min_size=1, max_size=4))
def test_yaml_of_both_versions_reads_it_back(content: dict[str, Any]) -> None:
    text = front_matter(content)
    assert read(text, "1.2") == content
    # YAML 1.1 has other words for truth, so keys such as `y` and `on` stay out of its test.
    safe = {f"key_{place}": value for place, value in enumerate(content.values()) if not isinstance(value, dict | list)}
    if safe:
        assert read(front_matter(safe), "1.1") == safe


@pytest.mark.parametrize(
    "text",
    ["no", "1e3", "2024-01-01", "a: b", "- x", "#x", "'", '"', "\\", "a\nb", "\x85\u2028\ufeff\x7f", "---", "🎵", ""],
)
def test_a_text_stays_a_text(text: str) -> None:
    for version in ("1.1", "1.2"):
        assert read(front_matter({"name": text, "list": [text, {"name": text}]}), version) == {
            "name": text,
            "list": [text, {"name": text}],
        }


def test_small_numbers_stay_numbers() -> None:
    assert front_matter({"value": 1e-07}) == "---\nvalue: 1.0e-07\n---\n"
    assert read(front_matter({"value": 1e-07}), "1.1") == {"value": 1e-07}
    with pytest.raises(ValueError, match="is not a finite number"):
        front_matter({"value": float("nan")})
    with pytest.raises(ValueError, match="cannot be a key"):
        front_matter({"a: b": 1})
