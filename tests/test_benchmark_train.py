"""What the benchmark of training speed makes of its rows; the trainings themselves are its quick run, a step of CI."""

from __future__ import annotations

import statistics
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
import training_page
from training_results import faults, results
from training_works import WORKS, Setting, Work, ordered, short_lengths

sys.path.pop(0)  # other tests have modules of the same names


def row(work="lora-bf16", engine="steep", speed=100.0, **more):
    return {
        "work": work,
        "setting": f"{engine}-none-4",
        "engine": engine,
        "batch": 4,
        "checkpointing": "none",
        "packing": False,
        "grouped": False,
        "quantization": "none",
        "length": 2048,
        "tokens_per_second": speed,
        "tokens_per_step": 8188,
        "spread": 0.01,
        "peak_gib": 50.0,
        "losses": [9.0, 8.0],
        "loss": 8.0,
        "grad_norms": [0.5, 0.4],
        "grad_norm": 0.4,
        "seconds_to_first_step": 30.0,
        **more,
    }


def failed(work="lora-bf16", engine="unsloth"):
    return {"work": work, "setting": f"{engine}-none-16", "engine": engine, "error": "OutOfMemoryError"}


def test_steep_is_set_beside_the_fastest_peer():
    (found,) = results([row(), row(speed=150.0), row(engine="trl", speed=50.0), row(engine="unsloth", speed=120.0)])
    assert (found["peer"]["engine"], found["steep"]["tokens_per_second"], found["ratio"]) == ("unsloth", 150.0, 1.25)


def test_a_training_that_failed_is_no_peer():
    assert results([row(), failed()]) == []


def test_the_speed_within_the_memory_of_the_peer_is_said():
    rows = [row(speed=200.0, peak_gib=80.0), row(speed=110.0, peak_gib=40.0), row(engine="unsloth", peak_gib=40.0)]
    (found,) = results(rows)
    assert (found["ratio"], found["within_memory"]["ratio"]) == (2.0, 1.1)


def test_a_work_without_peers_is_set_beside_those_of_the_same_rows():
    rows = [row(), row(engine="unsloth", speed=80.0), row("lora-fp8", speed=160.0), row("qlora-nf4", "unsloth")]
    assert {one["work"]: one["ratio"] for one in results(rows)}["lora-fp8"] == 2.0


def test_losses_are_compared_where_a_step_has_the_same_rows():
    other = row(engine="unsloth", losses=[9.0, 8.5])
    assert results([row(), other])[0]["largest_difference_of_loss"] == 0.5
    assert "largest_difference_of_loss" not in results([row(batch=8), other])[0]
    assert "largest_difference_of_loss" not in results([row(length=0), other])[0]


def test_engines_that_train_otherwise_fail_the_quick_run():
    assert faults([row(), row(engine="trl", losses=[9.0, 8.00005])]) == []
    assert faults([row(), row(engine="trl", losses=[9.0, 8.001])]) == ["losses differ by 1.0e-03, more than 1e-04"]
    assert faults([row(), row(engine="trl", losses=[9.0, float("nan")])]) == ["losses differ by nan, more than 1e-04"]
    assert faults([row(), failed(engine="trl")]) == ["trl: OutOfMemoryError"]


@pytest.mark.parametrize("norm", [0.0, float("nan")])
def test_a_training_without_a_gradient_fails_the_quick_run(norm):
    assert faults([row(grad_norms=[0.5, norm]), row(engine="trl")]) == ["steep: a gradient's norm is 0 or no number"]


def test_where_time_runs_out_no_work_is_without_a_peer():
    alone = Work("alone", (Setting("steep", 8),))
    many = Work("many", tuple(Setting(engine, size) for size in (4, 8) for engine in ("steep", "unsloth")))
    told = [f"{work.name} {setting.name}" for work, setting in ordered([many, alone])]
    assert told == [
        "many steep-none-4",
        "many unsloth-none-4",
        "alone steep-none-8",
        "many steep-none-8",
        "many unsloth-none-8",
    ]


def test_no_two_settings_of_a_work_have_the_same_name():
    names = [(work.name, setting.name) for work in WORKS for setting in work.settings]
    assert len(set(names)) == len(names)


def test_short_texts_are_as_long_as_news_items():
    lengths = short_lengths(7600)
    assert statistics.mean(lengths) == pytest.approx(58.4, abs=0.5)
    assert statistics.quantiles(lengths, n=20)[::9] == pytest.approx([39, 57, 78], abs=1)


def test_the_page_has_the_fastest_setting_of_each_engine_between_its_markers(tmp_path):
    page = tmp_path / "performance.md"
    page.write_text(f"# Before\n{training_page.BEGIN}old\n{training_page.END}## After\n", "utf-8")
    rows = [row(), row(speed=150.0, batch=8), row(engine="unsloth", speed=120.0), failed()]
    rows += [row("growth-length-512", length=512), row("growth-batch-2", batch=2)]
    content = {"machine": {"devices": ["H200", "H200"]}, "versions": {"steep": {"torch": "2"}, "peers": {"trl": "1"}}}
    training_page.write({**content, "made": "2026-11-28", "results": results(rows), "rows": rows}, tmp_path)
    text = page.read_text("utf-8")
    assert text.startswith("# Before\n")
    assert text.endswith("## After\n")
    assert "old" not in text
    assert "| lora-bf16 | 150 (8 rows, none, 50.0 GiB) | 120 (Unsloth, 4 rows, none, 50.0 GiB) | 1.25 |" in text
    assert "| lora-bf16 | steep | 8 | none | 150 |" in text
    assert "| lora-bf16 | steep | 4 |" not in text
    assert "| growth" not in text
    assert "`lora-bf16` unsloth-none-16 (OutOfMemoryError)" in text
    for name in ("train_speed.svg", "train_curves.svg", "train_growth.svg"):
        assert f"]({name})" in text
        assert (tmp_path / name).read_text("utf-8").startswith("<?xml")


def test_a_page_without_markers_is_left_alone(tmp_path):
    (tmp_path / "performance.md").write_text("# Measurements\n", "utf-8")
    with pytest.raises(SystemExit, match=r"performance\.md has no place for the table: put the lines"):
        training_page.write({"rows": [], "results": []}, tmp_path)
