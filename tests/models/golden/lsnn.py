"""The LSNN's golden file: BPTT; tests/models/test_lsnn.py has its e-prop gradients."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from neurozoo.testing.golden import GoldenCase, optimizer_of


class LSNN(GoldenCase):
    layers = (("recurrent", "recurrent"),)

    def claims(self, header: Mapping[str, str]) -> bool:
        return header["model"] == "lsnn_alif"

    def recipe(self, header: Mapping[str, str]) -> dict[str, Any]:
        return {
            "seed": 1,
            "data": {
                "name": "golden",
                "expect": {"spikes": {"dim": int(header["inputs"]), "length": int(header["T"]), "dtype": "uint8"}},
            },
            "task": {"name": "multiclass", "outputs": [f"class-{k}" for k in range(int(header["outputs"]))]},
            "model": {
                "name": "lsnn",
                "params": {
                    "regular": int(header["regular"]),
                    "adaptive": int(header["adaptive"]),
                    "threshold": float(header["threshold"]),
                    "tau": float(header["tau_v"]),
                    "tau_adaptation": float(header["tau_a"]),
                    "adaptation": float(header["beta"]),
                    "refractory": int(header["refractory"]),
                    "tau_readout": float(header["tau_out"]),
                    "decision_steps": int(header["decision_steps"]),
                    "rate_weight": float(header["reg_f"]),
                    "rate_over": "sum",
                },
            },
            "training": {"optimizer": optimizer_of(header)},
        }


CASE = LSNN()
