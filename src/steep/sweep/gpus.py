"""Which GPU a trial gets where several run at the same time."""

from __future__ import annotations

import os
import shutil
import subprocess


def gpu_of(place: int) -> dict[str, str]:
    """The environment of the trial at a place, counted from 0: the places share the GPUs in turn."""
    gpus = _visible_gpus()
    return {"CUDA_VISIBLE_DEVICES": gpus[place % len(gpus)]} if gpus else {}


def _visible_gpus() -> list[str]:
    if (named := os.environ.get("CUDA_VISIBLE_DEVICES")) is not None:
        return [name for name in named.split(",") if name]
    program = shutil.which("nvidia-smi")
    if not program:
        return []
    query = [program, "--query-gpu=index", "--format=csv,noheader"]
    return subprocess.run(query, capture_output=True, text=True, check=False).stdout.split()
