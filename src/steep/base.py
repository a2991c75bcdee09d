"""What is on this disk of a base model, by its config.json and the headers of its weights; nothing is loaded."""

from __future__ import annotations

import json
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from steep.errors import ModelError
from steep.models import resolve
from steep.recipe import Model
from steep.sizes import KNOWN, Shape

AGAIN = "download it again"


@dataclass(frozen=True, slots=True)
class Base:
    """``config`` is empty where the model is not on this disk; ``shape`` is None where its layers are not known."""

    name: str
    place: str
    config: dict[str, Any]
    shape: Shape | None


def find_base(model: Model, folder: Path) -> Base:
    """The model of a recipe in ``folder``. Raises ModelError where what is there is no model, or not all of one."""
    if model.from_scratch is not None:
        config = {**model.from_scratch.model_dump(), "model_type": "llama"}
        return Base("new", "trained from scratch", config, Shape.of(config))
    path = Path(resolve(model.base, folder))
    if path.is_dir():
        place = "ships with steep" if model.base == "tiny" else f"folder {path}"
        if missing := _missing(path):
            raise ModelError(f"{path} lacks its weights ({', '.join(missing)}): {AGAIN}")
    elif (cached := _cached(model.base, model.revision)) is None:
        return Base(model.base, "hub; not on this disk: its size is not known before it is downloaded", {}, None)
    else:
        path, place = cached, f"hub; on this disk, commit {cached.name[:12]}"
    config = _config(path)
    shape = _shape(config, path)
    return Base(model.base, f"{place}; {_weights(path, shape)}", config, shape)


def loaded_commit(model: Model, folder: Path) -> str | None:
    """The commit of a hub model that has just been loaded; transformers does not keep it. None for a folder."""
    if model.from_scratch is not None or Path(resolve(model.base, folder)).is_dir():
        return None
    cached = _cached(model.base, model.revision)
    return cached.name if cached else None


def _cached(name: str, revision: str | None) -> Path | None:
    """The snapshot of a hub model in the local cache."""
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        found = try_to_load_from_cache(name, "config.json", revision=revision)
    except HFValidationError:
        raise ModelError(f"{name!r} is no folder, and no name that a model on the hub can have") from None
    return Path(found).parent if isinstance(found, str) else None


def _config(folder: Path) -> dict[str, Any]:
    path = folder / "config.json"
    try:
        config = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise ModelError(f"{folder} holds no config.json: name the folder of a model") from None
    except ValueError as error:
        raise ModelError(f"{path} is not JSON ({error}): {AGAIN}") from None
    if not isinstance(config, dict):
        raise ModelError(f"{path} describes no model: {AGAIN}")
    return config


def _shape(config: dict[str, Any], folder: Path) -> Shape | None:
    if config.get("model_type") not in KNOWN:
        return None
    try:
        return Shape.of(config)
    except KeyError as error:
        raise ModelError(f"{folder / 'config.json'} lacks {error}: {AGAIN}") from None


def _files(folder: Path) -> list[Path]:
    """The safetensors files of a model: those of its index, or the one that needs none."""
    index = folder / "model.safetensors.index.json"
    if not index.exists():
        return [folder / "model.safetensors"]
    return [folder / name for name in sorted(set(json.loads(index.read_text("utf-8"))["weight_map"].values()))]


def _missing(folder: Path) -> list[str]:
    if not (folder / "config.json").exists() or any(folder.glob("*.bin")):  # the older format, without a header
        return []
    return [path.name for path in _files(folder) if not path.exists()]


def _weights(folder: Path, shape: Shape | None) -> str:
    files = [path for path in _files(folder) if path.exists()]
    if not files:
        return "weights in .bin files" if any(folder.glob("*.bin")) else "weights not downloaded yet"
    stored = sum(stored_parameters(path) for path in files)
    differ = f" that hold {stored:,} numbers" if shape is not None and stored != shape.parameters else ""
    return f"weights of {sum(path.stat().st_size for path in files) / 1e6:,.1f} MB{differ}"


def stored_parameters(path: Path) -> int:
    """How many numbers a safetensors file holds: 8 bytes say how long its header is, the header is JSON.

    Raises ModelError where the file is damaged or cut.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        content = file.read(min(length, size))
    try:
        tensors = [value for name, value in json.loads(content).items() if name != "__metadata__"]
        whole = 8 + length + max((tensor["data_offsets"][1] for tensor in tensors), default=0)
        count: int = sum(prod(tensor["shape"]) for tensor in tensors)
    except (ValueError, TypeError, KeyError, AttributeError):
        raise ModelError(f"{path} is no safetensors file: {AGAIN}") from None
    if size < whole:
        raise ModelError(f"{path} is cut, with {size:,} of {whole:,} bytes: {AGAIN}")
    return count
