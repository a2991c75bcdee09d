"""What of the model is trained: everything, or an adapter beside it; and how an adapter starts and ends.

Adapters are standard PEFT: what is saved loads with `PeftModel.from_pretrained`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from steep.errors import ModelError
from steep.recipe import AdaLora, Lora, Train
from steep.runs import is_main

if TYPE_CHECKING:
    from peft import PeftConfig, PeftModel
    from torch import Tensor
    from transformers import PreTrainedModel

PISSA = "pissa"
"""Folder, beside the checkpoints, of an adapter as it was before training."""


def peft_config(options: Train, model: PreTrainedModel, new_tokens: list[int]) -> PeftConfig | None:
    """The adapter that `train.method` asks for; none for full fine-tuning.

    ``new_tokens``: ids whose rows of the embedding, and of the output layer where that is another matrix, are trained.
    """
    if options.method == "full":
        return None
    from peft import AdaLoraConfig, AdaptionPromptConfig, LoraConfig

    task = "SEQ_CLS" if options.objective == "reward" else "CAUSAL_LM"
    if options.method == "adaption-prompt":
        return AdaptionPromptConfig(**_prompts(options, model), task_type=task)
    if options.method == "adalora":
        return AdaLoraConfig(**_ada(options.adalora), task_type=task)
    return LoraConfig(**_lora(options.lora), trainable_token_indices=_rows(model, new_tokens), task_type=task)


def _low_rank(section: Lora | AdaLora) -> dict[str, Any]:
    targets = section.target_modules
    if isinstance(targets, str) and targets != "all-linear":
        targets = [targets]  # PEFT reads any other single string as a regular expression over whole paths
    return {
        "lora_alpha": section.alpha,
        "lora_dropout": section.dropout,
        "target_modules": targets,
        "bias": "none",
    }


def _lora(section: Lora) -> dict[str, Any]:
    start: str | bool = {"default": True, "loftq": True}.get(section.init_lora_weights, section.init_lora_weights)
    return {
        "r": section.rank,
        "use_rslora": section.use_rslora,
        "use_dora": section.use_dora,
        "init_lora_weights": start,
        **_low_rank(section),
    }


def _ada(section: AdaLora) -> dict[str, Any]:
    """With a schedule that `adalora.Schedule` replaces once the number of steps is known."""
    return {
        "init_r": section.init_r,
        "target_r": section.target_r,
        "deltaT": section.delta_t,
        "beta1": section.beta1,
        "beta2": section.beta2,
        "orth_reg_weight": section.orth_reg_weight,
        "total_step": 1,
        **_low_rank(section),
    }


def _prompts(options: Train, model: PreTrainedModel) -> dict[str, Any]:
    section, layers = options.adaption_prompt, model.config.num_hidden_layers
    asked = section.adapter_layers or max(1, layers - 2)
    if asked > layers:
        raise ModelError(
            f"train.adaption_prompt.adapter_layers is {asked}, but the model has {layers} layers: lower it"
        )
    return {"adapter_len": section.adapter_len, "adapter_layers": asked}


def _rows(model: PreTrainedModel, new_tokens: list[int]) -> dict[str, list[int]] | None:
    if not new_tokens:
        return None
    apart = not model.config.tie_word_embeddings and model.get_output_embeddings() is not None
    return dict.fromkeys(("embed_tokens", "lm_head") if apart else ("embed_tokens",), new_tokens)


def start_adapter(model: PeftModel, options: Train, base: str, folder: Path) -> None:
    """What an adapter needs after it is made and before it is trained."""
    import torch

    if options.method == "adaption-prompt":  # PEFT keeps the forward it met, and TRL and steep put others in its place
        model.base_model.forward = model.base_model.model.forward
    if options.method == "lora" and options.lora.init_lora_weights == "loftq":
        _make_up_for_rounding(model, base)
    if options.method == "lora" and options.lora.init_lora_weights == PISSA:
        model.peft_config["default"].init_lora_weights = True  # else loading it would take the singular values again
        if is_main():
            model.save_pretrained(folder / PISSA)
    for name, parameter in model.named_parameters():
        if "ranknum" in name:  # a number of AdaLoRA's bookkeeping, which PEFT lets be trained beside bfloat16 weights
            parameter.requires_grad_(False)
        if parameter.requires_grad:  # TRL makes them bfloat16 beside quantised weights, where small steps vanish
            parameter.data = parameter.data.to(torch.float32)


def _make_up_for_rounding(model: PeftModel, base: str) -> None:
    """LoftQ with one step (Li et al. 2023, arXiv 2310.08659, algorithm 1): the adapter starts as the largest singular
    values of what quantisation took away. PEFT's own needs CUDA, and forgets that the product is scaled."""
    import torch
    from peft.tuners.lora import Linear4bit
    from peft.utils.integrations import dequantize_module_weight

    unrounded = Unrounded(base)
    for name, layer in model.named_modules():
        if isinstance(layer, Linear4bit):
            weight = unrounded.weight(name.removeprefix("base_model.model."))
            rounded = dequantize_module_weight(layer.get_base_layer()).float()
            left, values, right = torch.linalg.svd(weight.to(rounded) - rounded, full_matrices=False)
            rank, root = layer.r["default"], values.sqrt()
            scale = layer.scaling["default"]
            layer.lora_B["default"].weight.data = ((left * root)[:, :rank] / scale).contiguous()
            layer.lora_A["default"].weight.data = (root[:, None] * right)[:rank].contiguous()


class Unrounded:
    """A base model's weights as its safetensors files hold them, read one at a time."""

    def __init__(self, base: str) -> None:
        self.base = base
        self.folder = Path(base) if Path(base).is_dir() else _snapshot(base)
        index = self.folder / "model.safetensors.index.json"
        self.files: dict[str, str] = json.loads(index.read_text("utf-8"))["weight_map"] if index.is_file() else {}

    def weight(self, layer: str) -> Tensor:
        from safetensors import SafetensorError, safe_open

        name = f"{layer}.weight"
        try:
            with safe_open(self.folder / self.files.get(name, "model.safetensors"), framework="pt") as tensors:
                found: Tensor = tensors.get_tensor(name).float()
        except (OSError, SafetensorError) as error:
            needs = f"train.lora.init_lora_weights: loftq needs the unrounded weights of {self.base!r} as safetensors"
            raise ModelError(f"{needs}: {error}") from error
        return found


def _snapshot(name: str) -> Path:
    from huggingface_hub import snapshot_download

    return Path(snapshot_download(name, local_files_only=True))


def save_adapter(model: PeftModel, options: Train, folder: Path, into: Path) -> None:
    """Write the adapter; one that began as PiSSA as the difference from the base model, of twice the rank."""
    begun = folder / PISSA
    if options.method == "lora" and options.lora.init_lora_weights == PISSA:
        model.save_pretrained(into, path_initial_model_for_weight_conversion=str(begun))
        _check_converted(into, options)
    else:
        model.save_pretrained(into)


def _check_converted(into: Path, options: Train) -> None:
    rank = json.loads((into / "adapter_config.json").read_text("utf-8"))["r"]
    if rank != 2 * options.lora.rank:
        raise ModelError(
            f"{into}: the PiSSA adapter was saved with rank {rank} where twice {options.lora.rank} belongs"
        )
