"""Where the code of a route is, is said by its path."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pkgutil import iter_modules

from fastapi.routing import APIRoute
from pydantic import BaseModel

from recado import api
from recado.api.install import PARTS

#: Routes that another noun answers: that one, and why.
ELSEWHERE = {
    "change_password": ("sessions", "it ends with a new session, which shows its user, so that users can't look to it"),
}


def noun_of(module: str) -> str:
    """The file or folder of `recado.api` that a module is in."""
    return module.removeprefix("recado.api.").partition(".")[0]


NOUNS = {noun_of(part.__name__) for part in PARTS}


def words(path: str) -> list[str]:
    return [word.replace("-", "_") for word in path.split("/") if word and not word.startswith("{")]


def test_every_route_is_answered_in_the_module_of_the_last_noun_of_its_path() -> None:
    answered = set()
    for part in PARTS:
        for route in part.router.routes:
            assert isinstance(route, APIRoute)
            version, *named = words(route.path)
            assert version == "v1"
            nouns = [word for word in named if word in NOUNS]
            assert nouns, f"{route.path}: no module of recado.api is named by it"
            where = noun_of(route.endpoint.__module__)
            if route.operation_id in ELSEWHERE:
                assert where == ELSEWHERE[route.operation_id][0] != nouns[-1]
            else:
                assert where == nouns[-1], f"{route.path} is answered in {where}"
            assert where == noun_of(part.__name__)
            answered.add(where)
    assert answered == NOUNS


def test_the_api_is_made_of_its_nouns_and_what_they_share() -> None:
    assert {module.name for module in iter_modules(api.__path__)} == NOUNS | {"shared", "install"}


def forms() -> Iterator[type[BaseModel]]:
    """All that is given and shown, each once."""
    waiting, seen = [BaseModel], set[type[BaseModel]]()
    while waiting:
        for form in waiting.pop().__subclasses__():
            if form not in seen:
                seen.add(form)
                waiting.append(form)
                if form.__module__.startswith("recado.api.") and "[" not in form.__name__:
                    yield form


def test_no_two_forms_have_one_name_so_that_none_is_described_by_its_modules() -> None:
    named = Counter(form.__name__ for form in forms())
    assert len(named) >= 50
    assert [name for name, times in named.items() if times > 1] == []
