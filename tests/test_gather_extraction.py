from __future__ import annotations

import pytest

from steep.demo import FOLDER
from steep.gather.decoding import Unreadable
from steep.gather.extraction import main_text


def test_a_page_that_stops_in_its_tags_has_no_main_text() -> None:
    page = (FOLDER / "site" / "journal" / "unfinished.html").read_text("utf-8")
    with pytest.raises(Unreadable, match="no main text found"):
        main_text(page)
