"""How large a model is, what memory it needs and how many steps it trains: computed, with nothing loaded.

Parameters are exact for Llama and Mistral. Memory is an estimate to choose a batch by, slightly high: its parts are
added up, though not all are at their largest at the same time, and what `torch.compile` saves is not counted.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass, fields
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from steep.recipe import Recipe, Train
    from steep.recipe.evaluate import EvaluateStep

KNOWN = ("llama", "mistral")
"""Values of `model_type` whose layers are those of `Shape`."""
LIBRARIES = 0.7 * 2**30
"""PyTorch, transformers, TRL and Daft in a process, or the CUDA context on a GPU."""
HOLES = 1.4
"""What a CPU's allocator takes for activations beside their size; peaks of tiny were 1.2 (full) to 1.45 (LoRA)."""
TRAINED_LOGITS = {"cpu": 2**24, "cuda": 2**28}
SCORED_TOKENS, SCORED_LOGITS = 4096, 2**26
"""As in `steep.speed.loss` and `steep.evaluate.perplexity`, which cannot be imported without torch."""
ANSWERED = {"cpu": 2**30, "cuda": 2**35}
"""Bytes at most for what the prompts that are answered at the same time hold."""
PREFILL, SORTED = 2**13, 2**24
"""Tokens of prompts that are read in one pass, padding included, and probabilities that sampling sorts at a time."""
SORTED_BYTES = 48
"""For each of them: in float64, their order, their sums, and what sorting needs beside them."""


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


def adapted(shape: Shape, targets: str | Sequence[str]) -> Iterator[Linear]:
    """The linear layers that get an adapter, by PEFT's rule: a target is a name or the end of one, after a dot."""
    names = [targets] if isinstance(targets, str) else targets
    for index in range(shape.num_hidden_layers):
        for linear in shape.linears:
            full = f".model.layers.{index}.{linear.name}"
            if targets == "all-linear" or any(full.endswith(f".{name}") for name in names):
                yield linear
    if "lm_head" in names:
        yield Linear("lm_head", "head", shape.hidden_size, shape.vocab_size)


def trainable_parameters(shape: Shape, train: Train) -> int:
    """All, or for LoRA the two matrices of the rank beside each adapted layer."""
    if train.method == "full":
        return shape.parameters
    return train.lora.rank * sum(one.inputs + one.outputs for one in adapted(shape, train.lora.target_modules))


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes, by what holds them."""

    weights: float
    gradients: float
    optimizer: float
    activations: float
    logits: float
    libraries: float = LIBRARIES

    @property
    def total(self) -> float:
        return float(sum(astuple(self)))


def training_memory(shape: Shape, recipe: Recipe, *, cuda: bool) -> Memory:
    """What the train stage needs with full rows.

    Weights, gradients and AdamW's two moments as in ZeRO (Rajbhandari et al. 2020, arXiv 1910.02054, section 3.1):
    4 + 4 + 8 bytes per trained parameter, plus a bfloat16 copy of each matrix that autocast keeps; frozen weights are
    held in `train.dtype`. Muon keeps one moment. Activations: those of `layer_activations`, and once more those of the
    one layer whose gradients are computed. Logits: `steep.speed.loss` holds
    a limited number, twice in float32, and from then on the gradient of the output layer where that is trained.
    """
    train, max_length = recipe.train, recipe.prepare.max_length
    trained, full = trainable_parameters(shape, train), train.method == "full"
    mixed = train.dtype == "bfloat16" and (cuda or full)
    frozen = 0 if full else shape.parameters * (2 if train.dtype == "bfloat16" else 4)
    moments = 8 * trained - (4 * shape.layer_matrices if train.optim == "muon" else 0)
    tokens = train.rows_at_a_time * max_length
    logits = min(tokens * shape.vocab_size, TRAINED_LOGITS["cuda" if cuda else "cpu"])
    head = shape.vocab_size * shape.hidden_size if full else 0
    layers = shape.num_hidden_layers * (1 if cuda else HOLES) + 1
    return Memory(
        weights=frozen + 4 * trained + (2 * shape.layer_matrices if mixed and full else 0),
        gradients=4 * trained,
        optimizer=moments,
        activations=tokens * layers * layer_activations(shape, train, cuda=cuda),
        logits=8 * logits + 4 * head,
    )


def layer_activations(shape: Shape, train: Train, *, cuda: bool) -> float:
    """Bytes per token that one decoder layer keeps for the backward pass.

    Counted as in Korthikanti et al. 2022 (arXiv 2205.05198, section 4.1), for what transformers' Llama computes:
    norms keep float32; a trained layer keeps its input, in a copy of its own where it has to be cast (autocast, or an
    adapter in float32 beside bfloat16 weights); attention keeps queries, keys, values and its output, but no scores;
    the MLP keeps gate, up, and the activated gate.
    """
    full, half = train.method == "full", train.dtype == "bfloat16"
    size = 2 if half else 4
    kept = 2 if half and (full or cuda) else 4
    if full:
        trained, low_rank = list(shape.linears), 0.0
    else:
        trained = list(dict.fromkeys(adapted(shape, train.lora.target_modules)))
        low_rank = train.lora.rank * len(trained) * kept
    inputs = [one.inputs for one in trained] if half else list({one.source: one.inputs for one in trained}.values())
    query, key = (shape.linears[index].outputs for index in (0, 1))
    norms = 2 * shape.hidden_size * (8 if full else 4)
    attention = (2 * query + 2 * (query if cuda else key)) * size  # on CUDA, keys and values are repeated
    return norms + sum(inputs) * kept + attention + 3 * shape.intermediate_size * size + low_rank


def answer_bytes(layers: int, key_size: int, vocab_size: int, size: int) -> tuple[int, int]:
    """What an answer in the making holds: for each token, with those of its prompt, keys and values; and its logits."""
    return 2 * layers * key_size * size, vocab_size * size


def answer_budget(free: float | None) -> float:
    """Bytes for all answers in the making, on a GPU with so many free, or on the CPU.

    The other half is for activations, for what sampling sorts, and for others on the same GPU.
    """
    return ANSWERED["cpu"] if free is None else min(ANSWERED["cuda"], free / 2)


def evaluation_memory(
    shape: Shape,
    train: Train,
    steps: Sequence[EvaluateStep],
    max_length: int,
    *,
    cuda: bool,
    memory: float = math.inf,
) -> Memory:
    """What the evaluate stage needs at most: one model at a time, and no gradients.

    Perplexity holds a limited number of logits, as they are and twice in float32. Answers hold keys and values of all
    their tokens, in batches that fit into half of what ``memory`` leaves free unless a batch_size is given. All hold
    the widest layer's activations.
    """
    size = 2 if cuda else 4
    adapter = 0 if train.method == "full" else 4 * trainable_parameters(shape, train)
    weights = shape.parameters * size + adapter
    token, row = answer_bytes(shape.num_hidden_layers, shape.linears[1].outputs, shape.vocab_size, size)
    wide = (3 * shape.intermediate_size + 4 * shape.hidden_size) * size
    activations, logits = [0.0], [0.0]
    for name, options in (step.chosen for step in steps):
        if name in ("continuation", "completion"):
            budget = answer_budget(max(0.0, memory - weights - LIBRARIES) if cuda else None)
            rows = options.batch_size or max(1, budget // (token * max_length + row))
            activations.append(rows * max_length * token + min(rows * max_length, max(PREFILL, max_length)) * wide)
            logits.append(
                rows * row + (SORTED_BYTES * min(rows * shape.vocab_size, SORTED) if options.temperature else 0)
            )
        elif name in ("perplexity", "forgetting"):
            read = max(SCORED_TOKENS, max_length)
            activations.append(read * (token + wide))
            logits.append(min(SCORED_LOGITS, read * shape.vocab_size) * (size + 8))
    return Memory(weights, 0, 0, max(activations), max(logits))


@dataclass(frozen=True, slots=True)
class Work:
    """What there is to train: ``tokens`` counts every epoch."""

    rows: int
    steps: int
    epochs: float
    tokens: float


def training_work(examples: int, tokens: int, train: Train, max_length: int) -> Work:
    """Rows, steps and tokens as transformers counts them; packing is taken to fill its rows, as it nearly does."""
    rows = math.ceil(tokens / max_length) if train.packing else examples
    per_epoch = max(1, math.ceil(rows / train.rows_per_step))
    steps = train.max_steps or math.ceil(train.epochs * per_epoch)
    epochs = steps / per_epoch if train.max_steps else train.epochs
    return Work(rows, steps, epochs, tokens * epochs)
