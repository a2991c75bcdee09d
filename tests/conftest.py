"""Shared fixtures: a tokenizer and a Llama of a few thousand weights, made in memory; nothing reaches the network."""

from __future__ import annotations

import os

os.environ.setdefault("OMP_WAIT_POLICY", "passive")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

from pathlib import Path

import pytest

from steep.models import new_model, train_tokenizer
from steep.recipe import Architecture

WORDS = (
    "The kettle sings when the water is ready. A quick brown fox jumps over the lazy dog by the harbour wall. "
    "Rain fell on the roof all morning, and nobody minded. Ünïcode, numbers 1 2 3 and punctuation: all here!"
)


@pytest.fixture(scope="session")
def tokenizer():
    return train_tokenizer([WORDS] * 20, vocab_size=400, model_max_length=256)


@pytest.fixture
def tiny_model(tokenizer):
    shape = Architecture(
        vocab_size=400,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=256,
    )
    return new_model(shape, tokenizer, seed=0)


@pytest.fixture(scope="session")
def steep_data() -> Path:
    """The folder of real data, from ``STEEP_DATA``; tests that need it are skipped without."""
    folder = os.environ.get("STEEP_DATA")
    if not folder:
        pytest.skip("STEEP_DATA is not set")
    return Path(folder)
