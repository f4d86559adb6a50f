"""The beginning of a plugin: a distribution that installs, works and passes its own conformance test."""

from __future__ import annotations

from neurozoo.registry.scaffold.writing import KINDS_OF_PLUGIN, Written, write_plugin

__all__ = ["KINDS_OF_PLUGIN", "Written", "write_plugin"]
