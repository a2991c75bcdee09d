"""Peak memory of real trainings beside the estimate of `steep check`, each setting in a process of its own.

python benchmarks/memory.py [--json benchmarks/results/memory.json] [NAME ...]      on a machine with CUDA, 20 minutes
python benchmarks/memory.py --quick                                                  small shapes on a CPU
python benchmarks/memory.py --again benchmarks/results/memory.json                   new estimates for old measurements

The models have the shapes of Llama 3 and random weights, made on the GPU one matrix at a time and quantised at once, so
that nothing is downloaded and no host memory is needed. What is used is the most that PyTorch's allocator had reserved
and what the CUDA context takes beside it; on a CPU the most that the process held. A training that runs out of memory
is a row with an `error`.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import resource
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from steep.machine import this_machine
from steep.recipe import Recipe
from steep.sizes import Shape, training_memory
from steep.terminal import QUIET

if TYPE_CHECKING:  # imported by the process that measures alone: the other would hold memory of the same GPU
    import pyarrow as pa
    import torch
    from torch import nn
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

GIB = 2**30
LLAMA = {"model_type": "llama", "vocab_size": 128256, "num_key_value_heads": 8, "max_position_embeddings": 131072}
SHAPES: dict[str, dict[str, Any]] = {
    "70b": {"hidden_size": 8192, "intermediate_size": 28672, "num_hidden_layers": 80, "num_attention_heads": 64},
    "8b": {"hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32, "num_attention_heads": 32},
    "1b": {
        "hidden_size": 2048,
        "intermediate_size": 8192,
        "num_hidden_layers": 16,
        "num_attention_heads": 32,
        "tie_word_embeddings": True,
    },
    "small": {
        "vocab_size": 1024,
        "hidden_size": 128,
        "intermediate_size": 352,
        "num_hidden_layers": 4,
        "num_attention_heads": 8,
        "num_key_value_heads": 4,
    },
}
"""Those of Llama 3 70B and 8B and of Llama 3.2 1B, and one for a CPU."""
LETTERS = "abcdefghijklmnopqrstuvwxyz"
PAIRS = ("dpo", "reward")


@dataclass(frozen=True, slots=True)
class Setting:
    """One training: what its recipe says beside the defaults, for rows of so many tokens."""

    name: str
    shape: str
    length: int
    train: dict[str, Any] = field(default_factory=dict)
    quantization: str = "none"

    @property
    def recipe(self) -> Recipe:
        pairs = self.train.get("objective") in PAIRS
        train = {"max_steps": STEPS, "save_steps": 1000, **self.train}
        return Recipe.model_validate(
            {
                "name": "memory",
                "gather": [{"files": "texts.txt"}],
                "prepare": {"max_length": self.length, "template": "alpaca" if pairs else "plain"},
                "model": {"base": self.shape, "quantization": self.quantization},
                "train": train,
            }
        )

    @property
    def config(self) -> dict[str, Any]:
        return LLAMA | SHAPES[self.shape]


STEPS = 5
CHECKPOINTED = {"gradient_checkpointing": True}
FULL = {"method": "full", "learning_rate": 1e-5}
SETTINGS = (
    Setting("8b lora, 1 x 2048", "8b", 2048, {"batch_size": 1}),
    Setting("8b lora, 4 x 2048", "8b", 2048, {"batch_size": 4}),
    Setting("8b lora, 4 x 2048, checkpointed", "8b", 2048, {"batch_size": 4} | CHECKPOINTED),
    Setting("8b lora, 1 x 8192", "8b", 8192, {"batch_size": 1}),
    Setting("8b lora, 1 x 8192, checkpointed", "8b", 8192, {"batch_size": 1} | CHECKPOINTED),
    Setting("8b lora, 4 x 8192, checkpointed", "8b", 8192, {"batch_size": 4} | CHECKPOINTED),
    Setting("8b dora, 1 x 2048", "8b", 2048, {"batch_size": 1, "lora": {"use_dora": True}}),
    Setting("8b adalora, 1 x 2048", "8b", 2048, {"batch_size": 1, "method": "adalora"}),
    Setting("8b adaption-prompt, 1 x 2048", "8b", 2048, {"batch_size": 1, "method": "adaption-prompt"}),
    Setting("8b nf4, 1 x 2048", "8b", 2048, {"batch_size": 1}, "nf4"),
    Setting("8b nf4, 4 x 2048, checkpointed", "8b", 2048, {"batch_size": 4} | CHECKPOINTED, "nf4"),
    Setting("8b nf4, 1 x 8192, checkpointed", "8b", 8192, {"batch_size": 1} | CHECKPOINTED, "nf4"),
    Setting("8b int8, 1 x 2048", "8b", 2048, {"batch_size": 1}, "int8"),
    Setting("8b int8, 4 x 2048, checkpointed", "8b", 2048, {"batch_size": 4} | CHECKPOINTED, "int8"),
    Setting("1b full, 4 x 2048", "1b", 2048, FULL | {"batch_size": 4}),
    Setting("1b full, 4 x 2048, checkpointed", "1b", 2048, FULL | {"batch_size": 4} | CHECKPOINTED),
    Setting("1b full, 4 x 2048, adamw_8bit", "1b", 2048, FULL | {"batch_size": 4, "optim": "adamw_8bit"}),
    Setting("1b full, 4 x 2048, adafactor", "1b", 2048, FULL | {"batch_size": 4, "optim": "adafactor"}),
    Setting("1b full, 4 x 2048, muon", "1b", 2048, FULL | {"batch_size": 4, "optim": "muon"}),
    Setting("8b dpo lora, 1 x 2048, checkpointed", "8b", 2048, {"batch_size": 1, "objective": "dpo"} | CHECKPOINTED),
    Setting("1b dpo full, 1 x 2048", "1b", 2048, FULL | {"batch_size": 1, "objective": "dpo"}),
    Setting("70b nf4, 1 x 2048, checkpointed", "70b", 2048, {"batch_size": 1} | CHECKPOINTED, "nf4"),
)
QUICK = (
    Setting("small lora, 4 x 128", "small", 128, {"batch_size": 4}),
    Setting("small full, 4 x 128", "small", 128, FULL | {"batch_size": 4}),
    Setting("small nf4, 4 x 128", "small", 128, {"batch_size": 4}, "nf4"),
    Setting("small int8, 4 x 128", "small", 128, {"batch_size": 4}, "int8"),
)


# ------------------------------------------------------------------------------------------------------------ a model


def random_model(setting: Setting, device: torch.device) -> PreTrainedModel:
    """With weights drawn where they are used: float32 where all are trained, bfloat16 otherwise."""
    import torch
    from transformers import AutoConfig, LlamaForCausalLM

    dtype = torch.float32 if setting.train.get("method") == "full" else torch.bfloat16
    config = AutoConfig.for_model(**setting.config, dtype=dtype)
    with torch.device("meta"):
        model = LlamaForCausalLM(config).to(dtype)
    quantizer = _quantizer(setting.quantization)
    if quantizer is not None:
        quantizer.preprocess_model(model=model, device_map={"": device}, dtype=dtype)
        model.hf_quantizer = quantizer
    _materialise(model, dtype, device)
    model.model.rotary_emb = type(model.model.rotary_emb)(config).to(device)
    model.tie_weights()
    if quantizer is not None:
        quantizer.postprocess_model(model)
    return model.eval()


def _quantizer(name: str) -> Any:
    import torch
    from transformers import BitsAndBytesConfig
    from transformers.quantizers import AutoHfQuantizer

    if name == "none":
        return None
    nf4 = {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4", "bnb_4bit_use_double_quant": True}
    options = nf4 | {"bnb_4bit_compute_dtype": torch.bfloat16} if name == "nf4" else {"load_in_8bit": True}
    return AutoHfQuantizer.from_config(BitsAndBytesConfig(**options))


def _materialise(model: PreTrainedModel, dtype: torch.dtype, device: torch.device) -> None:
    import torch

    torch.manual_seed(0)
    for module in model.modules():
        for name, old in list(module.named_parameters(recurse=False)):
            values = torch.empty(old.shape, dtype=dtype, device=device)
            values = values.normal_(0, 0.02) if values.ndim == 2 else values.fill_(1)
            setattr(module, name, _parameter(module, values, trained=old.requires_grad))


def _parameter(module: nn.Module, values: torch.Tensor, *, trained: bool) -> nn.Parameter:
    import bitsandbytes as bnb
    import torch

    if isinstance(module, bnb.nn.Linear4bit):
        old = module.weight
        module.support_avx512bf16_for_cpu = False  # that path has no gradients
        kept = {"compress_statistics": old.compress_statistics, "quant_type": old.quant_type, "module": module}
        return bnb.nn.Params4bit(values, requires_grad=False, **kept).to(values.device)
    if isinstance(module, bnb.nn.Linear8bitLt):
        rounded, scales, _ = bnb.functional.int8_vectorwise_quant(values.to(torch.float16))
        return bnb.nn.Int8Params(rounded, requires_grad=False, has_fp16_weights=False, CB=rounded, SCB=scales)
    return torch.nn.Parameter(values, requires_grad=trained)


# ------------------------------------------------------------------------------------------------------------ its data


def tokenizer_and_rows(setting: Setting) -> tuple[PreTrainedTokenizerBase, pa.Table]:
    """Texts of random words, all cut at the length of a row, so that no row has room left."""
    import pyarrow as pa

    from steep.models import train_tokenizer

    draw = random.Random(0)
    words = ["".join(draw.choices(LETTERS, k=draw.randint(2, 8))) for _ in range(2000)]
    tokenizer = train_tokenizer([" ".join(words)] * 3, vocab_size=1000, model_max_length=setting.length)
    train = setting.recipe.train
    columns = ("prompt", "chosen", "rejected") if train.objective in PAIRS else ("text",)
    rows = [
        {name: " ".join(draw.choices(words, k=setting.length // (8 if name == "prompt" else 1))) for name in columns}
        for _ in range(train.rows_per_step * STEPS)
    ]
    return tokenizer, pa.Table.from_pylist(rows)


# ------------------------------------------------------------------------------------------------------- a measurement


def measure(setting: Setting) -> dict[str, Any]:
    """Train in this process."""
    import torch

    from steep.train import train_model

    cuda = torch.cuda.is_available()
    tokenizer, rows = tokenizer_and_rows(setting)
    model = random_model(setting, torch.device("cuda" if cuda else "cpu"))
    if cuda:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    with tempfile.TemporaryDirectory() as folder:
        options = setting.recipe.train
        result = train_model(
            rows, options, model=model, tokenizer=tokenizer, max_length=setting.length, folder=Path(folder)
        )
    return {**_peak(cuda), "tokens_per_second": result.tokens_per_second}


def _peak(cuda: bool) -> dict[str, float]:
    import torch

    if not cuda:
        used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
        return {"allocated_gib": used / GIB, "reserved_gib": used / GIB, "used_gib": used / GIB}
    free, whole = torch.cuda.mem_get_info()
    reserved = torch.cuda.max_memory_reserved()
    context = whole - free - torch.cuda.memory_reserved()
    return {
        "allocated_gib": torch.cuda.max_memory_allocated() / GIB,
        "reserved_gib": reserved / GIB,
        "used_gib": (reserved + context) / GIB,
    }


def measured(setting: Setting, seconds: float, quick: bool) -> dict[str, Any]:
    """In a process of its own, so that nothing is left of the one before; why where there is no measurement."""
    command = [sys.executable, __file__, "--one", setting.name, *(["--quick"] if quick else [])]
    try:
        environ = {**QUIET, **os.environ}  # as the stages of a run have it
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds, check=False, env=environ)
    except subprocess.TimeoutExpired:
        return {"error": f"not done after {seconds:.0f} s"}
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        return {"error": next((line for line in lines if "OutOfMemoryError" in line), lines[-1])[:300]}
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def estimated(setting: Setting, cuda: bool) -> dict[str, Any]:
    memory = training_memory(Shape.of(setting.config), setting.recipe, cuda=cuda)
    parts = {name: round(part / GIB, 3) for name, part in asdict(memory).items()}
    return {"estimate_gib": memory.total / GIB, "parts_gib": parts}


# --------------------------------------------------------------------------------------------------------------- table


def row(setting: Setting, measurement: dict[str, Any], cuda: bool) -> dict[str, Any]:
    found = {"setting": setting.name, **estimated(setting, cuda), **measurement}
    if "used_gib" in found:
        found["ratio"] = found["estimate_gib"] / found["used_gib"]
    return {name: round(value, 3) if isinstance(value, float) else value for name, value in found.items()}


def show(found: dict[str, Any]) -> None:
    if "error" in found:
        print(f"{found['setting']:38} {found['estimate_gib']:8.2f}  {found['error']}", flush=True)
        return
    numbers = (found[name] for name in ("estimate_gib", "allocated_gib", "reserved_gib", "used_gib"))
    columns = "".join(f"{number:10.2f}" for number in numbers)
    print(f"{found['setting']:38}{columns}{found['ratio']:8.3f}{found['tokens_per_second']:12,.0f}", flush=True)


def heading() -> None:
    names = ("estimate", "allocated", "reserved", "used")
    print(f"{'GiB':38}{''.join(f'{name:>10}' for name in names)}{'ratio':>8}{'tokens/s':>12}")


def machine(quick: bool) -> dict[str, Any]:
    packages = ("torch", "transformers", "trl", "peft", "bitsandbytes", "accelerate")
    found = this_machine()
    cuda = found.cuda and not quick
    return {
        "device": found.name if cuda else "cpu",
        "cuda": cuda,
        "versions": {"python": platform.python_version(), **{name: version(name) for name in packages}},
    }


def again(path: Path) -> None:
    """New estimates for what was measured, in the same file."""
    content = json.loads(path.read_text("utf-8"))
    settings = {setting.name: setting for setting in (*SETTINGS, *QUICK)}
    old = ("estimate_gib", "parts_gib", "ratio", "setting")
    heading()
    for index, found in enumerate(content["rows"]):
        measurement = {name: value for name, value in found.items() if name not in old}
        content["rows"][index] = row(settings[found["setting"]], measurement, content["cuda"])
        show(content["rows"][index])
    path.write_text(json.dumps(content, indent=1) + "\n", "utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="settings that contain one of these words; by default all")
    parser.add_argument("--json", type=Path, help="where to write the rows, after each; those of other settings stay")
    parser.add_argument("--quick", action="store_true", help="small shapes on a CPU")
    parser.add_argument("--seconds", type=float, default=240, help="limit of one setting")
    parser.add_argument("--again", type=Path, help="a file of results that gets new estimates")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.quick:
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    if options.again:
        return again(options.again)
    settings = QUICK if options.quick else SETTINGS
    if options.one:
        return print(json.dumps(measure(next(one for one in settings if one.name == options.one))))
    chosen = [one for one in settings if not options.names or any(name in one.name for name in options.names)]
    return run(chosen, options)


def run(settings: list[Setting], options: argparse.Namespace) -> None:
    content = kept(options.json, machine(options.quick), {setting.name for setting in settings})
    heading()
    for setting in settings:
        measurement = measured(setting, options.seconds, options.quick)
        content["rows"].append(row(setting, measurement, content["cuda"]))
        show(content["rows"][-1])
        if options.json:
            options.json.write_text(json.dumps(content, indent=1) + "\n", "utf-8")


def kept(path: Path | None, found: dict[str, Any], anew: set[str]) -> dict[str, Any]:
    """What the file holds of this machine beside the settings that are measured anew: all take longer than one call."""
    before = json.loads(path.read_text("utf-8")) if path and path.exists() else {}
    same = all(before.get(name) == value for name, value in found.items())
    return {**found, "rows": [row for row in before["rows"] if row["setting"] not in anew] if same else []}


if __name__ == "__main__":
    main()
