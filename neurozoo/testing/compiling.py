"""What the cases on ``torch.compile`` share."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch

__all__ = ["BACKEND", "compiler", "reason"]

BACKEND = "aot_eager"
"""It traces forward and backward, and needs no C++ compiler."""


@contextmanager
def compiler() -> Iterator[None]:
    """Around compiling and what is compiled, without what was compiled before."""
    torch.compiler.reset()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of torch's own making
            yield
    finally:
        torch.compiler.reset()


def reason(error: Exception) -> str:
    """The first line of an error of dynamo's, which tells much more."""
    line = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
    return f"{type(error).__name__}: {line}"
