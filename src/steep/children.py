"""What a process does that another one started."""

from __future__ import annotations

import os
import threading
import time


def end_with_parent(parent: int) -> None:
    """End when the parent is gone, so that a killed run leaves no process behind that still writes."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
