"""The one tree of errors; what a caller can do about each is in its class.

    RecadoError
    ├── UsageError            the person at the command line asked for something wrong: exit code 2
    ├── SettingsError         a setting is missing or wrong: names the variable and what is allowed; exit code 2
    ├── NotFound              what was named does not exist (for this owner)
    ├── Conflict              it exists already, or changed meanwhile: read it again
    ├── Forbidden             this caller may not, though another may
    ├── SchemaError           the database is newer, older or empty: `recado migrate`
    ├── SecretError           a stored secret can't be opened with the keys there are
    ├── SignInRefused         somebody may not sign in now; carries how long to wait, never why
    ├── Busy                  too many ask for it at once: nothing was done, try again after the seconds that it carries
    ├── TooMuch               the database can't hold what it was given: the same again ends the same way
    ├── Rejected              a webhook is refused; carries the HTTP status, never a reason for the caller
    └── SendError             a message could not be sent; carries the class that says what happens next

Messages are for owners, operators and logs: no secrets, no personal data.
"""

from __future__ import annotations


class RecadoError(Exception):
    """Something that recado itself reports; its text may be shown to an owner or operator."""


class UsageError(RecadoError):
    """The command was used wrongly; the text says what to do instead."""


class SettingsError(RecadoError):
    """A setting is missing or has a value that is not allowed; the text names the variable."""


class NotFound(RecadoError):
    """What was named does not exist, or not for this owner."""


class Conflict(RecadoError):
    """It exists already, or someone changed it meanwhile."""


class Forbidden(RecadoError):
    """The caller may not do it, though others may; the text says why."""


class SchemaError(RecadoError):
    """The database's schema is not the one this version works with."""


class SecretError(RecadoError):
    """A stored secret can't be opened with the keys in RECADO_SECRET_KEYS."""


class SignInRefused(RecadoError):
    """The address or the password is wrong, or it was tried too often; the caller is not told which."""

    def __init__(self, retry_after_s: int) -> None:
        super().__init__("the e-mail address or the password is wrong, or it was tried too often: wait, then try again")
        self.retry_after_s = retry_after_s


class Busy(RecadoError):
    """Too many ask for this at once; nothing was done or counted."""

    def __init__(self, retry_after_s: int) -> None:
        super().__init__("too many ask for this at once: try again")
        self.retry_after_s = retry_after_s


class TooMuch(RecadoError):
    """More than the database can hold in one row, index entry or statement; nothing was stored."""


class Rejected(RecadoError):
    """A webhook call is refused with this HTTP status; `reason` is for the log, never for the caller."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason
