"""Hostile text made from patterns, and a measure of whether work on it grows faster than it.

`growth` is by the CPU time of this thread alone, so that a busy machine says little; what is quick enough is not
doubted further.
"""

from __future__ import annotations

import ast
import importlib
import math
import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from re import _constants as codes  # type: ignore[attr-defined]
from re import _parser as parser  # type: ignore[attr-defined]
from typing import Any

import regex

SIZE = 2_000
#: Quicker than this at `SIZE` nothing superlinear is: a quadratic one does four million steps by then.
QUICK_S = 0.0015
MOST_GROWTH = 2.5

CHARACTERS = " \t\n\u200b\u00e9aA0./-_<*`[(!?:;=@&#%\"'\\漢"
ENDS = ("", "\x01", "a ")
_MAKES = {"compile", "search", "match", "fullmatch", "split", "findall", "finditer", "sub", "subn"}


@dataclass(frozen=True, slots=True)
class Place:
    """A pattern, where it stands, and how it is used there."""

    where: str
    pattern: Any
    uses: tuple[str, ...]


def took(work: Callable[[], object]) -> float:
    began = time.thread_time()
    work()
    return time.thread_time() - began


def growth(work: Callable[[str], object], make: Callable[[int], str]) -> float:
    """How much longer it takes for twice the text; 0 where that is too quick to tell."""
    small, large = make(SIZE), make(2 * SIZE)
    # What is worse than quadratic is told by less, or it would not end.
    for tiny in (make(32), make(256)):
        if min(took(lambda text=tiny: work(text)) for _ in range(2)) > 5 * QUICK_S:  # type: ignore[misc]
            return math.inf
    if took(lambda: work(small)) < QUICK_S:
        return 0.0
    grown = 0.0
    for _ in range(3):
        # The shortest of several: what else the machine does only ever adds.
        short = min(took(lambda: work(small)) for _ in range(3))
        if short < QUICK_S:
            return 0.0
        grown = min(took(lambda: work(large)) for _ in range(2)) / short
        if grown <= MOST_GROWTH:
            return grown
    return grown


def repeated(prefix: str, pump: str, end: str) -> Callable[[int], str]:
    return lambda size: prefix + pump * (size // len(pump)) + end


def texts(pattern: Any) -> Iterator[tuple[str, str, str]]:
    """What the pattern may stumble over: a beginning of what it matches, what it repeats, and an end it does not."""
    source = pattern.pattern.decode("latin-1") if isinstance(pattern.pattern, bytes) else pattern.pattern
    found: dict[tuple[str, str], None] = {}
    try:
        parsed = parser.parse(source, 0 if isinstance(pattern, regex.Pattern) else pattern.flags & ~re.LOCALE)
        _walk(parsed, "", found)
    except (re.error, ValueError):
        pass
    literals = dict.fromkeys(character for character in source if not character.isalnum())
    for pump in [*CHARACTERS, *literals, "a ", " a", "a.", "{{ ", "``", "0,"]:
        found["", pump] = None
    for prefix, pump in found:
        for end in ENDS:
            yield prefix, pump, end


def _walk(parsed: Any, prefix: str, found: dict[tuple[str, str], None]) -> str:
    """Add what each repetition of the pattern repeats, behind what must stand before it; answers a matching text."""
    for code, value in parsed:
        if code in (codes.MAX_REPEAT, codes.MIN_REPEAT, codes.POSSESSIVE_REPEAT):
            least, most, inner = value
            for pump in _samples(inner):
                if pump and most > 16:
                    found[prefix, pump] = None
                    found["", prefix + pump] = None
            said = _walk(inner, prefix, found)[len(prefix) :]
            prefix += said * max(least, 1)
        elif code is codes.BRANCH:
            tried = [_walk(branch, prefix, found) for branch in value[1]]
            prefix = tried[0]
        elif code is codes.SUBPATTERN:
            prefix = _walk(value[3], prefix, found)
        elif code is codes.ATOMIC_GROUP:
            prefix = _walk(value, prefix, found)
        elif code in (codes.ASSERT, codes.ASSERT_NOT):
            _walk(value[1], prefix, found)
        else:
            prefix += next(iter(_samples([(code, value)])), "")
    return prefix


def _samples(parsed: Any) -> list[str]:
    """Some short texts that a part of a pattern matches: of a class of characters one of each kind."""
    said = [""]
    for code, value in parsed:
        if code is codes.LITERAL:
            more = [chr(value)]
        elif code in (codes.IN, codes.NOT_LITERAL, codes.ANY):
            more = [one for one in CHARACTERS if code is codes.ANY or _matches(code, value, one)][:6]
            more = more or _first(code, value)
        elif code in (codes.MAX_REPEAT, codes.MIN_REPEAT, codes.POSSESSIVE_REPEAT):
            more = [text * max(value[0], 1) for text in _samples(value[2])]
        elif code is codes.SUBPATTERN:
            more = _samples(value[3])
        elif code is codes.ATOMIC_GROUP:
            more = _samples(value)
        elif code is codes.BRANCH:
            more = [text for branch in value[1] for text in _samples(branch)[:2]]
        else:
            more = [""]
        said = [before + after for before in said[:3] for after in more[:6]]
    return said[:6]


def _first(code: Any, value: Any) -> list[str]:
    if code is codes.IN:
        for kind, which in value:
            if kind is codes.LITERAL:
                return [chr(which)]
            if kind is codes.RANGE:
                return [chr(which[0])]
    return ["\x02"]


def _matches(code: Any, value: Any, character: str) -> bool:
    """Whether a class has that character."""
    if code is codes.NOT_LITERAL:
        return ord(character) != value
    state = parser.State()
    state.str = ""
    item = parser.SubPattern(state, [(code, value)])
    compiled = re._compiler.compile(item, 0)  # type: ignore[attr-defined]
    return compiled.fullmatch(character) is not None


def patterns(package: str) -> Iterator[Place]:
    """Every pattern that the package makes by `re` or `regex`, wherever it stands. Raises ValueError for one unread."""
    root = Path(str(importlib.import_module(package).__file__)).parent
    trees: dict[str, ast.Module] = {}
    for path in sorted(root.rglob("*.py")):
        module = ".".join((package, *path.relative_to(root).with_suffix("").parts)).removesuffix(".__init__")
        trees[module] = ast.parse(path.read_text())
    used = _used(trees.values())
    for name, tree in trees.items():
        if not any(map(_makes, ast.walk(tree))):
            continue
        # Of modules without a pattern some, such as those of migrations, can't be loaded by themselves.
        namespace = vars(importlib.import_module(name))
        called = {
            id(inner): target
            for node in ast.walk(tree)
            for target in _targets(node)
            for inner in ast.walk(node)
            if _makes(inner)
        }
        for node in ast.walk(tree):
            if not _makes(node):
                continue
            assert isinstance(node, ast.Call)
            assert isinstance(node.func, ast.Attribute)
            where = f"{name}:{node.lineno}"
            flags = next((k.value for k in node.keywords if k.arg == "flags"), None)
            if flags is None and node.func.attr == "compile" and len(node.args) > 1:
                flags = node.args[1]
            try:
                made = _evaluate(node.args[0], namespace)
                options = _evaluate(flags, namespace) if flags is not None else 0
            except NameError:
                yield Place(f"{name}: {ast.unparse(node.args[0])}", None, ())
                continue
            library = regex if isinstance(node.func.value, ast.Name) and node.func.value.id == "regex" else re
            method = node.func.attr
            uses = tuple(sorted(used.get(called.get(id(node), ""), ()))) if method == "compile" else (method,)
            yield Place(where, library.compile(made, options), uses)


def _makes(node: ast.AST) -> bool:
    return (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and isinstance(node.func.value, ast.Name)
        and node.func.value.id in ("re", "regex")
        and node.func.attr in _MAKES
    )


def _targets(node: ast.AST) -> Sequence[str]:
    """The name that a value is bound to, by itself or in a collection."""
    if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value is not None:
        return [node.target.id]
    if isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name):
        return [node.targets[0].id]
    return []


def _used(trees: Any) -> dict[str, set[str]]:
    """The methods that are called of each name, in all of the package."""
    used: dict[str, set[str]] = {}
    for tree in trees:
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and node.attr in _MAKES - {"compile"}:
                base = node.value
                base = base.value if isinstance(base, ast.Subscript) else base
                name = base.id if isinstance(base, ast.Name) else base.attr if isinstance(base, ast.Attribute) else None
                if name is not None:
                    used.setdefault(name, set()).add(node.attr)
    return used


def _evaluate(node: ast.expr, namespace: dict[str, Any]) -> Any:
    return eval(compile(ast.Expression(node), "<pattern>", "eval"), dict(namespace))


def applied(place: Place) -> Iterator[tuple[str, Callable[[str], object]]]:
    """The ways in which the pattern is put to a text; all of them where it is not known how."""
    pattern = place.pattern
    encode: Callable[[str], Any] = (
        (lambda text: text.encode("utf-8", "surrogatepass")) if isinstance(pattern.pattern, bytes) else str
    )
    uses = set(place.uses) or {"search", "fullmatch", "finditer"}
    if "fullmatch" in uses:
        yield "fullmatch", lambda text: pattern.fullmatch(encode(text))
    if "match" in uses:
        yield "match", lambda text: pattern.match(encode(text))
    if "search" in uses:
        yield "search", lambda text: pattern.search(encode(text))
    if uses - {"fullmatch", "match", "search"}:
        yield "finditer", lambda text: sum(1 for _ in pattern.finditer(encode(text)))
