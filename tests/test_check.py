"""`steep check`: what is computed about a model is what the model is; what is said of a run is what a run would do."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from steep.base import find_base, stored_parameters
from steep.check import plan, print_plan, stage_states
from steep.config import read_recipe
from steep.errors import ModelError, RecipeError
from steep.machine import Machine, this_machine
from steep.models import TINY
from steep.preflight import examine
from steep.recipe import Model
from steep.runs import Run
from steep.sizes import Shape

GIB = 2**30
CPU = Machine("this machine", 16 * GIB, cuda=False)
SMALL = {
    "model_type": "llama",
    "vocab_size": 400,
    "hidden_size": 64,
    "intermediate_size": 160,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
}
LLAMA_2_7B = {
    "model_type": "llama",
    "vocab_size": 32000,
    "hidden_size": 4096,
    "intermediate_size": 11008,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "max_position_embeddings": 4096,
}
RECIPE = """\
name: leaves
gather:
  - files: texts/*.txt
  - web: https://example.com/${TOKEN}
    max_pages: 20
prepare:
  max_length: 512
train:
  epochs: 2
  batch_size: 2
"""


@pytest.fixture(autouse=True)
def _environment(monkeypatch, tmp_path):
    monkeypatch.setenv("TOKEN", "secret")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def recipe_path(tmp_path) -> Path:
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "a.txt").write_text("x" * 20_000)
    (tmp_path / "texts" / "b.txt").touch()
    (tmp_path / "leaves.yaml").write_text(RECIPE)
    return tmp_path / "leaves.yaml"


def rows(path: Path, *overrides: str, machine: Machine = CPU) -> dict[str, str]:
    recipe = read_recipe(path, overrides)
    found = plan(recipe, Run(path.parent / "runs" / "leaves"), machine)
    return {f"{row.section} {row.name}": row.text for row in found}


def model_folder(folder: Path, **config: object) -> Path:
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(SMALL | config))
    shutil.copy(TINY / "model.safetensors", folder)
    return folder


# ------------------------------------------------------------------------------------------------------- parameters


@pytest.mark.parametrize(
    "config",
    [
        SMALL | {"tie_word_embeddings": True, "attention_bias": True, "mlp_bias": True},
        SMALL | {"tie_word_embeddings": False, "head_dim": 24},
        LLAMA_2_7B,
    ],
    ids=["tied, with biases", "untied, wide heads", "Llama 2 7B"],
)
def test_parameters_are_those_of_transformers(config):
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    with torch.device("meta"):
        model = LlamaForCausalLM(LlamaConfig(**config))
    assert Shape.of(config).parameters == sum(parameter.numel() for parameter in model.parameters())


def test_parameters_of_tiny_are_those_in_its_file():
    shape = Shape.of(json.loads((TINY / "config.json").read_text()))
    assert shape.parameters == stored_parameters(TINY / "model.safetensors") == 8_000_960


# ----------------------------------------------------------------------------------------------------------- models


def test_a_hub_model_that_is_not_on_this_disk_has_no_size(recipe_path):
    found = rows(recipe_path, "model.base=acme/llama")
    assert found["model acme/llama"] == "hub; not on this disk: its size is not known before it is downloaded"
    assert "not known" in found["memory train"]


def test_a_hub_model_in_the_cache_is_read_there(recipe_path, tmp_path):
    repository = tmp_path / "cache" / "models--acme--llama"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("c0ffee" * 6)
    (repository / "snapshots").mkdir()
    model_folder(repository / "snapshots" / ("c0ffee" * 6))
    found = rows(recipe_path, "model.base=acme/llama", "prepare.max_length=256")
    assert "on this disk, commit c0ffeec0ffee" in found["model acme/llama"]
    assert found["model parameters"].startswith(f"{Shape.of(SMALL).parameters:,};")


def test_weights_that_are_not_what_the_config_says_are_pointed_out(tmp_path):
    base = find_base(Model(base="small"), model_folder(tmp_path / "small").parent)
    assert "that hold 8,000,960 numbers" in base.place


def test_a_model_of_another_kind_has_no_estimate(recipe_path, tmp_path):
    model_folder(tmp_path / "other", model_type="gpt2")
    found = rows(recipe_path, "model.base=other", "prepare.max_length=256")
    assert found["model parameters"] == "not known: computed for llama and mistral only"


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: (folder / "config.json").unlink(), "holds no config.json: name the folder of a model"),
        (lambda folder: (folder / "config.json").write_text("{"), "is not JSON"),
        (lambda folder: (folder / "config.json").write_text('{"model_type": "llama"}'), "lacks 'num_attention_heads'"),
        (lambda folder: (folder / "model.safetensors").unlink(), "lacks its weights (model.safetensors)"),
        (lambda folder: (folder / "model.safetensors").write_bytes(b"<html>" * 9), "is no safetensors file"),
        (lambda folder: shorten(folder / "model.safetensors"), "is cut, with 9,999,999 of 16,"),
    ],
)
def test_a_damaged_model_is_refused_with_its_reason(damage, message, tmp_path):
    folder = model_folder(tmp_path / "small")
    damage(folder)
    with pytest.raises(ModelError) as error:
        find_base(Model(base="small"), tmp_path)
    assert message in str(error.value)


def shorten(path: Path) -> None:
    with path.open("r+b") as file:
        file.truncate(9_999_999)


# ------------------------------------------------------------------------------------------------------- the recipe


def test_everything_that_would_stop_the_recipe_is_said_at_once_with_its_line(recipe_path):
    with pytest.raises(RecipeError) as error:
        rows(
            recipe_path,
            "gather.0.files=text/*.txt",
            "prepare.max_length=2048",
            "train.lora.target_modules=[q_prjo]",
        )
    files, longest, targets = str(error.value).splitlines()
    assert "leaves.yaml:3: gather.0.files: no file matches 'text/*.txt'" in files
    assert "did you mean 'texts'?" in files
    assert "leaves.yaml:7: prepare.max_length: 2,048 is above the model's 1,024 positions: lower it" in longest
    assert "leaves.yaml:8: train.lora.target_modules: the model has no linear layer 'q_prjo'; it has q_proj" in targets


@pytest.mark.parametrize("targets", ["lm_head", "[q_proj, lm_head]"])
def test_an_adapter_on_the_output_layer_is_refused(recipe_path, targets):
    with pytest.raises(RecipeError, match=r"train.lora.target_modules: lm_head gets no adapter: .*; leave it out"):
        rows(recipe_path, f"train.lora.target_modules={targets}")


def test_a_base_that_can_be_neither_folder_nor_hub_name_is_an_error(recipe_path):
    with pytest.raises(RecipeError, match=r"model.base: './here' is no folder, and no name that a model on the hub"):
        rows(recipe_path, "model.base=./here")


def test_sources_are_counted_and_shown_as_they_are_written(recipe_path):
    found = rows(recipe_path)
    assert found["sources texts/*.txt"] == "2 files, 0.02 MB, 1 of them empty"
    assert found["sources https://example.com/${TOKEN}"].startswith("website: at most 20 pages of 10 MB, 30 s each")
    assert "secret" not in str(found)


def test_before_prepare_nothing_is_guessed(recipe_path):
    found = rows(recipe_path)
    assert found["training examples"] == found["training steps"] == "known after prepare"
    assert found["training time"] == "not known: this run has not been trained yet"


# --------------------------------------------------------------------------------------------------------- the run


def finish(path: Path, *stages: str) -> Run:
    """A run whose stages are finished, as far as its record says."""
    from steep.pipeline import fingerprints

    run, prints = Run(path.parent / "runs" / "leaves"), fingerprints(read_recipe(path))
    for stage in stages:
        run.stage(stage).mkdir(parents=True)
    run.write({"stages": {stage: {"fingerprint": prints[stage]} for stage in stages}, "begun": prints})
    return run


def summarise(run: Run, stage: str, **facts: object) -> None:
    (run.stage(stage) / "summary.json").write_text(json.dumps(facts))


def test_a_changed_stage_takes_those_after_it_along(recipe_path):
    run = finish(recipe_path, "gather", "clean", "prepare", "train")
    summarise(run, "prepare")
    assert set(stage_states(read_recipe(recipe_path), run).values()) == {"unchanged", "runs"}
    changed = stage_states(read_recipe(recipe_path, ["clean=[whitespace]"]), run)
    assert changed == {
        "gather": "unchanged",
        **dict.fromkeys(("clean", "prepare", "train"), "runs again: it or its input changed"),
        "evaluate": "runs",
    }


def test_an_interrupted_stage_goes_on(recipe_path):
    run = finish(recipe_path, "gather")
    run.partial("clean").mkdir()
    assert stage_states(read_recipe(recipe_path), run)["clean"] == "goes on where it was interrupted"


def test_steps_and_time_follow_from_what_was_prepared_and_how_fast_it_was_trained(recipe_path):
    run = finish(recipe_path, "gather", "clean", "prepare", "train")
    summarise(
        run,
        "prepare",
        train={"examples": 90, "tokens": 51_200},
        test={"examples": 10},
    )
    summarise(
        run,
        "train",
        parameters=8_448_960,
        trainable_parameters=448_000,
        tokens_per_second=1_000,
        tokens=102_400,
        seconds=204.8,
        device="cpu",
    )
    assert rows(recipe_path)["training time"] == "none: trained already"
    found = rows(recipe_path, "train.epochs=3")
    assert found["training examples"] == "90 of 51,200 tokens; 10 held out"
    assert found["training steps"].startswith("about 150: 3 epochs, about 100 rows of up to 512 tokens, 2 x 1 rows")
    assert found["training time"] == "about 5.1 min at 500 tokens/s, as the last time (cpu)"
    assert "another model" in rows(recipe_path, "train.method=full")["training time"]


@pytest.mark.parametrize(
    ("memory", "verdict"), [(16 * GIB, "fits"), (GIB // 2, "does NOT fit; no change of the recipe makes it fit")]
)
def test_an_estimate_is_compared_with_the_machine(memory, verdict, recipe_path):
    found = rows(recipe_path, machine=Machine("a GPU", memory, cuda=True))
    assert f"a GPU has {memory / GIB:.1f} GiB: {verdict}" in found["memory train"]


def test_a_training_that_does_not_fit_comes_with_the_words_that_make_it_fit(recipe_path):
    gpu = Machine("a GPU", 4 * GIB, cuda=True, host=16 * GIB)
    asked = ("train.batch_size=64", "train.method=full", "train.gradient_checkpointing=false")
    found = rows(recipe_path, *asked, machine=gpu)["memory train"]
    assert "a GPU has 4.0 GiB: does NOT fit; it would with train.gradient_checkpointing=true" in found
    words = found.partition("it would with ")[2].split()
    again = rows(recipe_path, *asked, *words, machine=gpu)["memory train"]
    assert again.endswith("a GPU has 4.0 GiB: fits")


def test_a_batch_that_is_chosen_is_told_before_training(recipe_path):
    found = rows(recipe_path, "train.batch_size=auto", "train.global_batch_size=12")
    assert found["training batch"] == "12 rows at a time is the largest that fits: 12 x 1 rows a step"


def test_a_merge_is_compared_with_the_memory_of_the_host(recipe_path):
    gpu = Machine("a GPU", 16 * GIB, cuda=True, host=GIB // 2)
    assert "the host has 0.5 GiB: does NOT fit: merge on a machine" in rows(recipe_path, machine=gpu)["memory merge"]


def test_full_training_has_nothing_to_merge(recipe_path):
    assert "memory merge" not in rows(recipe_path, "train.method=full")


def test_an_optimizer_that_may_move_to_the_host_is_said_to(recipe_path):
    assert "may move to the host" in rows(recipe_path, "train.optim=paged_adamw_8bit")["memory train"]


def test_more_prompted_layers_than_the_model_has_are_refused(recipe_path):
    words = ("train.method=adaption-prompt", "train.adaption_prompt.adapter_layers=99")
    with pytest.raises(RecipeError, match=r"adapter_layers: 99 is more than the model's \d+ layers: lower it"):
        rows(recipe_path, *words)


def test_targets_of_adalora_are_looked_for_as_those_of_lora(recipe_path):
    words = ("train.method=adalora", "train.adalora.target_modules=[q_prjo]")
    with pytest.raises(RecipeError, match=r"train.adalora.target_modules: the model has no linear layer 'q_prjo'"):
        rows(recipe_path, *words)


@pytest.mark.parametrize(
    ("answer", "name", "memory"),
    [("echo 'NVIDIA H200, 143771'; echo 'NVIDIA T4, 15360'", "NVIDIA H200", 143_771 * 2**20), ("exit 9", None, None)],
    ids=["two GPUs", "no driver"],
)
def test_the_first_gpu_counts_and_without_one_the_memory_of_the_machine(answer, name, memory, tmp_path, monkeypatch):
    (tmp_path / "nvidia-smi").write_text(f"#!/bin/sh\n{answer}\n")
    (tmp_path / "nvidia-smi").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    machine = this_machine()
    if name:
        assert (machine.name, machine.memory, machine.cuda) == (name, memory, True)
        assert machine.ram > GIB
    else:
        assert not machine.cuda
        assert machine.memory > GIB


def test_nothing_is_written(recipe_path, tmp_path, capsys):
    before = sorted(tmp_path.rglob("*"))
    print_plan(read_recipe(recipe_path), tmp_path / "runs")
    assert sorted(tmp_path.rglob("*")) == before
    assert capsys.readouterr().out.startswith("stages\n  gather    runs\n")


def test_nothing_heavy_is_imported(recipe_path):
    program = (
        "import sys; from pathlib import Path\n"
        "from steep.check import print_plan; from steep.config import read_recipe\n"
        "print_plan(read_recipe(sys.argv[1]), Path('runs'))\n"
        "heavy = {'torch', 'transformers', 'daft', 'pyarrow', 'scrapy', 'rich', 'numpy', 'huggingface_hub'}\n"
        "sys.exit(', '.join(heavy & set(sys.modules)) or None)"
    )
    done = subprocess.run([sys.executable, "-c", program, str(recipe_path)], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_what_steps_of_cleaning_read_is_looked_for_before_any_work(tmp_path: Path) -> None:
    steps = 'clean: [{decontaminate: [evil.jsonl]}, {function: {call: "nowhere:mend"}}]'
    (tmp_path / "texts.txt").write_text("some text", "utf-8")
    (tmp_path / "recipe.yaml").write_text(f"name: any\ngather: [{{files: texts.txt}}]\n{steps}\n", "utf-8")
    with pytest.raises(RecipeError) as raised:
        examine(read_recipe(tmp_path / "recipe.yaml"))
    said = str(raised.value)
    assert "recipe.yaml:3: clean.0: no file matches 'evil.jsonl'" in said
    assert "recipe.yaml:3: clean.1: function: no module 'nowhere', neither beside the recipe" in said


def test_a_browser_that_is_not_there_is_told_before_any_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("scrapy_playwright")
    monkeypatch.setenv("STEEP_CHROMIUM", "no-such-browser")
    text = "name: any\ngather:\n  - web: https://tea.example\n    render: auto\n"
    (tmp_path / "recipe.yaml").write_text(text, "utf-8")
    with pytest.raises(RecipeError, match=r"recipe.yaml:4: gather.0.render: STEEP_CHROMIUM names 'no-such-browser'"):
        examine(read_recipe(tmp_path / "recipe.yaml"))


def test_a_key_that_is_not_in_the_environment_is_told_before_any_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MEDIASTACK_ACCESS_KEY", raising=False)
    (tmp_path / "recipe.yaml").write_text("name: any\ngather:\n  - news: mediastack\n", "utf-8")
    with pytest.raises(RecipeError, match=r"recipe.yaml:3: gather.0.access_key: MEDIASTACK_ACCESS_KEY is not set"):
        examine(read_recipe(tmp_path / "recipe.yaml"))
