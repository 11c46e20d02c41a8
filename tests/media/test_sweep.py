"""Files that no row names are deleted; everything else stays."""

from __future__ import annotations

import os
import time
from pathlib import Path
from uuid import UUID

from recado.conversations import media
from recado.db.scope import scoped
from recado.ids import new_id
from recado.media.storage import key_of
from recado.ops.retention import sweep_attachments
from tests.journey.front import open_front

OLD_S = 25 * 3600


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


async def test_only_old_files_of_known_owners_that_no_attachment_has_are_deleted(
    database_url: str, tmp_path: Path
) -> None:
    (tmp_path / "file").write_bytes(b"x")
    async with open_front(database_url, tmp_path) as front:
        storage, root = front.wiring.storage, front.wiring.settings.home / "media"
        with_row, orphan, fresh = (key_of(front.owner_id, new_id()) for _ in range(3))
        stranger = key_of(UUID(int=7), new_id())
        for key in (with_row, orphan, fresh, stranger):
            await storage.put(key, tmp_path / "file", content_type="x")
        for key in (with_row, orphan, stranger):
            os.utime(root / key, (time.time() - OLD_S,) * 2)
        async with scoped(front.wiring.pool, front.owner_id) as scope:
            await media.add_upload(
                scope,
                UUID(with_row.partition("/")[2]),
                content_type="x",
                file_name=None,
                size_bytes=1,
                sha256=b"x",
                storage_key=with_row,
                now=front.wiring.clock.now(),
            )
        async with front.wiring.platform_pool() as platform:
            now = front.wiring.clock.now()
            assert await sweep_attachments(platform, storage, now=now) == 1
            assert await sweep_attachments(platform, storage, now=now) == 0
        assert sorted(f"{path.parent.name}/{path.name}" for path in files(root)) == sorted((with_row, fresh, stranger))
