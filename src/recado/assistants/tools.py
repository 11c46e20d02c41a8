"""What a model may do besides answering: choose one of the owner's approved templates.

Nothing is sent from here. A choice that passed the checks of every other caller is kept beside the answer, and whoever
stores the answer stores the template behind it. The templates themselves reach the model as data, never in the tool's
description: what they say was written elsewhere.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from recado import tracing
from recado.assistants.framing import plain
from recado.channels.visible import visible
from recado.delivery.content import TemplateUse
from recado.errors import Conflict, UsageError
from recado.text import tidy

if TYPE_CHECKING:
    from pydantic_ai import FunctionToolset

#: How many choices that can't be sent are answered with what is wrong, before the model is told to go on without.
TRIES: Final = 3

#: What a model is shown, at every turn: so many templates, and so many characters of all of them together.
MOST_TEMPLATES: Final = 20
MOST_CHARS: Final = 8_000

DESCRIPTION: Final = """\
Have one of the company's approved message templates sent to the contact, right behind your answer. The data block \
lists them under "templates". Do it when the company's instructions ask for it or the contact needs what a template \
says; an answer of your own is better otherwise. Give the template's name and language exactly as they are listed, and \
under "variables" a text of one line for each name in its list, nothing invented. At most one template goes out with \
an answer. The contact reads it as it stands: don't repeat it in your answer."""
TAKEN: Final = (
    "The template goes out right behind your answer. Write the answer now, or nothing if the template says all."
)
ONE_ONLY: Final = "A template was chosen already, and only one goes out with an answer. Write the answer now."
WITHOUT: Final = "Don't try again: write your answer without a template."


@dataclass(frozen=True, slots=True, kw_only=True)
class Offered:
    """An approved template as a model is shown it."""

    content_sid: str
    name: str
    language: str
    body: str = field(repr=False)
    variables: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """A template that may be sent, with its variables, and what it then says."""

    use: TemplateUse
    says: str = field(repr=False)


#: Whether a ContentSid can be sent with these variables: raises UsageError or Conflict, in words, if not.
Check = Callable[[str, Mapping[str, str]], Awaitable[Chosen]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """The templates that a model may choose from in one turn."""

    templates: tuple[Offered, ...]
    check: Check = field(repr=False)


@dataclass(slots=True, kw_only=True)
class Choosing:
    """What one run has chosen, and how often it could not be sent."""

    offer: Offer
    wrong: int = 0
    chosen: Chosen | None = None


def bounded(found: Iterable[Offered], *, language: str) -> tuple[Offered, ...]:
    """As many of the templates as a model is shown, those in the contact's language first; no name twice in a language.

    One whose name is not plain, or which is too long by itself, is left out: a name that is cut could not be asked for.
    """
    kept: dict[tuple[str, str], Offered] = {}
    left = MOST_CHARS
    for one in sorted(found, key=lambda one: (not one.language.startswith(language), one.name, one.language)):
        size = len(one.name) + len(one.language) + len(one.body) + sum(map(len, one.variables))
        key = (one.name, one.language)
        if (
            len(kept) < MOST_TEMPLATES
            and size <= left
            and key not in kept
            and all(visible(t) == plain(t) == t for t in key)
        ):
            kept[key] = one
            left -= size
    return tuple(kept.values())


async def choose(choosing: Choosing, template: str, language: str, variables: Mapping[str, str]) -> str:
    """Keep the choice if it can be sent; either way, what the model is told of it."""
    if choosing.chosen is not None:
        return ONE_ONLY
    if choosing.wrong >= TRIES:
        return WITHOUT
    try:
        choosing.chosen = await choosing.offer.check(_asked_for(choosing.offer, template, language), variables)
    except (UsageError, Conflict) as error:
        choosing.wrong += 1
        return f"Not taken: {plain(str(error))}. {'Try again.' if choosing.wrong < TRIES else WITHOUT}"
    return TAKEN


def _asked_for(offer: Offer, template: str, language: str) -> str:
    """The ContentSid. What the model wrote is not repeated to it: it may hold anything."""
    named = {one.language: one.content_sid for one in offer.templates if one.name == template}
    if not named:
        raise UsageError("none of the listed templates has that name")
    if language not in named:
        raise UsageError(f"that template is not there in that language, but in {', '.join(named)}")
    return named[language]


def toolset(choosing: Choosing) -> FunctionToolset[None]:
    """The tool `send_template` for one run; calls of one answer come one after the other."""
    from pydantic_ai import FunctionToolset, Tool

    async def send_template(template: str, language: str, variables: dict[str, str] | None = None) -> str:
        # What a model writes may hold anything; a variable of which nothing is seen is refused as an empty one.
        with tracing.inside("tool send_template"):
            return await choose(choosing, template, language, {tidy(n): tidy(v) for n, v in (variables or {}).items()})

    return FunctionToolset([Tool(send_template, takes_ctx=False, description=DESCRIPTION, sequential=True)])
