"""A stage as a process: how it ends, and what it says."""

from __future__ import annotations

import errno
import re
import shutil
import subprocess
import sys
import time
from collections import namedtuple

import pytest

from steep.errors import SteepError
from steep.runs import Run
from steep.stages import explain


def disk(monkeypatch, free):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage(10**12, 10**12 - free, free))


FULL = r"no space left on the disk of .*: free some, and the same command goes on from here"
MEMORY = "out of memory: lower train.batch_size or prepare.max_length. The same command goes on from here"


class OutOfMemoryError(RuntimeError):  # torch's is called so
    pass


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (SteepError("as it is"), "as it is"),
        (OSError(errno.ENOSPC, "No space left on device", "file"), FULL),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), FULL),
        (ValueError("I/O error: No space left on device (os error 28)"), FULL),  # as safetensors says it
        (MemoryError(), MEMORY),
        (OutOfMemoryError("CUDA out of memory. Tried to allocate 20 GiB"), MEMORY),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes."), MEMORY),
    ],
)
def test_what_users_can_cause_is_explained(error, words, tmp_path):
    assert re.fullmatch(words, explain(error, "train", tmp_path))


def test_a_write_that_failed_without_saying_why_on_a_full_disk_is_explained(monkeypatch, tmp_path):
    disk(monkeypatch, free=4096)
    said = "PytorchStreamWriter failed writing file data/0: file write failed"
    assert "no space left" in explain(RuntimeError(said), "train", tmp_path)


def test_any_other_error_is_left_to_its_traceback(monkeypatch, tmp_path):
    disk(monkeypatch, free=10**10)
    assert explain(RuntimeError("shapes do not match"), "train", tmp_path) is None


def test_a_stage_whose_parent_is_gone_ends(small_run, copied_run):
    run = Run(copied_run / "small")
    run.discard(("train", "evaluate"))
    run.begin("train", "print")
    begin = time.monotonic()
    gone = 2**22 + 1  # above any process id
    ended = subprocess.run([sys.executable, "-m", "steep.stages", run.folder, "train", str(gone)])
    assert ended.returncode == 1
    assert time.monotonic() - begin < 3
    assert not run.stage("train").exists()
