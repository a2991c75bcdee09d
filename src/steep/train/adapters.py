"""What of the model is trained: everything, or a small adapter beside it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from steep.recipe import Train

if TYPE_CHECKING:
    from peft import PeftConfig


def peft_config(options: Train) -> PeftConfig | None:
    """The adapter that `train.method` asks for; none for full fine-tuning."""
    if options.method == "full":
        return None
    from peft import LoraConfig

    lora = options.lora
    targets = lora.target_modules
    if isinstance(targets, str) and targets != "all-linear":
        targets = [targets]  # PEFT reads any other single string as a regular expression over whole paths
    return LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=targets,
        bias="none",
        task_type="CAUSAL_LM",
    )
