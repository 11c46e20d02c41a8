"""Every SQL statement that the source holds, found without running it: what `execute` is given, and constants beside.

What stands in `execute(...)` is evaluated among its module's own names, so constants, f-strings of constants and calls
of pure functions count; what needs a local name can't be found this way.
"""

from __future__ import annotations

import ast
import importlib
import itertools
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import sqlalchemy as sa

SOURCE = Path(__file__).parents[2] / "src"
#: Not statements of the product's on its migrated database: what makes it, and what serves before it is there.
APART = ("recado.db.migrations", "recado.db.migrate", "recado.db.functions")
#: Methods whose first argument is a statement, and functions of ours whose second one is.
_CALLS, _CALLED = ("execute", "executemany", "exec_driver_sql", "stream"), ("_rows", "_one")
_BEGINS = re.compile(r"\s*(WITH|SELECT|INSERT|UPDATE|DELETE|MERGE|PERFORM)\b")


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """`sql` as psycopg is given it; None where it could not be found, for `why`. `by` is what executes it."""

    module: str
    where: str
    by: str
    sql: str | None
    why: str = ""


def statements() -> Iterator[Statement]:
    """Each call of `execute`, then each constant that is a statement and that no such call has given."""
    for file in sorted((SOURCE / "recado").rglob("*.py")):
        name = ".".join(file.relative_to(SOURCE).with_suffix("").parts).removesuffix(".__init__")
        text = file.read_text(encoding="utf-8")
        if name.startswith(APART) or not re.search(r"\b(SELECT|INSERT|UPDATE|DELETE|execute)\b", text):
            continue
        module = importlib.import_module(name)
        found = list(_executed(ast.parse(text), module))
        yield from found
        given = {one.sql for one in found}
        for constant, value in vars(module).items():
            if re.search(rf"^{constant}\b.* = ", text, re.MULTILINE):
                for sql in _texts(value):
                    if sql not in given and _BEGINS.match(sql):
                        yield Statement(module=name, where=constant, by="", sql=sql)


def _texts(value: object) -> Iterator[str]:
    """The strings of a constant: itself, or what is in it."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, (tuple, list)):
        for one in value:
            yield from _texts(one)
    elif isinstance(value, Mapping):
        for one in value.values():
            yield from _texts(one)


def _executed(tree: ast.Module, module: ModuleType) -> Iterator[Statement]:
    for function, call in _calls(tree):
        given = _given(call)
        if given is None:
            continue
        by = _who(call.func.value if isinstance(call.func, ast.Attribute) else call.args[0], function)
        where = function.name if function else ""
        for sql, why in _values(given, module, function):
            yield Statement(module=module.__name__, where=where, by=by, sql=sql, why=why)


def _given(call: ast.Call) -> ast.expr | None:
    """What is executed by this call, None where nothing is."""
    if isinstance(call.func, ast.Attribute) and call.func.attr in _CALLS and call.args:
        return call.args[0]
    if isinstance(call.func, ast.Name) and call.func.id in _CALLED and len(call.args) > 1:
        return call.args[1]
    return None


_Function = ast.FunctionDef | ast.AsyncFunctionDef


def _calls(node: ast.AST, within: _Function | None = None) -> Iterator[tuple[_Function | None, ast.Call]]:
    for child in ast.iter_child_nodes(node):
        inside = child if isinstance(child, _Function) else within
        if isinstance(child, ast.Call):
            yield within, child
        yield from _calls(child, inside)


def _values(node: ast.expr, module: ModuleType, function: _Function | None) -> Iterator[tuple[str | None, str]]:
    """The texts that the expression may be: one for each answer to the questions that the function is asked."""
    arguments = [*function.args.args, *function.args.kwonlyargs] if function else []
    asked = [
        one.arg
        for one in arguments
        if one.annotation is not None and ast.unparse(one.annotation) == "bool" and one.arg in ast.unparse(node)
    ]
    code = compile(ast.Expression(node), module.__name__, "eval")
    for answers in itertools.product((False, True), repeat=len(asked)):
        try:
            value: Any = eval(code, {**vars(module), **dict(zip(asked, answers, strict=True))})
        except Exception as error:
            yield None, f"{type(error).__name__}: {error}"
            continue
        if isinstance(value, sa.TextClause):
            value = re.sub(r"(?<![:\w]):(\w+)", r"%(\1)s", value.text)
        yield (value, "") if isinstance(value, str) else (None, f"a {type(value).__name__}")


def _who(receiver: ast.expr, function: _Function | None) -> str:
    """The expression that a connection comes from: `scope.conn`, or the pool that `conn` was taken of."""
    text = ast.unparse(receiver)
    if function is None or "." in text:
        return text
    for node in ast.walk(function):
        named = node.optional_vars if isinstance(node, ast.withitem) else None
        if isinstance(node, ast.withitem) and named is not None and ast.unparse(named) == text:
            return ast.unparse(node.context_expr)
    return text
