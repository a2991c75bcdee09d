"""`steep generate`: find the model that is meant and let it answer a prompt, or a file of prompts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from steep.config import recipe_from_stored
from steep.errors import UsageError
from steep.runs import Run

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


@dataclass(frozen=True, slots=True)
class Decoding:
    max_tokens: int
    temperature: float
    top_p: float
    seed: int


def answer_prompt(name: str, prompt: str, decoding: Decoding, *, base: bool) -> Iterator[str]:
    """The answer, piece by piece as it is made."""
    from steep.answers import is_text
    from steep.generation import stream
    from steep.tokens import encode_prompts

    if not is_text(prompt):
        raise UsageError("the prompt is not valid text: it holds bytes that are not UTF-8")
    model, tokenizer = load(name, base=base)
    (ids,) = encode_prompts([prompt], tokenizer)
    yield from stream(
        model,
        tokenizer,
        ids,
        max_new_tokens=decoding.max_tokens,
        temperature=decoding.temperature,
        top_p=decoding.top_p,
        seed=decoding.seed,
    )


def answer_file(name: str, prompts: Path, output: Path, decoding: Decoding, *, base: bool) -> int:
    """Answer every line of a JSON lines file; returns how many were not answered before."""
    from steep.answers import Settings, generate_file, read_prompts

    read_prompts(prompts)  # bad lines are named before a large model is loaded
    model, tokenizer = load(name, base=base)
    settings = Settings(_identity(name, base), decoding.max_tokens, decoding.temperature, decoding.top_p, decoding.seed)
    return generate_file(model, tokenizer, prompts, output, settings)


def _identity(name: str, base: bool) -> str:
    """A run trained again is another model under the same name."""
    trained = Run(Path(name)).read()["stages"].get("train")
    which = ["base"] if base else []
    which += [f"training {trained['fingerprint']}"] if trained else []
    return f"{name} ({', '.join(which)})" if which else name


def load(name: str, *, base: bool) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """The model and tokenizer of a run's folder (tuned, or its base), a model's folder, a hub name, or ``tiny``."""
    run = Run(Path(name))
    ours = (run.folder / "run.json").exists()
    if not ours:
        _check_no_run(run.folder, base)
    import torch

    from steep.models import load_model, load_tokenizer, load_tuned, resolve

    dtype = torch.bfloat16 if torch.cuda.is_available() else torch.float32
    if not ours:
        return load_model(resolve(name), dtype=dtype), load_tokenizer(resolve(name))
    record = run.read()
    # what was gathered, from whatever place in the environment, no longer matters
    model = recipe_from_stored({**record["recipe"], "gather": [{"files": "any"}]}).model
    place = resolve(model.base, Path(record["folder"]))
    trained = run.need("train")
    revision = model.revision or run.summary("train")["base_revision"]
    if base and model.from_scratch is not None:
        raise UsageError(f"{name} was trained from scratch: it has no base")
    tokenizer = load_tokenizer(str(next(trained / kind for kind in ("model", "adapter") if (trained / kind).is_dir())))
    if base:
        return load_model(place, dtype=dtype, revision=revision), tokenizer
    return load_tuned(trained, place, dtype=dtype, revision=revision), tokenizer


def _check_no_run(folder: Path, base: bool) -> None:
    """A path into a folder of this machine is no hub name, which would be looked for on the network for a minute."""
    if not folder.is_dir() and folder.parent != Path() and folder.parent.is_dir():
        runs = ", ".join(sorted(str(found.parent) for found in folder.parent.glob("*/run.json")))
        raise UsageError(f"there is no {folder}; runs in {folder.parent}: {runs or 'none'}")
    if base:
        raise UsageError(f"--base needs a run's folder, and {folder} holds no run.json")
