"""What is told of the cleaned documents: languages by an evenly spaced sample, evidence without personal data."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from steep.clean import clean_documents, description
from steep.clean.description import FEW, redacted, sampled_languages
from steep.recipe.clean import CleanStep

ENGLISH = "The kettle sings when the water is ready, and nobody in the house minded the rain at all."
GERMAN = "Der Kessel singt, wenn das Wasser bereit ist, und niemanden im Hause hat der Regen gestört."
SHORT = "Kettle."


@pytest.fixture
def documents(tmp_path):
    """Writes texts to two files, in row groups of seven."""

    def write(texts):
        half = len(texts) // 2
        for number, part in enumerate((texts[:half], texts[half:])):
            table = pa.table({"text": pa.array(part, pa.string())})
            pq.write_table(table, tmp_path / f"part-{number}.parquet", row_group_size=7)
        return tmp_path

    return write


def test_the_languages_are_counted_the_most_frequent_first(documents):
    found = sampled_languages(documents([GERMAN] * 30 + [SHORT] * 10 + [ENGLISH] * 60), loaded=False)
    assert found == {"languages": {"en": 60, "de": 30, "unknown": 10}, "sampled": 100}
    assert list(found["languages"]) == ["en", "de", "unknown"]


def test_of_many_documents_a_sample_is_read_that_is_spread_evenly(documents, monkeypatch):
    monkeypatch.setattr(description, "SAMPLE", 10)
    texts = [f"{number:04} {ENGLISH}" for number in range(901)]
    seen = []
    monkeypatch.setattr(description, "probabilities", lambda texts: seen.extend(texts) or ([], []))
    assert sampled_languages(documents(texts), loaded=False)["sampled"] == 10
    assert [text[:4] for text in seen] == [f"{number:04}" for number in range(0, 901, 100)]


def test_only_the_beginning_of_a_document_is_looked_at(documents, monkeypatch):
    seen = []
    monkeypatch.setattr(description, "probabilities", lambda texts: seen.extend(texts) or ([], []))
    sampled_languages(documents(["é" * 5000] * FEW), loaded=False)
    assert set(seen) == {"é" * 1000}


def test_for_a_few_documents_the_classifier_is_not_loaded(documents, monkeypatch):
    def refuse(texts):
        raise AssertionError("it was asked")

    folder = documents([ENGLISH] * (FEW - 1))
    assert sampled_languages(folder, loaded=True)["languages"] == {"en": FEW - 1}
    monkeypatch.setattr(description, "probabilities", refuse)
    assert sampled_languages(folder, loaded=False) == {"languages": {}, "sampled": 0}


def test_no_documents_have_no_languages(documents):
    assert sampled_languages(documents([]), loaded=True) == {"languages": {}, "sampled": 0}


@pytest.mark.parametrize(("steps", "languages"), [([], {}), ([{"language": ["en", "de"]}], {"en": 2, "de": 1})])
def test_cleaning_tells_the_languages_of_what_stays(steps, languages):
    import daft

    texts = [ENGLISH, GERMAN, ENGLISH]
    columns = {name: [None] * 3 for name in ("title", "url", "meta")}
    given = daft.from_pydict({"id": ["a", "b", "c"], "text": texts, "source": ["x"] * 3, **columns})
    facts = clean_documents(given, [CleanStep.model_validate(step) for step in steps]).facts
    assert facts["languages"] == languages


def test_evidence_quotes_nothing_that_the_recipe_redacts_in_whatever_order():
    row = {"block": "Write to a@b.example or +44 20 7946 0991", "site": "a@b.example", "documents": 5}
    step = {"redact": {"kinds": ["email"], "region": "GB"}}
    (found,) = redacted({"boilerplate": [row]}, [CleanStep.model_validate(step)])["boilerplate"]
    assert found == row | {"block": "Write to [EMAIL] or +44 20 7946 0991"}
    assert redacted({"boilerplate": [row]}, []) == {"boilerplate": [row]}
