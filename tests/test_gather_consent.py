from __future__ import annotations

import lxml.html
import pytest

from steep.gather.consent import remove_consent

ASKING = "<h2>We value your privacy</h2><p>We use cookies to measure how our pages are read.</p>"
BUTTONS = "<button>Accept all</button><button>Manage preferences</button>"
BANNERS = {
    "OneTrust": f"<div id='onetrust-consent-sdk'><div id='onetrust-banner-sdk'>{ASKING}{BUTTONS}</div></div>",
    "Cookiebot": f"<div id='CybotCookiebotDialog' name='CybotCookiebotDialog'>{ASKING}<a href='#'>OK</a></div>",
    "Didomi": f"<div id='didomi-host'><div class='didomi-popup-container'>{ASKING}{BUTTONS}</div></div>",
    "Quantcast": f"<div class='qc-cmp2-container' id='qc-cmp2-container'>{ASKING}{BUTTONS}</div>",
    "a platform's in a language that is not known": "<div id='onetrust-banner-sdk'><h1>Fáilte</h1></div>",
    "by its name": f"<section class='site-cookie-notice'>{ASKING}</section>",
    "by its label": f"<div aria-label='Cookie choices'>{ASKING}</div>",
    "a dialogue": f"<div role='dialog'>{ASKING}</div>",
    "a modal box": f"<div aria-modal='true'>{ASKING}</div>",
    "a dialog element": f"<dialog open>{ASKING}</dialog>",
    "by its button": f"<div class='x81b'><div>{ASKING}</div><div><button>Accept all</button></div></div>",
    "by the value of its button": f"<form>{ASKING}<input type='submit' value='I agree'></form>",
    "in German": "<div class='x81b'><p>Diese Seite verwendet Cookies, siehe Datenschutzerklärung.</p>"
    "<a href='#'>Alle akzeptieren</a></div>",
    "in French": "<div class='x81b'><p>Ce site utilise des cookies, voir la politique de confidentialité.</p>"
    "<button> Tout accepter</button></div>",
}
KEPT = {
    "a recipe": "<div class='cookie-recipe-box'><p>Bake the cookies, then let them cool upon the rack.</p></div>",
    "a dialogue of another kind": "<div role='dialog'><p>Write to us, as the policy of this house allows.</p></div>",
    "a sentence and a button": "<p>They accept cookies with tea, by the policy of the house.</p><button>OK</button>",
    "the page about cookies": f"<div class='cookie-info'><h1>Cookies</h1>{ASKING}<button>Accept</button></div>",
    "the article about cookies": f"<div class='cookie-info'><article>{ASKING}<button>Accept</button></article></div>",
    "a long box": f"<div class='cookie-info'>{ASKING}<p>{'All of it is explained here. ' * 120}</p></div>",
    "a page that is marked by a banner": f"<div class='has-cookie-banner'><main>{ASKING}</main></div>",
    "the row of a table": f"<table><tr><td>{ASKING}</td><td><a href='/no'>Reject</a></td></tr></table>",
    "a button that is long": f"<div>{ASKING}<button>Accept what Dot says of the kettle, and of the hob</button></div>",
}


def left(html: str) -> str:
    page = lxml.html.fromstring(f"<html><body><p>Before.</p>{html}<p>After.</p></body></html>")
    remove_consent(page)
    return " ".join(page.text_content().split())


@pytest.mark.parametrize("banner", BANNERS.values(), ids=BANNERS)
def test_a_banner_goes_whole_and_nothing_else(banner: str) -> None:
    assert left(banner) == "Before.After."


@pytest.mark.parametrize("html", KEPT.values(), ids=KEPT)
def test_what_only_speaks_of_cookies_or_only_asks_stays(html: str) -> None:
    assert left(html) == " ".join(lxml.html.fromstring(f"<div>Before.{html}After.</div>").text_content().split())


def test_a_banner_within_a_banner_goes_once() -> None:
    assert (
        left(f"<div class='cookie-overlay'><div class='cookie-banner'>{ASKING}{BUTTONS}</div> </div>")
        == "Before.After."
    )
