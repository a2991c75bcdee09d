"""Fine-tune a Llama-family model on prepared examples."""

from __future__ import annotations

from steep.train.run import More, TrainResult, train_model

__all__ = ["More", "TrainResult", "train_model"]
