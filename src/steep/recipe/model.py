"""The model that training starts from."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from steep.section import Count, NoSwitch, Positive, Section, Text


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
    quantization: Literal["none", "int8", "nf4", "fp8"] = "none"
    """How the frozen weights are kept: `int8` (Dettmers et al. 2022, arXiv 2208.07339), `nf4`, as in QLoRA (Dettmers
    et al. 2023, arXiv 2305.14314), or `fp8` (e4m3), which takes as much room as bfloat16 and is multiplied about twice
    as fast by Hopper and newer GPUs: it rounds weights, inputs and gradients to three bits."""
    double_quantization: bool = True
    """With `nf4`, quantise the quantisation's constants as well."""
    added_tokens: list[Text] = Field(default=[])
    """New tokens; the embedding grows, and their rows are trained and saved."""
    from_scratch: Architecture | None = None
    """A new model instead of `base`; with `train.objective: pretrain`."""

    @model_serializer(mode="wrap")
    def _without_unused_base(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        written: dict[str, Any] = serialize(self)
        if self.from_scratch is not None:  # a filled recipe must be valid again, and must not name a base
            written.pop("base", None)
        return written
