"""Takes cookie and consent banners out of a page.

A banner is known by the name of the platform that made it, by a name such as `cookie-notice`, as a dialogue, or by a
button such as "Accept all". All but the first must also speak of cookies and of a choice, be short, and hold nothing
that makes them the page itself: a recipe for cookies stays, and so does an article about consent.
"""

from __future__ import annotations

import re

from lxml.html import HtmlElement

_BOXES = ("div", "section", "aside", "dialog", "form", "footer", "header", "p")
_PAGE = ("h1", "main", "article")
_LONGEST = 3000
_LABEL = 40
# OneTrust, Cookiebot, Didomi, Quantcast, Usercentrics, TrustArc, Sourcepoint, Google, Osano, CookieYes, iubenda,
# Complianz, Borlabs, Klaro, Termly, Axeptio, tarteaucitron, consentmanager, Civic, HubSpot, Moove, Shopify, Drupal
_PLATFORM = re.compile(
    r"(?:^|\s)(?:onetrust-|optanon|cybotcookiebot|didomi-(?:host|popup|notice)|qc-cmp|usercentrics-|uc-banner|truste[-_]"
    r"|trustarc-|consent_blackbar|sp_message_container|fc-consent-|osano-cm|cky-consent|cookie-law-info|iubenda-cs"
    r"|cmplz-cookiebanner|borlabscookie|brlbs-|klaro\b|termly-|axeptio|tarteaucitron|cmpbox|cmpwrapper|ccc-overlay"
    r"|ccc-notify|hs-eu-cookie|moove[-_]gdpr|shopify-pc__|eu-cookie-compliance|sliding-popup|cc-window)",
    re.IGNORECASE,
)
_NAMED = re.compile(
    r"(?:cookie|consent|gdpr|ccpa|dsgvo)[\w-]*(?:banner|bar|box|notice|consent|pop-?up|modal|dialog|overlay|message"
    r"|wall|layer|hint|hinweis|info|warning|alert|prompt|container|disclaimer)"
    r"|(?:banner|bar|notice|pop-?up|modal|overlay)[\w-]*(?:cookie|consent|gdpr)",
    re.IGNORECASE,
)
_COOKIES = re.compile(r"\bcookies?\b|\bкуки\b|クッキー", re.IGNORECASE)
_CHOOSING = re.compile(
    r"consent|accept|agree|privacy|polic[yi]|settings|preferences|einwillig|zustimm|akzept|datenschutz|einstellung"
    r"|confidentialité|acept|privacidad|política|ajustes|accett|informativa|beleid|aceit|согла|同意",
    re.IGNORECASE,
)
_BUTTON = re.compile(
    r"\W*(?:(?:yes,? )?i )?(?:accept|agree|allow|got it|ok(?:ay)?\b|understood|reject|decline|deny|akzeptier|zustimm"
    r"|einverstanden|ablehn|alle[ns]? (?:akzeptier|zulassen|ablehn|cookies)|(?:tout )?(?:accepte|refuser)|j.accepte"
    r"|acepta|rechaza|accett|rifiut|akkoord|weiger|aceit|rejeit|godta|godk|hyväksy|akceptuj|zgadzam|souhlas|elfogad)",
    re.IGNORECASE,
)


def remove_consent(page: HtmlElement) -> None:
    for box in list(page.iter(*_BOXES)):
        if box.getparent() is not None and _is_named(box):
            box.drop_tree()
    too_long: set[HtmlElement] = set()
    for button in page.xpath(".//button|.//a|.//input[@type='button' or @type='submit']"):
        label = button.text_content() or button.get("value", "")
        if len(label) <= _LABEL and _BUTTON.match(label):
            banner = _banner_around(button, too_long)
            if banner is not None:
                banner.drop_tree()


def _is_named(box: HtmlElement) -> bool:
    name = f"{box.get('id', '')} {box.get('class', '')}"
    if _PLATFORM.search(name):
        return True
    return bool(_NAMED.search(name) or _is_dialogue(box) or _COOKIES.search(box.get("aria-label", ""))) and _asks(box)


def _is_dialogue(box: HtmlElement) -> bool:
    return box.tag == "dialog" or box.get("role") in ("dialog", "alertdialog") or box.get("aria-modal") == "true"


def _asks(box: HtmlElement) -> bool:
    text = box.text_content()
    return (
        len(text) <= _LONGEST
        and _COOKIES.search(text) is not None
        and _CHOOSING.search(text) is not None
        and next(box.iter(*_PAGE), None) is None
    )


def _banner_around(button: HtmlElement, too_long: set[HtmlElement]) -> HtmlElement | None:
    """The nearest box that holds both the button and what it consents to.

    ``too_long``: boxes that were found to be, so that a table with a button in each row is not read once a row.
    """
    for box in button.iterancestors():
        if box in too_long or box.tag in ("body", "html", *_PAGE):
            return None
        if len(box.text_content()) > _LONGEST:
            too_long.add(box)
            return None
        if box.tag in _BOXES and _asks(box):
            return box
    return None
