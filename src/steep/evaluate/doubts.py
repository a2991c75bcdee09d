"""What could fool the reader of the scores, looked for in the results of all models together.

Each check of the recipe puts what it found into ``checks``, and a warning where it should be known before the figures
are believed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from steep.evaluate.compare import compare_metrics, verdicts
from steep.evaluate.disclosure import disclosed, returned
from steep.evaluate.familiarity import Familiarity, familiarity_warning
from steep.evaluate.general import forgetting, forgetting_gate, forgetting_warning
from steep.evaluate.heldout import answer_of, asked_in
from steep.evaluate.memorization import longest_runs, memorization, memorization_warning
from steep.evaluate.results import Measured, Results
from steep.records import CANARIES
from steep.scores import Doubt, Gate, Model, Scores, Warning
from steep.tokens import encode, text_ids

if TYPE_CHECKING:
    import pyarrow as pa
    from transformers import PreTrainedTokenizerBase

    from steep.recipe.evaluate import Contamination, EvaluateStep, FewShot, Forgetting, Memorization

FEW_CLUSTERS = 50
"""On fewer clusters of documents a 95 % interval covers down to 92.4 % (`benchmarks/calibration.py`)."""
ROWS = 1024
"""Training examples in memory at a time."""


@dataclass(frozen=True, slots=True)
class Material:
    """What the models were measured on and trained on."""

    tokenizer: PreTrainedTokenizerBase
    held_out: Sequence[Mapping[str, Any]]
    training: pa.Table
    gathered: Callable[[], Iterable[str]] = lambda: ()
    """The texts before anything was redacted, ..."""
    kinds: Sequence[str] = ()
    """... the kinds of personal data that were ..."""
    region: str | Sequence[str] = "US"
    """... and the countries whose telephone numbers are known."""


@dataclass(slots=True)
class _Found:
    scores: Scores
    results: Mapping[Model, Results]
    material: Material
    checks: dict[str, Any] = field(default_factory=dict)
    warnings: list[Warning] = field(default_factory=list)
    gates: list[Gate] = field(default_factory=list)

    def warn(self, kind: Doubt, message: str | None) -> None:
        if message:
            self.warnings.append(Warning(kind=kind, message=message))


def examine(
    scores: Scores, results: Mapping[Model, Results], steps: Sequence[EvaluateStep], material: Material
) -> Scores:
    """The scores with what the steps of the recipe find in them to doubt."""
    found = _Found(scores, results, material)
    _few_documents(found)
    for name, options in (step.chosen for step in steps):
        if name in _CHECKS:
            _CHECKS[name](found, options)
    _one_label(found)
    _skipped(found)
    return scores.model_copy(update={"checks": found.checks, "warnings": found.warnings, "gates": found.gates})


def _few_documents(found: _Found) -> None:
    statistics = found.scores.statistics
    if statistics and 0 < statistics.clusters < FEW_CLUSTERS:
        alone = "one held-out text, or near-duplicates of one"
        several = f"{statistics.clusters} held-out texts that are no near-duplicates of each other"
        found.warn(
            "few_documents",
            f"only {alone if statistics.clusters == 1 else several}: with fewer than "
            f"{FEW_CLUSTERS}, intervals are a little too narrow, and only large differences can be proven. Hold out "
            "more (prepare.split.test); `steep power` says how many",
        )


def _few_shot(found: _Found, options: FewShot) -> None:
    if "base" not in found.results:
        return
    if "few_shot" not in found.results:
        found.warn(
            "skipped",
            "the prompted base model was not measured: no training example fits into half of the model's positions, or "
            "beside the longest prompt",
        )
        return
    if found.scores.verdict.get("few_shot") != "better":
        found.warn(
            "few_shot",
            "the tuned model is not proven better than its base model with examples in the prompt: such a prompt may "
            "do what the tuning was for",
        )


def _contamination(found: _Found, options: Contamination) -> None:
    from steep.evaluate.contamination import leaks  # Daft, which nothing else here needs

    texts = _own_texts(found.material)
    training = ((str(row["document_id"]), _whole(row)) for row in _rows(found.material.training))
    leaked = leaks(texts, training, ngram=options.ngram, threshold=options.threshold)
    names = {str(found.material.held_out[leak.text]["document_id"]): leak for leak in leaked}
    check: dict[str, Any] = {"texts": len(texts), "leaked": len(leaked)}
    if leaked and len(leaked) < len(texts):
        rest = {
            model: {name: one.without(set(names)) for name, one in result.measured.items()}
            for model, result in found.results.items()
        }
        without = compare_metrics(rest)
        check["verdict_without"] = verdicts(without)
        check["metrics_without"] = {name: one.model_dump() for name, one in without.items()}
    check["leaks"] = [{"text": name, **_without_place(asdict(leak))} for name, leak in names.items()]
    found.checks["contamination"] = check
    if leaked:
        found.warn(
            "contamination",
            f"{len(leaked)} of {len(texts)} held-out texts stand in the training text as well, wholly or by a share of "
            f"at least {options.threshold:.0%}: read the scores without them",
        )


def _without_place(leak: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in leak.items() if name != "text"}


def _memorization(found: _Found, options: Memorization) -> None:
    _verbatim(found, options.min_tokens)
    _personal_data(found)
    canaries = {model: one.checks["canaries"] for model, one in found.results.items() if "canaries" in one.checks}
    if canaries:
        found.checks["canaries"] = canaries
        tuned = canaries.get("tuned")
        if tuned and tuned["memorised"]:
            found.warn(
                "canaries",
                f"the tuned model remembers the planted canaries: their mean exposure is {tuned['mean']:.1f} bits, and "
                f"that of a model that never read them 1.4, at most {tuned['limit']:.1f}",
            )


def _verbatim(found: _Found, min_tokens: int) -> None:
    """Of all models in one pass over the training text."""
    answers = [(model, one) for model, result in found.results.items() for one in result.answers]
    if not answers:
        return
    tokenizer = found.material.tokenizer
    bos = tokenizer.bos_token_id
    said = text_ids([one.text for _, one in answers], tokenizer)
    shots = {model: result.shots for model, result in found.results.items()}
    prompts = text_ids([f"{shots[model]}{one.prompt}" for model, one in answers], tokenizer)
    training = (
        encoded.input_ids[encoded.input_ids[:1] == [bos] :]
        for rows in _batches(found.material.training)
        for encoded in encode(rows, tokenizer, max_length=None)
    )
    runs = longest_runs(said, training, prompts=prompts)
    check = {}
    for model in found.results:
        places = [place for place, (name, _) in enumerate(answers) if name == model]
        check[model] = memorization([runs[i] for i in places], [said[i] for i in places], min_tokens)
    found.checks["memorization"] = {model: asdict(one) for model, one in check.items()}
    if "tuned" in check:
        found.warn("memorization", memorization_warning(check["tuned"], check.get("base")))


def _personal_data(found: _Found) -> None:
    """Those kinds that the recipe takes out of the training text."""
    material, check = found.material, {}
    if not material.kinds:
        return
    for model, result in found.results.items():
        values = disclosed(
            [one.text for one in result.answers],
            [one.prompt for one in result.answers],
            [one.document_id for one in result.answers],
            kinds=material.kinds,
            region=material.region,
        )
        check[model] = returned(values, material.gathered(), region=material.region)
    found.checks["personal_data"] = {model: asdict(one) for model, one in check.items()}
    tuned, base = check.get("tuned"), check.get("base")
    if tuned and tuned.returned:
        kinds, known = (_counts(one.returned) if one else "none" for one in (tuned, base))
        found.warn(
            "personal_data",
            f"the tuned model says values that the recipe redacts and that stand in the gathered text: {kinds} (the "
            f"base model: {known})",
        )


def _counts(kinds: Mapping[str, int]) -> str:
    return ", ".join(f"{kind} {count}" for kind, count in kinds.items()) or "none"


def _forgetting(found: _Found, options: Forgetting) -> None:
    base, tuned = (_measured(found, model, "general_perplexity") for model in ("base", "tuned"))
    if base and tuned:
        check = forgetting(tuned.documents, base.rows, tuned.rows)
        found.checks["forgetting"] = asdict(check)
        found.warn("forgetting", forgetting_warning(check))
        found.gates += filter(None, [forgetting_gate(check, options.max_increase)])
    elif options.max_increase is not None:
        found.warn(
            "skipped",
            "forgetting: the limit max_increase was not held against anything, as there is no base model whose "
            "perplexity on general text compares",
        )
    base_results = found.results.get("base")
    if base_results and "familiarity" in base_results.checks:
        known = Familiarity(**base_results.checks["familiarity"])
        found.checks["familiarity"] = asdict(known)
        found.warn("familiarity", familiarity_warning(known))


def _measured(found: _Found, model: Model, name: str) -> Measured | None:
    return found.results[model].measured.get(name) if model in found.results else None


def _one_label(found: _Found) -> None:
    """Where half of the texts are of one label, half of the answers are right without reading a text."""
    confusion = found.scores.details.get("tuned", {}).get("completion", {}).get("confusion")
    accuracy = found.scores.metrics.get("completion.accuracy")
    if not confusion or not accuracy:
        return
    reached = accuracy.models["tuned"]
    if reached.low is not None and reached.low <= confusion["most_frequent"]:
        found.warn(
            "one_label",
            f"an accuracy of {reached.value:.2f} is not proven above the {confusion['most_frequent']:.2f} of always "
            "answering the most frequent label",
        )


def _skipped(found: _Found) -> None:
    for step, details in found.scores.details.get("tuned", {}).items():
        for name, reason in details.get("skipped", {}).items():
            found.warn("skipped", f"{step}: {name} was not measured: {reason}")


_CHECKS: dict[str, Callable[[_Found, Any], None]] = {
    "few_shot": _few_shot,
    "contamination": _contamination,
    "memorization": _memorization,
    "forgetting": _forgetting,
}


def _own_texts(material: Material) -> list[str]:
    """The held-out texts without the lines of their prompts that two or more training examples have as well.

    These are the template's: "Write the section ALLERGIES of the patient's record." is no leak of any text.
    """
    lines = Counter({line: 0 for example in material.held_out for line in asked_in(example).split("\n")})
    for row in _rows(material.training):
        lines.update(lines.keys() & set(asked_in(row).split("\n")))
    own = [[line for line in asked_in(one).split("\n") if lines[line] < 2] for one in material.held_out]
    return [_joined("\n".join(kept), one) for one, kept in zip(material.held_out, own, strict=True)]


def _whole(example: Mapping[str, Any]) -> str:
    return _joined(asked_in(example), example)


def _joined(asked: str, example: Mapping[str, Any]) -> str:
    return "\n".join(filter(None, (asked, answer_of(example))))


def _rows(training: pa.Table) -> Iterator[dict[str, Any]]:
    """The examples, each once, and without those that were made up."""
    seen: set[str] = set()
    for rows in _batches(training):
        for row in rows:
            if row.get("source") != CANARIES and row["document_id"] not in seen:
                seen.add(row["document_id"])
                yield row


def _batches(training: pa.Table) -> Iterator[list[dict[str, Any]]]:
    for batch in training.to_batches(ROWS):
        yield batch.to_pylist()
