"""How large a model is, what memory it needs and how many steps it trains: computed, with nothing loaded.

Parameters are exact for Llama and Mistral. Memory is that of the largest moment, to choose a batch by; what it is made
of is compared with what PyTorch holds in the tests, and with GPUs by ``benchmarks/memory.py``.
"""

from __future__ import annotations

from steep.sizes.activations import kept_activations, layer_activations
from steep.sizes.answers import PREFILL, SORTED, answer_budget, answer_bytes
from steep.sizes.evaluation import SCORED_LOGITS, SCORED_TOKENS, evaluation_memory, merge_memory
from steep.sizes.memory import Memory
from steep.sizes.optimizers import PAGED
from steep.sizes.parameters import trainable_parameters
from steep.sizes.shape import KNOWN, Linear, Shape, adapted
from steep.sizes.training import TRAINED_LOGITS, training_memory
from steep.sizes.work import Work, training_work

__all__ = [
    "KNOWN",
    "PAGED",
    "PREFILL",
    "SCORED_LOGITS",
    "SCORED_TOKENS",
    "SORTED",
    "TRAINED_LOGITS",
    "Linear",
    "Memory",
    "Shape",
    "Work",
    "adapted",
    "answer_budget",
    "answer_bytes",
    "evaluation_memory",
    "kept_activations",
    "layer_activations",
    "merge_memory",
    "trainable_parameters",
    "training_memory",
    "training_work",
]
