"""What a recipe may say: one pydantic model per section, in the order of the stages. Nothing heavy is imported here.

``config.load_recipe`` reads a file into a `Recipe`; every mistake is reported with its line. The docstrings and field
descriptions below are the recipe reference: ``docs/recipe.md`` and ``steep schema`` are made from them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, model_validator


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


Fraction = Annotated[float, Field(gt=0, lt=1)]
Count = Annotated[int, Field(ge=1)]


# ---------------------------------------------------------------------------------------------------------- gather


class FilesSource(Section):
    """Files on disk: txt, md, html, jsonl, csv, tsv, parquet; also compressed as .gz, .xz, .zst."""

    files: str | list[str]
    """Paths or globs, relative to the recipe's folder."""
    name: str | None = None
    """What documents of this entry are called in `source`; by default the file's name."""
    text: str = "text"
    """Column that holds the text, in jsonl, csv, tsv and parquet."""
    title: str = "title"
    """Column that holds the title, where there is one."""
    published: str = "published"
    """Column that holds the date, where there is one; ISO 8601 or RFC 2822, UTC where no zone is given."""
    url: str = "url"
    """Column that holds the address, where there is one."""
    encoding: str | None = None
    """Of text files; detected where not given."""
    licence: str | None = None
    """Licence of these texts, kept with each document."""


class WebSource(Section):
    """A website, crawled politely: robots.txt is obeyed and the pace follows the server's answers."""

    web: str | list[str]
    """Start addresses."""
    name: str | None = None
    """What documents of this entry are called in `source`; by default the host name."""
    sitemap: str | list[str] = Field(default_factory=list)
    """Addresses of sitemaps whose pages are fetched as well."""
    max_pages: Count = 500
    """Stop after this many pages."""
    include: list[str] = Field(default_factory=list)
    """Regular expressions; an address must match one of them to be kept as a document."""
    exclude: list[str] = Field(default_factory=list)
    """Regular expressions; an address that matches one is not fetched."""
    timeout: Annotated[float, Field(gt=0)] = 30.0
    """Seconds after which a page counts as failed."""
    max_bytes: Count = 10_000_000
    """Larger pages count as failed."""
    user_agent: str = "steep (+https://pypi.org/project/steep)"
    """How the crawler names itself."""


class SocialSource(Section):
    """Apify exports (JSON) of Facebook pages and Instagram: posts of the owner only, never comments."""

    social: str | list[str]
    """Paths or globs, relative to the recipe's folder."""
    owner: str | list[str]
    """Page or user name whose posts are kept; several where the networks know it by different names."""
    name: str | None = None
    """What documents of this entry are called in `source`; by default the file's name."""


def _kind_of_source(value: Any) -> str | None:
    if isinstance(value, Mapping):
        return next((kind for kind in ("files", "web", "social") if kind in value), None)
    return {FilesSource: "files", WebSource: "web", SocialSource: "social"}.get(type(value))


Source = Annotated[
    Annotated[FilesSource, Tag("files")] | Annotated[WebSource, Tag("web")] | Annotated[SocialSource, Tag("social")],
    Discriminator(_kind_of_source),
]


# ----------------------------------------------------------------------------------------------------------- clean


class OneOf(Section):
    """An entry of a list that is a bare name or a one-key mapping: ``- whitespace``, ``- redact: [email]``."""

    @model_validator(mode="before")
    @classmethod
    def _from_name(cls, value: Any) -> Any:
        if isinstance(value, str) and value in cls.model_fields:
            return {value: {}}
        if isinstance(value, str):
            raise ValueError(f"unknown name {value!r}: one of {', '.join(cls.model_fields)}")
        if isinstance(value, Mapping):  # `- whitespace:` with nothing after the colon
            return {key: {} if inner is None else inner for key, inner in value.items()}
        return value

    @model_validator(mode="after")
    def _exactly_one(self) -> OneOf:
        if len(self.model_fields_set) != 1:
            raise ValueError(f"give exactly one of {', '.join(type(self).model_fields)}")
        return self

    @property
    def chosen(self) -> tuple[str, Any]:
        """The one name given and its options."""
        (name,) = self.model_fields_set
        return name, getattr(self, name)


class Whitespace(Section):
    """Repairs broken Unicode, normalises line ends, runs of blanks and blank lines."""


class Markup(Section):
    """Removes HTML tags, Markdown link syntax and template debris such as ``{{ … }}`` and ``{% … %}``."""


class Boilerplate(Section):
    """Removes blocks that repeat over many pages of one site: menus, footers, calls to subscribe."""

    min_documents: Annotated[int, Field(ge=2)] = 5
    """A block must stand in at least this many documents of its site ..."""
    min_share: Fraction = 0.1
    """... and in at least this share of them."""


class Redact(Section):
    """Replaces personal data by typed placeholders: ``[EMAIL]``, ``[PHONE]``."""

    kinds: list[Literal["email", "phone"]] = Field(default_factory=lambda: ["email", "phone"], min_length=1)
    """What to replace."""
    region: str = Field(default="US", pattern="^[A-Z]{2}$")
    """Country whose national telephone format applies to numbers without a country code."""

    @model_validator(mode="before")
    @classmethod
    def _from_list(cls, value: Any) -> Any:
        return {"kinds": value} if isinstance(value, list) else value


class Deduplicate(Section):
    """Drops exact and near duplicates: MinHash bands propose pairs, the true Jaccard similarity of word 5-grams decides."""

    threshold: Annotated[float, Field(gt=0, le=1)] = 0.8
    """Two documents at least this similar are duplicates; the earliest gathered is kept."""


class Length(Section):
    """Drops documents that are too short or too long."""

    min_words: Annotated[int, Field(ge=0)] = 5
    max_words: Count | None = None


class Language(Section):
    """Keeps documents in the named languages."""

    keep: list[str] = Field(default_factory=lambda: ["en"], min_length=1)
    """ISO 639-1 codes."""

    @model_validator(mode="before")
    @classmethod
    def _from_list(cls, value: Any) -> Any:
        return {"keep": value} if isinstance(value, list) else value


class CleanStep(OneOf):
    """One step of cleaning. Steps run in the order given."""

    whitespace: Whitespace | None = None
    markup: Markup | None = None
    boilerplate: Boilerplate | None = None
    redact: Redact | None = None
    deduplicate: Deduplicate | None = None
    length: Length | None = None
    language: Language | None = None


# --------------------------------------------------------------------------------------------------------- prepare


class Split(Section):
    """Which documents are held out. Near-duplicates never straddle train and test."""

    test: Fraction = 0.1
    """Share of the documents that is held out."""
    sources: list[str] = Field(default_factory=list)
    """Hold out exactly the documents of these sources instead."""
    seed: int = 42


class Prepare(Section):
    """From documents to training examples."""

    template: str = "plain"
    """plain, title-description, alpaca, llama-2, llama-3, or the path of a .jinja file."""
    fields: dict[str, str] = Field(default_factory=dict)
    """Jinja expressions that fill the template's variables, e.g. `instruction: "Write about {{ title }}."`."""
    lowercase: bool = False
    split: Split = Split()
    max_length: Annotated[int, Field(ge=8)] = 512
    """Tokens per example; longer ones are cut and counted."""
    repeat: dict[str, Count] = Field(default_factory=dict)
    """How often the training examples of a source are repeated, so that a large source does not drown a small one."""


# ----------------------------------------------------------------------------------------------------------- model


class Architecture(Section):
    """A Llama to be trained from scratch; names as in transformers' LlamaConfig."""

    vocab_size: Annotated[int, Field(ge=300)] = 8192
    hidden_size: Count = 256
    intermediate_size: Count = 704
    num_hidden_layers: Count = 8
    num_attention_heads: Count = 4
    num_key_value_heads: Count = 2
    max_position_embeddings: Count = 1024
    rope_theta: float = 10000.0
    tie_word_embeddings: bool = True


class Model(Section):
    """The model that training starts from."""

    base: str = "tiny"
    """A hub name, a folder, or `tiny`: the model that ships with steep."""
    revision: str | None = None
    """Of the hub model; the commit that was used is kept with the run."""
    from_scratch: Architecture | None = None
    """A new model instead of `base`; with `train.objective: pretrain`."""


# ----------------------------------------------------------------------------------------------------------- train


class Lora(Section):
    """Low-rank adaptation (Hu et al. 2021, arXiv 2106.09685)."""

    rank: Count = 16
    alpha: Count = 32
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    target_modules: str | list[str] = "all-linear"


class Train(Section):
    """Fine-tuning."""

    method: Literal["full", "lora"] = "lora"
    objective: Literal["sft", "pretrain"] = "sft"
    """`sft` keeps examples whole; `pretrain` splits long texts over rows instead of cutting them."""
    learning_rate: Annotated[float, Field(gt=0)] = 2e-4
    epochs: Annotated[float, Field(gt=0)] = 3.0
    max_steps: Count | None = None
    """Stop after this many steps, whatever `epochs` says."""
    batch_size: Count = 8
    """Rows per step and device: packed rows of `max_length` tokens, or examples where `packing` is off."""
    gradient_accumulation_steps: Count = 1
    packing: bool = True
    """Fill rows with several examples; none of them sees another."""
    lr_scheduler_type: Literal["cosine", "linear", "constant"] = "cosine"
    warmup_ratio: Annotated[float, Field(ge=0, lt=1)] = 0.03
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    adam_beta2: Annotated[float, Field(gt=0, lt=1)] = 0.999
    max_grad_norm: Annotated[float, Field(gt=0)] = 1.0
    dtype: Literal["bfloat16", "float32"] = "bfloat16"
    save_steps: Count = 100
    """Checkpoint every so many steps; the last two are kept."""
    seed: int = 42
    lora: Lora = Lora()


# -------------------------------------------------------------------------------------------------------- evaluate


class Perplexity(Section):
    """exp of the mean negative log-likelihood per token of the held-out text; template tokens are not counted."""

    stride: Fraction = 0.5
    """Step of the sliding window, as a share of the window; the rest is context that is not scored again."""


class Continuation(Section):
    """Each held-out text is cut; the model continues the first part; the second part is the reference."""

    split: Fraction = 0.5
    """Share of the tokens that is given."""
    metrics: list[Literal["bleu", "rouge"]] = Field(default_factory=lambda: ["bleu", "rouge"], min_length=1)
    max_new_tokens: Count = 128
    temperature: Annotated[float, Field(ge=0)] = 0.0
    """0 is greedy decoding."""
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    batch_size: Count = 32
    seed: int = 42


class EvaluateStep(OneOf):
    """One measurement, for the base model and the tuned one."""

    perplexity: Perplexity | None = None
    continuation: Continuation | None = None


# ---------------------------------------------------------------------------------------------------------- recipe


def _default_clean() -> list[CleanStep]:
    return [CleanStep.model_validate(name) for name in ("whitespace", "redact", "deduplicate")]


def _default_evaluate() -> list[EvaluateStep]:
    return [EvaluateStep.model_validate(name) for name in ("perplexity", "continuation")]


class Recipe(Section):
    """Everything about a run, from the sources to the evidence."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    """Of the run: its folder is `runs/<name>`."""
    gather: list[Source] = Field(min_length=1)
    clean: list[CleanStep] = Field(default_factory=_default_clean)
    prepare: Prepare = Prepare()
    model: Model = Model()
    train: Train = Train()
    evaluate: list[EvaluateStep] = Field(default_factory=_default_evaluate, min_length=1)

    @model_validator(mode="after")
    def _possible(self) -> Recipe:
        scratch, pretrain = self.model.from_scratch is not None, self.train.objective == "pretrain"
        if scratch and "base" in self.model.model_fields_set:
            raise ValueError("model: give base or from_scratch, not both")
        if scratch and not pretrain:
            raise ValueError("model.from_scratch needs train.objective: pretrain")
        if pretrain and self.train.method != "full":
            raise ValueError("train.objective: pretrain needs train.method: full")
        return self
