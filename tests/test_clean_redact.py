from __future__ import annotations

import ipaddress
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from steep.clean.redact import redact, redact_emails, redact_phones

PHONES = {
    "US": [
        "021-555-0143", "202-555-0143", "+1 (202) 555-0143", "(202) 555-0143", "(202)555-0143", "202.555.0143",
        "1-202-555-0143", "202 555 0143", "1 (800) 555-0199", "202\u2011555\u20110143", "202-555-0143 x123",
        "202-555-0143, ext. 45", "+44 1632 960 142", "+49 30 901820",
    ],
    "GB": [
        "+44 1632 960 142", "01632 960 187", "(01632) 960 133", "01632-960-187", "+44 (0)1632 960142", "+441632960142",
        "0044 1632 960142", "020 7946 0123",
    ],
    "DE": ["030 901820-00", "+49 (0)30 901820", "(030) 901820"],
    "FR": ["01 23 45 67 89"],
    "ES": ["612 345 678"],
}  # fmt: skip
NO_PHONES = [
    "1987", "2010-2015", "20418", "H-1700", "£148", "14.03.2024", "2024-03-14", "03/14/2024", "14 03 2024",
    "2024-03-14 10:30", "1234567890", "01632960187", "192.168.100.200", "1.2.3.4", "978-0-306-40615-7", "0-306-40615-2",
    "ISBN 978 0 306 40615 7", "$1,234,567.89", "1 000 000", "10 000 000 000", "3.14159265358", "51.5074, -0.1278",
    "order 202-555-0143", "no. 01632 960 187", "#202-555-0143", "version 10.15.7", "2019 2020 2021", "12345-6789",
    "https://x.org/202-555-0143", "4111 1111 1111 1111", "123-45-6789", "ISSN 0306-4061", "9:00-17:00",
]  # fmt: skip
FRAMES = ["{}", "Ring us: {}.", "We ({}), and", "a {}\nb"]


@pytest.mark.parametrize(("region", "number"), [(region, number) for region in PHONES for number in PHONES[region]])
def test_a_phone_number_is_replaced_whole(region: str, number: str) -> None:
    for frame in FRAMES:
        assert redact_phones(frame.format(number), region) == frame.format("[PHONE]")


@pytest.mark.parametrize("region", ["US", "GB", "DE"])
@pytest.mark.parametrize("number", NO_PHONES)
def test_other_numbers_stay(region: str, number: str) -> None:
    for frame in ("{}", "In {}.", "We ({}), and", "a {}\nb"):
        assert redact_phones(frame.format(number), region) == frame.format(number)


@pytest.mark.parametrize(
    "text", ["Call 2025550143", "phone: 555-0143", "Tel. 555-0143", "phone number is 202 555 0143"]
)
def test_a_word_such_as_call_makes_a_bare_or_local_number_a_phone(text: str) -> None:
    assert redact_phones(text).endswith("[PHONE]")


def test_numbers_side_by_side_are_each_replaced() -> None:
    text = "In 2019 01632 960 142 / 01632 960 187, +44 1632 960142/+44 1632 960143"
    assert redact_phones(text, "GB") == "In 2019 [PHONE] / [PHONE], [PHONE]/[PHONE]"


@pytest.mark.parametrize(
    ("text", "redacted"),
    [
        ("Write to jo.b+c@ex-ample.co.uk.", "Write to [EMAIL]."),
        ("<jo@x.org>, (jo_x@sub.x.museum)", "<[EMAIL]>, ([EMAIL])"),
        ("mailto:jo@x.org?subject=a", "mailto:[EMAIL]?subject=a"),
        ("jörg@exämple.de", "[EMAIL]"),
        ("name [at] host [dot] org", "[EMAIL]"),
        ("name(at)host.org", "[EMAIL]"),
    ],
)
def test_an_address_is_replaced(text: str, redacted: str) -> None:
    assert redact_emails(text) == redacted


@pytest.mark.parametrize(
    "text", ["@hollow_oak", "lodash@4.17.21", "mAP@50:95", "NARA@work was", "meet me at noon", "a@b"]
)
def test_other_uses_of_the_sign_stay(text: str) -> None:
    assert redact_emails(text) == text


def test_only_the_kinds_that_were_named_are_replaced() -> None:
    text = "jo@x.org, 202-555-0143"
    assert redact(text, ("email",)) == "[EMAIL], 202-555-0143"
    assert redact(text, ("phone",)) == "jo@x.org, [PHONE]"


@given(st.integers(0, 10**15))
def test_a_bare_number_is_no_phone(number: int) -> None:
    assert redact_phones(f"There were {number} of them.") == f"There were {number} of them."


@given(
    st.dates(date(1900, 1, 1), date(2099, 12, 31)), st.sampled_from(["%Y-%m-%d", "%d.%m.%Y", "%m/%d/%Y", "%d-%m-%Y"])
)
def test_a_date_is_no_phone(day: date, form: str) -> None:
    for region in ("US", "GB", "DE"):
        assert redact_phones(f"On {day.strftime(form)} it rained.", region) == f"On {day.strftime(form)} it rained."


@given(st.ip_addresses(v=4))
def test_a_network_address_is_no_phone(address: ipaddress.IPv4Address) -> None:
    for region in ("US", "GB", "DE"):
        assert redact_phones(f"Host {address}, port 80", region) == f"Host {address}, port 80"


@given(st.integers(200, 999), st.integers(100, 999), st.integers(0, 9999), st.sampled_from(["-", ".", " "]))
def test_every_number_in_north_american_grouping_is_a_phone(area: int, office: int, line: int, mark: str) -> None:
    assert redact_phones(f"at {area}{mark}{office}{mark}{line:04} today") == "at [PHONE] today"


@given(st.integers(0, 999))
def test_every_made_up_british_number_is_a_phone(number: int) -> None:
    for form in ("01632 960 {:03}", "(01632) 960 {:03}", "+44 1632 960 {:03}", "01632 960{:03}"):
        assert redact_phones(form.format(number), "GB") == "[PHONE]"


@given(st.text(st.sampled_from("0123456789()+-./ x@a,"), max_size=80))
def test_redacting_twice_changes_nothing_more(text: str) -> None:
    assert redact(redact(text)) == redact(text)
