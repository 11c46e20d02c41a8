"""How values go to PostgreSQL: whatever text it is, it can be stored.

The last net behind the doors that clean what comes through them (`recado.text`): a door that forgets costs nobody the
transaction, nor a conversation its turn.
"""

from __future__ import annotations

from typing import Any, Final

import psycopg
from psycopg.adapt import AdaptersMap
from psycopg.types.json import set_json_dumps
from psycopg.types.string import StrBinaryDumper, StrDumperUnknown

from recado.text import storable, storable_json


class _Text(StrDumperUnknown):
    def dump(self, obj: str) -> Any:
        return super().dump(storable(obj))


class _BinaryText(StrBinaryDumper):
    def dump(self, obj: str) -> Any:
        return super().dump(storable(obj))


def _adapters() -> AdaptersMap:
    adapters = AdaptersMap(psycopg.adapters)
    adapters.register_dumper(str, _BinaryText)
    adapters.register_dumper(str, _Text)
    set_json_dumps(storable_json, adapters)
    return adapters


#: What connections are made with.
ADAPTERS: Final = _adapters()
