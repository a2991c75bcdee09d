"""Tasks of EleutherAI's lm-evaluation-harness, by name, on a model that is loaded already.

Prompts, decoding and figures are the harness's own: a figure is the one that ``lm_eval --model hf`` prints for the same
model. A question with four choices is four forward passes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from steep.errors import SteepError, UsageError
from steep.evaluate.harness_figures import Measure, measures
from steep.evaluate.harness_tasks import known_tasks
from steep.evaluate.ledger import Ledger
from steep.evaluate.results import Measured
from steep.terminal import progress

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from steep.recipe.evaluate import LmEval

STEP = "lm_eval"
SHOWN = 300
"""Characters that are shown of what another program says."""


@dataclass(slots=True)
class Harness:
    """What one model reached in version ``version`` of the harness.

    ``tasks``: of each task and group its version, the examples in its prompts (``shots``) and its number of questions.
    ``cut``: by the name that was asked for, how many requests were too long for the model and lost their beginning.
    """

    version: str = ""
    tasks: dict[str, dict[str, Any]] = field(default_factory=dict)
    measures: list[Measure] = field(default_factory=list)
    cut: dict[str, int] = field(default_factory=dict)

    def measured(self) -> dict[str, Measured]:
        """The metrics that can be compared question by question; each question is a cluster of its own."""
        return {
            one.name: Measured(
                list(one.rows), list(one.rows), np.array(list(one.rows.values()), dtype=np.float64), one.better
            )
            for one in self.measures
            if one.rows
        }


def run_tasks(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    options: LmEval,
    *,
    folder: Path,
    batch_size: int,
    ledger: Ledger | None = None,
) -> Harness:
    """Run each task or group; what ``ledger`` knows is not run again. ``folder``: where a relative include_path starts.

    Raises UsageError where the package is missing, a task unknown or not for steep; SteepError with the task's name
    where it cannot be loaded, or fails.
    """
    ledger = ledger or Ledger()
    todo = {number: name for number, name in enumerate(options.tasks) if number not in ledger.known(STEP)}
    if todo:
        manager = known_tasks(options, folder)
        from steep.evaluate.harness_model import HarnessModel, quiet

        with quiet():
            loaded = {number: _load(manager, name) for number, name in todo.items()}  # all, before any is run
            for number, name in todo.items():
                with progress(f"{STEP} {name}") as update:
                    harness = HarnessModel(model, tokenizer, batch_size, update)
                    found = _run(name, harness, loaded[number], options, manager)
                ledger.write(STEP, {number: found})
    return _joined(list(ledger.known(STEP).values()))


def _joined(found: Sequence[Mapping[str, Any]]) -> Harness:
    """A task that two names asked for stands there once."""
    whole = Harness()
    every: dict[str, Measure] = {}
    for one in found:
        whole.version = one["version"]
        whole.tasks |= one["tasks"]
        whole.cut |= one["cut"]
        every |= {measure.name: measure for measure in (Measure(**fields) for fields in one["measures"])}
    whole.measures = list(every.values())
    return whole


def _load(manager: Any, name: str) -> dict[str, Any]:
    try:
        loaded: dict[str, Any] = manager.load([name])
    except Exception as error:
        raise _told(name, "cannot be loaded", error) from error
    for task in loaded["tasks"].values():
        for reason in _refused(task):
            raise UsageError(f"lm_eval: the task {task.task_name} {reason}; leave it out")
    return loaded


def _refused(task: Any) -> Iterator[str]:
    if getattr(task, "UNSAFE_CODE", False):
        yield "runs programs that the model writes, which steep does not do"
    if getattr(task, "MULTIMODAL", False):
        yield "shows pictures or plays sounds, and the model reads text"
    if not task.config.process_results and None in getattr(task, "_metric_fn_list", {}).values():
        yield "is measured by a program of the hub, which steep does not run"


def _told(name: str, what: str, error: Exception) -> SteepError:
    """Tasks are programs of others, and raise anything."""
    advice = next((advice for kind, advice in _ADVICE.items() if isinstance(error, kind)), "")
    said = f"{type(error).__name__}: {' '.join(str(error).split())}"
    return SteepError(f"lm_eval: the task {name} {what}{advice} ({said[:SHOWN]})")


_ADVICE: dict[type[Exception], str] = {
    ImportError: ": install the package that it needs",
    OSError: ": its data set is not in the cache and cannot be fetched; run once online",
}


def _run(name: str, harness: Any, loaded: Mapping[str, Any], options: LmEval, manager: Any) -> dict[str, Any]:
    from lm_eval import simple_evaluate

    members = {child for children in loaded["group_map"].values() for child in children}
    named = [one for kind in ("groups", "tasks") for child, one in loaded[kind].items() if child not in members]
    try:
        results = simple_evaluate(
            model=harness,
            tasks=named,
            task_manager=manager,
            num_fewshot=options.num_fewshot,
            limit=options.limit,
            bootstrap_iters=0,  # its standard errors know nothing of pairs
        )
    except RuntimeError:  # torch's, such as a lack of memory, which the stage explains
        raise
    except Exception as error:
        raise _told(name, "failed", error) from error
    found = measures(results, loaded["tasks"], loaded["groups"])
    return {
        "version": results["lm_eval_version"],
        "tasks": {one.task: _about(one.task, results) for one in found},
        "measures": [asdict(one) for one in found],
        "cut": {name: harness.cut} if harness.cut else {},
    }


def _about(name: str, results: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "version": str(results["versions"].get(name)),
        "shots": results["n-shot"].get(name),
        "questions": results["results"][name]["sample_len"],
    }
