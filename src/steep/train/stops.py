"""What ends training before its last step: Ctrl-C, and a loss that is no number."""

from __future__ import annotations

import math
import signal
import threading
from types import FrameType
from typing import Any, Self

from transformers import TrainerCallback

from steep.errors import ModelError
from steep.terminal import console


class StopOnInterrupt(TrainerCallback):  # type: ignore[misc]
    """Ctrl-C loses nothing: the step is finished and a checkpoint saved before KeyboardInterrupt is raised.

    A second one finds the handler that was there before, and so ends at once.
    """

    def __enter__(self) -> Self:
        self.asked = False
        self.mine = threading.current_thread() is threading.main_thread()  # no other thread may handle signals
        if self.mine:
            self.before = signal.signal(signal.SIGINT, self._ask)
        return self

    def _ask(self, number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGINT, self.before)
        self.asked = True
        console(error=True).print("saving a checkpoint at the end of this step; Ctrl-C again ends at once")

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self.asked:
            control.should_save = control.should_training_stop = True

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        if self.mine:
            signal.signal(signal.SIGINT, self.before)
        if self.asked and kind is None:
            raise KeyboardInterrupt


class StopAtNaN(TrainerCallback):  # type: ignore[misc]
    """Ends before such weights reach a checkpoint, from which no training could go on."""

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float], **kwargs: Any) -> None:
        for name in ("loss", "grad_norm"):
            if not math.isfinite(logs.get(name, 0.0)):
                raise ModelError(
                    f"training diverged: {name} is {logs[name]} at step {state.global_step}; "
                    f"lower train.learning_rate (it is {args.learning_rate:g})"
                )
