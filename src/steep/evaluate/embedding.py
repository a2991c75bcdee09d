"""Texts to vectors by a sentence-transformers model, for comparing what they mean.

The package is an extra, and its models are another download: where one of them is absent, a measure is left out with
the reason, and the others stay.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from textwrap import shorten
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from steep.errors import ModelError
from steep.models import device, resolve

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

Embed = Callable[[Sequence[str]], NDArray[np.float32]]
"""Texts to vectors of length 1, [texts, dimensions]."""
PATIENCE = 5.0
"""Seconds to wait for the hub; sentence-transformers itself tries for 70 where there is no network."""

EXTRA = "it needs sentence-transformers: pip install 'steep[embeddings]'"


def load_embedder(name: str, folder: Path | None = None) -> Embed:
    """``name`` is a folder, relative to ``folder``, or a name on the hub, downloaded where it is not on this disk.

    Raises ModelError where the package or the model is absent.
    """
    from huggingface_hub.utils import httpx  # type: ignore[attr-defined]  # httpx or httpx2, by its version
    from safetensors import SafetensorError

    try:
        model = _load(resolve(name, folder))
    except ImportError as error:
        extra = error.name == "sentence_transformers"
        raise ModelError(f"cannot compare by meaning: {EXTRA if extra else error}") from error
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError, httpx.HTTPError) as error:
        raise ModelError(
            f"cannot compare by meaning: the model {name!r} cannot be loaded: {shorten(str(error), 200)}. "
            "embedding_model is the folder of a sentence-transformers model, or a hub name (with network)"
        ) from error
    return lambda texts: _embed(model, texts)


def _load(place: str) -> SentenceTransformer:
    """What is on this disk first: a model that was downloaded once needs no network again."""
    from huggingface_hub import HfApi
    from sentence_transformers import SentenceTransformer

    try:
        return SentenceTransformer(place, device=str(device()), local_files_only=True)
    except OSError:
        if Path(place).exists():
            raise
    HfApi().model_info(place if "/" in place else f"sentence-transformers/{place}", timeout=PATIENCE)
    return SentenceTransformer(place, device=str(device()))


def _embed(model: SentenceTransformer, texts: Sequence[str]) -> NDArray[np.float32]:
    found = model.encode(list(texts), normalize_embeddings=True, show_progress_bar=False)
    return np.asarray(found, dtype=np.float32)
