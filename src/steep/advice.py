"""What the end of a stage means for the one who started the run, and what they can do."""

from __future__ import annotations

import shutil
from pathlib import Path

from steep.errors import DISK_FULL, SteepError

LITTLE_SPACE = 2**20
"""Free bytes below which a failed write is taken to have failed for lack of them."""
OUT_OF_MEMORY = ("OutOfMemoryError", "not enough memory", "can't allocate memory")
"""As torch says it of GPUs and of the CPU."""
LESS_MEMORY = {
    "gather": "gather fewer files at a time, or use a machine with more of it",
    "clean": "gather less, or use a machine with more of it",
    "prepare": "gather less, or use a machine with more of it",
    "train": "lower train.batch_size and raise train.gradient_accumulation_steps as much, or set "
    "train.gradient_checkpointing=true",
    "evaluate": "lower prepare.max_length or the batch_size of the step that generates",
}
"""What to do where memory does not suffice."""


def explain(error: Exception, name: str, folder: Path) -> str | None:
    """What an error means for the one who started the run; None where it is no error of theirs."""
    if isinstance(error, SteepError):
        return str(error)
    if isinstance(error, MemoryError) or any(sign in f"{type(error).__name__} {error}" for sign in OUT_OF_MEMORY):
        return f"out of memory: {LESS_MEMORY[name]}. The same command goes on from here"
    full = isinstance(error, OSError) and error.errno in DISK_FULL
    # torch and others say only that a write failed
    if full or "No space left" in str(error) or _is_full(folder):
        return f"no space left on the disk of {folder}: free some, and the same command goes on from here"
    return None


def _is_full(folder: Path) -> bool:
    try:
        return shutil.disk_usage(folder).free < LITTLE_SPACE
    except OSError:  # the folder is gone: somebody removed it meanwhile
        return False
