"""The public names: all there, each imported only when it is used."""

from __future__ import annotations

import subprocess
import sys

import pytest

import steep

HEAVY = "daft, datasets, matplotlib, numpy, peft, pyarrow, pydantic, rich, scrapy, torch, transformers, trl, typer"


@pytest.mark.parametrize("name", steep.__all__)
def test_a_public_name_is_there(name):
    assert getattr(steep, name).__module__.startswith("steep.")
    assert name in dir(steep)


def test_a_name_that_is_not_public_is_named():
    with pytest.raises(AttributeError, match="module 'steep' has no attribute 'load_recipes'"):
        steep.load_recipes  # noqa: B018


def test_importing_steep_imports_nothing_heavy():
    code = f"import steep, sys; print([name for name in {HEAVY.split(', ')} if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "[]\n"
