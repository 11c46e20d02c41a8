"""Whether two texts say the same to a reader: what Twilio lists is not always to the letter what was posted.

Seen to change: line ends, blanks at ends and between, the composition of letters, control and invisible characters,
quotes, dashes and dots (Smart Encoding, https://www.twilio.com/docs/messaging/services/smart-encoding), what is beyond
1,600 characters, and the line that a trial account puts in front.
"""

from __future__ import annotations

import re
import unicodedata

#: How many characters Twilio keeps of a text.
CUT: int = 1600

_TRIAL = re.compile(r"\ASent from your Twilio trial account ?- ")
_SAME_TO_A_READER = {
    '"': "\u00ab\u00bb\u201c\u201d\u201e\u201f\u02ba\u02dd\u02ee\u2033\u275d\u275e\u301d\u301e",
    "'": "\u2018\u2019\u201a\u201b\u02b9\u02bb\u02bc\u02bd\u02c8\u02ca\u02cb\u2032\u275b\u275c\u00b4`",
    "-": "\u2010\u2011\u2012\u2013\u2014\u2015\u2212\u2043\ufe58\ufe63",
    "<": "\u2039",
    ">": "\u203a",
    "/": "\u00f7\u2044\u2215\u29f8",
    # Not letters: what is drawn with the character before.
    "": "\ufe0e\ufe0f\u034f",
}
_TABLE = {ord(one): plain for plain, many in _SAME_TO_A_READER.items() for one in many}
#: Tags make the flags of England, Scotland and Wales differ.
_TAGS = range(0xE0020, 0xE0080)


def says(text: str) -> str:
    """The text as it is compared: equal for what a reader would call the same. Empty for what shows nothing.

    Letters, case, accents, digits, signs and the order of words count; white space only separates.
    """
    text = _TRIAL.sub("", text)
    if not text.isascii():
        text = "".join(one for one in text if unicodedata.category(one) != "Cf" or ord(one) in _TAGS)
        # Before, as normalizing would make two characters of some; and after, for what it makes.
        text = unicodedata.normalize("NFKC", text.translate(_TABLE)).translate(_TABLE)
        text = unicodedata.normalize("NFKC", text)
    elif "`" in text:
        text = text.replace("`", "'")
    if not text.isprintable():
        text = "".join(one for one in text if one.isspace() or unicodedata.category(one) not in ("Cc", "Cs"))
    return " ".join(text.split())


def says_nothing(text: str) -> bool:
    """Whether a text as it is listed tells no words: none, or the asterisks that stand for redacted ones."""
    return not says(text).strip("* ")


def same(one: str, other: str) -> bool:
    """Whether both say the same; of what was cut at `CUT` characters, as far as it goes."""
    first, second = says(one), says(other)
    if first == second:
        return True
    (short, cut), (whole, _) = sorted(((first, one), (second, other)), key=lambda pair: len(pair[0]))
    return len(cut) >= CUT - len("...") and whole.startswith(short.removesuffix("...").rstrip())
