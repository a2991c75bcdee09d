"""PDF files: their text as paragraphs, what they say of themselves, and those that cannot be read."""

from __future__ import annotations

import io
from datetime import UTC, datetime

import pytest

from servers.pdfs import locked_for_editing, pdf
from steep.gather.decoding import Unreadable
from steep.gather.extraction import Page
from steep.gather.pdf import pdf_text

SHEET = [
    "The Wren",
    "The smallest kettle of the house is also the one that has been in its window for the long-",
    "est time. Nobody knows who put it there, and nobody has ever asked, since the answer would",
    "spoil the story. It holds one cup.",
    "It was made in the winter of the great frost, when the slip had frozen and there was no other",
    "work to be had in the whole of the harbour.",
    "• one cup",
    "• copper, lined with tin",
]


def read(data: bytes) -> Page:
    return pdf_text(io.BytesIO(data))


def test_lines_become_paragraphs() -> None:
    assert read(pdf([SHEET])).text.splitlines() == [
        "The Wren",
        "The smallest kettle of the house is also the one that has been in its window for the longest time. Nobody "
        "knows who put it there, and nobody has ever asked, since the answer would spoil the story. It holds one cup.",
        "It was made in the winter of the great frost, when the slip had frozen and there was no other work to be had "
        "in the whole of the harbour.",
        "• one cup",
        "• copper, lined with tin",
    ]


def test_a_paragraph_goes_on_over_the_page_without_what_stands_at_its_edges() -> None:
    sentence = "Of the old kettles that hang in the window of the house the wren is the smallest one and was"
    pages = [["Kettles of the House", sentence, sentence, f"Page {number} of 4"] for number in range(1, 5)]
    assert read(pdf(pages)).text == " ".join([sentence] * 8)


def test_the_table_of_contents_is_left_out() -> None:
    assert read(pdf([["1 The Wren . . . . . . . . . . . . . 7", *SHEET]])).text == read(pdf([SHEET])).text


def test_title_author_date_and_number_of_pages_come_from_the_file() -> None:
    metadata = {"/Title": "The Wren", "/Author": "Ann Other", "/CreationDate": "D:20240506070809+02'00'"}
    page = read(pdf([SHEET, SHEET], metadata=metadata))
    assert (page.title, page.author, page.meta) == ("The Wren", "Ann Other", {"pdf_pages": 2})
    assert page.published == datetime(2024, 5, 6, 5, 8, 9, tzinfo=UTC)


@pytest.mark.parametrize("metadata", [{}, {"/CreationDate": "yesterday", "/Title": " "}])
def test_what_the_file_does_not_say_is_left_open(metadata: dict[str, str]) -> None:
    page = read(pdf([SHEET], metadata=metadata))
    assert (page.title, page.author, page.published) == (None, None, None)


@pytest.mark.parametrize("title", ["Microsoft Word - wren_final2.doc", "wren.pdf", "Untitled"])
def test_a_file_name_is_no_title(title: str) -> None:
    assert read(pdf([SHEET], metadata={"/Title": title})).title is None


def test_a_file_that_anyone_may_open_is_read_though_encrypted() -> None:
    assert read(locked_for_editing(pdf([SHEET]))).text == read(pdf([SHEET])).text


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (pdf([SHEET], password="wren"), "encrypted: it needs a password"),
        (pdf([[], []]), "no text in its 2 pages: a scan?"),
        (pdf([SHEET])[:400], "broken PDF: "),
        (b"", "broken PDF: "),
        (b"%PDF-1.7\n" + bytes(1000), "broken PDF: "),
    ],
    ids=["password", "scan", "cut short", "empty", "zeros"],
)
def test_a_file_that_cannot_be_read_says_why(data: bytes, reason: str) -> None:
    with pytest.raises(Unreadable) as error:
        read(data)
    assert str(error.value).startswith(reason)
