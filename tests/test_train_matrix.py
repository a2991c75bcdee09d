"""The matrix of methods, quantizations and objectives: trained, saved, loaded in another process, merged."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

import matrix

LEVELS = ["none", "int8", "nf4", "fp8"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """What each combination gave, and the folder in which another process has loaded all of them."""
    folder = tmp_path_factory.mktemp("matrix")
    results = {name: matrix.run(name, folder) for name in matrix.CASES}
    script = "import sys; from pathlib import Path; import matrix; matrix.reload_all(Path(sys.argv[1]))"
    subprocess.run(
        [sys.executable, "-c", script, str(folder)], cwd=Path(matrix.__file__).parent, check=True, capture_output=True
    )
    return results, folder


def test_the_matrix_is_all_that_a_recipe_allows():
    allowed = {"full": ["none"], "lora": LEVELS}
    supervised = {"adalora": LEVELS, "adaption-prompt": LEVELS}
    expected = {
        f"{method}-{level}-{objective}"
        for method, levels in (allowed | supervised).items()
        for level in levels
        for objective in ("sft", "pretrain", *(("dpo", "reward", "rloo", "grpo") if method in allowed else ()))
    }
    assert {name for name in matrix.CASES if name.count("-") > 1} == expected
    assert {name for name in matrix.CASES if name.startswith(("pissa", "loftq"))} == {"pissa-none", "loftq-nf4"}


@pytest.mark.parametrize("name", matrix.CASES)
def test_what_was_trained_gives_the_same_logits_in_another_process(trained, name):
    results, folder = trained
    result, expected = results[name]
    assert (result.method, result.quantization, result.objective) == matrix.CASES[name][:3]
    assert result.steps == 2
    found = torch.load(folder / name / "reloaded.pt")
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", matrix.CASES)
def test_what_was_trained_is_not_the_base_model(trained, name):
    _, expected = trained[0][name]
    base = matrix.untrained(name)
    assert expected.shape != base.shape or (expected - base).abs().max() > 1e-4


@pytest.mark.parametrize("name", [name for name in matrix.CASES if not name.startswith("adaption-prompt")])
def test_merged_into_the_dequantised_weights_it_gives_the_same_logits(trained, name):
    _, folder = trained
    found, expected = torch.load(folder / name / "merged.pt"), matrix.exact(name, folder)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
