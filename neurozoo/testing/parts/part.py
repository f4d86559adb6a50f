"""What a part of a model must do: all that the model must, with this part in its slot."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from neurozoo.registry.registry import default_registry, slot_kind
from neurozoo.testing.findings import ConformanceError
from neurozoo.testing.kits import Kit
from neurozoo.testing.parts.model import MODEL, ModelSubject


class PartInModelSubject(ModelSubject):
    """A part under test, in the first installed model that has a slot for it."""

    @property
    def model(self) -> tuple[Any, Mapping[str, Any]]:
        registry, part = default_registry(), self.candidate.target
        for name in registry.usable("model"):
            model = registry.resolve("model", name)
            if any(base is not None and issubclass(part, base) for _, base in map(slot_kind, model.slots.values())):
                return model, {}
        raise ConformanceError(
            f"no model has a slot for {part.__name__}; make it a subclass of a base class that `slots` names"
        )

    def part(self, model: Any, slot: str, preferred: tuple[str, ...]) -> Any:
        base = slot_kind(model.slots[slot])[1]
        if base is not None and issubclass(self.candidate.target, base):
            return lambda *args: self.candidate.target(*args, **self.candidate.params)
        return super().part(model, slot, preferred)


PART = Kit(
    "part",
    PartInModelSubject,
    {name: case for name, case in MODEL.cases.items() if name != "refuses_what_it_cannot_build"},
    tiny=MODEL.tiny,
)
