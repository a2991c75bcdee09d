"""What a process does that another one started."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable


def end_with_parent(parent: int, end_others: Callable[[], None] | None = None) -> None:
    """End when the parent is gone, so that a killed run leaves no process behind that still writes.

    ``end_others`` ends what this process has started itself.
    """

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.1)
        if end_others:
            end_others()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
