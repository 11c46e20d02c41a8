"""Secrets in files: `file:/path` stands for what is in that file, as container platforms and systemd hand secrets over.

Every secret among the settings may be given so, and every variable that holds a key for somebody else's library.
"""

from __future__ import annotations

import os
import re
from collections.abc import MutableMapping
from pathlib import Path
from typing import Final

from recado.errors import SettingsError

SCHEME: Final = "file:"
#: No key, token or URL of ours is as long.
LONGEST: Final = 16_384

#: Names of variables that hold a secret and that libraries read by themselves: keys of model providers, the bucket's,
#: Vault's, a collector's. Those of recado's own settings are read as settings.
_HELD_BY: Final = re.compile(
    r"(?!RECADO_|_)[A-Z][A-Z0-9_]*_(?:API_KEY|ACCESS_KEY|ACCESS_KEY_ID|TOKEN|TOKEN_BEDROCK|SECRET|PASSWORD|HEADERS)"
)


def read(path: str) -> str:
    """What stands in the file, without blanks around it.

    Raises ValueError that names the file and says what is wrong with it, never what is in it.
    """
    if not path.startswith("/"):
        raise ValueError("file: takes an absolute path, for instance file:/run/secrets/name")
    try:
        with Path(path).open(encoding="utf-8") as file:
            text = file.read(LONGEST + 1).strip()
    except OSError as error:
        raise ValueError(f"file:{path}: {error.strerror or type(error).__name__}") from None
    except (UnicodeDecodeError, ValueError):  # a path with a zero byte is a ValueError that quotes it
        raise ValueError(f"file:{path}: not UTF-8 text") from None
    if len(text) > LONGEST:
        raise ValueError(f"file:{path}: longer than {LONGEST} characters")
    return text


def put_in(environment: MutableMapping[str, str] = os.environ) -> None:
    """Put what `file:/path` stands for into each variable of a library's secret that says so.

    One whose file is empty is taken away: a platform that mounts a secret for a provider which nobody uses mounts an
    empty one. Raises SettingsError with the variable's name.
    """
    for name in sorted(name for name in environment if _HELD_BY.fullmatch(name)):
        value = environment[name].strip()
        if not value.startswith(SCHEME):
            continue
        try:
            secret = read(value.removeprefix(SCHEME))
        except ValueError as error:
            raise SettingsError(f"{name}: {error}") from None
        if secret:
            environment[name] = secret
        else:
            del environment[name]
