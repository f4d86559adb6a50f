"""PLIF net and its authors' numbers, on event frames with their masks of dropout."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any, ClassVar
from unittest import mock

from neurozoo.core.model import Model
from neurozoo.models.plif_net import PLIFNet
from neurozoo.testing.golden import GoldenCase, GoldenFile, picture_recipe

LIF = {"tau": 2.0, "detach_reset": True}
"""Of a file without learned time constants."""


class PLIFNetCase(GoldenCase):
    """Two blocks and a vote."""

    layers: ClassVar = (
        *((rf"conv[.]{4 * n + 2}", f"blocks.{n}") for n in range(12)),
        (r"fc[.]3", "hidden"),
        (r"fc[.]6", "head"),
    )

    def claims(self, header: Mapping[str, str]) -> bool:
        return header["model"] == "plif_net"

    def recipe(self, header: Mapping[str, str]) -> dict[str, Any]:
        params = {
            "channels": [int(header["channels"])] * int(header["layers"]),
            "pool": {"max": "max"}.get(header["pool"], "mean"),
            **{name: quirk.published for name, quirk in PLIFNet.quirks.items()},
        }
        parts = {} if header["neuron"] == "plif" else {"neuron": {"name": header["neuron"], "params": LIF}}
        recipe = picture_recipe(header, "plif-net", params, frames=True, parts=parts)
        recipe["task"]["params"] = {"loss": "squared"}
        return recipe

    @contextmanager
    def given(self, model: Model, file: GoldenFile, which: int) -> Iterator[None]:
        assert isinstance(model, PLIFNet)
        with ExitStack() as stack:
            for n, dropout in enumerate(model.dropouts):
                mask = file.tensors[f"batch{which}/mask{n}"][None]
                stack.enter_context(mock.patch.object(dropout, "factors", lambda _, mask=mask: mask))
            yield


CASE = PLIFNetCase()
