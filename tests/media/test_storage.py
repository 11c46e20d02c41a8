"""Both storages keep the same promises; the bucket is of moto's S3 server, where that is installed."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import stat
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import pytest
import requests
from hypothesis import given, settings
from hypothesis import strategies as st

from recado.errors import NotFound, SettingsError
from recado.media.folder import Folder
from recado.media.storage import Storage, StorageUnavailable, check_key, key_of
from recado.media.stores import open_storage
from recado.settings import Settings

KEY = key_of(UUID(int=1), UUID(int=2))
OTHER = key_of(UUID(int=1), UUID(int=3))
CONTENT = bytes(range(256)) * 5000
MOTO = shutil.which("moto_server")


@pytest.fixture(scope="module")
def bucket_url() -> Iterator[str]:
    """A bucket of an S3 server; its variables stand in the environment meanwhile."""
    assert MOTO is not None
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    server = subprocess.Popen([MOTO, "-H", "127.0.0.1", "-p", str(port)], env={"PATH": os.environ["PATH"]}, **quiet)
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("AWS_ACCESS_KEY_ID", "tests")
        patched.setenv("AWS_SECRET_ACCESS_KEY", "a-secret-of-the-tests")
        patched.setenv("AWS_REGION", "us-east-1")
        patched.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
        for _ in range(400):
            with socket.socket() as trying:
                if trying.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.05)
        requests.put(f"http://127.0.0.1:{port}/attachments", timeout=10).raise_for_status()
        yield "s3://attachments/recado"
    server.kill()
    server.wait()


@pytest.fixture(
    params=[
        "folder",
        pytest.param("bucket", marks=[pytest.mark.s3, pytest.mark.skipif(not MOTO, reason="no moto_server")]),
    ]
)
async def storage(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Storage]:
    url = request.getfixturevalue("bucket_url") if request.param == "bucket" else None
    made = open_storage(Settings(home=tmp_path / "home", media_url=url, _env_file=None))
    yield made
    for key in (KEY, OTHER):
        await made.delete(key)
    await made.aclose()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_bytes(CONTENT)
    return path


async def read(storage: Storage, key: str, start: int = 0, length: int | None = None) -> bytes:
    return b"".join([piece async for piece in storage.read(key, start=start, length=length)])


def names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


async def test_what_was_put_is_read_fetched_and_gone_when_deleted(storage: Storage, file: Path, tmp_path: Path) -> None:
    await storage.put(KEY, file, content_type="image/jpeg")
    assert await read(storage, KEY) == CONTENT
    await storage.fetch(KEY, tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == CONTENT
    assert mode(tmp_path / "copy") == 0o600
    await storage.delete(KEY)
    await storage.delete(KEY)
    with pytest.raises(NotFound):
        await read(storage, KEY)
    with pytest.raises(NotFound):
        await storage.fetch(KEY, tmp_path / "nothing")
    assert "nothing" not in names(tmp_path)


async def test_a_part_is_read_alone(storage: Storage, file: Path) -> None:
    await storage.put(KEY, file, content_type="audio/ogg")
    assert await read(storage, KEY, 1000, 10) == CONTENT[1000:1010]
    assert await read(storage, KEY, len(CONTENT) - 5) == CONTENT[-5:]
    assert await read(storage, KEY, 0, 0) == b""
    assert await read(storage, KEY, 300_000, 600_000) == CONTENT[300_000:900_000]


async def test_putting_again_replaces_it(storage: Storage, file: Path, tmp_path: Path) -> None:
    await storage.put(KEY, file, content_type="image/jpeg")
    (tmp_path / "shorter").write_bytes(b"shorter")
    await storage.put(KEY, tmp_path / "shorter", content_type="image/jpeg")
    assert await read(storage, KEY) == b"shorter"


async def test_it_tells_what_has_long_been_there(storage: Storage, file: Path) -> None:
    await storage.put(KEY, file, content_type="image/jpeg")
    await storage.put(OTHER, file, content_type="image/jpeg")
    now = datetime.now(UTC)
    assert {key async for key in storage.keys(before=now + timedelta(minutes=1))} == {KEY, OTHER}
    assert [key async for key in storage.keys(before=now - timedelta(minutes=1))] == []


@pytest.mark.parametrize("key", ["", "x", "../x", f"../{KEY}", f"{KEY}/..", f"{KEY}\n", KEY.upper().replace("0", "A")])
async def test_only_ids_are_keys(storage: Storage, file: Path, key: str, tmp_path: Path) -> None:
    for act in (storage.put(key, file, content_type="x"), storage.fetch(key, tmp_path / "y"), storage.delete(key)):
        with pytest.raises(ValueError, match="not a key"):
            await act
    with pytest.raises(ValueError, match="not a key"):
        await read(storage, key)


@settings(deadline=None)
@given(st.text(alphabet="0123456789abcdef-/.\\%\n", max_size=80))
def test_no_text_climbs_out_as_a_key(text: str) -> None:
    try:
        path = Path("/media") / check_key(text)
    except ValueError:
        return
    assert path.resolve().is_relative_to("/media")
    assert len(path.parts) == 4


async def test_the_folder_is_for_this_user_alone(file: Path, tmp_path: Path) -> None:
    folder = Folder(tmp_path / "media")
    await folder.put(KEY, file, content_type="image/jpeg")
    for path in (tmp_path / "media", (tmp_path / "media" / KEY).parent):
        assert mode(path) == 0o700
    assert mode(tmp_path / "media" / KEY) == 0o600


async def test_a_put_that_fails_leaves_what_was_there_and_no_draft(file: Path, tmp_path: Path) -> None:
    folder = Folder(tmp_path / "media")
    await folder.put(KEY, file, content_type="image/jpeg")
    with pytest.raises(NotFound):
        await folder.put(KEY, tmp_path / "missing", content_type="image/jpeg")
    assert await read(folder, KEY) == CONTENT
    assert names((tmp_path / "media" / KEY).parent) == [KEY.partition("/")[2]]


async def test_whoever_reads_meanwhile_finds_the_old_or_the_new_one_whole(file: Path, tmp_path: Path) -> None:
    folder = Folder(tmp_path / "media")
    other = tmp_path / "other"
    other.write_bytes(CONTENT[::-1])
    await folder.put(KEY, file, content_type="x")

    async def replace() -> None:
        for source in (other, file) * 10:
            await folder.put(KEY, source, content_type="x")

    replacing = asyncio.create_task(replace())
    while not replacing.done():
        assert await read(folder, KEY) in (CONTENT, CONTENT[::-1])
    await replacing


async def test_a_folder_that_can_not_be_written_is_unavailable(file: Path, tmp_path: Path) -> None:
    (tmp_path / "media").write_bytes(b"a file where the folder should be")
    with pytest.raises(StorageUnavailable):
        await Folder(tmp_path / "media").put(KEY, file, content_type="x")


@pytest.mark.s3
@pytest.mark.skipif(not MOTO, reason="no moto_server")
async def test_a_bucket_that_is_not_there_is_unavailable_and_nothing_is_quoted(
    bucket_url: str, file: Path, tmp_path: Path
) -> None:
    storage = open_storage(Settings(home=tmp_path, media_url=bucket_url.replace("attach", "other"), _env_file=None))
    with pytest.raises(StorageUnavailable) as refused:
        await storage.put(KEY, file, content_type="x")
    assert refused.value.__suppress_context__
    assert "127.0.0.1" not in str(refused.value)
    assert KEY not in str(refused.value)


async def test_a_bucket_that_is_away_is_unavailable_soon(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {
        "AWS_ACCESS_KEY_ID": "x",
        "AWS_SECRET_ACCESS_KEY": "x",
        "AWS_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": "http://127.0.0.1:9",
    }.items():
        monkeypatch.setenv(name, value)
    storage = open_storage(Settings(home=tmp_path, media_url="s3://bucket/x", _env_file=None))
    began = time.monotonic()
    with pytest.raises(StorageUnavailable):
        await storage.put(KEY, file, content_type="x")
    assert time.monotonic() - began < 20


def test_variables_that_make_no_sense_stop_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_UNSIGNED_PAYLOAD", "perhaps")
    with pytest.raises(SettingsError, match="RECADO_MEDIA_URL"):
        open_storage(Settings(home=tmp_path, media_url="s3://bucket", _env_file=None))
