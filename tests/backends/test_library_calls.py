from __future__ import annotations

import fnmatch
import json
import sys
from typing import Any

import pytest

from neurozoo.backends.library_calls import library_calls


def test_functions_of_the_library_are_counted_and_no_others() -> None:
    found = library_calls(lambda: [json.dumps({"a": 1}), json.dumps({}), fnmatch.translate("*")], ["json"])
    assert found["json:dumps"] == 2
    assert found["json.encoder:JSONEncoder.encode"] == 2
    assert list(found) == sorted(found)
    assert not any("fnmatch" in name or "<" in name for name in found)


def test_a_name_that_only_begins_alike_is_another_library() -> None:
    assert library_calls(lambda: json.dumps({}), ["jso", "json.enc"]) == {}


def test_what_a_subclass_inherits_is_the_librarys() -> None:
    class Mine(json.JSONEncoder):
        def default(self, o: object) -> object:
            return str(o)

    found = library_calls(lambda: Mine().encode(object), ["json"])
    assert found["json.encoder:JSONEncoder.encode"] == 1
    assert not any("Mine" in name for name in found)


def test_a_former_profile_function_is_put_back_after_an_error_too() -> None:
    seen: list[str] = []

    def former(_frame: Any, event: str, _argument: Any) -> None:
        seen.append(event)

    before = sys.getprofile()
    sys.setprofile(former)
    try:
        with pytest.raises(ZeroDivisionError):
            library_calls(lambda: 1 // 0, ["json"])
        restored = sys.getprofile()
    finally:
        sys.setprofile(before)
    assert restored is former
