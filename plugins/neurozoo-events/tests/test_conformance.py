from __future__ import annotations

from neurozoo.testing import EngineConformance


class TestEvents(EngineConformance):
    name = "events"
