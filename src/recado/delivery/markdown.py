"""Markdown, which models write whatever they are told, as what WhatsApp shows: https://faq.whatsapp.com/539178204879377.

WhatsApp knows `*bold*`, `_italic_`, `~struck~`, monospace, lists and quotations; everything else of Markdown a reader
would see as marks. What is no Markdown stays to the letter, and so does a text that holds none.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from markdown_it import MarkdownIt
    from markdown_it.rules_block import StateBlock
    from markdown_it.rules_inline import StateInline
    from markdown_it.token import Token

#: A longer text is left as it is: no answer on WhatsApp is so long, and a parser's time is not given to one.
MOST_CHARS: Final = 16_000

#: Pairs of marks within each other that are heeded.
DEEPEST: Final = 6
#: Without any of these there is nothing of Markdown in a text.
_MARKS: Final = re.compile(r"[*_~`#\[\]<>|&\\]|^ {0,3}(?:[-+=]|\d{1,9}[.)])", re.MULTILINE)
_URL_REST: Final = re.compile(r"://[^\s<>\[\]`|\"“”]+")
_WWW: Final = re.compile(r"(?i)www\.[^\s<>\[\]`|\"“”]+")
_URL_END: Final = "*_~.,;:!?'\"…"
_NOTE: Final = re.compile(r"\[\^([\w.-]{1,32})\]:?")
_TASK: Final = re.compile(r"^\[([ xX])\][ \t]+")
_TAG: Final = re.compile(r"<(/?)([a-z][a-z0-9]*)((?:\s[^<>]*)?)/?>", re.IGNORECASE)
_ESCAPED: Final = re.compile(r"\\[!-/:-@\[-`{-~]|&#?\w{1,31};")
_HREF: Final = re.compile(r"""href\s{0,4}=\s{0,4}["']?([^"'\s>]+)""", re.IGNORECASE)
_DEFINITION: Final = re.compile(r" {0,3}\[[^\[\]]{1,200}\]:[ \t]*<?(?:https?://|www\.|mailto:|tel:)", re.IGNORECASE)
_MARKERS: Final = {"strong": "*", "em": "_", "s": "~"}
_TAGS: Final = {"b": "strong", "strong": "strong", "i": "em", "em": "em", "s": "s", "del": "s", "strike": "s"}
_DROPPED: Final = frozenset(
    {"p", "div", "span", "u", "small", "big", "font", "center", "ul", "ol", "sup", "sub", "mark"}
)


def to_whatsapp(text: str) -> str:
    """The text as WhatsApp shows it; links, code, addresses and sums stay as they are written.

    A lone `*pair of stars*` is WhatsApp's bold, which models are asked for; in a text that is Markdown beyond doubt
    (`**`, a heading, a link, a table) it is italic. Takes time in proportion to the text.
    """
    if len(text) > MOST_CHARS or not _MARKS.search(text):
        return text
    env: dict[str, Any] = {}
    tokens = _parser().parse(text, env)
    if not _is_formatted(tokens):
        return text
    page = _Page(text.split("\n"), surely=_is_surely_markdown(tokens))
    shown = page.blocks(tokens)
    left = [
        f"{found['title'] or label.lower()}: {found['href']}"
        for label, found in env.get("references", {}).items()
        if found["href"] not in page.linked
    ]
    return re.sub(r"\n{3,}", "\n\n", "\n\n".join(part for part in (shown, "\n".join(left)) if part)).strip()


def _is_list_right_below(token: Token, before: Token | None) -> bool:
    """Whether it is a list under a line of text, such as its title, without a blank line between them."""
    if before is None or before.type != "paragraph_open" or not token.type.endswith("_list_open"):
        return False
    return bool(before.map and token.map and before.map[1] == token.map[0])


@cache
def _parser() -> MarkdownIt:
    from markdown_it import MarkdownIt

    parser = MarkdownIt("commonmark", {"html": True, "maxNesting": 30}).enable(["table", "strikethrough"])
    # An indented line is no code of a model's; a tag is looked at where it stands.
    parser.disable(["code", "html_block"])
    # What stands in a link is shown as it is written, or not at all.
    parser.validateLink = lambda url: True  # type: ignore[method-assign]
    parser.normalizeLink = lambda url: url  # type: ignore[method-assign]
    parser.inline.ruler.before("escape", "as_it_is", _as_it_is)
    parser.inline.ruler.before("link", "footnote", _footnote)
    parser.inline.ruler.before("emphasis", "glued", _glued)
    known = parser.block.ruler.__rules__
    [reference] = [rule.fn for rule in known if rule.name == "reference"]

    def definition(state: StateBlock, start: int, end: int, silent: bool) -> bool:
        line = state.src[state.bMarks[start] : state.eMarks[start]]
        return bool(_DEFINITION.match(line)) and bool(reference(state, start, end, silent))

    parser.block.ruler.at("reference", definition)
    return parser


def _as_it_is(state: StateInline, silent: bool) -> bool:
    """Addresses of pages with all that is in them; stars and lines between letters or digits: sums, names, mail."""
    text, at = state.src, state.pos
    mark = text[at]
    if mark == ":":
        if not text.startswith("://", at) or text[max(0, at - 4) : at].lower() not in ("http", "ttps", "/ftp", "ftp"):
            return False
        found = _URL_REST.match(text, at, state.posMax)
    elif mark in "*_~":
        found = _within_address(text, at, state.posMax)
        if found is None:
            if not _is_literal(text, at, state.posMax):
                return False
            end = at
            while end < state.posMax and text[end] == mark:
                end += 1
            if not silent:
                state.append_pending(text[at:end])
            state.pos = end
            return True
    else:
        return False
    if found is None:
        return False
    end = _address_end(text, found.start(), found.end())
    if end <= at:
        return False
    if not silent:
        state.append_pending(text[at:end])
    state.pos = end
    return True


def _within_address(text: str, at: int, most: int) -> re.Match[str] | None:
    """An address without scheme that this mark stands in: `www.padaria.example/a_b_`."""
    start = at
    if "www." not in text[max(0, at - 200) : at].lower():
        return None
    while start > max(0, at - 200) and not text[start - 1].isspace() and text[start - 1] not in '<>[]`|"(*~':
        start -= 1
    return _WWW.match(text, start, most)


def _address_end(text: str, start: int, end: int) -> int:
    while end > start:
        last = text[end - 1]
        if last in _URL_END or (last == ")" and text.count("(", start, end) < text.count(")", start, end)):
            end -= 1
        else:
            break
    return end


def _is_literal(text: str, at: int, most: int) -> bool:
    """Whether a run of this mark stands between two digits, or a single one between letters or digits."""
    mark, end = text[at], at
    while end < most and text[end] == mark:
        end += 1
    if at == 0 or end >= most:
        return False
    before, after = text[at - 1], text[end]
    if before.isdigit() and after.isdigit():
        return True
    return end - at == 1 and before.isalnum() and after.isalnum()


def _glued(state: StateInline, silent: bool) -> bool:
    """Bold that ends in punctuation with a letter right behind it, which CommonMark does not take for bold."""
    text, at = state.src, state.pos
    if silent or text[at : at + 2] != "**" or text[at + 2 : at + 3] == "*" or at == 0 or at + 2 >= state.posMax:
        return False
    before, after = text[at - 1], text[at + 2]
    if before.isspace() or after.isspace() or before == "*" or before.isalnum() == after.isalnum():
        return False
    from markdown_it.rules_inline.state_inline import Delimiter

    for _ in range(2):
        state.push("text", "", 0).content = "*"
        state.delimiters.append(
            Delimiter(marker=ord("*"), length=2, token=len(state.tokens) - 1, end=-1, open=True, close=True)
        )
    state.pos += 2
    return True


def _footnote(state: StateInline, silent: bool) -> bool:
    found = _NOTE.match(state.src, state.pos, state.posMax)
    if found is None:
        return False
    if not silent:
        state.append_pending(f"[{found[1]}]")
    state.pos = found.end()
    return True


def _is_formatted(tokens: Sequence[Token]) -> bool:
    """Whether anything in it is not what a reader of WhatsApp would see as it is written."""
    plain = {"paragraph_open", "paragraph_close", "inline", "text", "softbreak", "code_inline", "fence"}
    lists = {"bullet_list_open", "bullet_list_close", "ordered_list_open", "ordered_list_close"}
    for token in tokens:
        if token.type in ("list_item_open", "list_item_close") and token.markup in "-.)":
            continue
        if token.type not in plain | lists:
            return True
        for child in token.children or ():
            if child.type not in plain:
                return True
        if token.type == "inline" and any(one.search(token.content) for one in (_TASK, _NOTE, _ESCAPED)):
            return True
    return False


def _is_surely_markdown(tokens: Iterable[Token]) -> bool:
    for token in tokens:
        if token.type in ("heading_open", "table_open") and token.markup != "-":
            return True
        if any(child.type in ("strong_open", "link_open", "image", "s_open") for child in token.children or ()):
            return True
    return False


class _Page:
    """One text being written out, and the addresses that it has shown."""

    def __init__(self, source: list[str], *, surely: bool) -> None:
        self._source = source
        self._surely = surely
        self.linked: set[str] = set()

    def blocks(self, tokens: Sequence[Token]) -> str:
        written: list[str] = []
        at = 0
        before: Token | None = None
        while at < len(tokens):
            token = tokens[at]
            end = _closing(tokens, at)
            if block := self._block(token, tokens[at + 1 : end]):
                if written:
                    written.append("\n" if _is_list_right_below(token, before) else "\n\n")
                written.append(block)
            before, at = token, end + 1
        return "".join(written)

    def _block(self, token: Token, inside: Sequence[Token]) -> str:
        match token.type:
            case "heading_open":
                line = self._inline(inside[0].children or [], bare=True) if inside else ""
                # A line under a text is a rule more often than it makes a heading of the text.
                return line if not line or token.markup == "-" else f"*{line}*"
            case "paragraph_open":
                return self._inline(inside[0].children or []) if inside else ""
            case "bullet_list_open" | "ordered_list_open":
                return self._list(inside)
            case "blockquote_open":
                return "\n".join(f"> {line}" if line else ">" for line in self.blocks(inside).split("\n"))
            case "table_open":
                return self._table(inside)
            case "fence" if token.level == 0 and token.map and token.markup[0] == "`":
                return "\n".join(self._source[slice(*token.map)]).rstrip("\n")
            case "fence":
                return f"```{token.info}\n{token.content}```"
            case "inline":
                return self._inline(token.children or [])
            case _:  # a horizontal rule
                return ""

    def _list(self, inside: Sequence[Token]) -> str:
        lines: list[str] = []
        at = 0
        while at < len(inside):
            end = _closing(inside, at)
            item = inside[at]
            mark = f"{item.info}{item.markup}" if item.info else "-"
            first, *rest = re.sub(r"\n\n+", "\n", self.blocks(inside[at + 1 : end])).split("\n")
            if task := _TASK.match(first):
                mark, first = ("☐" if task[1] == " " else "☑"), first[task.end() :]
            indent = " " * (len(mark) + 1)
            lines += [f"{mark} {first}".rstrip(), *(f"{indent}{line}" if line else "" for line in rest)]
            at = end + 1
        return "\n".join(lines)

    def _table(self, inside: Sequence[Token]) -> str:
        rows: list[str] = []
        head = False
        cells: list[str] = []
        for token in inside:
            match token.type:
                case "thead_open" | "tbody_open":
                    head = token.type == "thead_open"
                case "inline":
                    cells.append(self._inline(token.children or [], bare=head))
                case "tr_close":
                    row = " | ".join(cells).strip()
                    if row.strip(" |"):
                        rows.append(f"*{row}*" if head else row)
                    cells = []
        return "\n".join(rows)

    def _inline(self, tokens: Sequence[Token], *, bare: bool = False) -> str:
        """A line's words with WhatsApp's marks; `bare` without those, where the line as a whole gets one."""
        # A pair's mark is known when it closes: WhatsApp shows it only at the edge of a word, and none around nothing.
        written: list[str] = []
        opened: list[tuple[str, int, str]] = []
        following = _following(tokens)
        for index, token in enumerate(tokens):
            kind, _, end = token.type.rpartition("_")
            if token.type in ("softbreak", "hardbreak"):
                written.append(" " if bare else "\n")
            elif token.type == "code_inline":
                written.append(f"{token.markup}{_code(token)}{token.markup}")
            elif token.type == "html_inline":
                self._tag(token.content, written, opened, bare=bare, after=following[index])
            elif token.type == "image":
                self._address(written, token.content, str(token.attrGet("src") or ""))
            elif end == "open":
                _open(opened, kind, len(written), str(token.attrGet("href") or ""))
            elif end == "close":
                self._close(kind, token.markup, written, opened, bare=bare, after=following[index])
            else:
                written.append(token.content)
        return "".join(written).strip()

    def _close(
        self, kind: str, markup: str, written: list[str], opened: list[tuple[str, int, str]], *, bare: bool, after: str
    ) -> None:
        if not opened or opened[-1][0] != kind:
            return
        _, start, href = opened.pop()
        if start < 0:
            return
        inside = "".join(written[start:])
        before = "".join(written[max(0, start - 1) : start])[-1:]
        del written[start:]
        if kind == "link":
            self._address(written, inside, href)
            return
        mark = _MARKERS[kind]
        if kind == "em" and markup == "*" and not self._surely:
            mark = "*"
        lead, core, trail = _edges(inside)
        shows = core and not bare and not (before[-1:].isalnum() and not lead) and not (after.isalnum() and not trail)
        # WhatsApp ends a pair at the line's end: each line gets its own.
        lines = (f"{mark}{line}{mark}" if line.strip() else line for line in core.split("\n")) if shows else (core,)
        written.append(lead + "\n".join(lines) + trail)

    def _address(self, written: list[str], words: str, href: str) -> None:
        shown = href.removeprefix("mailto:").removeprefix("tel:")
        self.linked.add(href)
        bare = words.strip().strip("*_~ ")
        if (
            not bare
            or bare in (href, shown)
            or re.sub(r"^https?://|/$", "", shown) == re.sub(r"^https?://|/$", "", bare)
        ):
            written.append(shown or words)
        else:
            written.append(f"{words}: {shown}" if shown else words)

    def _tag(self, tag: str, written: list[str], opened: list[tuple[str, int, str]], *, bare: bool, after: str) -> None:
        found = _TAG.fullmatch(tag)
        name = found[2].lower() if found else ""
        closes = bool(found and found[1])
        if name in ("br", "hr"):
            written.append("\n")
        elif name == "li" or re.fullmatch("h[1-6]", name):
            written.append("\n" + ("" if closes or name != "li" else "- "))
        elif name == "a" or name in _TAGS:
            kind = "link" if name == "a" else _TAGS[name]
            if closes:
                self._close(kind, "", written, opened, bare=bare, after=after)
            else:
                href = _HREF.search(found[3]) if found else None
                _open(opened, kind, len(written), href[1] if href else "")
        elif name not in _DROPPED:
            written.append(tag)  # a placeholder, a name in brackets: not for us to take away


def _open(opened: list[tuple[str, int, str]], kind: str, start: int, href: str) -> None:
    # What is in too many others is written without a mark: each pair that closes goes over what is in it.
    opened.append((kind, start if len(opened) < DEEPEST else -1, href))


def _closing(tokens: Sequence[Token], at: int) -> int:
    """The index of the token that closes the one at `at`; itself where it opens nothing."""
    if tokens[at].nesting != 1:
        return at
    level = tokens[at].level
    end = at + 1
    while end < len(tokens) - 1 and not (tokens[end].nesting == -1 and tokens[end].level == level):
        end += 1
    return end


def _following(tokens: Sequence[Token]) -> list[str]:
    """Of each token the first character that is shown behind it."""
    behind, character = [], ""
    for token in reversed(tokens):
        behind.append(character)
        character = "\n" if token.type in ("softbreak", "hardbreak") else token.content[:1] or character
    return behind[::-1]


def _edges(text: str) -> tuple[str, str, str]:
    core = text.strip()
    lead = len(text) - len(text.lstrip()) if core else len(text)
    return text[:lead], core, text[lead + len(core) :]


def _code(token: Token) -> str:
    text = token.content
    return f" {text} " if text.startswith("`") or text.endswith("`") else text
