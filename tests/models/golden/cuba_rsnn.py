"""The golden files of SpyTorch's recurrent net: SHD's form and Braille's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from neurozoo.testing.golden import GoldenCase, optimizer_of


class CubaRSNN(GoldenCase):
    layers = (("hidden|encoder", r"\g<0>"),)

    def claims(self, header: Mapping[str, str]) -> bool:
        return header["model"].startswith("cuba_rsnn-")

    def recipe(self, header: Mapping[str, str]) -> dict[str, Any]:
        dt = float(header["time_step"])
        braille = header["model"] == "cuba_rsnn-braille"
        own: dict[str, Any] = (
            {
                "gain": None,
                "start": -0.001,
                "surrogate_slope": 20.0,
                "encoder_reset": "late",
                "spikes_weight": 1e-3,
                "penalty_gradient": "none",
            }
            if braille
            else {"spikes_weight": 2e-6, "squares_weight": 2e-6, "penalty_over": "batch"}
        )
        return {
            "seed": 1,
            "data": {
                "name": "golden",
                "expect": {
                    "x": {
                        "dim": int(header["inputs"]),
                        "length": int(header["T"]),
                        "dtype": "float32" if braille else "uint8",
                    }
                },
            },
            "task": {"name": "multiclass", "outputs": [f"class-{k}" for k in range(int(header["outputs"]))]},
            "model": {
                "name": "cuba-rsnn",
                "params": {
                    "hidden": int(header["hidden"]),
                    "encoder": int(header["encoder_fan_out"]),
                    "tau": float(header["tau_mem"]) / dt,
                    "tau_synapse": float(header["tau_syn"]) / dt,
                    "readout": "max-with-start",
                    "latency": "kept",
                    **own,
                },
            },
            "training": {"optimizer": optimizer_of(header)},
        }


CASE = CubaRSNN()
