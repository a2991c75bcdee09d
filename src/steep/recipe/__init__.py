"""What a recipe may say: one pydantic model per section, in the order of the stages. Nothing heavy is imported here.

The sections `gather`, `clean` and `evaluate` are long and have modules of their own.

``config.load_recipe`` reads a file into a `Recipe`; every mistake is reported with its line. The docstrings and field
descriptions below are the recipe reference: ``docs/recipe.md`` and ``steep schema`` are made from them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import (
    AfterValidator,
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
    model_validator,
)
from pydantic_core import InitErrorDetails, PydanticCustomError, PydanticKnownError

from steep.recipe.clean import CleanStep
from steep.recipe.evaluate import EvaluateStep, default_steps
from steep.recipe.gather import Source
from steep.section import (
    RUN_NAME,
    Count,
    Fraction,
    NoSwitch,
    NotNegative,
    Positive,
    Section,
    Share,
    Text,
    Texts,
    Whole,
)

# --------------------------------------------------------------------------------------------------------- prepare


class Split(Section):
    """Which documents are held out. Near-duplicates never straddle train and test."""

    test: Fraction = 0.1
    """Share of the documents that is held out."""
    sources: list[str] = Field(default=[])
    """Hold out exactly the documents of these sources instead."""
    seed: Whole = 42
    """Of the draw."""


TEMPLATES = ("plain", "title-description", "alpaca", "llama-2", "llama-3")

TEMPLATE_SCHEMA = {"anyOf": [{"enum": list(TEMPLATES)}, {"pattern": r"\.jinja$"}]}


def _template(value: str) -> str:
    if value not in TEMPLATES and not value.endswith(".jinja"):
        known = ", ".join(map(repr, TEMPLATES))
        raise PydanticKnownError("literal_error", {"expected": f"{known} or 'FILE.jinja'"})
    return value


class Canaries(Section):
    """Made-up secrets among the training examples: what the model then knows of them tells whether it remembers single
    examples (Carlini et al. 2019, arXiv 1802.08232)."""

    count: Annotated[int, Field(ge=1, le=1000), NoSwitch] = 20
    """How many; each has a number of nine digits of its own."""
    repeat: Count = 1
    """How often each of them stands in the training examples."""
    seed: Whole = 42
    """Of the draw; the same seed gives the same numbers."""


class Prepare(Section):
    """From documents to training examples."""

    template: Annotated[str, AfterValidator(_template), Field(json_schema_extra=TEMPLATE_SCHEMA)] = "plain"
    """plain, title-description, alpaca, llama-2, llama-3, or the path of a .jinja file."""
    fields: dict[str, str] = Field(default={})
    """Jinja expressions that fill the template's variables, e.g. `instruction: "Write about {{ title }}."`."""
    lowercase: bool = False
    """Write the examples in lower case."""
    split: Split = Split()
    max_length: Annotated[int, Field(ge=8), NoSwitch] = 512
    """Tokens per example; longer ones are cut and counted."""
    repeat: dict[str, Count] = Field(default={})
    """How often the training examples of a source are repeated, so that a large source does not drown a small one."""
    canaries: Canaries | None = None
    """Plant made-up secrets; only on request."""


# ----------------------------------------------------------------------------------------------------------- model


class Architecture(Section):
    """A Llama to be trained from scratch; names as in transformers' LlamaConfig."""

    vocab_size: Annotated[int, Field(ge=300), NoSwitch] = 8192
    """Entries of the tokenizer, which is trained on the gathered text as well."""
    hidden_size: Count = 256
    """Width of the residual stream; a multiple of `num_attention_heads`."""
    intermediate_size: Count = 704
    """Width of the feed-forward layers."""
    num_hidden_layers: Count = 8
    """Depth."""
    num_attention_heads: Count = 4
    """Query heads; a multiple of `num_key_value_heads`."""
    num_key_value_heads: Count = 2
    """Key and value heads, shared by groups of query heads."""
    max_position_embeddings: Count = 1024
    """Longest sequence, in tokens."""
    rope_theta: Positive = 10000.0
    """Base of the rotary position embedding."""
    tie_word_embeddings: bool = True
    """Use one matrix for input and output embeddings."""

    @model_validator(mode="after")
    def _divides(self) -> Architecture:
        for whole, part in (("hidden_size", "num_attention_heads"), ("num_attention_heads", "num_key_value_heads")):
            if getattr(self, whole) % getattr(self, part):
                raise ValueError(
                    f"{whole} ({getattr(self, whole)}) must be a multiple of {part} ({getattr(self, part)})"
                )
        return self


class Model(Section):
    """The model that training starts from."""

    base: str = "tiny"
    """A hub name, a folder, or `tiny`: the model that ships with steep."""
    revision: str | None = None
    """Of the hub model; the commit that was used is kept with the run."""
    from_scratch: Architecture | None = None
    """A new model instead of `base`; with `train.objective: pretrain`."""

    @model_serializer(mode="wrap")
    def _without_unused_base(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        written: dict[str, Any] = serialize(self)
        if self.from_scratch is not None:  # a filled recipe must be valid again, and must not name a base
            written.pop("base", None)
        return written


# ----------------------------------------------------------------------------------------------------------- train


class Lora(Section):
    """Low-rank adaptation (Hu et al. 2021, arXiv 2106.09685)."""

    rank: Count = 16
    """Of the two matrices whose product is added to a weight."""
    alpha: Count = 32
    """The product is scaled by alpha / rank."""
    dropout: Share = 0.0
    """On the adapter's input while training."""
    target_modules: Texts = "all-linear"
    """Names of the layers that get an adapter; `all-linear` is all but the output layer."""


class Train(Section):
    """Fine-tuning."""

    method: Literal["full", "lora"] = "lora"
    """`full` trains every weight; `lora` trains small matrices beside the frozen ones."""
    objective: Literal["sft", "pretrain"] = "sft"
    """`sft` keeps examples whole; `pretrain` splits long texts over rows instead of cutting them."""
    learning_rate: Positive = 2e-4
    """Peak of the schedule."""
    epochs: Positive = 3.0
    """Passes over the training examples."""
    max_steps: Count | None = None
    """Stop after this many steps, whatever `epochs` says."""
    batch_size: Count = 8
    """Rows per step and device: packed rows of `max_length` tokens, or examples where `packing` is off."""
    gradient_accumulation_steps: Count = 1
    """Batches whose gradients are added before a step."""
    packing: bool = True
    """Fill rows with several examples; none of them sees another."""
    lr_scheduler_type: Literal["cosine", "linear", "constant"] = "cosine"
    """How the learning rate falls after warming up."""
    warmup_ratio: Share = 0.03
    """Share of the steps during which the learning rate rises."""
    optim: Literal["adamw", "muon"] = "adamw"
    """`muon` learns from fewer tokens when every weight is trained; embeddings and norms stay with AdamW."""
    weight_decay: NotNegative = 0.0
    """Decoupled, per step and unit of learning rate."""
    adam_beta2: Fraction = 0.999
    """Decay of AdamW's mean of squared gradients."""
    max_grad_norm: Positive = 1.0
    """Longer gradients are scaled down to this norm."""
    dtype: Literal["bfloat16", "float32"] = "bfloat16"
    """Of weights and arithmetic."""
    compile: bool = False
    """Compile the repeated layers (`torch.compile`): pays on a GPU over some hundred steps, not on a CPU."""
    save_steps: Count = 100
    """Checkpoint every so many steps; the last two are kept."""
    seed: Whole = 42
    """Of the order of the examples and of new weights."""
    lora: Lora = Lora()


# ---------------------------------------------------------------------------------------------------------- recipe


def _default_clean() -> list[CleanStep]:
    return [CleanStep.model_validate(name) for name in ("whitespace", "redact", "deduplicate")]


class Conflict(NamedTuple):
    """Two places that contradict each other; the first is where the reader is sent."""

    where: tuple[str | int, ...]
    other: tuple[str | int, ...]
    message: str


class Recipe(Section):
    """Everything about a run, from the sources to the evidence."""

    name: str = Field(pattern=RUN_NAME)
    """Name of the run: its folder is `runs/<name>`."""
    cluster: Text | None = None
    """Address of a Ray cluster on which documents are cleaned, such as ray://host:10001; by default this machine."""
    limit: Count | None = None
    """At most this many documents of each source: for a first look."""
    gather: list[Source] = Field(min_length=1)
    """Where the text comes from."""
    clean: list[CleanStep] = Field(default_factory=_default_clean)
    """Steps of cleaning, in the order given."""
    prepare: Prepare = Prepare()
    model: Model = Model()
    train: Train = Train()
    evaluate: list[EvaluateStep] = Field(default_factory=default_steps, min_length=1)
    """What is measured, on the base model and on the tuned one."""

    @model_validator(mode="after")
    def _possible(self) -> Recipe:
        conflicts = [*_conflicts_about_a_new_model(self), *_measured_twice(self), *_without_completions(self)]
        if conflicts:
            raise ValidationError.from_exception_data("Recipe", [_line_error(conflict) for conflict in conflicts])
        return self


def _conflicts_about_a_new_model(recipe: Recipe) -> Iterator[Conflict]:
    new, pretrain = recipe.model.from_scratch, recipe.train.objective == "pretrain"
    base, scratch = ("model", "base"), ("model", "from_scratch")
    objective, method, longest = ("train", "objective"), ("train", "method"), ("prepare", "max_length")
    if new and "base" in recipe.model.model_fields_set:
        yield Conflict(
            base, scratch, "cannot stand beside from_scratch, which starts from no model: remove one of them"
        )
    if new and not pretrain:
        yield Conflict(scratch, objective, "a new model needs `train.objective: pretrain`")
    if pretrain and recipe.train.method != "full":
        yield Conflict(objective, method, "pretrain trains every weight: it needs `train.method: full`")
    if recipe.train.optim == "muon" and recipe.train.method != "full":
        yield Conflict(("train", "optim"), method, "muon trains whole matrices: it needs `train.method: full`")
    if new and recipe.prepare.max_length > new.max_position_embeddings:
        limit = f"model.from_scratch.max_position_embeddings ({new.max_position_embeddings})"
        message = f"prepare.max_length ({recipe.prepare.max_length}) is above {limit}"
        given = "max_length" in recipe.prepare.model_fields_set
        yield Conflict(longest, scratch, message) if given else Conflict(scratch, longest, message)


def _measured_twice(recipe: Recipe) -> Iterator[Conflict]:
    first: dict[str, int] = {}
    for index, (name, _) in enumerate(step.chosen for step in recipe.evaluate):
        if name in first:
            earlier = ("evaluate", first[name])
            yield Conflict(("evaluate", index), earlier, f"{name} is measured already, in evaluate.{first[name]}")
        first.setdefault(name, index)


def _without_completions(recipe: Recipe) -> Iterator[Conflict]:
    for index, step in enumerate(recipe.evaluate):
        if step.completion is not None and recipe.prepare.template == "plain":
            template = ("prepare", "template")
            message = "completion needs a template with prompt and completion, such as alpaca; plain has neither"
            yield Conflict(("evaluate", index), template, message)


def _nothing_to_complete(recipe: Recipe) -> Iterator[Conflict]:
    for index, (name, _) in enumerate(step.chosen for step in recipe.evaluate):
        if name == "completion" and recipe.prepare.template == "plain":
            message = "completion needs a template with prompt and completion, and plain has none: measure continuation"
            yield Conflict(("evaluate", index), ("prepare", "template"), message)


def _line_error(conflict: Conflict) -> InitErrorDetails:
    error = PydanticCustomError("conflict", "{message}", {"message": conflict.message, "other": conflict.other})
    return InitErrorDetails(type=error, loc=conflict.where, input=None)
