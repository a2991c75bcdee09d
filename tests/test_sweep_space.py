"""What `steep sweep` may try: ranges and choices, and what is wrong with them."""

from __future__ import annotations

from pathlib import Path

import pytest

from steep.errors import RecipeError, UsageError
from steep.sweep.space import Choice, Range, as_overrides
from steep.sweep.words import read_space


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "recipe.yaml"
    path.write_text("name: small\ngather: [{files: texts.jsonl}]\n")
    return path


def test_two_dots_are_a_range_commas_a_choice_and_one_value_an_override(recipe: Path) -> None:
    space = read_space(recipe, ["train.learning_rate=1e-4..1e-3", "train.lora.rank=8,16", "train.epochs=1"])
    assert space.dimensions == (
        Range("train.learning_rate", 1e-4, 1e-3, whole=False),
        Choice("train.lora.rank", (8, 16)),
    )
    assert space.overrides == ("train.epochs=1",)


@pytest.mark.parametrize(
    ("word", "log"),
    [
        ("train.learning_rate=1e-4..1e-3", True),
        ("train.learning_rate=1e-4..9e-4", False),
        ("train.warmup_ratio=0..0.1", False),
        ("train.lora.rank=1..64", False),
    ],
)
def test_a_range_over_a_factor_of_ten_is_searched_by_its_logarithm(recipe: Path, word: str, log: bool) -> None:
    (one,) = read_space(recipe, [word]).dimensions
    assert isinstance(one, Range)
    assert one.log == log


@pytest.mark.parametrize("word", ["train.lora.rank=8..64", "train.batch_size=2..4", "train.adalora.tinit=0..9"])
def test_keys_of_whole_numbers_have_ranges_of_whole_numbers(recipe: Path, word: str) -> None:
    (one,) = read_space(recipe, [word]).dimensions
    assert isinstance(one, Range)
    assert one.whole


def test_a_list_in_brackets_is_one_value(recipe: Path) -> None:
    space = read_space(recipe, ["train.lora.target_modules=[q_proj, v_proj],all-linear"])
    assert space.dimensions[0].ends == [["q_proj", "v_proj"], "all-linear"]
    with pytest.raises(UsageError, match="there is nothing to try"):
        read_space(recipe, ["train.lora.target_modules=[q_proj, v_proj]"])


def test_a_path_with_two_dots_is_no_range(recipe: Path) -> None:
    assert read_space(recipe, ["train.lora.rank=8,16", "model.base=models/../tiny"]).overrides


def test_values_are_written_so_that_the_recipe_reads_them(recipe: Path) -> None:
    assert as_overrides({"train.learning_rate": 1e-05, "train.method": "lora"}) == [
        "train.learning_rate=1e-05",
        'train.method="lora"',
    ]
    read_space(recipe, ["train.learning_rate=1e-05..1e-3"])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["train.learnin_rate=1e-4..1e-3"], "unknown key `learnin_rate`: did you mean `learning_rate`"),
        (["train.loras.rank=8,16"], "unknown key `loras`: did you mean `lora`"),
        (["train.lora.rank=0..8"], "train.lora.rank: must be at least 1, got 0"),
        (["train.method=full,lore"], "did you mean lora"),
        (["train.method=full,lora", "model.quantization=none,nf4"], "nf4 weights are rounded and cannot be trained"),
    ],
)
def test_the_recipe_must_allow_every_end_and_every_combination(recipe: Path, words: list[str], said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        read_space(recipe, words)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["train.epochs=1"], "there is nothing to try: give a key a range"),
        (["train.lora.rank=8.5..9"], "train.lora.rank is a whole number, and '8.5' is none"),
        (["train.learning_rate=1e-4..x"], "train.learning_rate is a number, and 'x' is none"),
        (["train.learning_rate=1e-3..1e-4"], "a range goes from the smaller number to the larger one"),
        (["train.method=1..3"], "train.method is no number, so that it has no range: name its values, as a,b,c"),
        (["train.lora.rank=8,16,8"], "8 is named twice"),
        (["train.lora.rank=8,16", "train.lora.rank=4..9"], "train.lora.rank is given twice"),
        (["prepare.max_length=64,128"], "prepare.max_length changes the texts or tokens on which the validation loss"),
        (["train.dpo.beta=0.1,0.2"], "train.dpo.beta changes what the loss is"),
    ],
)
def test_what_cannot_be_tried_is_told_with_the_reason(recipe: Path, words: list[str], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        read_space(recipe, words)
