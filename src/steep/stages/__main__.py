"""The process of a stage. Exit codes: 0 done, 1 failed with a message printed, 130 interrupted."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from steep.advice import explain
from steep.children import end_with_parent
from steep.errors import INTERRUPTED
from steep.runs import Run
from steep.stages import devices_of, run_stage
from steep.stages.processes import end_all, tell_launcher, train_together, wait_to_be_ended


def main() -> None:
    folder, name, parent = sys.argv[1:]
    sys.stdout.reconfigure(encoding="utf-8")  # type: ignore[union-attr]  # the parent reads it, whatever the terminal's
    run = Run(Path(folder))
    devices = devices_of(run) if name == "train" and "RANK" not in os.environ else 1
    end_with_parent(int(parent), end_all if devices > 1 else None)
    try:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})  # held back by the parent until here
        if devices > 1:
            sys.exit(train_together(run.folder, devices))
        run_stage(run, name)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    except Exception as error:
        message = explain(error, name, Path(folder))
        if message is None:
            wait_to_be_ended()
            raise
        if not tell_launcher(message):
            print(message)  # noqa: T201
        sys.exit(1)


if __name__ == "__main__":
    main()
