"""Packed rows of one size in every step, so that compiled code is made once and each kernel knows its sizes."""

from __future__ import annotations

from typing import Any

import torch
from torch.nn.functional import pad

from steep.records import IGNORE


def filled(batch: dict[str, Any], tokens: int) -> dict[str, Any]:
    """The flattened row of TRL's collator, (1, at most ``tokens``), and a last document of which nothing is trained."""
    ids, starts = batch["input_ids"], batch["cu_seq_lens_q"]
    missing = tokens - ids.shape[1]
    longest = max(int(batch["max_length_q"]), missing)
    if missing:
        starts = torch.cat([starts, starts.new_tensor([tokens])])
        positions = torch.arange(missing, device=ids.device)[None]
        batch = {
            **batch,
            "input_ids": pad(ids, (0, missing)),
            "labels": pad(batch["labels"], (0, missing), value=IGNORE),
            "position_ids": torch.cat([batch["position_ids"], positions.to(batch["position_ids"])], dim=1),
        }
    torch._dynamo.maybe_mark_dynamic(starts, 0)  # the number of documents is another in every step
    unused = ("cu_seq_lens_k", "max_length_k", "seq_idx")
    kept = {name: value for name, value in batch.items() if name not in unused}
    return {**kept, "cu_seq_lens_q": starts, "max_length_q": torch.tensor(longest)}
