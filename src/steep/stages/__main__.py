"""The process of a stage. Exit codes: 0 done, 1 failed with a message printed, 130 interrupted."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

from steep.advice import explain
from steep.children import end_with_parent
from steep.errors import INTERRUPTED
from steep.runs import Run
from steep.stages import run_stage


def main() -> None:
    folder, name, parent = sys.argv[1:]
    sys.stdout.reconfigure(encoding="utf-8")  # type: ignore[union-attr]  # the parent reads it, whatever the terminal's
    end_with_parent(int(parent))
    try:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})  # held back by the parent until here
        run_stage(Run(Path(folder)), name)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    except Exception as error:
        message = explain(error, name, Path(folder))
        if message is None:
            raise
        print(message)  # noqa: T201
        sys.exit(1)


if __name__ == "__main__":
    main()
