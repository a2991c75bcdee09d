"""Words that tell what the number beside them is, in the languages of the formats that are known: English, German,
French, Spanish, Portuguese, Italian and Japanese.

What stands before a number is matched backwards from it (``(?r)``), which is five times as fast as to search for words
that end there.
"""

from __future__ import annotations

import regex

_FAR = 48
"""Characters before a number in which its word is looked for."""

_NUMBER_WORD = r"\b(?:id|ref|reference|numbers?|no|nr|nummer|num|n[úu]mero|num[ée]ro|code|1[03])\b|n?[°º]"
_OTHER_NUMBER = regex.compile(
    r"(?r)(?:\b(?:order|purchase|invoice|isbn|issn|ref|reference|sku|serial|version|id|ip|no|nr|num|doi|model|part|p/n|pn|case"
    r"|docket|ticket|tracking|account|acc|acct|bill|lot|patent|roll|policy|claim|imei|ean|gtin|upc|orcid|pnr|upi|utr"
    r"|(?:bestell|rechnung|kunden|artikel|konto|auftrag|sendung|akten|steuer|vorgang)\w*"
    r"|commande|facture|dossier|siren|siret|rcs|pedido|factura|fatura|protocolo|processo|conta|cuenta|expediente|fiscal"
    r"|ordine|fattura|pratica|conto|n[úu]m)\b|№|注文番号|番号|品番|型番)"
    rf"[-\s.:#]*(?:{_NUMBER_WORD})?[-\s.:#]*",
    regex.IGNORECASE,
)
_PHONE_NOUN = regex.compile(
    r"(?r)(?:\b(?:tel|telephone|phone|ph|fax|mobile|mob|cell|landline|hotline|helpline|whats ?app|zap|sms|tty"
    r"|(?:my|our|his|her|new|contact|phone|office|home|work|main|direct) number|contact no"
    r"|tele[fp]on\w*|mobil|handy|(?:ruf|service)-?nummer|durchwahl"
    r"|t[ée]l[ée]phone|tél|portable|télécopie|standard|num[ée]ro verd?[te]|n° vert"
    r"|tel[ée]fono|m[óo]vil|celular|cel|telefone|fone|fixo|recado|cellulare)\b"
    r"|\b[TMF]:|\((?:M|R|O|H|W)\)|[☎☏📞📱]|電話|携帯|連絡先)"
    rf"(?:[\s.:：/\"'–-]|\([^()\n]{{1,20}}\)|{_NUMBER_WORD}|\b(?:is|ist|est|es)\b)*",
    regex.IGNORECASE,
)
_PHONE_VERB = regex.compile(
    r"(?r)\b(?:(?:call|ring|phone|dial|llame|ligue|chiama|appelez)(?:\s(?:us|me|it|le|al|au|il|lo))?\s?:?\s?"
    r"|(?:call|ring|phone|text|dial|reach|contact|whatsapp|erreich\w*|appele\w*|joindre|joignable|ll[áa]m\w+|chiam\w+"
    r"|ligu\w+)\b[^\d\n.;?!]{0,30}\b(?:on|at|unter|au|al|le|il|em|para)\s?:?\s?"
    r"|ruf\w*\b[^\d\n.;?!]{0,30}\ban\s?:?\s?)",
    regex.IGNORECASE,
)
_PHONE_AFTER = regex.compile(
    r"\s?(?:\(|is (?:my|our|the|his|her) (?:new )?)(?:mobile|cell|phone|fax|tel|whatsapp|landline|handy|mobil)\b",
    regex.IGNORECASE,
)
_QUANTITY_AFTER = regex.compile(
    r"\s?(?:[€$£¥₹%°]|(?:EUR|USD|GBP|CHF|INR|BRL|JPY|AUD|km|kg|m|ft|mm|people|votes|habit\w+|abitanti|Einwohner|hab)\b)"
)


def says_other_number(text: str, start: int) -> bool:
    """Whether a word such as "order" stands before ``start``."""
    return bool(_OTHER_NUMBER.match(text, max(0, start - _FAR), start))


def says_phone(text: str, start: int) -> bool:
    """Whether a word such as "tel." or "call ... on" stands before ``start``."""
    far = max(0, start - _FAR)
    return bool(_PHONE_NOUN.match(text, far, start) or _PHONE_VERB.match(text, far, start))


def says_it_was_a_phone(text: str, end: int) -> bool:
    """Whether words such as "is my mobile" or "(fax)" follow."""
    return bool(_PHONE_AFTER.match(text, end))


def says_quantity(text: str, end: int) -> bool:
    """Whether a unit or a currency follows."""
    return bool(_QUANTITY_AFTER.match(text, end))
