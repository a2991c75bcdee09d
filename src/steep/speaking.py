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

    from steep.recipe import Recipe


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
    from steep.models import load_model, load_tokenizer, own_dtype, resolve

    if ours:
        return _of_run(run, base=base)
    return load_model(resolve(name), dtype=own_dtype()), load_tokenizer(resolve(name))


def _of_run(run: Run, *, base: bool) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """As it was measured: quantised where the recipe says so, with the tokenizer that it was trained with."""
    from steep import handover
    from steep.models import fit_vocabulary, load_model, load_tokenizer, load_tuned, loading_of, resolve

    record = run.read()
    # what was gathered, from whatever place in the environment, no longer matters
    recipe = recipe_from_stored({**record["recipe"], "gather": [{"files": "any"}]})
    trained, model = run.need("train"), recipe.model
    _check_writes(run, recipe, base=base)
    tokenizer = load_tokenizer(str(next(trained / kind for kind in ("model", "adapter") if (trained / kind).is_dir())))
    handover.check(run.need("prepare"), tokenizer, "generate")
    place = resolve(model.base, Path(record["folder"]))
    loading = loading_of(model, model.revision or run.summary("train")["base_revision"])
    if not base:
        return load_tuned(trained, place, tokenizer, **loading), tokenizer
    loaded = load_model(place, **loading)
    fit_vocabulary(loaded, tokenizer)
    return loaded, tokenizer


def _check_writes(run: Run, recipe: Recipe, *, base: bool) -> None:
    if base and recipe.model.from_scratch is not None:
        raise UsageError(f"{run.folder} was trained from scratch: it has no base")
    if not base and recipe.train.objective == "reward":
        raise UsageError(
            f"{run.folder} is a reward model: it scores answers and writes none. Its base model does (--base); to "
            "train with its scores, name the run under train.rollouts.rewards"
        )


def _check_no_run(folder: Path, base: bool) -> None:
    """A path into a folder of this machine is no hub name, which would be looked for on the network for a minute."""
    if not folder.is_dir() and folder.parent != Path() and folder.parent.is_dir():
        runs = ", ".join(sorted(str(found.parent) for found in folder.parent.glob("*/run.json")))
        raise UsageError(f"there is no {folder}; runs in {folder.parent}: {runs or 'none'}")
    if base:
        raise UsageError(f"--base needs a run's folder, and {folder} holds no run.json")
