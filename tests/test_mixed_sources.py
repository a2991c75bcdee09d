"""One article on a website, on Facebook and on Instagram: not to be trained on in one guise and tested in another."""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Sequence
from pathlib import Path

import pyarrow.parquet as pq
import pytest

import steep
from steep.gather import gather_documents
from steep.pipeline import Options, run_recipe
from steep.recipe.gather import FilesSource

DEMO = Path(steep.__file__).parent / "data/demo"
ALIKE = 0.5
RECIPE = """
name: mixed
gather:
  - {{files: "{site}/**/*.html", name: website}}
  - {{social: facebook.json, owner: Hollow Oak Kettles}}
  - {{social: instagram.json, owner: hollowoakkettles}}
clean: [whitespace, {{boilerplate: {{sources: [website]}}}}, redact{deduplicate}]
prepare: {{split: {{test: 0.2}}, max_length: 512}}
model: {{base: tiny}}
"""


def articles() -> list[str]:
    source = FilesSource(files="**/*.html")
    found = gather_documents([source], folder=DEMO / "site", state=DEMO, on_failure=lambda failure: None)
    return [document.text for document in found if len(document.text.split()) > 80]


def retold(text: str, share: float, rng: random.Random) -> str:
    """The text with so many of its words changed, as somebody would shorten and touch up a post."""
    words = text.split(" ")
    for place in rng.sample(range(len(words)), int(share * len(words))):
        words[place] = rng.choice(("kettle", "morning", "yard", "steam", "well"))
    return " ".join(words)


@pytest.fixture(scope="module")
def exports(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both of the demo's exports, with posts that repeat articles of its site, in part or changed."""
    folder = tmp_path_factory.mktemp("mixed")
    rng = random.Random(4)
    texts = articles()
    facebook, instagram = (json.loads((DEMO / f"social/{name}.json").read_text()) for name in ("facebook", "instagram"))
    own = next(post for post in facebook if post.get("pageName") == "Hollow Oak Kettles" and post.get("text"))
    posted = next(post for post in instagram if post["ownerUsername"] == "hollowoakkettles")
    for number, text in enumerate(texts):
        facebook.append(own | {"postId": f"f{number}", "url": f"https://fb.example/{number}", "text": text})
        name, changed = f"i{number}", retold(text, rng.choice((0.01, 0.03, 0.06)), rng)
        instagram.append(
            posted | {"id": name, "shortCode": name, "caption": changed, "url": f"https://ig.example/{name}"}
        )
    (folder / "facebook.json").write_text(json.dumps(facebook), "utf-8")
    (folder / "instagram.json").write_text(json.dumps(instagram), "utf-8")
    assert len(texts) > 30
    return folder


def sides(folder: Path, deduplicate: str) -> tuple[list[str], list[str]]:
    text = RECIPE.format(site=DEMO / "site", deduplicate=deduplicate)
    (folder / "mixed.yaml").write_text(text, "utf-8")
    run = run_recipe(folder / "mixed.yaml", runs=folder / "runs", options=Options(until="prepare"))
    train, test = (pq.read_table(run / f"prepare/{side}.parquet")["text"].to_pylist() for side in ("train", "test"))
    return train, test


def shingles(text: str) -> frozenset[tuple[str, ...]]:
    words = "".join(sign if sign.isalnum() else " " for sign in text.lower()).split()
    return frozenset(zip(*(words[place:] for place in range(5)), strict=False))


def alike(train: Sequence[str], test: Sequence[str]) -> list[tuple[str, str]]:
    """All pairs over both sides that share at least half of their word 5-grams."""
    pairs = itertools.product(map(shingles, train), map(shingles, test))
    return [(one, other) for one, other in pairs if one and len(one & other) >= ALIKE * len(one | other)]


def test_no_text_of_the_training_set_is_nearly_a_text_of_the_test_set(exports: Path) -> None:
    train, test = sides(exports, ", deduplicate")
    assert min(len(train), len(test)) > 20
    assert not alike(train, test)


def test_without_deduplication_the_guises_of_an_article_stay_on_one_side(exports: Path) -> None:
    train, test = sides(exports, "")
    assert min(len(train), len(test)) > 30
    assert alike(train, train[:10])
    assert not alike(train, test)
