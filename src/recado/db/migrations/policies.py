"""Who may touch a new table: the statements that every migration repeats, in one place.

Who may call a function stands in its file (`db/functions`).
"""

from __future__ import annotations

from types import ModuleType

_CURRENT_OWNER = "(SELECT nullif(current_setting('recado.owner_id', true), '')::uuid)"


def own(op: ModuleType, *tables: str) -> None:
    """Rows of these tables belong to their `owner_id`: `recado_app` sees the named owner's, `recado_platform` all.

    Row-level security is forced, so that the tables' owner is held to it too. A row without an owner is the
    platform's alone. `op` is Alembic's.
    """
    _guard(op, tables)
    _grant(op, tables, "SELECT, INSERT, UPDATE, DELETE")


def own_append_only(op: ModuleType, *tables: str) -> None:
    """Like `own`, but neither role can change or delete a row that is there."""
    _guard(op, tables)
    _grant(op, tables, "SELECT, INSERT")


def platform_only(op: ModuleType, *tables: str) -> None:
    """Tables without an owner that `recado_app` has no business with."""
    for table in tables:
        op.execute(f"REVOKE ALL ON {table} FROM recado_app")
        op.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON {table} TO recado_platform")


def _guard(op: ModuleType, tables: tuple[str, ...]) -> None:
    for table in tables:
        op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
        op.execute(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY")
        op.execute(f"CREATE POLICY owner_only ON {table} TO recado_app USING (owner_id = {_CURRENT_OWNER})")
        op.execute(f"CREATE POLICY platform ON {table} TO recado_platform USING (true)")


def _grant(op: ModuleType, tables: tuple[str, ...], rights: str) -> None:
    for table in tables:
        for role in ("recado_app", "recado_platform"):
            op.execute(f"GRANT {rights} ON {table} TO {role}")
