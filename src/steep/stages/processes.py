"""A stage in several processes, one for each GPU, or for each part of the cores where there is none.

torch's elastic launcher starts them, and ends all when one of them ends badly. This process has the part of the stage's
single one: signals are handed on to the others, and what the first that failed had to say is said once.

``python -m steep.stages.processes [ARGUMENTS OF TORCHRUN] PROCESSES FOLDER`` does so on one of several machines.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

from steep.errors import INTERRUPTED

HERE = ("--standalone",)
HANDED_ON = (signal.SIGINT, signal.SIGUSR1)
TOLD = "TORCHELASTIC_ERROR_FILE"
"""Names the file in which the launcher looks for why a process failed."""
PATIENCE = 3.0
"""Seconds until an error that nothing explains is shown: most often it is that another process has gone, and the
launcher, which looks ten times a second, ends this one before."""


def train_together(folder: Path, processes: int, machines: Sequence[str] = HERE) -> int:
    """Train the run in ``folder`` in so many processes of this machine; returns the exit code of a stage.

    ``machines``: torchrun's arguments on how it meets the other machines.
    """
    from torch.distributed import run
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    logging.getLogger("torch").setLevel(logging.CRITICAL)
    cores = len(os.sched_getaffinity(0))
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, cores // processes)))
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    stage = ["-m", "steep.stages", str(folder), "train", str(os.getpid())]
    arguments = [*machines, "--nproc-per-node", str(processes), "--max-restarts", "0"]
    arguments += ["--signals-to-handle", "SIGTERM,SIGHUP,SIGQUIT", *stage]
    for number in HANDED_ON:
        signal.signal(number, _hand_on)
    try:
        run.run(run.parse_args(arguments))  # type: ignore[no-untyped-call]
    except ChildFailedError as error:
        _, failure = error.get_first_failure()
        return _tell(failure.exitcode, failure.error_file_data)
    return 0


def _hand_on(number: int, frame: FrameType | None) -> None:
    """The launcher's processes have sessions of their own, which no terminal reaches."""
    for process in _children():
        os.kill(process, signal.SIGINT)


def _children() -> list[int]:
    import psutil  # type: ignore[import-untyped]

    return [child.pid for child in psutil.Process().children()]


def end_all() -> None:
    for process in _children():
        os.kill(process, signal.SIGKILL)


def _tell(code: int, said: object) -> int:
    """A process that was killed looks as if this one had been: it is explained by how it ended."""
    if code < 0 and not said:
        signal.signal(-code, signal.SIG_DFL) if -code != signal.SIGKILL else None
        os.kill(os.getpid(), -code)
    if isinstance(said, dict) and code != INTERRUPTED:
        print(said["message"]["message"])  # noqa: T201
    return INTERRUPTED if code == INTERRUPTED else 1


def tell_launcher(message: str) -> bool:
    """From one of the processes: why it fails. False where no launcher listens."""
    if TOLD not in os.environ:
        return False
    facts = {"message": message, "extraInfo": {"py_callstack": "", "timestamp": str(int(time.time()))}}
    Path(os.environ[TOLD]).write_text(json.dumps({"message": facts}), "utf-8")
    return True


def wait_to_be_ended() -> None:
    if TOLD in os.environ:
        time.sleep(PATIENCE)


def main() -> None:
    *machines, devices, folder = sys.argv[1:]
    sys.exit(train_together(Path(folder), int(devices), machines))


if __name__ == "__main__":
    main()
