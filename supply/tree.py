"""Secrets in the tree: texts of files known to git that have the form of a credential.

The forms are those of who issues them, so that nothing else looks like them. What a test needs is made up at run time,
or stands in `HARMLESS` with its reason.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from supply.finding import Finding
from supply.locks import ROOT

PART: Final = "secrets"
LARGEST: Final = 2_000_000

FORMS: Final[Mapping[str, re.Pattern[str]]] = {
    "a private key": re.compile(r"-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY(?: BLOCK)?-----"),
    "an age key": re.compile(r"\bAGE-SECRET-KEY-1[0-9A-Z]{58}\b"),
    "an access key of AWS": re.compile(r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b"),
    "a secret key of AWS": re.compile(r"(?i)aws_?secret_?(?:access_?)?key\W{1,5}[A-Za-z0-9/+]{40}\b"),
    "a token of GitHub": re.compile(r"\b(?:gh[opsur]_[A-Za-z0-9]{36,}|github_pat_[A-Za-z0-9_]{60,})\b"),
    "a token of GitLab": re.compile(r"\bglpat-[A-Za-z0-9_-]{20,}"),
    "a token of PyPI": re.compile(r"\bpypi-[A-Za-z0-9_-]{50,}"),
    "a token of npm": re.compile(r"\bnpm_[A-Za-z0-9]{36}\b"),
    "a key of OpenAI": re.compile(r"\bsk-(?:proj-|svcacct-|admin-)?[A-Za-z0-9_-]{32,}\b"),
    "a key of Anthropic": re.compile(r"\bsk-ant-[A-Za-z0-9_-]{32,}"),
    "a key of Google": re.compile(r"\bAIza[A-Za-z0-9_-]{35}\b"),
    "a token of Slack": re.compile(r"\bxox[abeoprs]-[0-9]{8,}-[A-Za-z0-9-]{10,}"),
    "a key of Stripe": re.compile(r"\b[rs]k_live_[A-Za-z0-9]{20,}"),
    "a key of SendGrid": re.compile(r"\bSG\.[A-Za-z0-9_-]{22}\.[A-Za-z0-9_-]{43}\b"),
    "a token of Hugging Face": re.compile(r"\bhf_[A-Za-z]{34}\b"),
    "a token of Vault": re.compile(r"\bhv[bs]\.[A-Za-z0-9_-]{24,}"),
    "a JSON web token": re.compile(r"\beyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{20,}"),
    "a key of recado's API": re.compile(r"\brk_[A-Za-z0-9_-]{43}\b"),
    "an auth token of Twilio": re.compile(r"(?i)auth_?token\W{1,6}(?:is\W{1,3})?[0-9a-f]{32}\b"),
    "keys of recado's secrets": re.compile(r"SECRET_KEYS\W{1,4}[A-Za-z0-9_-]{43}=?"),
    "a password in a URL": re.compile(
        r"[a-z][a-z0-9+.-]*://[^\s/:@\"'`{}$<>%*]+:(?P<password>[^\s/@\"'`{}$<>%*]{12,})@"
    ),
}

#: What has such a form and opens nothing: the text, and why.
HARMLESS: Final[Mapping[str, str]] = {
    'SECRET_KEYS = "dGVzdHMtb25seS10ZXN0cy1vbmx5LXRlc3RzLW9ubHk=': "says of itself that it is for tests only",
    "rk_example-key-of-nobody-": "says of itself that it is nobody's, in the documentation",
}


def check(root: Path = ROOT) -> Finding:
    """No file that git knows, or would take in, holds the form of a credential."""
    paths = list(_files(root))
    lines = [line for path in paths for line in found_in(path.relative_to(root), _text(path))]
    if not paths:
        return Finding(part=PART, outcome="failed", said="git names no files")
    return Finding(part=PART, outcome="failed" if lines else "ok", said=f"{len(paths)} files", lines=tuple(lines))


def found_in(path: Path, text: str) -> Iterator[str]:
    """Where a text has the form of what, without showing it."""
    for name, form in FORMS.items():
        for match in form.finditer(text):
            if any(match[0].startswith(harmless) or harmless.startswith(match[0]) for harmless in HARMLESS):
                continue
            yield f"{path}:{text.count(chr(10), 0, match.start()) + 1}: has the form of {name}"


def _files(root: Path) -> Iterator[Path]:
    words = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    done = subprocess.run(words, cwd=root, capture_output=True, text=True, check=True)  # noqa: S603
    for name in sorted(set(filter(None, done.stdout.split("\0")))):
        path = root / name
        if path.is_file() and not path.is_symlink():
            yield path


def _text(path: Path) -> str:
    with path.open("rb") as file:
        return file.read(LARGEST).decode("utf-8", errors="replace")
