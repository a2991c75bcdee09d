from __future__ import annotations

import json
import shutil

import pytest
import torch

from steep.errors import ModelError, UsageError
from steep.models import TINY, load_model, load_tokenizer, resolve
from steep.recipe import Model


def save_with(tokenizer, folder, **tokens):
    """A copy of the tokenizer on disk in which special tokens are renamed or, with None, missing."""
    tokenizer.save_pretrained(folder)
    path = folder / "tokenizer_config.json"
    config = {**json.loads(path.read_text()), **tokens}
    path.write_text(json.dumps({name: value for name, value in config.items() if value is not None}))
    return str(folder)


@pytest.mark.parametrize("pad", [None, "</s>"])
def test_pad_is_never_eos(tokenizer, tmp_path, pad):
    loaded = load_tokenizer(save_with(tokenizer, tmp_path, pad_token=pad))
    assert loaded.pad_token_id not in (None, loaded.eos_token_id)


def test_pad_is_another_token_where_eos_serves_for_unknown_ones_and_none_is_for_padding(tokenizer, tmp_path):
    folder = save_with(tokenizer, tmp_path, pad_token=None, unk_token="</s>")
    path = tmp_path / "tokenizer.json"
    path.write_text(path.read_text().replace("<pad>", "<hole>"))
    loaded = load_tokenizer(folder)
    assert loaded.pad_token_id not in (None, loaded.eos_token_id)
    assert len(loaded) == len(tokenizer)


def test_a_tokenizer_without_eos_is_refused(tokenizer, tmp_path):
    with pytest.raises(ModelError, match="has no EOS token: a model trained with it would never stop"):
        load_tokenizer(save_with(tokenizer, tmp_path, eos_token=None))


def test_tiny_comes_with_the_package_in_its_documented_size():
    model, tokenizer = load_model(resolve("tiny"), dtype=torch.bfloat16), load_tokenizer(resolve("tiny"))
    assert sum(file.stat().st_size for file in TINY.iterdir()) <= 20e6
    assert len(tokenizer) == model.config.vocab_size == 8192
    assert len({tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id}) == 3
    assert model.num_parameters() == pytest.approx(8e6, rel=0.02)


def test_the_chat_template_of_tiny_renders_one_bos_and_ends_an_answer_with_eos():
    tokenizer = load_tokenizer(resolve("tiny"))
    chat = [{"role": "user", "content": "Tea?"}, {"role": "assistant", "content": "Please."}]
    asked = tokenizer.apply_chat_template(chat[:1], tokenize=False, add_generation_prompt=True)
    answered = tokenizer.apply_chat_template(chat, tokenize=False)
    assert asked == "<s>### user:\nTea?\n### assistant:\n"
    assert answered == asked + "Please.\n</s>"


def test_a_path_is_taken_from_the_recipes_folder_and_what_is_no_folder_is_a_hub_name(tmp_path):
    (tmp_path / "base").mkdir()
    assert resolve("base", tmp_path) == str(tmp_path / "base")
    assert resolve("owner/name", tmp_path) == "owner/name"
    assert resolve(Model().base) == str(TINY)


@pytest.mark.parametrize("load", [load_tokenizer, lambda name: load_model(name, dtype=torch.float32)])
@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("./no/such/folder", "there is no such folder"),
        ("no-such-owner/no-such-model", "couldn't find them in the cached files"),
    ],
)
def test_a_missing_base_is_named_with_what_may_stand_there(load, name, reason):
    with pytest.raises(ModelError) as error:
        load(name)
    assert f"{name!r}: " in str(error.value)
    assert reason in str(error.value)
    assert "a model is named by `tiny`, a folder with config.json and weights, or a hub name" in str(error.value)


def test_damaged_weights_are_a_model_error(tmp_path):
    shutil.copy(TINY / "config.json", tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"no weights at all")
    with pytest.raises(ModelError, match=r"cannot load the model .*: Error while deserializing header"):
        load_model(str(tmp_path), dtype=torch.float32)


# ------------------------------------------------------------------------------------------------------ added tokens


def test_added_tokens_get_the_next_ids_in_their_order_and_are_one_token_each(tokenizer, tmp_path):
    tokenizer.save_pretrained(tmp_path)
    loaded = load_tokenizer(str(tmp_path), added_tokens=["<tea>", "<cup>"])
    assert loaded.convert_tokens_to_ids(["<tea>", "<cup>"]) == [len(tokenizer), len(tokenizer) + 1]
    assert loaded("a<tea>b<cup>", add_special_tokens=False)["input_ids"].count(len(tokenizer)) == 1


def test_added_tokens_are_text_and_not_special(tokenizer, tmp_path):
    tokenizer.save_pretrained(tmp_path)
    loaded = load_tokenizer(str(tmp_path), added_tokens=["<tea>"])
    assert "<tea>" not in loaded.all_special_tokens
    assert loaded.decode(loaded("Rain<tea>fell")["input_ids"], skip_special_tokens=True) == "Rain<tea>fell"


def test_added_tokens_have_the_same_ids_after_saving(tokenizer, tmp_path):
    tokenizer.save_pretrained(tmp_path)
    loaded = load_tokenizer(str(tmp_path), added_tokens=["<tea>", "kettle wall"])
    loaded.save_pretrained(tmp_path / "again")
    again = load_tokenizer(str(tmp_path / "again"))
    text = "The <tea> by the kettle wall, <tea>"
    assert again(text)["input_ids"] == loaded(text)["input_ids"]


@pytest.mark.parametrize(("tokens", "named"), [(["<tea>", "</s>"], "'</s>'"), (["<tea>", "<tea>"], "'<tea>'")])
def test_a_token_that_is_known_already_is_refused_by_name(tokenizer, tmp_path, tokens, named):
    tokenizer.save_pretrained(tmp_path)
    with pytest.raises(UsageError, match=rf"model\.added_tokens: the tokenizer .* has {named} already, .* leave them"):
        load_tokenizer(str(tmp_path), added_tokens=tokens)
