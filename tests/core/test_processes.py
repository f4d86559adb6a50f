"""What processes that train together say of one another."""

from __future__ import annotations

import pytest

from neurozoo.core import processes
from neurozoo.errors import NeurozooError


@pytest.mark.parametrize("text", ["[enforce fail] gloo/transport/tcp: Connection closed by peer", "NCCL error: ..."])
def test_another_one_s_end_is_told_in_words(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "processes", lambda: 2)
    told = "another process of this training ended; its message"
    with pytest.raises(NeurozooError, match=told), processes.lost_partners_told():
        raise RuntimeError(text)


def test_other_errors_are_told_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RuntimeError, match="gloo"), processes.lost_partners_told():
        raise RuntimeError("gloo, where there is one process")
    monkeypatch.setattr(processes, "processes", lambda: 2)
    with pytest.raises(RuntimeError, match="shapes"), processes.lost_partners_told():
        raise RuntimeError("shapes do not fit")
