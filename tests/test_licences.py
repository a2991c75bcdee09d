from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from steep.licences import licence_id, matches, strictest

LINKS = {
    "https://creativecommons.org/licenses/by/4.0/": "cc-by-4.0",
    "http://creativecommons.org/licenses/by-sa/2.5": "cc-by-sa-2.5",
    "//www.creativecommons.org/licenses/by-nc/2.0/": "cc-by-nc-2.0",
    "https://creativecommons.org/licenses/by-nc-nd/4.0/deed.de": "cc-by-nc-nd-4.0",
    "https://creativecommons.org/licenses/by/4.0/legalcode.txt": "cc-by-4.0",
    "http://creativecommons.org/licenses/by-nc-sa/3.0/us/": "cc-by-nc-sa-3.0",
    "http://creativecommons.org/licenses/by-nd-nc/1.0/": "cc-by-nc-nd-1.0",
    "HTTPS://CreativeCommons.org/licenses/by/": "cc-by",
    "https://creativecommons.org/publicdomain/zero/1.0/": "cc0",
    "https://creativecommons.org/publicdomain/mark/1.0/deed.en": "public-domain",
    "http://creativecommons.org/licenses/publicdomain/": "public-domain",
    "http://www.apache.org/licenses/LICENSE-2.0.html": "apache-2.0",
    "https://www.gnu.org/licenses/gpl-3.0.en.html": "gpl-3.0",
    "https://www.gnu.org/copyleft/fdl.html": "gfdl",
    "https://opendatacommons.org/licenses/odbl/1-0/": "odbl-1.0",
    "https://opendatacommons.org/licenses/by/1-0/": "odc-by-1.0",
    "https://opensource.org/licenses/mit-license.php": "mit",
    "https://opensource.org/license/bsd-3-clause/": "bsd-3-clause",
    "https://spdx.org/licenses/CC-BY-SA-4.0.html": "cc-by-sa-4.0",
    "http://www.nationalarchives.gov.uk/doc/open-government-licence/version/3/": "ogl-uk-3.0",
}
NAMES = {
    "Creative Commons Attribution 4.0 International": "cc-by-4.0",
    "Creative Commons Attribution-ShareAlike 3.0 Unported License": "cc-by-sa-3.0",
    "Creative Commons Attribution-ShareAlike License 4.0": "cc-by-sa-4.0",
    "Creative Commons Attribution, Non-Commercial, No Derivative Works": "cc-by-nc-nd",
    "Creative Commons Attribution License": "cc-by",
    "Attribution-NonCommercial 2.0 Generic (CC BY-NC 2.0)": "cc-by-nc-2.0",
    "CC0 1.0 Universal (CC0 1.0) Public Domain Dedication": "cc0",
    "Creative Commons Zero v1.0 Universal": "cc0",
    "Public Domain Mark 1.0": "public-domain",
    "This text is in the public domain.": "public-domain",
    "The MIT License (MIT)": "mit",
    "Apache License, Version 2.0": "apache-2.0",
    "GNU General Public License v3.0": "gpl-3.0",
    "GNU Lesser General Public License version 2.1 or later": "lgpl-2.1-or-later",
    "GNU Free Documentation License 1.3": "gfdl-1.3",
    "Open Data Commons Open Database License (ODbL) v1.0": "odbl-1.0",
    "3-Clause BSD License": "bsd-3-clause",
    "© 2026 Hollow Oak Kettles. All rights reserved.": "all-rights-reserved",
    "Alle Rechte vorbehalten": "all-rights-reserved",
}
SHORT = {
    "CC-BY-4.0": "cc-by-4.0",
    "CC BY-NC-ND 4.0": "cc-by-nc-nd-4.0",
    "cc by nc sa": "cc-by-nc-sa",
    "cc-by-sa-3.0-us": "cc-by-sa-3.0",
    "CC BY 4": "cc-by-4.0",
    "CC0": "cc0",
    "CC0-1.0": "cc0",
    "MIT": "mit",
    "Apache-2.0": "apache-2.0",
    "GPL-3.0-or-later": "gpl-3.0-or-later",
    "GPL-2.0-only": "gpl-2.0-only",
    "GPLv3": "gpl-3.0",
    "GFDL": "gfdl",
    "GFDL-1.3-or-later": "gfdl-1.3-or-later",
    "ODC-By": "odc-by",
    "PDDL-1.0": "pddl-1.0",
    "OWN": "own",
}
PHRASES = {
    "This work is licensed under a Creative Commons Attribution-NonCommercial 4.0 International License.": (
        "cc-by-nc-4.0"
    ),
    "Except where otherwise noted, content is licensed under CC BY 4.0": "cc-by-4.0",
    "Sofern nicht anders angegeben: CC BY-SA 3.0 DE, https://creativecommons.org/licenses/by-sa/3.0/de/": (
        "cc-by-sa-3.0"
    ),
    "If not otherwise stated: CC BY 4.0": "cc-by-4.0",
    "© 2026 Jane Doe, CC BY 4.0 (Creative Commons Attribution)": "cc-by-4.0",
}
NOT_UNDERSTOOD = [
    "cc",
    "Creative Commons",
    "https://creativecommons.org/",
    "https://creativecommons.org/licenses/sampling+/1.0/",
    "CC by Jane Doe",
    "CC BY-XY",
    "CC BY 2026 Jane Doe",
    "CC BY 4.0 or CC BY-SA 3.0",
    "This is not licensed under CC BY 4.0",
    "This is not in the public domain",
    "Some rights reserved",
    "Mitigation",
    "openrail",
    "unknown",
    "Open Data Commons Public Domain",
    "https://example.com/terms",
    "© 2026 Jane Doe",
]


@pytest.mark.parametrize(("text", "licence"), {**LINKS, **NAMES, **SHORT, **PHRASES}.items())
def test_links_names_and_phrases_become_one_identifier(text: str, licence: str) -> None:
    assert licence_id(text) == licence


@pytest.mark.parametrize("text", NOT_UNDERSTOOD)
def test_what_is_not_understood_stays_as_it_is(text: str) -> None:
    assert licence_id(f" {text}\n") == text


@pytest.mark.parametrize("text", [None, "", " \n\t"])
def test_nothing_said_is_no_licence(text: str | None) -> None:
    assert licence_id(text) is None


@pytest.mark.parametrize("licence", sorted({*LINKS.values(), *NAMES.values(), *SHORT.values()}))
def test_an_identifier_is_its_own_name_and_weighs_more_than_free_words(licence: str) -> None:
    assert licence_id(licence) == licence
    assert strictest(["© 2026 Jane Doe", licence]) == licence


@given(st.lists(st.sampled_from([*LINKS, *NAMES, *SHORT, "and", "(", "not", "by", "2026"]), max_size=4).map(" ".join))
def test_what_was_normalised_once_stays_the_same(text: str) -> None:
    assert licence_id(licence_id(text)) == licence_id(text)


def test_a_family_without_version_matches_every_version() -> None:
    assert matches("cc-by-4.0", ["cc-by"])
    assert matches("cc-by", ["cc-by"])
    assert matches("gpl-3.0-or-later", ["gpl"])
    assert matches("gpl-3.0-or-later", ["gpl-3.0"])
    assert matches("bsd-3-clause", ["bsd"])


@pytest.mark.parametrize(
    "licence", ["cc-by-nc-4.0", "cc-by-sa-4.0", "cc-by-nd", "cc0", "cc", "all-rights-reserved", None]
)
def test_cc_by_matches_nothing_that_asks_for_more(licence: str | None) -> None:
    assert not matches(licence, ["cc-by"])


def test_a_version_matches_only_itself() -> None:
    assert matches("cc-by-4.0", ["cc-by-4.0"])
    assert not matches("cc-by-3.0", ["cc-by-4.0"])
    assert not matches("cc-by", ["cc-by-4.0"])


def test_unknown_matches_only_what_declares_none() -> None:
    assert matches(None, ["cc0", "unknown"])
    assert not matches("cc-by-4.0", ["unknown"])
    assert not matches(None, ["cc0", "own"])


def test_both_sides_may_be_written_in_any_way() -> None:
    assert matches("https://creativecommons.org/licenses/by/4.0/", ["CC-BY"])
    assert matches("Press kit of Hollow Oak", ["press kit of hollow oak"])


@pytest.mark.parametrize(
    ("declared", "licence"),
    [
        (["cc-by-4.0", "cc-by-nc-4.0", "cc0"], "cc-by-nc-4.0"),
        (["cc-by-nc-sa-4.0", "cc-by-nd-4.0"], "cc-by-nd-4.0"),
        (["cc-by-nd-4.0", "all-rights-reserved"], "all-rights-reserved"),
        (["public-domain", "mit"], "mit"),
        (["mit", "gpl-3.0"], "gpl-3.0"),
        (["cc-by-4.0", "cc-by-3.0"], "cc-by-4.0"),
        (["© 2026 Jane Doe"], "© 2026 Jane Doe"),
        ([], None),
    ],
)
def test_of_licences_that_disagree_the_strictest_wins(declared: list[str], licence: str | None) -> None:
    assert strictest(declared) == licence
