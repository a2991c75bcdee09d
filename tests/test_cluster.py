from __future__ import annotations

import socket

import pytest

from steep.cluster import join
from steep.errors import SteepError


@pytest.mark.parametrize("form", ["{}", "ray://{}"])
def test_a_cluster_that_does_not_answer_is_told_at_once(form: str) -> None:
    pytest.importorskip("ray")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = form.format(f"127.0.0.1:{free.getsockname()[1]}")
    with pytest.raises(SteepError) as raised:
        join(address)
    said = f"no Ray cluster answers at {address!r} ([Errno 111] Connection refused): start it, or leave out `cluster`"
    assert str(raised.value) == said
