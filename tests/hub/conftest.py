"""A hub on the loopback interface, and what takes it for the hub."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from neurozoo.testing.local_hub import TOKEN, LocalHub


@pytest.fixture
def fake_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalHub]:
    """A hub without models, which ``huggingface_hub`` takes for its own, with a cache and a user of the tests."""
    pytest.importorskip("huggingface_hub", reason="the extra hub is not installed")
    from huggingface_hub import constants

    hub = LocalHub()
    home = tmp_path / "hf-home"
    for name, value in (
        ("ENDPOINT", hub.endpoint),
        ("HUGGINGFACE_CO_URL_TEMPLATE", hub.endpoint + "/{repo_id}/resolve/{revision}/{filename}"),
        ("HF_HOME", str(home)),
        ("HF_HUB_CACHE", str(home / "hub")),
        ("HF_ASSETS_CACHE", str(home / "assets")),
        ("HF_TOKEN_PATH", str(home / "token")),
        ("HF_STORED_TOKENS_PATH", str(home / "stored_tokens")),
        ("HF_HUB_OFFLINE", False),
        # Large files go by git-lfs, which the hub still takes: xet's own protocol is not spoken here.
        ("HF_HUB_DISABLE_XET", True),
        ("HF_HUB_DISABLE_SHARED_BLOBS", True),
        ("HF_HUB_DISABLE_PROGRESS_BARS", True),
    ):
        monkeypatch.setattr(constants, name, value)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setattr(logging.getLogger("huggingface_hub"), "level", logging.DEBUG)
    yield hub
    hub.close()
