"""What fusions, label heads, models and data sets must do."""

from __future__ import annotations

from neurozoo.testing.parts.dataset import DATASET
from neurozoo.testing.parts.fusion import FUSION
from neurozoo.testing.parts.label_head import LABEL_HEAD
from neurozoo.testing.parts.model import MODEL

__all__ = ["DATASET", "FUSION", "LABEL_HEAD", "MODEL"]
