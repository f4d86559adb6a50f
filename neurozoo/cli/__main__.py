"""``python -m neurozoo.cli``, the same as ``neurozoo``."""

from __future__ import annotations

import sys

from neurozoo.cli import main

sys.exit(main())
