"""Training on several GPUs: tokens a second of each, how much of one GPU's speed is left, memory, and whether the loss
is that of one GPU.

python benchmarks/parallel.py [--gpus 2] [--only NAME ...] [--json benchmarks/results/parallel.json]
python benchmarks/parallel.py --quick      # two processes on a CPU, a small model, some minutes

The models have the shapes of Llama 3 8B and Llama 3.2 1B and random weights, which are written once to --folder (18 GB)
and read from there as any model is. The texts are words of this one drawn with a seed, in full rows of 2,048 tokens. A
step has the same rows on any number of GPUs: fewer of them accumulate more batches. So the losses of a method must
agree, and its speeds are of the same work. Each setting is a training in processes of its own, with a limit of time.
Nothing is saved: speed is the median step's from the fourth on.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import shutil
import signal
import statistics
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

LENGTH = 2048
LIMIT = 150
"""Seconds for a setting, loading and all."""
STEPS, WARM = 10, 3
VOCABULARY = 128256
SHAPES: dict[str, dict[str, Any]] = {
    "8b": {"hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32, "tie_word_embeddings": False},
    "1b": {"hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 16, "tie_word_embeddings": True},
    "quick": {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "tie_word_embeddings": True},
}
LORA = {"method": "lora", "batch_size": 2, "gradient_checkpointing": True}
FULL = {"method": "full", "batch_size": 1, "gradient_checkpointing": True, "learning_rate": 1e-5}


@dataclass(frozen=True)
class Setting:
    """A kind of training, and on which numbers of GPUs it fits."""

    shape: str
    train: dict[str, Any]
    quantization: str = "none"
    least: int = 1

    def counts(self, gpus: int) -> list[int]:
        return [count for count in (1, 2, 4, 8) if self.least <= count <= gpus]


SETTINGS = {
    "lora-8b-ddp": Setting("8b", LORA),
    "full-8b-fsdp": Setting("8b", FULL, least=2),
    "qlora-8b-fsdp": Setting("8b", {**LORA, "parallel": "fsdp"}, "nf4"),
    "full-1b-fsdp": Setting("1b", FULL),
    "qlora-8b-ddp": Setting("8b", LORA, "nf4", least=2),
}
QUICK = {
    "lora-quick-ddp": Setting("quick", LORA),
    "full-quick-fsdp": Setting("quick", FULL),
    "qlora-quick-fsdp": Setting("quick", {**LORA, "parallel": "fsdp"}, "nf4"),
}


def main() -> None:
    options = arguments()
    settings = QUICK if options.quick else SETTINGS
    gpus = 2 if options.quick else options.gpus or len(device_names())
    options.folder.mkdir(parents=True, exist_ok=True)
    results: dict[str, Any] = {"machine": machine(), "length": LENGTH, "settings": []}
    for shape in sorted({setting.shape for name, setting in settings.items() if wanted(name, options)}):
        started([sys.executable, __file__, "--make", shape, "--folder", options.folder], options, f"{shape}.log")
    for name, setting in settings.items():
        for count in setting.counts(gpus) if wanted(name, options) else ():
            results["settings"].append(measured(name, count, gpus, options))
            compare(results["settings"])
            print(line(results["settings"][-1]), flush=True)
            if options.json:
                options.json.write_text(json.dumps(results, indent=1) + "\n", "utf-8")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gpus", type=int, help="by default all that are there")
    parser.add_argument("--only", nargs="*", default=[], help="these settings, by their names' beginnings")
    parser.add_argument("--batches", type=int, default=1, help="of each GPU in a step, where all are used")
    parser.add_argument("--folder", type=Path, default=Path("/tmp/steep-parallel"))
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--make", help=argparse.SUPPRESS)
    parser.add_argument("--work", nargs=3, help=argparse.SUPPRESS)
    return parser.parse_args()


def wanted(name: str, options: argparse.Namespace) -> bool:
    return not options.only or name.startswith(tuple(options.only))


# ---------------------------------------------------------------------------- settings


def measured(name: str, count: int, gpus: int, options: argparse.Namespace) -> dict[str, Any]:
    """What a setting's processes left, or why they left nothing."""
    begin, folder = time.perf_counter(), options.folder / f"{name}-{count}"
    shutil.rmtree(folder, ignore_errors=True)
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", count] if count > 1 else []
    work = [__file__, "--work", name, count, gpus, "--folder", options.folder, "--batches", options.batches]
    work += ["--quick"] if options.quick else []
    words = started([sys.executable, *launcher, *work], options, f"{name}-{count}.log")
    found = {"name": name, "gpus": count, "seconds": round(time.perf_counter() - begin, 1)}
    if not (folder / "summary.json").exists():
        return {**found, "error": words[words.find("Traceback") :][:3000]}
    rows = [json.loads(row) for row in (folder / "metrics.jsonl").read_text("utf-8").splitlines()]
    summary = json.loads((folder / "summary.json").read_text("utf-8"))
    speed = statistics.median(row["tokens_per_second"] for row in rows[WARM:]) / count
    return {
        **found,
        "tokens_per_second_per_gpu": round(speed, 1),
        "peak_gib": summary["peak_memory_gib"],
        "mfu": rows[-1].get("mfu"),
        "parameters": summary["parameters"],
        "batch_size": summary["batch_size"],
        "gradient_accumulation_steps": summary["gradient_accumulation_steps"],
        "losses": [row["loss"] for row in rows],
    }


def started(command: list[Any], options: argparse.Namespace, log_name: str) -> str:
    """Run it, at most for LIMIT seconds; returns what it printed, which stays beside the weights."""
    environment = {**os.environ, "TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1"}
    environment.setdefault("OMP_NUM_THREADS", "1" if options.quick else "8")
    log = options.folder / log_name
    with log.open("w", encoding="utf-8") as out:
        child = subprocess.Popen(list(map(str, command)), stdout=out, stderr=subprocess.STDOUT, env=environment)
        try:
            child.wait(LIMIT)
        except subprocess.TimeoutExpired:
            end(child)
            out.write(f"\nended after {LIMIT} s")
    return log.read_text("utf-8", errors="replace")


def end(child: subprocess.Popen[bytes]) -> None:
    """torchrun ends its processes in an orderly way; where it hangs, they notice that it is gone."""
    child.send_signal(signal.SIGTERM)
    with suppress(subprocess.TimeoutExpired):
        child.wait(40)
        return
    child.kill()
    child.wait()


def compare(results: list[dict[str, Any]]) -> None:
    """With the fewest GPUs on which the same method was measured."""
    last = results[-1]
    first = next((one for one in results if one["name"] == last["name"] and "losses" in one), None)
    if first is None or first is last or "losses" not in last:
        return
    last["efficiency"] = round(last["tokens_per_second_per_gpu"] / first["tokens_per_second_per_gpu"], 3)
    pairs = zip(last["losses"], first["losses"], strict=True)
    last["largest_difference_of_loss"] = max(abs(one - other) for one, other in pairs)


def line(result: dict[str, Any]) -> str:
    where = f"{result['name']:<18} {result['gpus']} GPU"
    if "error" in result:
        return f"{where}  FAILED after {result['seconds']} s: {result['error']}"
    said = [f"{result['tokens_per_second_per_gpu']:>8,.0f} tokens/s each"]
    said += [f"{result['peak_gib']} GiB", f"loss {result['losses'][0]:.4f} to {result['losses'][-1]:.4f}"]
    if "efficiency" in result:
        said += [f"efficiency {result['efficiency']:.3f}", f"loss off by {result['largest_difference_of_loss']:.1e}"]
    return f"{where}  {'  '.join(said)}  ({result['seconds']} s in all)"


# ---------------------------------------------------------------------------- in a process of its own


def make(shape: str, folder: Path) -> None:
    """Random weights in bfloat16 with steep's tiny tokenizer, whose tokens are the first of the vocabulary."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM, set_seed

    from steep.models import TINY, device, load_tokenizer

    place = folder / shape
    if (place / "done").exists():
        return
    tokenizer = load_tokenizer(str(TINY))
    config = LlamaConfig(
        **SHAPES[shape],
        vocab_size=8192 if shape == "quick" else VOCABULARY,
        num_attention_heads=4 if shape == "quick" else 32,
        num_key_value_heads=2 if shape == "quick" else 8,
        max_position_embeddings=131072,
        rope_parameters={"rope_type": "default", "rope_theta": 500000.0},
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    set_seed(0)
    default = torch.get_default_dtype()
    torch.set_default_dtype(torch.bfloat16)
    with device():
        model = LlamaForCausalLM(config)
    torch.set_default_dtype(default)
    model.save_pretrained(place)
    tokenizer.save_pretrained(place)
    (place / "done").touch()


def work(name: str, count: int, gpus: int, options: argparse.Namespace) -> None:
    """One of the processes of a setting."""
    import torch

    from steep.models import load_model, load_tokenizer
    from steep.recipe import Train
    from steep.train import run, train_model
    from steep.train.parallel import join

    setting = (QUICK if options.quick else SETTINGS)[name]
    train = Train(
        **{
            "objective": "pretrain",
            "max_steps": STEPS,
            "save_steps": 10_000,
            "warmup_ratio": 0.0,
            "dtype": "float32" if options.quick else "bfloat16",
            **setting.train,
            "devices": count,
            "gradient_accumulation_steps": options.batches * gpus // count,
        }
    )
    join(train)
    base = str(options.folder / setting.shape)
    model = load_model(
        base,
        dtype=torch.float32 if train.method == "full" else getattr(torch, train.dtype),
        quantization=setting.quantization,
        on_host=train.sharded,
    )
    leave_out_saving(run)
    length = 256 if options.quick else LENGTH
    folder = options.folder / f"{name}-{count}"
    train_model(
        texts(train.rows_per_step * STEPS, length),
        train,
        model=model,
        tokenizer=load_tokenizer(base),
        max_length=length,
        folder=folder,
        more=run.More(base=base),
    )
    torch.distributed.destroy_process_group() if torch.distributed.is_initialized() else None


def leave_out_saving(run: Any) -> None:
    """A checkpoint of 8 billion numbers with their optimizer is 96 GB, and says nothing of the speed."""
    from transformers import TrainerCallback

    class Unsaved(TrainerCallback):  # type: ignore[misc]
        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            control.should_save = False

    made = run.make_trainer

    def make_trainer(*given: Any) -> Any:
        trainer = made(*given)
        trainer.add_callback(Unsaved())
        return trainer

    run.make_trainer, run.save = make_trainer, lambda *given: None


def texts(rows: int, length: int) -> Any:
    """Enough for so many full rows and a few more: the last one is not full."""
    import pyarrow as pa

    draw = random.Random(0)
    words = (__doc__ or "").split()
    return pa.table({"text": [" ".join(draw.choices(words, k=length)) for _ in range(rows + 4)]})


# ---------------------------------------------------------------------------- machine


def device_names() -> list[str]:
    command = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()


def machine() -> dict[str, Any]:
    packages = ("torch", "transformers", "trl", "peft", "accelerate", "bitsandbytes")
    return {
        "devices": device_names() if shutil.which("nvidia-smi") else [platform.machine()],
        "python": platform.python_version(),
        "cores": len(os.sched_getaffinity(0)),
        **{package: version(package) for package in packages},
    }


if __name__ == "__main__":
    given = arguments()
    if given.make:
        make(given.make, given.folder)
    elif given.work:
        work(given.work[0], int(given.work[1]), int(given.work[2]), given)
    else:
        main()
