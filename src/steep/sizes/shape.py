"""A decoder's dimensions, from its config.json alone: exact for Llama and Mistral."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cache
from typing import Any, NamedTuple

KNOWN = ("llama", "mistral")
"""Values of `model_type` whose layers are those of `Shape`."""


class Linear(NamedTuple):
    """A linear layer; those with the same ``source`` read the same tensor."""

    name: str
    source: str
    inputs: int
    outputs: int
    bias: bool = False

    @property
    def size(self) -> int:
        return self.inputs * self.outputs + (self.outputs if self.bias else 0)


@dataclass(frozen=True, slots=True)
class Shape:
    """A decoder as in transformers' LlamaConfig, with its names and defaults."""

    vocab_size: int
    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    head_dim: int
    max_position_embeddings: int = 2048
    tie_word_embeddings: bool = False
    attention_bias: bool = False
    mlp_bias: bool = False

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> Shape:
        """Of what a config.json holds. Raises KeyError where it lacks a size."""
        known = {field.name: config[field.name] for field in fields(cls) if config.get(field.name) is not None}
        heads = config["num_attention_heads"]
        return cls(**{"num_key_value_heads": heads, "head_dim": config["hidden_size"] // heads, **known})

    @property
    def linears(self) -> tuple[Linear, ...]:
        """The linear layers of one decoder layer."""
        hidden, wide = self.hidden_size, self.intermediate_size
        query, key = self.num_attention_heads * self.head_dim, self.num_key_value_heads * self.head_dim
        return (
            Linear("self_attn.q_proj", "attention", hidden, query, self.attention_bias),
            Linear("self_attn.k_proj", "attention", hidden, key, self.attention_bias),
            Linear("self_attn.v_proj", "attention", hidden, key, self.attention_bias),
            Linear("self_attn.o_proj", "attended", query, hidden, self.attention_bias),
            Linear("mlp.gate_proj", "mlp", hidden, wide, self.mlp_bias),
            Linear("mlp.up_proj", "mlp", hidden, wide, self.mlp_bias),
            Linear("mlp.down_proj", "gated", wide, hidden, self.mlp_bias),
        )

    @property
    def layer_matrices(self) -> int:
        return self.num_hidden_layers * sum(linear.size for linear in self.linears)

    @property
    def parameters(self) -> int:
        """Embeddings (one matrix where tied), linear layers, two norms per layer and the last one."""
        embeddings = self.vocab_size * self.hidden_size * (1 if self.tie_word_embeddings else 2)
        return embeddings + self.layer_matrices + (2 * self.num_hidden_layers + 1) * self.hidden_size


def adapted(shape: Shape, targets: str | Sequence[str]) -> tuple[Linear, ...]:
    """The linear layers that get an adapter, by PEFT's rule: a target is a name or the end of one, after a dot."""
    return _adapted(shape, targets if isinstance(targets, str) else tuple(targets))


@cache
def _adapted(shape: Shape, targets: str | tuple[str, ...]) -> tuple[Linear, ...]:
    names = (targets,) if isinstance(targets, str) else targets
    found = [
        linear
        for index in range(shape.num_hidden_layers)
        for linear in shape.linears
        if targets == "all-linear" or any(f".model.layers.{index}.{linear.name}".endswith(f".{name}") for name in names)
    ]
    if "lm_head" in names:
        found.append(Linear("lm_head", "head", shape.hidden_size, shape.vocab_size))
    return tuple(found)
