"""Work on what strangers and owners write grows with the text and no faster; nothing is known of who writes it.

Every pattern of the package is found by itself. A function that goes over such text has its line in `FUNCTIONS`.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Callable
from ipaddress import ip_network

import pytest

from recado import edge, references
from recado.api import media
from recado.assistants import framing, keyless, knowledge, words
from recado.channels import visible
from recado.channels.twilio import addresses, parse, sids, signature
from recado.conversations import consent_words, saying
from recado.conversations.reading import Quote, Reading
from recado.delivery import content, split, templates
from recado.errors import RecadoError
from recado.identity import users
from recado.ids import new_id
from recado.media import cards, utf16
from recado.media import text as documents
from recado.telemetry import redact
from tests import hostile

PLACES = list(hostile.patterns("recado"))

#: Patterns that are made of something that runs: why none of it is a stranger's.
UNREAD = {
    "recado.delivery.templates: '|'.join(map(re.escape, replacing))": "two words of ours, escaped",
    "recado.simulator.faults: pattern": "a developer's own, for the local Twilio",
}


def test_every_pattern_is_found_and_read() -> None:
    assert {place.where for place in PLACES if place.pattern is None} <= UNREAD.keys()
    assert len(PLACES) > 80


@pytest.mark.parametrize(
    "bad",
    [
        r"<(?=\s*/?\s*data\b)",
        r"^ {0,3}(#{1,6})(?:[ \t]+(.*?))?(?:[ \t]+#+)?[ \t]*$",
        r"\S*(?:://|www\.|@)\S*|\S+\.com\S*",
        r"(a|aa)+$",
        r"[a-z]+@[a-z]+",
        r"\s+$",
    ],
)
def test_a_superlinear_pattern_does_not_pass(bad: str) -> None:
    place = hostile.Place("here", re.compile(bad), ())
    assert any(
        hostile.growth(work, hostile.repeated(*text)) > hostile.MOST_GROWTH
        for _, work in hostile.applied(place)
        for text in hostile.texts(place.pattern)
    )


@pytest.mark.parametrize("place", [p for p in PLACES if p.pattern is not None], ids=lambda place: place.where)
def test_a_pattern_takes_twice_the_time_for_twice_the_text_at_most(place: hostile.Place) -> None:
    for use, work in hostile.applied(place):
        for prefix, pump, end in hostile.texts(place.pattern):
            grown = hostile.growth(work, hostile.repeated(prefix, pump, end))
            assert grown <= hostile.MOST_GROWTH, f"{use} of {prefix!r} + {pump!r} * n + {end!r}: {grown:.1f} times"


TWILIO = [("AccountSid", "AC" + "0" * 32), ("MessageSid", "SM" + "0" * 32), ("From", "whatsapp:+5511987654321")]
SCOPE = {"type": "http", "path": "/", "query_string": b"", "scheme": "https", "client": ("127.0.0.1", 1)}


def inbound(text: str) -> object:
    """A webhook whose every parameter is that text, parsed, and what nobody knows of it."""
    named = ("Body", "ProfileName", "ButtonText", "ListTitle", "Address", "Label", "ReferralBody", "Latitude", "WaId")
    parameters = [*TWILIO, ("To", "whatsapp:+14155238886"), *((name, text) for name in named), (text[:200], text)]
    parameters += [("MessageType", "document"), ("MediaUrl0", text), ("MediaContentType0", text)]
    return parse.unread(parse.parse_inbound(parameters))


def receipt(text: str) -> object:
    return parse.parse_receipt([*TWILIO, ("MessageStatus", "failed"), ("ErrorCode", text), ("ErrorMessage", text)])


def reading(text: str) -> object:
    quote = Quote(message_id=new_id(), author="contact", kind="text", text=text)
    return saying.says(Reading(author="contact", kind="order", body=text, quote=quote, others={"x": text}))


def refused(work: Callable[[str], object]) -> Callable[[str], object]:
    """The same, what it refuses included."""

    def tried(text: str) -> object:
        with contextlib.suppress(RecadoError, ValueError):
            return work(text)
        return None

    return tried


#: Who goes over text of strangers or owners. A new one gets its line here.
FUNCTIONS: dict[str, Callable[[str], object]] = {
    "framing.plain": framing.plain,
    "framing.block": lambda text: framing.block({"x": text}),
    "split": lambda text: split.split(text, 1500),
    "split, few characters": lambda text: split.split(text, 40),
    "content.pieces": lambda text: content.pieces(text, 1500, with_text=True),
    "content.check": refused(lambda text: content.check(content.QuickReplies(buttons=()), text)),
    "templates.variables_of": templates.variables_of,
    "templates.render": lambda text: templates.render(text, {"1": "x"}),
    "templates.fill": lambda text: templates.fill({"1": text}, contact_name=text, text=text),
    "consent_words.normal": consent_words.normal,
    "words.tokens": words.tokens,
    "words.detect": lambda text: words.detect(text, at_most=len(text)),
    "words.written_in": lambda text: words.written_in([text]),
    "words.asked": lambda text: words.asked(text, "pt"),
    "words.indexed": lambda text: words.indexed(text, "pt"),
    "keyless._questions": keyless._questions,
    "keyless._courtesy": keyless._courtesy,
    "knowledge.read_markdown": refused(knowledge.read_markdown),
    "knowledge.read_csv": refused(knowledge.read_csv),
    "knowledge.read": refused(lambda text: knowledge.read("a.md", text.encode("utf-8", "replace"))),
    "cards.read": lambda text: cards.read(text.encode("utf-8", "replace")),
    "cards.read, a card": lambda text: cards.read(b"BEGIN:VCARD\n" + text.encode("utf-8", "replace")),
    "documents.tidy": documents.tidy,
    "saying.says": reading,
    "visible": visible.visible,
    "parse_inbound": refused(inbound),
    "parse_receipt": refused(receipt),
    "parse_form": refused(lambda text: signature.parse_form(b"Body=" + text.encode())),
    "parse_json": refused(lambda text: signature.parse_json(json.dumps({"a": [text]}).encode())),
    "is_signed": lambda text: signature.is_signed(
        f"https://example.com/{text}?bodySHA256={text}", ["token"], text, "application/json", text.encode(), []
    ),
    "canonical_url": lambda text: signature.canonical_url(
        {**SCOPE, "headers": [(b"forwarded", text.encode()), (b"x-forwarded-host", text.encode())]},
        public_url=None,
        trusted_proxies=[ip_network("127.0.0.0/8")],
    ),
    "addresses.canonical_address": addresses.canonical_address,
    "sids.canonical_sid": sids.canonical_sid,
    "utf16.is_text": lambda text: utf16.is_text(text.encode("utf-16-le", "replace"), "utf-16-le", whole=True),
    "addresses.identity_key": addresses.identity_key,
    "edge._hops": lambda text: edge._hops([(b"forwarded", text.encode()), (b"x-forwarded-for", text.encode())]),
    "telemetry.redact": redact,
    "users.normal_email": refused(lambda text: users.normal_email(f"a@{text}")),
    "api.media._file_name": lambda text: media._file_name(f'attachment; filename="{text}', "application/pdf"),
    "references.check": refused(references.check),
}

PUMPS = [
    *(" ", "\n", "a", "< ", "<data", "&lt;", "&amp;", "*", "*a* ", "_a_", "`", "```", "](", "# ", "\n# ", "```\n"),
    *("=\n", "\u200b", "é", "e\u0301", "?! ", ".com ", "@", "://", "BEGIN:VCARD\n", "TEL:1\n", "\n ", '"', '",'),
    *(
        "漢",
        "👍🏽",
        "0",
        "%3c",
        "\\",
        "{{1}}",
        "{{ ",
        "[",
        "a ",
        "palavra ",
        "/",
        ":",
        "q,a\n",
        ",",
        ";",
        "\t",
        "~~~\n",
    ),
    "X;QUOTED-PRINTABLE:a=\n",
]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_takes_twice_the_time_for_twice_the_text_at_most(name: str) -> None:
    for pump in PUMPS:
        for prefix, end in (("", ""), ("a,b\n# a\n", "\x01")):
            grown = hostile.growth(FUNCTIONS[name], hostile.repeated(prefix, pump, end))
            assert grown <= hostile.MOST_GROWTH, f"{prefix!r} + {pump!r} * n + {end!r}: {grown:.1f} times"


def test_slips_of_a_word_are_as_many_as_it_has_letters() -> None:
    assert len(list(words.slips("a" * 200))) < 2.5 * len(list(words.slips("a" * 100)))
