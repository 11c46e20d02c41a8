"""The api image, built and run as it is in production: without rights, on a root that nobody writes to."""

from __future__ import annotations

import json
import os
import socket
import tempfile
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict
from twilio.request_validator import RequestValidator

from tests.cli.rows import ACCOUNT_SID, CONTACT, NUMBER, TOKEN, Rows, new_sid
from tests.conftest import SECRET_KEYS
from tests.deploy.containers import Containers, missing
from tests.deploy.test_locks import LOCKS, entries

WEBHOOK = "/channels/twilio/v1/webhooks/inbound"
PUBLIC = "https://hooks.example.com"
WITHOUT_RIGHTS = ("--read-only", "--read-only-tmpfs=false", "--cap-drop=all", "--security-opt=no-new-privileges")
#: Minutes on a machine that does something else too.
pytestmark = pytest.mark.timeout(1500)


@pytest.fixture(scope="module")
def containers() -> Iterator[Containers]:
    reason = missing()
    if reason is not None:
        assert "CI" not in os.environ, f"in CI the image is built: {reason}"
        pytest.skip(f"the image was not built and run: {reason}")
    made = Containers(folder=Path(tempfile.mkdtemp(prefix="recado-image-")))
    try:
        reason = made.unusable()
        if reason is not None:
            pytest.skip(f"the image was not built and run: this machine runs no container: {reason}")
        yield made
    finally:
        made.remove()


@pytest.fixture(scope="module")
def image(containers: Containers) -> str:
    return containers.build("api")


@contextmanager
def by_tcp(database_url: str) -> Iterator[str]:
    """The URL of the test's database over TCP: its socket is for this user alone, and the container's is another."""
    parts = conninfo_to_dict(database_url)
    place = f"{parts['host']}/.s.PGSQL.{parts['port']}"

    def pump(here: socket.socket, there: socket.socket) -> None:
        with suppress(OSError):
            while data := here.recv(65536):
                there.sendall(data)
        with suppress(OSError):
            there.shutdown(socket.SHUT_WR)

    def forward(here: socket.socket) -> None:
        with here, socket.socket(socket.AF_UNIX) as there:
            there.connect(place)
            back = threading.Thread(target=pump, args=(there, here))
            back.start()
            pump(here, there)
            back.join()

    def serve(listening: socket.socket) -> None:
        with suppress(OSError):
            while True:
                threading.Thread(target=forward, args=(listening.accept()[0],), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=serve, args=(listening,), daemon=True).start()
        user, password = (urllib.parse.quote(str(parts[key]), safe="") for key in ("user", "password"))
        yield f"postgresql://{user}:{password}@127.0.0.1:{listening.getsockname()[1]}/{parts['dbname']}"
        listening.shutdown(socket.SHUT_RDWR)


def listening_at(containers: Containers, name: str) -> int:
    """The port on which the API listens, as soon as it says so."""
    until = time.monotonic() + 120
    while time.monotonic() < until:
        for line in containers.logs(name).splitlines():
            if '"listening"' in line:
                return int(json.loads(line)["port"])
        assert containers.inspect(name)["State"]["Running"], containers.logs(name)
        time.sleep(0.2)
    raise AssertionError(f"it did not listen: {containers.logs(name)}")


def post(port: int, fields: dict[str, str], signature: str) -> int:
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}{WEBHOOK}",
        urllib.parse.urlencode(fields).encode(),
        {"X-Twilio-Signature": signature},
    )
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def test_the_image_without_rights_takes_a_signed_webhook_and_no_other(
    containers: Containers, image: str, database_url: str, tmp_path: Path
) -> None:
    with psycopg.connect(database_url, autocommit=True, options="-c search_path=recado") as conn:
        rows = Rows.with_an_owner(conn)
        with by_tcp(database_url) as url:
            for name, secret in (("database_url", url), ("secret_keys", SECRET_KEYS)):
                (tmp_path / name).write_text(secret + "\n")
                (tmp_path / name).chmod(0o444)
            tmp_path.chmod(0o755)
            name = containers.podman(
                *("run", "--detach", "--ulimit=host", "--network=host", "--init=false", *WITHOUT_RIGHTS),
                *("--tmpfs=/tmp:mode=1777,size=64m", "--volume=home:/var/lib/recado"),
                *("--volume", f"{tmp_path}:/run/secrets:ro"),
                *("--env=RECADO_DATABASE_URL=file:/run/secrets/database_url", f"--env=RECADO_PUBLIC_URL={PUBLIC}"),
                *("--env=RECADO_SECRET_KEYS=file:/run/secrets/secret_keys", image),
                *("api", "--host", "127.0.0.1", "--port", "0"),
            )
            port = listening_at(containers, name)
            there = containers.inspect(name)
            assert there["Config"]["User"] == "10001:10001"
            assert there["EffectiveCaps"] in (None, [])
            assert there["HostConfig"]["ReadonlyRootfs"] is True
            assert url not in json.dumps(there)

            fields = {"AccountSid": ACCOUNT_SID, "From": CONTACT, "To": NUMBER, "Body": "Bom dia!", "NumMedia": "0"}
            fields["MessageSid"] = new_sid()
            signature = RequestValidator(TOKEN).compute_signature(PUBLIC + WEBHOOK, fields)
            assert post(port, {**fields, "Body": "Outra coisa"}, signature) == 403
            assert post(port, fields, signature) == 200
            stored = conn.execute("SELECT body FROM messages WHERE owner_id = %s", [rows.owner]).fetchall()
            assert stored == [("Bom dia!",)]

            # The image's own health check, without its time: the machine may be busy.
            assert there["Config"]["Healthcheck"]["Test"] == ["CMD", "recado", "health"]
            assert "ready" in containers.podman("exec", name, "recado", "health")
            containers.podman("stop", "--time", "25", name)
            assert containers.inspect(name)["State"]["ExitCode"] == 0


LOOK = """
import json, os, shutil, sys
from importlib.metadata import distributions
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
written = []
for path in ("/x", "/opt/recado/x", "/etc/x", "/var/lib/recado/x", "/tmp/x"):
    try:
        open(path, "w").close()
        written.append(path)
    except OSError:
        pass
def harmful(path):
    mode = os.lstat(path).st_mode
    return mode & 0o6000 or (mode & 0o002 and not os.path.islink(path))
ours = [os.path.join(folder, name) for folder, _, names in os.walk("/opt/recado") for name in names]
print(json.dumps({
    "uid": os.getuid(), "gid": os.getgid(), "groups": os.getgroups(),
    "caps": [status[key].strip() for key in ("CapPrm", "CapEff", "CapBnd", "CapAmb")],
    "no_new_privileges": status["NoNewPrivs"].strip(),
    "written": written,
    "there": [name for name in ("pip", "curl", "wget", "gcc", "git", "uv") if shutil.which(name)],
    "harmful": [path for path in ours if harmful(path)],
    "owned": [path for path in ours if os.lstat(path).st_uid == os.getuid()],
    "compiled": any(path.endswith(".pyc") for path in ours),
    "packages": sorted({one.metadata["Name"].lower().replace("_", "-").replace(".", "-")
                        for one in distributions(path=[p for p in sys.path if p.startswith("/opt/recado")])}),
}))
"""


def test_in_the_image_is_what_the_lock_says_and_nothing_that_could_be_used_against_it(
    containers: Containers, image: str
) -> None:
    seen = json.loads(
        containers.podman(
            *("run", "--rm", "--ulimit=host", "--network=none", "--no-healthcheck", *WITHOUT_RIGHTS),
            *("--tmpfs=/tmp:mode=1777,size=16m", "--entrypoint", "python", image, "-c", LOOK),
        )
    )
    assert (seen["uid"], seen["gid"], seen["groups"]) == (10001, 10001, [10001])
    assert set(seen["caps"]) == {"0" * 16}
    assert seen["no_new_privileges"] == "1"
    assert seen["written"] == ["/tmp/x"]
    assert (seen["there"], seen["harmful"], seen["owned"]) == ([], [], [])
    assert seen["compiled"], "a root that nobody writes to keeps nothing that Python compiles"
    packages = set(seen["packages"]) - {"recado"}
    assert packages <= entries(LOCKS / "api.lock").keys()
    assert {"fastapi", "psycopg", "twilio", "alembic"} <= packages
