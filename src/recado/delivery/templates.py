"""A template's variables: which it has, whether those given can be sent, what it then says.

WhatsApp refuses variables with line breaks, tabs or runs of spaces, and empty ones:
https://www.twilio.com/docs/content/using-variables-with-content-api.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

from recado.delivery.content import CONTROLS, TEXT_CHARS
from recado.errors import UsageError
from recado.text import is_blank

CONTENT_SID: Final = re.compile(r"HX[0-9a-fA-F]{32}")
APPROVED: Final = "approved"

#: What a fallback's variables may ask for.
CONTACT_NAME, TEXT = "{contact_name}", "{text}"

_VARIABLE: Final = re.compile(r"\{\{ *(\w{1,32}) *\}\}")
_RUN: Final = re.compile(r" {4}")


def variables_of(types: Any) -> tuple[str, ...]:
    """The names of the variables in everything that a template says, in the order in which they first stand there."""
    found: dict[str, None] = {}
    for text in _texts(types):
        found |= dict.fromkeys(_VARIABLE.findall(text))
    return tuple(found)


def _texts(value: Any) -> Iterable[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _texts(item)
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item)


def check(names: Iterable[str], given: Mapping[str, str], body: str) -> None:
    """Raise UsageError that names the variables which are missing, too many, or not as WhatsApp takes them."""
    wanted = list(dict.fromkeys(names))
    missing = [name for name in wanted if name not in given]
    # Names of callers are not repeated: they may hold anything.
    extra = sum(name not in wanted for name in given)
    has = f"the template has the variables {', '.join(wanted)}" if wanted else "the template has no variables"
    if missing:
        raise UsageError(f"{has}: {', '.join(missing)} missing")
    if extra:
        raise UsageError(f"{has}: {extra} more were given")
    for name in wanted:
        value = given[name]
        if is_blank(value) or value != value.strip():
            raise UsageError(f"variable {name} must not be empty, or begin or end with a space")
        if CONTROLS.search(value) or _RUN.search(value):
            raise UsageError(f"variable {name} must be one line, without tabs or four spaces in a row")
    if len(render(body, given)) > TEXT_CHARS:
        raise UsageError(f"with these variables the template is longer than {TEXT_CHARS} characters")


def render(body: str, given: Mapping[str, str]) -> str:
    """What the template says; a variable that was not given stays as it is."""
    return _VARIABLE.sub(lambda found: given.get(found[1], found[0]), body)


def check_fallback(names: Iterable[str], mapping: Mapping[str, str], body: str) -> None:
    """Raise UsageError where a template with these variables can't carry a reply; one must hold `{text}`."""
    if not any(TEXT in value for value in mapping.values()):
        raise UsageError(f"one of the variables must hold {TEXT}, for instance 2={TEXT}")
    check(names, fill(mapping, contact_name="x", text="x"), body)


def fill(mapping: Mapping[str, str], *, contact_name: str, text: str) -> dict[str, str]:
    """The variables of a fallback for one reply, its line breaks turned into spaces."""
    one_line, name = (" ".join(CONTROLS.sub(" ", said).split()) for said in (text, contact_name))
    # One pass: a text that says {contact_name} is not filled in again.
    replacing = {CONTACT_NAME: name, TEXT: one_line}
    pattern = re.compile("|".join(map(re.escape, replacing)))
    return {key: pattern.sub(lambda found: replacing[found[0]], value) for key, value in mapping.items()}
