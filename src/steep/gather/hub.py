"""Documents from a data set of the Hugging Face hub, or from a folder that holds one, read by `datasets`.

One question to the hub comes before all else. It tells what is wrong with the name, and which commit is the newest, at
which everything is then read; without network it fails at once, where `datasets` alone tries for 48 seconds. Streaming
reads no more than it has to and leaves nothing on the disk, but begins again after an interruption; it is about as fast
as what was downloaded first (93,000 and 115,000 abstracts a second of one core, benchmarks/tables.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from difflib import get_close_matches
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from steep.errors import SourceError
from steep.gather.rows import NoColumn, Origin, Row, Rows, few, row_documents
from steep.licences import licence_id, strictest
from steep.paths import as_text
from steep.recipe.gather import HubSource
from steep.records import Document, Failure
from steep.terminal import progress

if TYPE_CHECKING:
    from datasets import Dataset, DatasetBuilder, IterableDataset

PATIENCE = 10.0
"""Seconds for the first answer of the hub."""
BATCH = 1000
LONGEST_REASON = 300
ON_HUB = "hf://datasets/"
LOG_IN = "run `hf auth login` or set HF_TOKEN"


@dataclass(frozen=True, slots=True)
class DataSet:
    name: str
    place: str
    """For `datasets`: a folder, or an address that no folder can be taken for."""
    revision: str | None = None
    fetched: datetime | None = None
    """Null for what is on this disk."""


def hub_documents(source: HubSource, *, folder: Path, on_failure: Callable[[Failure], None]) -> Iterator[Document]:
    """`SourceError` with what to do about it where the data set, or the part that the recipe names, cannot be had."""
    with _explained(source.hub):
        found = _find(source, folder)
        builder = _builder(found, source)
        origin = _origin(source, found, builder)
    empty = True

    def report(where: str, reason: str) -> None:
        on_failure(Failure(origin.source, f"{source.hub}:{where}" if where else source.hub, reason))

    with _explained(source.hub), progress(f"hub {source.hub}") as update, few(report) as reported:
        rows = _rows(_open(builder, source), source.limit, update)
        for document in row_documents(rows, source, origin, reported):
            empty = False
            yield document
    if empty:
        report("", f"no text in the split {source.split!r}")


def _origin(source: HubSource, found: DataSet, builder: DatasetBuilder) -> Origin:
    name, licence = source.name or found.name, source.licence or _licence(_card(found, builder))
    if found.place.startswith(ON_HUB):
        return Origin(name, licence, found.fetched, {"hub": found.name, "commit": builder.hash})
    return Origin(name, licence)


# ---------------------------------------------------------------------------------------------------- the data set


def _find(source: HubSource, folder: Path) -> DataSet:
    from huggingface_hub import constants

    path = folder / Path(source.hub).expanduser()
    if path.is_dir():
        return _in_folder(source, path)
    if path.exists():
        raise SourceError(f"{source.hub} is a file: name it with `files:`, or name the folder of a data set")
    if constants.HF_HUB_OFFLINE:  # `datasets` takes what it downloaded last
        return DataSet(source.hub, ON_HUB + source.hub, source.revision)
    return _on_hub(source, folder)


def _in_folder(source: HubSource, path: Path) -> DataSet:
    name = path.resolve().name
    _no_script(source, name, [file.name for file in path.iterdir()])
    return DataSet(as_text(name), str(path))


def _on_hub(source: HubSource, folder: Path) -> DataSet:
    from huggingface_hub import HfApi, constants
    from huggingface_hub.errors import GatedRepoError, HFValidationError, RepositoryNotFoundError, RevisionNotFoundError

    try:
        info = HfApi().dataset_info(source.hub, revision=source.revision, timeout=PATIENCE)
        if info.gated:
            HfApi().auth_check(source.hub, repo_type="dataset")
    except GatedRepoError:
        page = f"{constants.ENDPOINT}/datasets/{source.hub}"
        raise SourceError(f"{source.hub} is gated: accept its conditions at {page}, then {LOG_IN}") from None
    except RepositoryNotFoundError:
        none = f"there is no data set {source.hub!r} on the hub, and no such folder in {folder}"
        raise SourceError(f"{none}; if it is private, {LOG_IN}") from None
    except RevisionNotFoundError:
        raise SourceError(_unknown(source.hub, "revision", source.revision, _revisions(source.hub))) from None
    except HFValidationError:
        raise SourceError(f"{source.hub!r} is no folder in {folder}, and no name of a data set on the hub") from None
    _no_script(source, info.id.rpartition("/")[2], [file.rfilename for file in info.siblings or ()])
    return DataSet(info.id, ON_HUB + info.id, info.sha, datetime.now(UTC))


def _revisions(hub: str) -> list[str]:
    from huggingface_hub import HfApi

    references = HfApi().list_repo_refs(hub, repo_type="dataset")
    return [reference.name for reference in (*references.branches, *references.tags)]


def _no_script(source: HubSource, name: str, files: Sequence[str]) -> None:
    if f"{name}.py" in files:
        raise SourceError(
            f"{source.hub} needs a script ({name}.py), and steep runs no code of others; for many data sets the hub "
            "keeps a copy without: try `revision: refs/convert/parquet`"
        )


def _card(found: DataSet, builder: DatasetBuilder) -> Any:
    """The head of its README.md, which `datasets` has just read, too."""
    from huggingface_hub import DatasetCard, try_to_load_from_cache

    card: Any = Path(found.place) / "README.md"
    if found.place.startswith(ON_HUB):
        card = try_to_load_from_cache(found.name, "README.md", repo_type="dataset", revision=builder.hash)
    return DatasetCard.load(card).data if card and Path(card).is_file() else {}


def _licence(card: Any) -> str | None:
    """Of several, which hold for parts of the data set, the one that allows the least."""
    declared = card.get("license") or []
    names = [declared] if isinstance(declared, str) else declared
    named = [card.get("license_name") if name == "other" else name for name in names if name != "unknown"]
    return strictest(licence for name in named if (licence := licence_id(name)))


# ------------------------------------------------------------------------------------------------ its configuration


def _builder(found: DataSet, source: HubSource) -> DatasetBuilder:
    from datasets import get_dataset_config_names, load_dataset_builder

    try:
        builder = load_dataset_builder(found.place, name=source.config, revision=found.revision)
    except ValueError:
        names = get_dataset_config_names(found.place, revision=found.revision)
        if source.config is None and len(names) > 1:
            raise SourceError(f"{source.hub} has several parts: choose one with `config:`: {_listed(names)}") from None
        if source.config is not None and source.config not in names:
            raise SourceError(_unknown(source.hub, "config", source.config, names)) from None
        raise
    if found.revision not in (None, builder.hash):
        raise SourceError(
            f"{source.hub}: commit {builder.hash} was downloaded before, and with HF_HUB_OFFLINE nobody can say "
            f"whether that is {found.revision!r}: name the commit, or unset the variable"
        )
    return builder


def _open(builder: DatasetBuilder, source: HubSource) -> Dataset | IterableDataset:
    names = [str(name) for name in builder.config.data_files or builder.info.splits or ()]
    for part in source.split.split("+"):
        name = part.partition("[")[0].strip()
        if name not in [*names, "all"]:
            raise SourceError(_unknown(source.hub, "split", name, names))
    if source.streaming:
        return builder.as_streaming_dataset(split=source.split)
    builder.download_and_prepare()
    return builder.as_dataset(split=source.split)


def _unknown(hub: str, what: str, name: str | None, names: Sequence[str]) -> str:
    near = get_close_matches(name or "", names, n=1)
    return f"{hub} has no {what} {name!r}; it has {_listed(names)}" + (f"; did you mean {near[0]!r}?" if near else "")


def _listed(names: Sequence[str], shown: int = 20) -> str:
    more = f" and {len(names) - shown:,} more" if len(names) > shown else ""
    return (", ".join(names[:shown]) or "none") + more


# -------------------------------------------------------------------------------------------------------- its rows


def _rows(data: Dataset | IterableDataset, limit: int | None, update: Callable[..., None]) -> Rows:
    from datasets import ClassLabel

    features = data.features or {}
    labels = {name: feature for name, feature in features.items() if isinstance(feature, ClassLabel)}
    media = [name for name, feature in features.items() if _is_media(feature)]
    number = 0
    for table in data.with_format("arrow").iter(batch_size=_batch(limit)):
        table = table.drop_columns(media).slice(length=None if limit is None else limit - number)
        for row in table.to_pylist():
            number += 1
            yield f"row {number}", _in_words(row, labels) if labels else row
        update(table.num_rows)
        if number == limit:
            return


def _batch(limit: int | None) -> int:
    """So that the last batch ends at the limit: `datasets` reads on, into the next file, until a batch is full."""
    return BATCH if limit is None else ceil(limit / ceil(limit / BATCH))


def _is_media(feature: Any) -> bool:
    """Images, sounds and other bytes, which are no facts about a text."""
    from datasets.features.features import require_decoding

    return require_decoding(feature) or "binary" in str(getattr(feature, "dtype", ""))


def _in_words(row: Row, labels: Mapping[str, Any]) -> Row:
    """With the names of classes in place of their numbers; the hub's data sets write -1 where none is known."""
    known = {name: number for name in labels if (number := row[name]) is not None and number >= 0}
    return {**row, **{name: labels[name].int2str(number) for name, number in known.items()}}


@contextmanager
def _explained(hub: str) -> Iterator[None]:
    """Turns what `datasets` and the hub's client raise into a `SourceError` that says what to do."""
    import yaml  # type: ignore[import-untyped]
    from datasets.exceptions import DatasetsError
    from huggingface_hub.errors import HfHubHTTPError
    from huggingface_hub.utils import httpx  # type: ignore[attr-defined]  # httpx or httpx2, by its version

    try:
        yield
    except NoColumn as error:
        raise SourceError(f"{hub}: {error}") from None
    except HfHubHTTPError as error:
        raise SourceError(f"{hub}: the hub answers {error.response.status_code}; try again later") from None
    except (httpx.TransportError, ConnectionError) as error:
        raise SourceError(f"{hub}: {_unreachable(error)}") from None
    except yaml.YAMLError as error:
        raise SourceError(f"{hub}: the head of its README.md is no YAML: {_in_short(error)}") from None
    except (DatasetsError, OSError, ValueError, TypeError, NotImplementedError, ImportError) as error:
        raise SourceError(f"{hub} cannot be read: {_in_short(error.__cause__ or error)}") from None


def _unreachable(error: Exception) -> str:
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return "HF_HUB_OFFLINE is set, and nothing of it was downloaded before with `streaming: false`"
    return (
        f"the hub cannot be reached ({_in_short(error)}): look at the network, or at HTTPS_PROXY behind a proxy. "
        "HF_HUB_OFFLINE=1 reads what was downloaded before with `streaming: false`"
    )


def _in_short(error: BaseException) -> str:
    said = " ".join(str(error).split()) or type(error).__name__
    return said if len(said) <= LONGEST_REASON else said[:LONGEST_REASON] + "…"
