"""`deploy/.env.example`: what must be set, said by hand; and every setting with its words and its default.

`python -m tests.deploy.env_example` renews the second part.
"""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Final

from pydantic import SecretStr

from recado.settings import PREFIX, Settings

PATH: Final = Path(__file__).parents[2] / "deploy" / ".env.example"
#: Where the part begins that is made here.
MARK: Final = "# Every setting"
#: Set by the compose files and manifests themselves; what `.env` says of them has no effect.
SET_THERE: Final = {
    *("database_url", "platform_url", "migrate_url", "secret_keys", "home", "public_url", "trusted_proxies"),
    *("metrics_host", "metrics_port", "twilio_api_url"),
}


def settings() -> str:
    """Each setting that `.env` may hold, as a comment: what it is, then the line with its default."""
    parts = [f"{MARK}, with its default; what the compose files set themselves is left out."]
    for name, field in Settings.model_fields.items():
        if name in SET_THERE:
            continue
        value = field.default.get_secret_value() if isinstance(field.default, SecretStr) else field.default
        hint = f" A secret: file:/run/secrets/{name}." if name in Settings.in_files() else ""
        words = textwrap.fill(f"{field.description}{hint}", 118, initial_indent="# ", subsequent_indent="# ")
        parts.append(f"{words}\n#{PREFIX}{name.upper()}={'' if value in (None, ()) else value}")
    return "\n\n".join(parts) + "\n"


def main() -> None:
    """Renew the part that is made."""
    PATH.write_text(PATH.read_text().partition(MARK)[0] + settings())


if __name__ == "__main__":
    main()
