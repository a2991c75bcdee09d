"""One training in a process of its own: steep, TRL, TRL with Liger's kernels, or Unsloth, on rows that are files.

All get the same weights, the same rows in the same order, the same adapter to start from, the same optimizer (AdamW,
fused) and a constant learning rate. A step ends when the GPU has done it. Trained tokens are those of the rows but for
padding and the first of each text, which nothing predicts.
"""

from __future__ import annotations

import platform
import resource
import time
import zlib
from importlib.metadata import PackageNotFoundError, version
from itertools import pairwise
from pathlib import Path
from statistics import median, quantiles
from typing import Any

from training_works import FULL, NONE, OWN, Setting, Work

RATE, RANK = 1e-4, 16
TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
PACKED_LENGTH = 2048
PACKAGES = (
    "torch",
    "triton",
    "transformers",
    "accelerate",
    "peft",
    "trl",
    "datasets",
    "bitsandbytes",
    "liger-kernel",
    "unsloth",
    "unsloth-zoo",
    "xformers",
    "cut-cross-entropy",
    "torchao",
)


def versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def train(work: Work, setting: Setting, folder: Path, begun: float) -> dict[str, Any]:
    """Measure; ``folder`` holds the model and the rows, ``begun`` is when the process was started."""
    engine = {"steep": steep, "unsloth": unsloth}.get(setting.engine, trl)
    watch = Watch(begun)
    engine(work, setting, folder, watch)
    return watch.result(work)


def rows_file(folder: Path, work: Work) -> Path:
    return folder / f"{work.shape}-{work.length or 'short'}.parquet"


# ------------------------------------------------------------------------------------------------------- what is seen


class Watch:
    """Times, losses and tokens of each step of a trainer."""

    def __init__(self, begun: float) -> None:
        self.begun, self.ready, self.first = begun, 0.0, 0.0
        self.times: list[float] = []
        self.losses: list[Any] = []
        self.tokens: list[Any] = []
        self.norms: list[float] = []
        self.trained = 0

    def over(self, trainer: Any, tokenizer: Any) -> None:
        """Begin to watch; the adapter starts as every other engine's."""
        from transformers import TrainerCallback

        watch, step = self, trainer.training_step
        silent = (tokenizer.pad_token_id, tokenizer.bos_token_id)

        def training_step(model: Any, inputs: Any, *more: Any, **named: Any) -> Any:
            ids = inputs["input_ids"]
            watch.tokens.append(((ids != silent[0]) & (ids != silent[1])).sum())
            loss = step(model, inputs, *more, **named)
            watch.losses.append(loss.detach())
            return loss

        class Observer(TrainerCallback):  # type: ignore[misc]
            def on_train_begin(self, *given: Any, **named: Any) -> None:
                watch.begin()

            def on_step_end(self, args: Any, state: Any, control: Any, **named: Any) -> None:
                watch.step()
                control.should_save = False  # of 8 billion numbers: it says nothing of the speed

            def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **named: Any) -> None:
                if "loss" in logs:
                    watch.norms.append(float(logs.get("grad_norm", "nan")))

        same_start(trainer.model)
        self.trained = sum(one.numel() for one in trainer.model.parameters() if one.requires_grad)
        trainer.training_step = training_step
        trainer.add_callback(Observer())

    def begin(self) -> None:
        import torch

        if torch.cuda.is_available():
            torch.cuda.reset_peak_memory_stats()
        self.ready = time.time() - self.begun

    def step(self) -> None:
        import torch

        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self.times.append(time.perf_counter())
        self.first = self.first or time.time() - self.begun

    def result(self, work: Work) -> dict[str, Any]:
        seconds = [after - before for before, after in pairwise(self.times)][work.warm - 1 :]
        tokens, losses = ([float(one) for one in series] for series in (self.tokens, self.losses))
        speeds = [count / took for count, took in zip(tokens[work.warm :], seconds, strict=True)]
        deciles = quantiles(speeds, n=10, method="inclusive") if len(speeds) > 1 else speeds * 9
        return {
            "tokens_per_second": round(median(speeds), 1),
            "spread": round((deciles[-1] - deciles[0]) / median(speeds), 4),
            "step_ms": round(median(seconds) * 1000, 2),
            "tokens_per_step": round(median(tokens[work.warm :])),
            **memory(),
            "loss": losses[-1],
            "grad_norm": self.norms[-1],
            "losses": losses,
            "grad_norms": self.norms,
            "step_seconds": [round(one, 4) for one in seconds],
            "trained_parameters": self.trained,
            "seconds_to_training": round(self.ready, 1),
            "seconds_to_first_step": round(self.first, 1),
            "compile_seconds": compile_seconds(),
        }


def memory() -> dict[str, float]:
    """The most that was allocated while training, and what PyTorch held for it; on a CPU what the process took."""
    import torch

    if not torch.cuda.is_available():
        return {"peak_gib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2)}
    peak, reserved = torch.cuda.max_memory_allocated(), torch.cuda.max_memory_reserved()
    return {"peak_gib": round(peak / 2**30, 2), "reserved_gib": round(reserved / 2**30, 2)}


def compile_seconds() -> float:
    """Of torch.compile, forward and backward, as TorchDynamo counts them."""
    from torch._dynamo.utils import calculate_time_spent

    return round(calculate_time_spent().get("total_wall_time", 0.0), 1)


def same_start(model: Any, seed: int = 0) -> None:
    """PEFT's uniform start of A, from numbers that depend on the matrix's name and the seed alone."""
    import torch

    for name, values in model.named_parameters():
        if "lora_A" in name:
            draw = torch.Generator().manual_seed(zlib.crc32(name.replace(".default", "").encode()) + seed)
            drawn = torch.rand(values.shape, generator=draw) * 2 - 1
            values.data.copy_(drawn / values.shape[1] ** 0.5)


def in_order(trainer: Any, order: list[int]) -> None:
    """Train the rows in this order."""
    from torch.utils.data import Sampler

    class Given(Sampler[int]):
        def __iter__(self) -> Any:
            return iter(order)

        def __len__(self) -> int:
            return len(order)

        def set_epoch(self, epoch: int) -> None:
            pass

    trainer.order = Given()
    trainer._get_train_sampler = lambda *given: trainer.order


# --------------------------------------------------------------------------------------------------------------- steep


def steep(work: Work, setting: Setting, folder: Path, watch: Watch) -> None:
    """As `steep run` trains, but that nothing is saved and full rows are not shuffled."""
    import pyarrow.parquet as pq
    import torch

    from steep.models import load_model, load_tokenizer
    from steep.recipe import Train
    from steep.train import More, run, train_model

    base, length = str(folder / work.shape), work.length or PACKED_LENGTH
    tokenizer = load_tokenizer(base)
    model = load_model(
        base, dtype=getattr(torch, setting.weights), quantization=setting.quantization or work.quantization
    )
    table = pq.read_table(rows_file(folder, work))
    made = run.make_trainer

    def make_trainer(*given: Any) -> Any:
        trainer = made(*given)
        if work.length:
            in_order(trainer, order_of(table["input_ids"].to_pylist(), trainer.train_dataset["input_ids"]))
        watch.over(trainer, tokenizer)
        return trainer

    run.make_trainer, run.save = make_trainer, lambda *given: None
    train_model(
        table.select(["text"]),
        Train(**steep_options(work, setting)),
        model=model,
        tokenizer=tokenizer,
        max_length=length,
        folder=own_folder(),
        more=More(base=base),
    )


def steep_options(work: Work, setting: Setting) -> dict[str, Any]:
    checkpointing = (
        {}
        if work.shape == "quick"
        else {"gradient_checkpointing": {FULL: True, NONE: False}.get(setting.checkpointing, setting.checkpointing)}
    )
    return {
        "method": work.method,
        "objective": "pretrain",
        "learning_rate": RATE,
        "lr_scheduler_type": "constant",
        "warmup_ratio": 0.0,
        "max_steps": work.steps,
        "save_steps": 10_000,
        "batch_size": setting.batch,
        "lora": {"rank": RANK, "alpha": RANK},
        "dtype": "float32" if work.shape == "quick" else "bfloat16",
        **checkpointing,
        **setting.train,
    }


def order_of(rows: list[list[int]], shuffled: list[list[int]]) -> list[int]:
    """Where each row is after packing, which leaves full rows whole."""
    places = {tuple(row): place for place, row in enumerate(shuffled)}
    return [places[tuple(row)] for row in rows]


def own_folder() -> Path:
    """Of this process: its parent starts it there."""
    return Path.cwd()


# --------------------------------------------------------------------------------------------------------------- peers


def trl(work: Work, setting: Setting, folder: Path, watch: Watch) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    base, cuda = str(folder / work.shape), torch.cuda.is_available()
    options: dict[str, Any] = {"dtype": getattr(torch, setting.weights), "attn_implementation": setting.attention}
    options |= {"device_map": {"": 0}} if cuda else {}
    if work.quantization == "nf4":
        options["quantization_config"] = nf4()
    model = AutoModelForCausalLM.from_pretrained(base, **options)
    tokenizer = AutoTokenizer.from_pretrained(base)
    more = {} if work.method == "full" else {"peft_config": lora()}
    supervised(work, setting, folder, watch, model, tokenizer, **more)


def unsloth(work: Work, setting: Setting, folder: Path, watch: Watch) -> None:
    from unsloth import FastLanguageModel  # first: it changes what is imported after it

    # isort: split
    import torch

    full = work.method == "full"
    checkpointing = {NONE: False, FULL: True, OWN: "unsloth"}[setting.checkpointing]
    model, tokenizer = FastLanguageModel.from_pretrained(
        str(folder / work.shape),
        max_seq_length=work.length or PACKED_LENGTH,
        dtype=getattr(torch, setting.weights),
        load_in_4bit=work.quantization == "nf4",
        full_finetuning=full,
        use_gradient_checkpointing=checkpointing,
        local_files_only=True,
    )
    if not full:
        model = FastLanguageModel.get_peft_model(
            model,
            r=RANK,
            lora_alpha=RANK,
            lora_dropout=0,
            bias="none",
            target_modules=TARGETS,
            use_gradient_checkpointing=checkpointing,
            random_state=1,
        )
    supervised(work, setting, folder, watch, model, tokenizer)


def supervised(
    work: Work, setting: Setting, folder: Path, watch: Watch, model: Any, tokenizer: Any, **more: Any
) -> None:
    """TRL's trainer, which Unsloth changes in place."""
    import pyarrow.parquet as pq
    from datasets import Dataset
    from trl import SFTTrainer

    ids = pq.read_table(rows_file(folder, work), columns=["input_ids"])["input_ids"].to_pylist()
    columns = {"input_ids": ids}
    if work.length:
        columns |= {"labels": ids, "attention_mask": [[1] * work.length] * len(ids)}
    trainer = SFTTrainer(
        model=model,
        args=arguments(work, setting),
        train_dataset=Dataset.from_dict(columns),
        processing_class=tokenizer,
        **more,
    )
    rows = len(trainer.train_dataset)
    in_order(trainer, by_length(ids, setting.batch) if setting.grouped else list(range(rows)))
    watch.over(trainer, tokenizer)
    trainer.train()


def by_length(rows: list[list[int]], batch: int) -> list[int]:
    """Batches of texts of about one length; every tenth batch first, so that a short run meets all lengths."""
    order = sorted(range(len(rows)), key=lambda place: -len(rows[place]))
    batches = [order[begin : begin + batch] for begin in range(0, len(order) - batch + 1, batch)]
    return [place for first in range(10) for one in batches[first::10] for place in one]


def arguments(work: Work, setting: Setting) -> Any:
    import torch
    from trl import SFTConfig

    cuda = torch.cuda.is_available()
    return SFTConfig(
        output_dir=str(own_folder()),
        per_device_train_batch_size=setting.batch,
        gradient_accumulation_steps=1,  # which Unsloth changes to 2 where it is not said
        gradient_checkpointing=setting.checkpointing != NONE,
        use_liger_kernel=setting.engine == "trl-liger",
        packing=setting.packing,
        max_length=work.length or PACKED_LENGTH,
        max_steps=work.steps,
        learning_rate=RATE,
        lr_scheduler_type="constant",
        warmup_steps=0,
        optim="adamw_torch_fused",
        bf16=cuda,
        use_cpu=not cuda,
        logging_steps=1,
        logging_nan_inf_filter=False,
        save_strategy="no",
        report_to="none",
        dataloader_num_workers=2 if cuda else 0,
        **({"dataset_kwargs": {"skip_prepare_dataset": True}} if work.length else {}),
    )


def lora() -> Any:
    from peft import LoraConfig

    return LoraConfig(
        r=RANK, lora_alpha=RANK, lora_dropout=0.0, bias="none", target_modules=TARGETS, task_type="CAUSAL_LM"
    )


def nf4() -> Any:
    import torch
    from transformers import BitsAndBytesConfig

    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
    )


# ------------------------------------------------------------------------------------------------------------- rows


def rows_in(path: Path) -> int:
    import pyarrow.parquet as pq

    return int(pq.read_metadata(path).num_rows) if path.exists() else 0


def write_rows(work: Work, folder: Path, lengths: list[int], draw: Any) -> None:
    """Texts of so many tokens, BOS and EOS among them, of words that are one token each; as text and as token ids."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from steep.models import load_tokenizer
    from steep.tokens import encode

    tokenizer = load_tokenizer(str(folder / work.shape))
    words = one_token_words(tokenizer)
    weights = [1 / rank for rank in range(1, len(words) + 1)]
    texts = ["".join(draw.choices(words, weights, k=length - 2)) for length in lengths]
    ids = [one.input_ids for one in encode([{"text": text} for text in texts], tokenizer, None)]
    if [len(row) for row in ids] != lengths:
        raise SystemExit("the tokenizer cut the words in another way than expected")
    pq.write_table(pa.table({"text": texts, "input_ids": ids}), rows_file(folder, work))


def one_token_words(tokenizer: Any) -> list[str]:
    """With the space before them."""
    words = [tokenizer.decode([token]) for token in range(300, 2300)]
    plain = [word for word in words if word[:1] == " " and word[1:].isascii() and word[1:].isalpha()]
    ids = tokenizer(plain, add_special_tokens=False)["input_ids"]
    return [word for word, found in zip(plain, ids, strict=True) if len(found) == 1]
