"""What the tests and the table of docs/export.md share lies next to them and is no package."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
