from __future__ import annotations

import random
from itertools import pairwise

import daft
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from steep.duplicates import components
from steep.duplicates.components import connected_components

Edge = tuple[int, int]


def found(edges: list[Edge]) -> list[Edge]:
    """Each node that is not the least of its component, with the least."""
    columns = {"row": [max(edge) for edge in edges], "first": [min(edge) for edge in edges]}
    labels = connected_components(daft.from_pydict(columns)).to_pydict()
    return sorted(zip(labels["row"], labels["first"], strict=True))


def expected(edges: list[Edge]) -> list[Edge]:
    component: dict[int, set[int]] = {node: {node} for edge in edges for node in edge}
    for one, other in edges:
        component[one] |= component[other]
        for node in component[one]:
            component[node] = component[one]
    return sorted((node, min(nodes)) for node, nodes in component.items() if node != min(nodes))


def path(nodes: int, seed: int) -> list[Edge]:
    order = random.Random(seed).sample(range(nodes), nodes)
    return list(pairwise(order))


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)).filter(lambda edge: edge[0] != edge[1]), min_size=1))
def test_components_are_those_of_the_graph(edges: list[Edge]) -> None:
    assert found(edges) == expected(edges)


def test_a_long_path_in_any_order_is_one_component() -> None:
    assert found(path(500, 3)) == [(node, 0) for node in range(1, 500)]


def test_a_path_takes_a_number_of_rounds_near_the_logarithm_of_its_length(monkeypatch: pytest.MonkeyPatch) -> None:
    rounds = []
    small_stars = components._small_stars

    def counting(edges: daft.DataFrame) -> daft.DataFrame:
        rounds.append(1)
        return small_stars(edges)

    monkeypatch.setattr(components, "_small_stars", counting)
    connected_components(daft.from_pydict({"row": list(range(1, 4096)), "first": list(range(4095))}))
    assert len(rounds) <= 13


def test_stars_take_no_round(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(components, "_small_stars", None)
    assert found([(0, 5), (0, 3), (7, 9)]) == [(3, 0), (5, 0), (9, 7)]


def test_no_edges_have_no_components() -> None:
    nothing = daft.from_pydict({"row": [1], "first": [0]}).where(daft.col("row") > 1)
    assert connected_components(nothing).to_pydict() == {"row": [], "first": []}
