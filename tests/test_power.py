"""`steep power`: how many documents a difference takes, by the spread of a run."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from evaluated import DOCUMENTS, results, write_evaluation, write_run
from steep.cli import app
from steep.errors import RunError, UsageError
from steep.power import plan
from steep.significance import required_documents


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_run(tmp_path_factory.mktemp("runs") / "brand-voice", 0.3, 11)


def said(*arguments: object) -> str:
    result = CliRunner().invoke(app, ["power", *map(str, arguments)], catch_exceptions=False)
    return " ".join(result.output.split())


def test_all_measures_are_told_when_none_is_named(run: Path) -> None:
    assert [need.metric for need in plan(run).needs] == [
        "perplexity",
        "bits_per_byte",
        "continuation.rouge1",
        "continuation.rougeL",
    ]


def test_the_spread_is_that_of_the_runs_own_paired_differences(run: Path) -> None:
    (need,) = plan(run, "rouge1").needs
    tuned, base = (results(*of).measured["continuation.rouge1"].rows[:, 0] for of in ((0.3, 11), (0, 1)))
    clusters = (tuned - base).reshape(-1, 2).mean(axis=1)  # of two near-duplicates each
    assert need.found == pytest.approx((tuned - base).mean())
    assert need.deviation == pytest.approx(clusters.std(ddof=1))


def test_a_difference_takes_the_documents_of_its_clusters(run: Path) -> None:
    (need,) = plan(run, "rouge1", 0.01).needs
    clusters = required_documents(0.01, need.deviation, alpha=0.05 / 3)  # perplexity, ROUGE-1 and ROUGE-L
    assert need.needed == 2 * clusters


def test_twice_the_difference_takes_about_a_quarter_of_the_documents(run: Path) -> None:
    one, two = (plan(run, "rougeL", wanted).needs[0].needed for wanted in (0.01, 0.02))
    assert one == pytest.approx(4 * two, rel=0.1)


def test_what_the_present_documents_prove_takes_the_present_documents(run: Path) -> None:
    detectable = plan(run, "rougeL").needs[0].detectable
    assert plan(run, "rougeL", detectable).needs[0].needed == DOCUMENTS


def test_the_terminal_says_it_with_the_runs_spread(run: Path) -> None:
    told = said(run, "--metric", "rougeL", "--difference", "0.01")
    needed = plan(run, "rougeL", 0.01).needs[0].needed
    assert "By the spread of brand-voice: with a probability of 80 % a difference is proven" in told
    assert "after Holm's correction over the 3 measures of the verdict" in told
    assert (
        f"ROUGE-L (continuation.rougeL): a difference of 0.010 takes {needed:,} held-out texts; this run has 60" in told
    )
    assert f"{needed - 60:,} too few" in told


def test_models_that_say_the_same_leave_nothing_to_prove(tmp_path: Path) -> None:
    run = write_run(tmp_path / "same", 0.0, 1)
    assert plan(run, "rougeL").needs[0].needed is None
    assert "no difference was found, and none is given with --difference" in said(run, "--metric", "rougeL")


def test_an_unknown_measure_is_told_with_the_nearest(run: Path) -> None:
    with pytest.raises(UsageError, match=r"--metric rogueL: not measured .*\(did you mean rougeL\?\); there are perp"):
        plan(run, "rogueL")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((None, 0.1), "name it with --metric"),
        (("rougeL", 0.0), "expected a number other than 0"),
        (("rougeL", math.nan), "expected a number other than 0"),
        (("rougeL", 0.1, 1.0), "--power 1.0: expected a probability between 0.05 and 1"),
    ],
)
def test_impossible_options_are_refused(run: Path, options: tuple[object, ...], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        plan(run, *options)


def test_five_documents_show_no_spread(tmp_path: Path) -> None:
    run = write_run(tmp_path / "few", 0.3, 11, documents=10)  # five clusters of two
    with pytest.raises(RunError, match="few: fewer than 6 held-out documents show no spread; hold out more"):
        plan(run)


def test_a_model_without_a_base_has_no_differences(tmp_path: Path) -> None:
    run = write_run(tmp_path / "new", 0.3, 11)
    for file in (run / "evaluate").iterdir():
        file.unlink()
    (run / "evaluate").rmdir()
    write_evaluation(run / "evaluate", {"tuned": results(0.3, 11)})
    with pytest.raises(RunError, match="no measure of a base model and of a tuned one"):
        plan(run)


def test_an_unfinished_run_is_told(tmp_path: Path) -> None:
    run = write_run(tmp_path / "begun", 0.3, 11)
    (run / "run.json").write_text("{}")
    with pytest.raises(RunError, match="the stage evaluate is not finished"):
        plan(run)


def test_damaged_measures_are_told(tmp_path: Path) -> None:
    run = write_run(tmp_path / "damaged", 0.3, 11)
    (run / "evaluate" / "measures.parquet").write_bytes(b"PAR1 and then the power failed")
    with pytest.raises(RunError, match=r"measures.parquet is damaged \(.*\): run the evaluate stage again"):
        plan(run)
    (run / "evaluate" / "measures.parquet").unlink()
    with pytest.raises(RunError, match=r"measures.parquet is missing: run the evaluate stage again"):
        plan(run)


def test_no_measure_is_infinite_where_texts_differ_by_nothing(tmp_path: Path) -> None:
    run = write_run(tmp_path / "same", 0.0, 1)
    assert all(np.isfinite(need.detectable) for need in plan(run).needs)
