"""Set up the owner whose number the local Twilio has: what `compose.dev.yaml` runs once its database is there.

It uses the commands that anybody would, and may be run again. The token stays a reference to its file.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
from pathlib import Path
from typing import Any

OWNER = "Padaria Central"
ACCOUNT_SID = "AC" + "5" * 32  # what `recado simulator` calls its account
NUMBER = "whatsapp:+14155238886"
KNOWLEDGE = """# Qual o horário de vocês?
De segunda a sábado, das 6h às 20h.

# Vocês fazem entregas?
Sim, num raio de 3 km, acima de R$ 30.
"""


def recado(*words: str, given: str | None = None) -> Any:
    """What a command answers; its error ends this one."""
    done = subprocess.run(["recado", *words, "--json"], input=given, stdout=subprocess.PIPE, text=True, check=True)  # noqa: S603, S607 - our own command
    return json.loads(done.stdout)


def main() -> None:
    """Owner, account, number, knowledge."""
    owners = [owner for owner in recado("owners", "list") if owner["name"] == OWNER]
    owner = owners[0] if owners else recado("owners", "add", OWNER)
    token = ("--auth-token-ref", "file:/run/secrets/simulator_token")
    recado("accounts", "add", "--owner", owner["id"], "--account-sid", ACCOUNT_SID, *token)
    recado("numbers", "add", "--account", ACCOUNT_SID, "--address", NUMBER)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "faq.md"
        path.write_text(KNOWLEDGE, encoding="utf-8")
        recado("knowledge", "add", "--owner", owner["id"], "--file", str(path))
    print("ready: write to the bakery at http://127.0.0.1:8900")


if __name__ == "__main__":
    main()
