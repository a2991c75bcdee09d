"""Fine-tune a Llama-family model on prepared examples."""

from __future__ import annotations

from steep.train.sft import TrainResult, train_model

__all__ = ["TrainResult", "train_model"]
