from __future__ import annotations

import sys

import numpy as np
import pytest

from steep.errors import ModelError
from steep.evaluate.embedding import load_embedder
from steep.evaluate.labels import find_labels
from steep.evaluate.soft_match import soft_match_rows

TOPICS = ["Computer Vision", "Computation and Language", "Machine Learning"]


def credit(answer, reference, *, names=TOPICS, embed=None, metric="soft_rouge"):
    rows = soft_match_rows([answer], [[reference]], find_labels(names, ()), embed)[metric]
    assert rows[0, 1] == 1
    return rows[0, 0]


def test_the_nearest_label_by_words_is_what_an_answer_means():
    answer = "This paper is about the vision of a robot"
    assert credit(answer, "Computer Vision") == 1
    assert credit(answer, "Machine Learning") == 0


def test_nearest_is_the_greatest_rouge_l_and_not_the_most_words_in_any_order():
    # with "Computation and Language" 2 * 2 / (3 + 3), with "Machine Learning" 2 * 1 / (3 + 2)
    assert credit("computation, language, machine", "Computation and Language") == 1
    # one word in order with either: 2 / (4 + 3) and 2 / (4 + 2)
    assert credit("language and computation learning", "Machine Learning") == 1


def test_of_labels_that_are_equally_near_each_counts_its_share():
    assert credit("vision, or learning", "Computer Vision") == 0.5
    assert credit("vision, or learning", "Computation and Language") == 0


@pytest.mark.parametrize("answer", ["", "...", "nothing of the kind"])
def test_an_answer_that_shares_no_word_with_any_label_is_near_to_none(answer):
    assert credit(answer, "Computer Vision") == 0


def test_an_answer_that_is_a_label_is_nearest_to_itself():
    assert credit("C++.", "C++", names=["C", "C++"]) == 1
    assert credit("C", "C++", names=["C", "C++"]) == 0


def test_each_of_several_references_is_right():
    rows = soft_match_rows(["robot vision"], [["Machine Learning", "Computer Vision"]], find_labels(TOPICS, ()))
    assert rows["soft_rouge"].tolist() == [[1, 1]]


def test_by_meaning_the_greatest_cosine_is_nearest():
    def embed(texts):
        vectors = {"Computer Vision": (1, 0), "Computation and Language": (0, 1), "pictures": (0.8, 0.6)}
        return np.array([vectors.get(text, (-1, 0)) for text in texts], dtype=np.float32)

    assert credit("pictures", "Computer Vision", embed=embed, metric="soft_embedding") == 1
    assert credit("pictures", "Computation and Language", embed=embed, metric="soft_embedding") == 0
    assert credit("pictures", "Computer Vision") == 0


def test_without_answers_there_are_no_rows():
    rows = soft_match_rows([], [], find_labels(TOPICS, ()), lambda texts: np.zeros((len(texts), 2), np.float32))
    assert [found.shape for found in rows.values()] == [(0, 2), (0, 2)]


@pytest.fixture(scope="module")
def embedding_model(tokenizer, tmp_path_factory):
    """A folder with a model whose vector of a text is the mean of random ones of its tokens."""
    sentences = pytest.importorskip("sentence_transformers")
    static = pytest.importorskip("sentence_transformers.sentence_transformer.modules").StaticEmbedding
    folder = tmp_path_factory.mktemp("models") / "embedding"
    weights = np.random.default_rng(0).normal(size=(len(tokenizer), 32)).astype(np.float32)
    module = static(tokenizer.backend_tokenizer, embedding_weights=weights)
    sentences.SentenceTransformer(modules=[module], device="cpu").save(str(folder))
    return folder


def test_a_model_in_a_folder_beside_the_recipe_gives_vectors_of_length_one(embedding_model):
    vectors = load_embedder("embedding", embedding_model.parent)(["The kettle sings", "Rain"])
    assert vectors.shape == (2, 32)
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(1)


def test_a_real_model_finds_the_label_with_the_same_words_in_it(embedding_model):
    embed = load_embedder(str(embedding_model))
    assert credit("the water is ready", "ready water", names=["ready water", "harbour wall"], embed=embed) == 1


def test_without_the_package_the_reason_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    with pytest.raises(ModelError, match=r"needs sentence-transformers: pip install 'steep\[embeddings\]'"):
        load_embedder("all-MiniLM-L6-v2")


@pytest.mark.timeout(20)
@pytest.mark.parametrize("name", ["steep-tests/no-such-model", "./no-such-folder"])
def test_a_model_that_is_not_on_this_disk_is_a_reason_at_once_where_there_is_no_network(name):
    pytest.importorskip("sentence_transformers")
    with pytest.raises(ModelError, match=rf"the model '{name}' cannot be loaded: .* embedding_model is the folder of"):
        load_embedder(name)


def test_a_folder_that_holds_no_model_is_a_reason(tmp_path):
    pytest.importorskip("sentence_transformers")
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ModelError, match="cannot be loaded"):
        load_embedder(str(tmp_path))
