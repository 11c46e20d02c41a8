from __future__ import annotations

import json
import threading
import time

from recado.ops.jobs import JOBS
from tests.cli.conftest import Terminal
from tests.cli.rows import Rows

ALIVE = (
    "INSERT INTO executors (id, lock_key, kind, host, pid, queues) VALUES ('w', 4711, 'worker', 'x', 1, '{}'); "
    "SELECT pg_advisory_lock(4711)"
)


def test_jobs_are_listed_with_what_they_do_also_before_any_worker_has_run(recado: Terminal, rows: Rows) -> None:
    listed = recado("jobs", "--json").json
    assert [row["name"] for row in listed] == [job.name for job in JOBS]
    assert {row["outcome"] for row in listed} == {None}
    rows.conn.execute(
        "INSERT INTO jobs (name, next_at, started_at, finished_at, outcome, error, duration_ms, failures) VALUES "
        "('attachments', now(), now(), now(), 'failed', 'the bucket is away', 12, 1)"
    )
    [row] = [row for row in recado("jobs", "--json").json if row["name"] == "attachments"]
    assert (row["every"], row["outcome"], row["error"], row["duration_ms"]) == (
        *("6 h", "failed", "the bucket is away"),
        12,
    )
    assert "failed: the bucket is away" in recado("jobs", RECADO_TIME_ZONE="America/Sao_Paulo").out
    assert "day at 04:00 America/Sao_Paulo" in recado("jobs", RECADO_TIME_ZONE="America/Sao_Paulo").out


def test_a_job_is_run_by_a_worker_and_what_it_came_to_is_said(recado: Terminal, rows: Rows) -> None:
    rows.conn.execute("INSERT INTO jobs (name, next_at) VALUES ('sign_ins', now() + interval '1 hour')")
    alone = recado("jobs", "run", "sign_ins")
    assert (alone.code, "no worker is alive" in alone.complaint) == (1, True)
    for statement in ALIVE.split("; "):
        rows.conn.execute(statement)

    def work(outcome: str) -> None:
        while not rows.conn.execute(
            "UPDATE jobs SET asked_at = NULL, started_at = clock_timestamp(), outcome = %s, duration_ms = 5 "
            "WHERE asked_at IS NOT NULL",
            [outcome],
        ).rowcount:
            time.sleep(0.02)

    for outcome, code in (("done", 0), ("failed", 1)):
        worker = threading.Thread(target=work, args=(outcome,))
        worker.start()
        ran = recado("jobs", "run", "sign_ins", "--json")
        worker.join()
        assert (ran.code, json.loads(ran.out)["outcome"]) == (code, outcome)


def test_a_job_that_there_is_not_is_wrong_use(recado: Terminal, rows: Rows) -> None:
    wrong = recado("jobs", "run", "nonsense")
    assert wrong.code == 2
    assert "templates" in wrong.complaint
    assert recado("jobs", RECADO_TIME_ZONE="Mars/Olympus").code == 2


def test_the_doctor_names_jobs_that_fail_and_jobs_that_nobody_runs(recado: Terminal, rows: Rows) -> None:
    rows.conn.execute(
        "INSERT INTO jobs (name, next_at, failures, error, outcome, holder, held_until) VALUES "
        "('attachments', now() + interval '1 hour', 3, 'the bucket is away', 'failed', NULL, NULL), "
        "('sign_ins', now() - interval '3 hours', 0, NULL, NULL, NULL, NULL), "
        "('templates', now(), 0, NULL, NULL, 'w', now() - interval '1 minute'), "
        "('kept_answers', now() + interval '5 minutes', 0, NULL, 'done', NULL, NULL)"
    )
    checks = json.loads(recado("doctor", "--json").out)["checks"]
    assert [(check["state"], check["text"]) for check in checks if check["name"] == "jobs"] == [
        ("warn", "attachments failed, 3 times in a row: the bucket is away"),
        ("warn", "sign_ins is due since 3 hours"),
        ("warn", "templates runs for longer than it may"),
    ]
