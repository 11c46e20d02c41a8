"""The commands, gathered. No module of commands is slow to import."""

from __future__ import annotations

# Each adds its commands to `app` when it is imported: in the order that `recado --help` shows.
# isort: off
from recado.cli import run
from recado.cli import setup
from recado.cli import plans
from recado.cli import assistants
from recado.cli import templates
from recado.cli import identity
from recado.cli import consent_words
from recado.cli import contacts
from recado.cli import privacy
from recado.cli import webhooks
from recado.cli import watch
from recado.cli import jobs
from recado.cli import doctor
from recado.cli import secrets
from recado.cli import release
from recado.cli import backup
from recado.cli import simulator
from recado.cli import demo

# isort: on
from recado.cli.app import app

__all__ = ["app"]

#: Those that `recado --help` shows.
GATHERED = (
    run,
    setup,
    plans,
    assistants,
    templates,
    identity,
    consent_words,
    contacts,
    privacy,
    webhooks,
    watch,
    jobs,
    doctor,
    secrets,
    release,
    backup,
    simulator,
    demo,
)
