"""What the rows of `train.py` say: for each work the fastest peer and steep beside it."""

from __future__ import annotations

from collections.abc import Callable
from math import isfinite, isnan
from typing import Any

from training_works import MORE, QUICK, WORKS

BESIDE = {work.name: work.beside for work in (*WORKS, *MORE, *QUICK)}
TOLERANCE = 1e-4
"""Largest difference of a loss between engines in float32."""


def results(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Of works that steep and a peer have done."""
    found = [compared(name, rows) for name in dict.fromkeys(row["work"] for row in rows)]
    return [one for one in found if one]


def compared(name: str, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """``within_memory``: the fastest setting of steep that takes no more memory than the peer's.

    ``largest_difference_of_loss`` is from a peer with the same rows in each step, where there is one.
    """
    ours, peers = side(name, rows, _is_steep), side(name, rows, lambda row: not _is_steep(row))
    if not ours or not peers:
        return {}
    own, peer = fastest(ours), fastest(peers)
    result = {"work": name, "steep": brief(own), "peer": brief(peer), "ratio": ratio(own, peer)}
    if smaller := [row for row in ours if row["peak_gib"] <= peer["peak_gib"]]:
        result["within_memory"] = {**brief(fastest(smaller)), "ratio": ratio(fastest(smaller), peer)}
    alike = [row for row in peers if row["batch"] == own["batch"]]
    if alike and own["length"]:  # each engine orders short texts in its own way
        result["largest_difference_of_loss"] = loss_gap(own, fastest(alike))
    return result


def side(name: str, rows: list[dict[str, Any]], wanted: Callable[[dict[str, Any]], bool]) -> list[dict[str, Any]]:
    """A work's rows of steep, or of its peers; where it has none, those of the work that it is beside."""
    good = [row for row in rows if "error" not in row and wanted(row)]
    own = [row for row in good if row["work"] == name]
    return own or [row for row in good if row["work"] == BESIDE.get(name)]


def _is_steep(row: dict[str, Any]) -> bool:
    return bool(row["engine"] == "steep")


def fastest(rows: list[dict[str, Any]]) -> dict[str, Any]:
    return max(rows, key=lambda row: float(row["tokens_per_second"]))


def brief(row: dict[str, Any]) -> dict[str, Any]:
    names = ("engine", "batch", "checkpointing", "packing", "tokens_per_second", "spread", "peak_gib", "setting")
    return {name: row[name] for name in names}


def ratio(own: dict[str, Any], peer: dict[str, Any]) -> float:
    return round(float(own["tokens_per_second"]) / float(peer["tokens_per_second"]), 3)


def loss_gap(one: dict[str, Any], other: dict[str, Any]) -> float:
    """Over the steps of both; no number where a loss is none."""
    gaps = [abs(left - right) for left, right in zip(one["losses"], other["losses"], strict=False)]
    return float(max(gaps, key=lambda gap: (isnan(gap), gap)))


def faults(rows: list[dict[str, Any]]) -> list[str]:
    """Why the engines of the quick run cannot be said to have trained alike."""
    if failed := [f"{row['engine']}: {row['error']}" for row in rows if "error" in row]:
        return failed
    gap = loss_gap(*rows)
    found = [] if gap <= TOLERANCE else [f"losses differ by {gap:.1e}, more than {TOLERANCE:.0e}"]
    still = [row["engine"] for row in rows if not all(isfinite(norm) and norm > 0 for norm in row["grad_norms"])]
    return found + [f"{engine}: a gradient's norm is 0 or no number" for engine in still]
