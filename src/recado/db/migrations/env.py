"""Alembic's entry: runs on the connection that `recado.db.migrate` hands over, in its transaction."""

from __future__ import annotations

from alembic import context

connection = context.config.attributes["connection"]
context.configure(connection=connection, version_table="schema_revision", version_table_schema="recado")
with context.begin_transaction():
    context.run_migrations()
