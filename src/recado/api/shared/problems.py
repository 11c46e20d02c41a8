"""Problem documents (RFC 9457): what went wrong, in words of ours; never a value that the caller sent."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException

from recado.errors import Busy, Conflict, Forbidden, NotFound, UsageError

MEDIA_TYPE: Final = "application/problem+json"
TITLES: Final[dict[int, str]] = {
    400: "Bad request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not found",
    405: "Method not allowed",
    409: "Conflict",
    412: "Precondition failed",
    413: "Content too large",
    415: "Unsupported media type",
    422: "Unprocessable content",
    428: "Precondition required",
    429: "Too many requests",
    500: "Internal error",
    503: "Unavailable",
}
#: pydantic's errors whose words hold limits and allowed values only.
_SAFE: Final = re.compile(
    r"missing|extra_forbidden|literal_error|\w+_type|(string_)?too_(short|long)|(greater|less)_than(_equal)?"
)
_NAME: Final = re.compile(r"[A-Za-z][A-Za-z_-]{0,39}")


class FieldError(BaseModel):
    """One thing that is wrong with the request: where, and what is allowed there."""

    where: Annotated[str, Field(description="`body`, `query`, `header` or `path`, and the field's name after a dot.")]
    detail: str


class ProblemDocument(BaseModel):
    """A problem document of RFC 9457."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"type": "about:blank", "title": "Not found", "status": 404, "detail": "no such conversation"},
            ]
        }
    )

    type: str
    title: str
    status: int
    detail: str | None = None
    errors: list[FieldError] | None = None


class Problem(HTTPException):
    """An answer that is a problem; `detail` is for the caller."""

    def __init__(
        self,
        status: int,
        detail: str,
        *,
        headers: Mapping[str, str] | None = None,
        errors: list[FieldError] | None = None,
    ) -> None:
        super().__init__(status, detail, dict(headers) if headers else None)
        self.errors = errors


def respond(problem: Problem) -> Response:
    """The answer that a problem is."""
    document = ProblemDocument(
        type="about:blank",
        title=TITLES.get(problem.status_code, "Error"),
        status=problem.status_code,
        detail=problem.detail,
        errors=problem.errors,
    )
    return JSONResponse(
        document.model_dump(exclude_none=True), problem.status_code, headers=problem.headers, media_type=MEDIA_TYPE
    )


def of_error(error: Exception) -> Problem | None:
    """The problem that an error of ours is to a caller of the API; None for one that says nothing to callers."""
    if isinstance(error, Problem):
        return error
    if isinstance(error, NotFound):
        return Problem(404, "no such thing, or not yours")
    if isinstance(error, Conflict):
        return Problem(409, str(error))
    if isinstance(error, Forbidden):
        return Problem(403, str(error))
    if isinstance(error, UsageError):
        return Problem(422, str(error))
    if isinstance(error, Busy):
        return Problem(503, str(error), headers={"Retry-After": str(error.retry_after_s)})
    return None


def of_validation(error: RequestValidationError) -> Problem:
    """What a request's parts should have been, without what they were."""
    if isinstance(error.body, bytes) and error.body:
        return Problem(415, "the body must be JSON, with the header Content-Type: application/json")
    found = error.errors()
    if any(item["type"] == "json_invalid" for item in found):
        return Problem(422, "the body is not JSON")
    errors = []
    for item in found[:20]:
        place = list(item["loc"][:4])
        if item["type"] == "extra_forbidden":
            place[-1] = "?"  # a name that the caller made up
        where = ".".join(str(part) if isinstance(part, int) or _NAME.fullmatch(part) else "?" for part in place)
        detail = item["msg"] if _SAFE.fullmatch(item["type"]) else "is not valid here"
        errors.append(FieldError(where=where, detail=detail))
    return Problem(422, "the request does not have the form that this route asks for", errors=errors)


def wrong(field: str, detail: str) -> Problem:
    """The problem (422) of a body whose `field` names what there is not, or not here."""
    return Problem(422, "the request can't be done as it is", errors=[FieldError(where=f"body.{field}", detail=detail)])


_HEADERS: Final[dict[int, tuple[str, str]]] = {
    401: ("WWW-Authenticate", "How to authenticate, as in RFC 6750."),
    403: ("WWW-Authenticate", "Which scope is missing, where it is one."),
    412: ("ETag", "The present version."),
    429: ("Retry-After", "Seconds to wait."),
    503: ("Retry-After", "Seconds to wait."),
}
_SUCCESS: Final = {
    "ETag": "The version, for `If-Match`.",
    "Location": "Where what was made can be read.",
}


def header(text: str) -> dict[str, Any]:
    """A response header for the description."""
    return {"description": text, "schema": {"type": "string"}}


def describe(*statuses: int, sends: Mapping[int, Sequence[str]] | None = None) -> dict[int | str, dict[str, Any]]:
    """The problems of a route for its description; 401, 403, 413, 422, 429, 500 and 503 may come from any.

    `sends` names the headers of its successes: `{200: ["ETag"]}`.
    """
    described: dict[int | str, dict[str, Any]] = {
        status: of_status(status) for status in sorted({401, 403, 413, 422, 429, 500, 503, *statuses})
    }
    for status, names in (sends or {}).items():
        described[status] = {"headers": {name: header(_SUCCESS[name]) for name in names}}
    return described


def of_status(status: int) -> dict[str, Any]:
    """What the description says of a problem: its form, an example, and the header that comes with it."""
    title = TITLES[status]
    described: dict[str, Any] = {
        "description": title,
        "content": {
            MEDIA_TYPE: {
                "schema": {"$ref": "#/components/schemas/ProblemDocument"},
                "example": {"type": "about:blank", "title": title, "status": status},
            }
        },
    }
    if status in _HEADERS:
        name, text = _HEADERS[status]
        described["headers"] = {name: header(text)}
    return described


async def _problem(_: Request, error: Exception) -> Response:
    problem = of_error(error)
    assert problem is not None  # noqa: S101 - registered for the classes that have one
    return respond(problem)


async def _invalid(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101 - registered for this class
    return respond(of_validation(error))


def install(app: FastAPI) -> None:
    """Answer the API's errors with problem documents."""
    for kind in (Problem, NotFound, Conflict, Forbidden, UsageError, Busy):
        app.add_exception_handler(kind, _problem)
    app.add_exception_handler(RequestValidationError, _invalid)
