from __future__ import annotations

import importlib.util
import ipaddress
import json
import string
import sys
import time
from datetime import date
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from steep.clean.redact import redact_step
from steep.clean.rows import Batch
from steep.errors import UsageError
from steep.personal.redaction import FINDERS, redact
from steep.recipe.clean import Redact

PHONES = {
    "US": [
        "021-555-0143", "202-555-0143", "+1 (202) 555-0143", "(202) 555-0143", "(202)555-0143", "202.555.0143",
        "1-202-555-0143", "202 555 0143", "1 (800) 555-0199", "202\u2011555\u20110143", "202-555-0143 x123",
        "202-555-0143, ext. 45", "+44 1632 960 142", "+49 30 901820", "1-800-FLOWERS",
    ],
    "GB": [
        "+44 1632 960 142", "01632 960 187", "(01632) 960 133", "01632-960-187", "+44 (0)1632 960142", "+441632960142",
        "0044 1632 960142", "020 7946 0123",
    ],
    "DE": ["030 901820-00", "+49 (0)30 901820", "(030) 901820", "040 66969 0", "01715550199"],
    "FR": ["01 23 45 67 89", "0 800 123 456"],
    "ES": ["612 345 678"],
    "IN": ["98765 43210", "022 2345 6789"],
    "BR": ["(11) 91234-5678", "11 2345-6790"],
    "JP": ["03-1234-5678", "０３－１２３４－５６８３"],
    "AU": ["0491 570 156", "1300 975 707"],
}  # fmt: skip
NO_PHONES = [
    "1987", "2010-2015", "20418", "H-1700", "£148", "14.03.2024", "2024-03-14", "03/14/2024", "14 03 2024",
    "2024-03-14 10:30", "1234567890", "192.168.100.200", "1.2.3.4", "978-0-306-40615-7", "0-306-40615-2",
    "ISBN 978 0 306 40615 7", "$1,234,567.89", "1 000 000", "10 000 000 000", "3.14159265358", "51.5074, -0.1278",
    "order 202-555-0143", "no. 01632 960 187", "#202-555-0143", "version 10.15.7", "2019 2020 2021", "12345-6789",
    "https://x.org/202-555-0143", "4111 1111 1111 1112", "123-45-6789", "ISSN 0306-4061", "9:00-17:00",
    "04 08 15 16 23 42", "0000-0002-1825-0097", "DE88 3704 0044 0532 0130 00",
]  # fmt: skip
FRAMES = ["{}", "Ring us: {}.", "We ({}), and", "a {}\nb"]


def phones(text: str, region: str = "US") -> str:
    return redact(text, ("phone",), region)


def emails(text: str) -> str:
    return redact(text, ("email",))


# ------------------------------------------------------------------------------------------------------------- phones


@pytest.mark.parametrize(("region", "number"), [(region, number) for region in PHONES for number in PHONES[region]])
def test_a_phone_number_is_replaced_whole(region: str, number: str) -> None:
    for frame in FRAMES:
        assert phones(frame.format(number), region) == frame.format("[PHONE]")


@pytest.mark.parametrize("region", ["US", "GB", "DE", "FR"])
@pytest.mark.parametrize("number", NO_PHONES)
def test_other_numbers_stay(region: str, number: str) -> None:
    for frame in ("{}", "In {}.", "We ({}), and", "a {}\nb"):
        assert phones(frame.format(number), region) == frame.format(number)


@pytest.mark.parametrize(
    "text",
    ["Call 2025550143", "phone: 555-0143", "Tel. 555-0143", "phone number is 202 555 0143", "Ring Jo on 2025550143"],
)
def test_a_word_such_as_call_makes_a_bare_or_local_number_a_phone(text: str) -> None:
    assert phones(text).endswith(" [PHONE]")


def test_a_word_behind_a_number_does_so_too() -> None:
    assert phones("2025550143 is my mobile, 2025550144 is my order") == "[PHONE] is my mobile, 2025550144 is my order"


def test_numbers_side_by_side_are_each_replaced() -> None:
    text = "In 2019 01632 960 142 / 01632 960 187, +44 1632 960142/+44 1632 960143"
    assert phones(text, "GB") == "In 2019 [PHONE] / [PHONE], [PHONE]/[PHONE]"


def test_a_number_of_any_of_several_regions_is_replaced() -> None:
    text = "202-555-0143, 01632 960 142, 612 345 678"
    assert redact(text, ("phone",), ["US", "GB"]) == "[PHONE], [PHONE], 612 345 678"


@pytest.mark.parametrize(
    "link", ["tel:+12025550143", "https://wa.me/12025550143", "https://x.org/send?phone=12025550143"]
)
def test_a_link_that_dials_holds_a_phone_number(link: str) -> None:
    assert phones(link) == link.replace("+", "").replace("12025550143", "[PHONE]")


@settings(deadline=None)
@given(st.integers(0, 10**15))
def test_a_bare_number_is_no_phone(number: int) -> None:
    assert phones(f"There were {number} of them.") == f"There were {number} of them."


@settings(deadline=None)
@given(
    st.dates(date(1900, 1, 1), date(2099, 12, 31)), st.sampled_from(["%Y-%m-%d", "%d.%m.%Y", "%m/%d/%Y", "%d-%m-%Y"])
)
def test_a_date_is_no_phone(day: date, form: str) -> None:
    for region in ("US", "GB", "DE"):
        assert phones(f"On {day.strftime(form)} it rained.", region) == f"On {day.strftime(form)} it rained."


@settings(deadline=None)
@given(st.ip_addresses(v=4))
def test_a_network_address_is_no_phone(address: ipaddress.IPv4Address) -> None:
    for region in ("US", "GB", "DE"):
        assert phones(f"Host {address}, port 80", region) == f"Host {address}, port 80"


@settings(deadline=None)
@given(st.integers(200, 999), st.integers(100, 999), st.integers(0, 9999), st.sampled_from(["-", ".", " "]))
def test_every_number_in_north_american_grouping_is_a_phone(area: int, office: int, line: int, mark: str) -> None:
    assert phones(f"at {area}{mark}{office}{mark}{line:04} today") == "at [PHONE] today"


@settings(deadline=None)
@given(st.integers(0, 999))
def test_every_made_up_british_number_is_a_phone(number: int) -> None:
    for form in ("01632 960 {:03}", "(01632) 960 {:03}", "+44 1632 960 {:03}", "01632 960{:03}"):
        assert phones(form.format(number), "GB") == "[PHONE]"


# ------------------------------------------------------------------------------------------------------------- emails


@pytest.mark.parametrize(
    ("text", "redacted"),
    [
        ("Write to jo.b+c@ex-ample.co.uk.", "Write to [EMAIL]."),
        ("<jo@x.org>, (jo_x@sub.x.museum)", "<[EMAIL]>, ([EMAIL])"),
        ("mailto:jo@x.org?subject=a", "mailto:[EMAIL]?subject=a"),
        ("mailto:%20jo@x.org", "mailto:%20[EMAIL]"),
        ("jörg@exämple.de", "[EMAIL]"),
        ("name [at] host [dot] org", "[EMAIL]"),
        ("jo (dot) b (at) host (dot) org", "[EMAIL]"),
        ("name(at)host.org", "[EMAIL]"),
        ("Ask jo at host dot org.", "Ask [EMAIL]."),
        ("jo (arroba) host (punto) es", "[EMAIL]"),
        ("{jo,al}@cs.x.edu", "[EMAIL]"),
        ("long.name@\nx.org", "[EMAIL]"),
        ("Mail: jo @ x.org", "Mail: [EMAIL]"),
        ("jo@x.org.In 2019", "[EMAIL].In 2019"),
        ("お問い合わせはjo@x.jpまで", "お問い合わせは[EMAIL]まで"),
    ],
)
def test_an_address_is_replaced(text: str, redacted: str) -> None:
    assert emails(text) == redacted


@pytest.mark.parametrize(
    "text",
    [
        "@hollow_oak", "lodash@4.17.21", "mAP@50:95", "NARA@work was", "meet me at noon", "a@b", "@jo@mastodon.social",
        "git@github.com:octo/hello.git", "logo@2x.png", "recall@10.In all", "https://medium.com/@jo/story.html",
        "at any point in time", "It works at example dot com firms", "see us @ example.com",
    ],
)  # fmt: skip
def test_other_uses_of_the_sign_stay(text: str) -> None:
    assert emails(text) == text


# ----------------------------------------------------------------------------------- IBANs, cards, networks, secrets


def iban(country: str, account: str) -> str:
    rest = int("".join(str(int(character, 36)) for character in f"{account}{country}00")) % 97
    return f"{country}{98 - rest:02}{account}"


def in_fours(number: str) -> str:
    return " ".join(number[at : at + 4] for at in range(0, len(number), 4))


@settings(deadline=None)
@given(st.sampled_from([("DE", 18), ("GB", 18), ("FR", 23), ("NO", 11), ("MT", 27)]), st.data())
def test_an_iban_is_replaced_and_one_with_a_wrong_digit_is_not(country: tuple[str, int], data: st.DataObject) -> None:
    code, length = country
    right = iban(code, data.draw(st.text(string.digits, min_size=length, max_size=length)))
    wrong = f"{right[:-1]}{(int(right[-1]) + 1) % 10}"
    for form in (str, in_fours):
        assert redact(f"to {form(right)}, please", ("iban",)) == "to [IBAN], please"
        assert redact(f"to {form(wrong)}, please", ("iban",)) == f"to {form(wrong)}, please"


@pytest.mark.parametrize(
    ("number", "other"),
    [
        ("4111 1111 1111 1111", "4111 1111 1111 1112"),
        ("5555-5555-5555-4444", "5555-5555-5555-4445"),
        ("3782 822463 10005", "3782 822463 10006"),
        ("6011111111111117", "6011111111111118"),
        ("4111111111111111", "41111111111111111"),
        ("4111111111111111", "order 4111111111111111"),
        ("4111 1111 1111 1111", "8400 1111 1111 1111"),
    ],
)
def test_a_card_number_is_told_from_others_by_its_issuer_grouping_and_check_digit(number: str, other: str) -> None:
    assert redact(f"({number}, 04/27)", ("card",)) == "([CARD], 04/27)"
    assert redact(f"({other}, 04/27)", ("card",)) == f"({other}, 04/27)"


@settings(deadline=None)
@given(st.ip_addresses(v=4).filter(lambda address: not address.is_reserved))
def test_every_address_of_version_4_beside_a_word_of_networks_is_replaced(address: ipaddress.IPv4Address) -> None:
    assert redact(f"host {address}:80", ("ip",)) == "host [IP]:80"


@settings(deadline=None)
@given(st.ip_addresses(v=6, network="2000::/3"))
def test_every_address_of_version_6_that_is_given_out_is_replaced(address: ipaddress.IPv6Address) -> None:
    for form in (address.compressed, address.exploded, address.compressed.upper()):
        assert redact(f"from {form} to [{form}]:80.", ("ip",)) == "from [IP] to [[IP]]:80."


@pytest.mark.parametrize("text", ["127.0.0.1", "203.0.113.7/24", "http://10.0.0.1/", "::1", "fe80::1%eth0"])
def test_loopback_private_and_documentation_addresses_are_replaced(text: str) -> None:
    assert "[IP]" in redact(text, ("ip",))


@pytest.mark.parametrize(
    "text",
    [
        "version 192.168.1.1", "v10.0.0.1", "section 4.3.2.1", "1.2.3.4 Scope", "Firefox 1.5.0.12", "Chrome/120.0.1.9",
        "1.3.6.1.4.1", "256.1.1.1", "255.255.255.0", "12:30:45", "00:1a:2b:3c:4d:5e", "x[::1]", "y[1::2]",
        "std::vector",
        "abc::def()",
    ],
)  # fmt: skip
def test_versions_sections_masks_times_and_code_are_no_addresses(text: str) -> None:
    assert redact(text, ("ip",)) == text


RANDOM = "q7Zk2Vb9Lm4Xw8Rt1Yc6Hd3Nf5Gs0Jp2Tz7B"
PRIVATE_KEY = f"-----BEGIN RSA PRIVATE {'KEY'}-----\n{RANDOM * 2}\n-----END RSA PRIVATE {'KEY'}-----"


@pytest.mark.parametrize(
    ("text", "redacted"),
    [  # in parts, so that no scanner of repositories takes them for real ones
        ("AKI" + "AIOSFODNN7EXAMPLE", "[SECRET]"),
        ("gh" + f"p_{RANDOM}", "[SECRET]"),
        ("xox" + "b-123456789012-abcdefABCDEF", "[SECRET]"),
        ("sk_li" + "ve_abcdefghij0123456789", "[SECRET]"),
        ("key=AIz" + f"a{RANDOM[:35]}&v=3", "key=[SECRET]&v=3"),
        ("s" + f"k-proj-{RANDOM}", "[SECRET]"),
        ("ey" + f"JhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0.{RANDOM}", "[SECRET]"),
        (f"a {PRIVATE_KEY} b", "a [SECRET] b"),
        (PRIVATE_KEY.partition("\n-----END")[0], "[SECRET]"),
        ("postgres://app:s3cr3tPa55@db.x.org/prod", "postgres://app:[SECRET]@db.x.org/prod"),
        ("Password: Tr0ub4dor&3.", "Password: [SECRET]."),
        ("The Wi-Fi password is blue42Heron!", "The Wi-Fi password is [SECRET]"),
        ("Das Passwort lautet Hahn#4711rot.", "Das Passwort lautet [SECRET]."),
        ('"client_secret": "' + RANDOM + '",', '"client_secret": "[SECRET]",'),
        ("api_key=9e107d9d372bb6826bd81d3542a419d6&limit=25", "api_key=[SECRET]&limit=25"),
        (f"Authorization: Bearer {RANDOM}", "Authorization: Bearer [SECRET]"),
        (f"token: {RANDOM * 6}, then", "token: [SECRET], then"),
    ],
)
def test_a_secret_is_replaced_and_what_names_it_stays(text: str, redacted: str) -> None:
    assert redact(text, ("secret",)) == redacted


@pytest.mark.parametrize(
    "text",
    [
        "commit 3f786850e387550fdab836ed7e6dc881de23001b", "id 123e4567-e89b-12d3-a456-426614174000",
        "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08", "password: required",
        "Password: 8-character minimum", "password = getpass.getpass()", "API_KEY=${API_KEY}",
        "api_key: <your-key-1234>",
        "api_key=xxxxxxxxxxxx1234", "token: the smallest unit", "max_tokens=4096", "token: word-piece32k",
        "secret: str = Field(default=None)", "Forgot password: help1@x.org", "token: 2024-03-14T10:30:00Z",
        "-----BEGIN PUBLIC KEY-----\nMFww\n-----END PUBLIC KEY-----", "sk-learn-contrib-imbalanced-learn-2024",
    ],
)  # fmt: skip
def test_hashes_placeholders_code_and_prose_are_no_secrets(text: str) -> None:
    assert redact(text, ("secret",)) == text


# -------------------------------------------------------------------------------------------------------- the whole


def test_only_the_kinds_that_were_named_are_replaced() -> None:
    text = "jo@x.org, 202-555-0143"
    assert redact(text, ("email",)) == "[EMAIL], 202-555-0143"
    assert redact(text, ("phone",)) == "jo@x.org, [PHONE]"


def test_of_kinds_that_overlap_the_first_of_the_fixed_order_wins() -> None:
    assert list(FINDERS) == ["secret", "email", "iban", "card", "ip", "phone"]
    texts = "https://jo:a1b2c3d4@x.org", "NL91 ABNA 0417 1643 00", "4111-1111-1111-1111", "Tel. 10.20.30.40"
    for kinds in (tuple(FINDERS), tuple(reversed(FINDERS))):
        redacted = [redact(text, kinds, "DE") for text in texts]
        assert redacted == ["https://jo:[SECRET]@x.org", "[IBAN]", "[CARD]", "Tel. [IP]"]


PIECES = st.sampled_from(
    [
        "jo@x.org", "jo", " at ", " dot ", "x.org", "[at]", "@", ".", "202-555-0143", "Tel. ", "(0", ") ", "+44 ",
        "01632 960142",
        "DE89 3704 0044 0532 0130 00", "4111 1111 1111 1111", "10.0.0.1", "::1", ":", "/", " ", "\n", "password: ", "=",
        "token=", RANDOM, "PRIVATE KEY", PRIVATE_KEY, "[EMAIL]", "[SECRET]", "[PHONE]", "[IP]", "12", "0", "-", "x4",
        ", or ",
        "https://", "&", "“", "１２", "é", "8", "00-FLOWERS",
    ]
)  # fmt: skip


@settings(max_examples=400, deadline=None)
@given(st.lists(PIECES, max_size=14).map("".join) | st.text(st.sampled_from("0123456789()+-./ x@a,:"), max_size=80))
def test_redacting_twice_changes_nothing_more(text: str) -> None:
    for region in ("US", ("GB", "DE", "ES")):
        once = redact(text, region=region)
        assert redact(once, region=region) == once


@settings(max_examples=400, deadline=None)
@given(st.lists(PIECES, max_size=14).map("".join) | st.text(st.sampled_from("0123456789()+-./ x@a,:"), max_size=80))
def test_the_step_looks_at_every_text_that_holds_something(text: str) -> None:
    assert clean(text).text == [redact(text)]


def test_hints_are_in_all_texts_in_which_something_is_found() -> None:
    cases = benchmark().read_cases()
    for finder in FINDERS.values():
        texts = [case.text for case in cases if list(finder.find(case.text, [case.country]))]
        assert all(pc.match_substring_regex(pa.array(texts), finder.hint).to_pylist())


UNITS = [
    "1",
    "1 ",
    "12/34 ",
    "0-",
    ".",
    "1.",
    "@",
    "a@b.c ",
    "(at)",
    ":",
    "password: ",
    "xoxb-",
    "+",
    "4111 1111 1111 111",
]


@pytest.mark.parametrize("unit", [*UNITS, "-----BEGIN PRIVATE KEY-----"])
def test_the_time_for_nothing_but_digits_dots_or_signs_grows_with_the_length_and_no_faster(unit: str) -> None:
    def seconds(length: int) -> float:
        text = (unit * (length // len(unit) + 1))[:length]
        begin = time.process_time()
        redact(text)
        return time.process_time() - begin

    # four times as long a text takes four times as long; were each pair of places looked at, sixteen times
    quarter = max(0.02, min(seconds(250_000) for _ in range(2)))
    assert any(seconds(1_000_000) < 8 * quarter for _ in range(2))


def benchmark():
    path = Path(__file__).parents[1] / "benchmarks" / "redaction.py"
    specification = importlib.util.spec_from_file_location("redaction", path)
    module = importlib.util.module_from_spec(specification)
    sys.modules["redaction"] = module
    specification.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("kind", "recall", "precision"),
    [
        ("email", 0.98, 0.97),
        ("phone", 0.95, 0.97),
        ("iban", 0.97, 0.97),
        ("card", 0.97, 0.97),
        ("ip", 0.95, 0.97),
        ("secret", 0.95, 0.97),
    ],
)
def test_recall_and_precision_on_the_labelled_cases_keep_their_level(
    kind: str, recall: float, precision: float
) -> None:
    scored = benchmark().score(benchmark().read_cases(), kind)
    assert (scored.recall >= recall, scored.precision >= precision) == (True, True), scored


def test_the_labelled_cases_are_many_of_many_countries_and_half_of_them_held_out() -> None:
    cases = benchmark().read_cases()
    assert len(cases) >= 400
    assert len({case.country for case in cases}) >= 6
    held_out = sum(case.half == "held-out" for case in cases)
    assert abs(2 * held_out - len(cases)) <= 20


# ----------------------------------------------------------------------------------------------------------- the step


def clean(*texts: str, title: str | None = None, meta: object = None, key: bytes = b"key", **options: object) -> Batch:
    written = json.dumps(meta, ensure_ascii=False) if meta is not None else None
    batch = Batch(list(texts), [title] * len(texts), [written] * len(texts), {})
    redact_step(Redact.model_validate(options), Path(), key)(batch)
    return batch


def test_text_title_and_the_strings_of_meta_at_any_depth_are_redacted() -> None:
    meta = {"by": "jo@x.org", "lines": [["a", "al@x.org"]], "more": {"of": {"it": "vi@x.org"}}, "likes": 5, "ok": True}
    batch = clean("Ask jo@x.org", title="jo@x.org", meta=meta)
    assert (batch.text, batch.title) == (["Ask [EMAIL]"], ["[EMAIL]"])
    redacted = {"by": "[EMAIL]", "lines": [["a", "[EMAIL]"]], "more": {"of": {"it": "[EMAIL]"}}, "likes": 5, "ok": True}
    assert json.loads(batch.meta[0]) == redacted


def test_the_key_of_a_value_in_meta_says_what_it_is() -> None:
    meta = {"phone": 2025550143, "order_id": "2025550143", "api_key": RANDOM, "views": 2025550143}
    redacted = {"phone": "[PHONE]", "order_id": "2025550143", "api_key": "[SECRET]", "views": 2025550143}
    assert json.loads(clean("a", meta=meta).meta[0]) == redacted


def test_an_escape_in_meta_hides_nothing() -> None:
    batch = Batch(["a"], [None], ['{"by": "jo\\u0040x.org"}'], {})
    redact_step(Redact(), Path(), b"key")(batch)
    assert batch.meta == ['{"by": "[EMAIL]"}']


def test_what_holds_nothing_stays_as_it_is_to_the_character() -> None:
    meta = '{"b":1.50,  "a":"\\u00e9"}'
    batch = Batch(["In 1987."], [None], [meta], {})
    redact_step(Redact(), Path(), b"key")(batch)
    assert (batch.text, batch.title, batch.meta, batch.findings) == (["In 1987."], [None], [meta], [[]])


def test_each_redaction_is_on_record_with_its_kind_beside_its_document() -> None:
    findings = clean("jo@x.org, 202-555-0143", "nothing", "al@x.org").findings
    assert [[finding["kind"] for finding in found] for found in findings] == [["email", "phone"], [], ["email"]]


@pytest.mark.parametrize(
    ("kind", "ways"),
    [
        ("email", ["jo@x.org", "JO@X.org", "jo [at] x [dot] org", "jo at x dot org"]),
        ("phone", ["202-555-0143", "+1 (202) 555-0143", "tel. 2025550143", "0012025550143", "202.555.0143 x12"]),
        ("iban", ["DE89370400440532013000", "DE89 3704 0044 0532 0130 00"]),
        ("card", ["4111 1111 1111 1111", "4111111111111111"]),
        ("ip", ["2001:db8::1", "2001:0DB8:0:0:0:0:0:1"]),
    ],
)
def test_all_ways_to_write_a_value_have_one_hash(kind: str, ways: list[str]) -> None:
    findings = [found for (found,) in clean(*ways).findings]
    assert {finding["kind"] for finding in findings} == {kind}
    assert len({finding["hash"] for finding in findings}) == 1


def test_a_hash_depends_on_the_value_and_on_the_key() -> None:
    def hashes(key: bytes) -> list[str]:
        return [finding["hash"] for (finding,) in clean("202-555-0143", "202-555-0144", key=key).findings]

    assert hashes(b"one") == hashes(b"one")
    assert len({*hashes(b"one"), *hashes(b"two")}) == 4


def test_without_a_key_nobody_can_compute_the_hashes_again() -> None:
    batches = [Batch(["202-555-0143"], [None], [None], {}) for _ in range(2)]
    for batch in batches:
        redact_step(Redact(), Path())(batch)
    assert batches[0].findings != batches[1].findings


def test_the_record_holds_no_part_of_a_value() -> None:
    texts = "jo.bloggs@x.org", "202-555-0143", "4111 1111 1111 1111", f"token={RANDOM}"
    assert {tuple(finding) for found in clean(*texts).findings for finding in found} == {("kind", "hash")}
    record = json.dumps(clean(*texts).findings)
    assert not any(part in record for part in ("bloggs", "5550143", "41111111", RANDOM[:8]))


def test_a_country_that_is_none_is_a_mistake_in_the_recipe() -> None:
    with pytest.raises(UsageError, match=r"no country has the code UK; give one such as US, or GB \(not UK\)"):
        redact_step(Redact(region=["US", "UK"]), Path(), b"key")


def test_an_empty_batch_is_no_error() -> None:
    assert clean().text == []
