"""The documentation says what is true: recipes in it are valid, links lead somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from steep.config import read_recipe

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])
LINK = re.compile(r"\]\(([^)#:]+)(?:#[^)]*)?\)")


def recipes(page: Path) -> list[str]:
    return re.findall(r"^```yaml\n(.*?)^```", page.read_text("utf-8"), re.MULTILINE | re.DOTALL)


EXAMPLES = [
    pytest.param(text, id=f"{page.name}-{number}") for page in PAGES for number, text in enumerate(recipes(page))
]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_between_pages_lead_to_files(page: Path) -> None:
    targets = LINK.findall(page.read_text("utf-8"))
    assert [target for target in targets if not (page.parent / target).exists()] == []


@pytest.mark.parametrize("example", EXAMPLES)
def test_examples_are_valid_recipes(example: str, tmp_path: Path) -> None:
    missing = "".join(
        f"{key}: {value}\n"
        for key, value in {"name": "example", "gather": "[{files: x.txt}]"}.items()
        if not re.search(rf"^{key}:", example, re.MULTILINE)
    )
    path = tmp_path / "recipe.yaml"
    path.write_text(missing + example, "utf-8")
    assert read_recipe(path).recipe.name


def test_the_readme_shows_the_recipe_of_the_demo() -> None:
    lines = (ROOT / "recipes" / "demo.yaml").read_text("utf-8").splitlines(keepends=True)
    assert recipes(ROOT / "README.md") == ["".join(line for line in lines if not line.startswith("#"))]
