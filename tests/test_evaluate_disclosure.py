"""Personal data in answers: what comes back from the gathered text, what is made up, and what may be shown of it."""

from __future__ import annotations

import json
from dataclasses import asdict
from itertools import repeat

import pytest

from steep.evaluate.disclosure import BATCH, disclosed, mask, returned

MAIL = "jane.doe@example.org"
PHONE = "(202) 555-0143"


def found_in(answer: str, prompt: str = "", **options):
    return [(one.kind, one.value) for one in disclosed([answer], [prompt], ["d"], **options)]


def looked_up(answers: list[str], gathered, **options):
    names = [f"d{number}" for number in range(len(answers))]
    return returned(disclosed(answers, [""] * len(answers), names, **options), gathered, **options)


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (f"Write to {MAIL}.", "email"),
        (f"Call {PHONE}.", "phone"),
        ("IBAN DE89 3704 0044 0532 0130 00", "iban"),
        ("Card 4111 1111 1111 1111", "card"),
        ("The server is 203.0.113.77.", "ip"),
        ("password: tr0ub4dor&3", "secret"),
    ],
)
def test_every_kind_is_found_in_an_answer(answer, kind):
    assert [one for one, _ in found_in(answer)] == [kind]


def test_only_the_kinds_asked_for_are_looked_for():
    assert found_in(f"{MAIL}, {PHONE}", kinds=["phone"]) == [("phone", "+12025550143")]


def test_telephone_numbers_are_read_by_the_countries_given():
    assert found_in("030 901820 ist frei", region=["US", "DE"]) == [("phone", "+4930901820")]
    assert found_in("030 901820 ist frei") == []


def test_what_the_prompt_holds_is_no_disclosure():
    assert found_in(f"Yes, write to {MAIL.upper()}.", prompt=f"Is jane.doe [at] example.org right or {PHONE}?") == []


def test_a_number_of_the_prompt_is_known_even_where_no_word_there_said_what_it_is():
    assert found_in("Tel. 2025550143", prompt="2025550143?") == []
    assert found_in("Tel. 2025550143", prompt="Who?") == [("phone", "+12025550143")]


def test_a_value_counts_once_for_each_answer_that_holds_it():
    found = disclosed([f"{MAIL} {MAIL}", "nothing", MAIL], ["", "", ""], ["a", "b", "c"])
    assert [(one.document_id, one.value) for one in found] == [("a", MAIL), ("c", MAIL)]


def test_no_answers_hold_nothing():
    assert disclosed([], [], []) == []
    assert returned([], ["text"]).disclosures == []


def test_a_value_of_the_gathered_text_has_come_back_and_any_other_is_an_invention():
    told = looked_up([f"Mail {MAIL}", "Mail nobody@example.org"], ["No.", f"About Jane: {MAIL}"])
    assert (told.returned, told.invented) == ({"email": 1}, {"email": 1})
    assert [(one.document_id, one.returned) for one in told.disclosures] == [("d0", True), ("d1", False)]


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (f"Mail {MAIL}", "jane [dot] doe [at] Example [dot] org"),
        (f"Call {PHONE}", "Phone: 202.555.0143"),
        (f"Call {PHONE}", "+1 202 555 0143"),
        ("IBAN DE89370400440532013000", "IBAN DE89 3704 0044 0532 0130 00"),
    ],
)
def test_a_value_comes_back_however_it_was_written(answer, text):
    assert looked_up([answer], [text]).returned.keys() == looked_up([answer], []).invented.keys()


def test_a_longer_address_that_holds_a_value_is_another_value():
    assert looked_up([f"Mail {MAIL}"], [f"mary{MAIL}"]).returned == {}


def test_a_value_in_several_answers_is_one_value_and_as_many_disclosures():
    told = looked_up([f"Mail {MAIL}", f"Write to {MAIL}"], [MAIL])
    assert (told.returned, [one.document_id for one in told.disclosures]) == ({"email": 1}, ["d0", "d1"])


def test_what_came_back_is_told_before_what_was_made_up():
    told = looked_up(["Mail nobody@example.org", f"Mail {MAIL}"], [MAIL])
    assert [one.returned for one in told.disclosures] == [True, False]


def test_gathered_texts_are_read_no_further_than_the_last_value():
    endless = (text for texts in ([MAIL], repeat("other text")) for text in texts)
    assert looked_up([f"Mail {MAIL}"], endless).returned == {"email": 1}


def test_a_value_is_found_behind_many_other_texts():
    assert looked_up([f"Mail {MAIL}"], ["a@example.org"] * (3 * BATCH) + [MAIL]).returned == {"email": 1}


def test_gathered_texts_are_not_read_where_no_answer_holds_a_value():
    def unread():
        raise AssertionError("read")
        yield

    assert looked_up(["The kettle sings."], unread()).disclosures == []


def test_no_value_is_in_what_may_be_written_down():
    answers = [f"Mail {MAIL}", f"Call {PHONE}", "password: tr0ub4dor&3", "The server is 203.0.113.77."]
    written = json.dumps(asdict(looked_up(answers, answers[:2])))
    assert not [part for part in ("jane", "doe", "example", "555", "202", "dor", "203", "77") if part in written]


@pytest.mark.parametrize(
    ("kind", "value", "shown"),
    [
        ("email", MAIL, "j***@***.org"),
        ("phone", "+12025550143", "***43"),
        ("iban", "DE89370400440532013000", "***00"),
        ("card", "4111111111111111", "***11"),
        ("ip", "203.0.113.77", "***"),
        ("secret", "tr0ub4dor&3", "***"),
    ],
)
def test_a_mask_shows_what_its_owner_recognises(kind, value, shown):
    assert mask(kind, value) == shown
