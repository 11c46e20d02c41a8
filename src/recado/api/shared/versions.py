"""Two people at once: a thing's version is its ETag, and a change says by `If-Match` which one it was made for."""

from __future__ import annotations

from typing import Annotated

from fastapi import Header

from recado.api.shared.problems import Problem

IfMatch = Annotated[
    str | None,
    Header(pattern=r'^"[0-9]{1,9}"$', description="The `ETag` of the version that you read; 412 if there is a newer."),
]


def etag(version: int) -> str:
    """The entity tag of a version."""
    return f'"{version}"'


def demand(if_match: str | None) -> str:
    """The version that a change is meant for. Raises Problem (428) where the caller does not say which."""
    if if_match is None:
        raise Problem(428, "a change needs the header If-Match, with the ETag of what you read")
    return if_match


def check_version(if_match: str | None, version: int) -> None:
    """Raise Problem (412) when the caller read another version than this one."""
    if if_match is not None and if_match != etag(version):
        raise Problem(412, "somebody changed it since you read it: read it again", headers={"ETag": etag(version)})
