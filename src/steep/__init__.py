"""steep turns a domain's own text into a fine-tuned language model, and proves what it gained."""

from __future__ import annotations

import os

# Daft reads these when it is imported: it neither phones home nor draws progress bars of its own beside steep's.
os.environ.setdefault("DO_NOT_TRACK", "1")
os.environ.setdefault("DAFT_ANALYTICS_ENABLED", "0")
os.environ.setdefault("DAFT_PROGRESS_BAR", "0")
