"""Nothing leaks: no secret and nothing personal in logs, answers to callers or process arguments, whatever fails.

Everything that is personal or secret carries a mark of its own; the whole product runs as a process of its own at
DEBUG, while models, Twilio, the database and rows go wrong in ways that quote what they were given.
"""

from __future__ import annotations

import base64
import json
import os
import re
import secrets
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import httpx2
import psycopg
import pytest

from recado.assistants import assistant
from recado.db.embedded import Lease
from recado.db.scope import scoped
from recado.identity import keys, users
from recado.telemetry import FIELDS
from tests.channels.examples import inbound
from tests.collector import CollectorServer
from tests.fleet import free_port
from tests.identity.conftest import CHEAP
from tests.journey.front import message_sid, signature_of
from tests.model_server import ModelServer, Reply, Request
from tests.product import INBOUND, OUTBOUND, Company, Contact, Product

MODEL = "openai:scripted"
#: Where what the contact says decides how the model, or the row, fails.
ECHOED, KEY_ECHOED, OVERLOADED, POISON = "echo400", "echo401", "echo503", "poisonrow"


@dataclass(frozen=True, slots=True)
class Marks:
    """What must be found nowhere; unique to the run."""

    body: str = field(default_factory=lambda: "corpo" + secrets.token_hex(5))
    name: str = field(default_factory=lambda: "Nome" + secrets.token_hex(5))
    answer: str = field(default_factory=lambda: "resposta" + secrets.token_hex(5))
    instructions: str = field(default_factory=lambda: "regra" + secrets.token_hex(5))
    knowledge: str = field(default_factory=lambda: "saber" + secrets.token_hex(5))
    apology: str = field(default_factory=lambda: "desculpa" + secrets.token_hex(5))
    token: str = field(default_factory=lambda: secrets.token_hex(16))
    password: str = field(default_factory=lambda: "senha" + secrets.token_hex(5))
    api_key: str = field(default_factory=lambda: "sk-chave" + secrets.token_hex(5))
    presented_key: str = field(default_factory=lambda: "rk_" + secrets.token_urlsafe(32))
    secret_key: str = field(default_factory=lambda: base64.urlsafe_b64encode(os.urandom(32)).decode())
    phone: str = field(default_factory=lambda: f"55119{secrets.randbelow(10**8):08d}")
    other_phone: str = field(default_factory=lambda: f"55219{secrets.randbelow(10**8):08d}")
    ours: str = field(default_factory=lambda: f"1415{secrets.randbelow(10**7):07d}")

    def found_in(self, text: str) -> list[str]:
        """The kinds of marks that the text holds."""
        return [name for name in self.__slots__ if (mark := getattr(self, name)) in text or quote(mark) in text]


@dataclass(slots=True)
class Scene:
    """The product as a process, and all that it and its callers were told."""

    marks: Marks
    product: Product
    company: Company
    process: subprocess.Popen[bytes]
    log: Path
    login: str
    collector: CollectorServer
    answers: list[str] = field(default_factory=list)
    arguments: set[str] = field(default_factory=set)

    def contact(self, phone: str) -> Contact:
        return Contact(self.company, f"whatsapp:+{phone}")

    def call(self, method: str, path: str, **more: Any) -> int:
        """A call from outside; what it was answered is kept, headers included. 0: no answer."""
        try:
            answer = httpx2.request(method, self.product.base_url + path, timeout=20, **more)
        except httpx2.TransportError:
            return 0
        self.answers.append(f"{answer.status_code} {dict(answer.headers)} {answer.text}")
        return int(answer.status_code)

    def post(self, path: str, fields: list[tuple[str, str]], token: str | None = None, **headers: str) -> int:
        """A signed webhook, as Twilio posts it."""
        signature = signature_of(self.product.base_url + path, token or self.company.token, fields)
        given = {"X-Twilio-Signature": signature, "Content-Type": "application/x-www-form-urlencoded", **headers}
        return self.call("POST", path, content=urlencode(fields), headers=given)

    def message(self, body: str, phone: str) -> list[tuple[str, str]]:
        return inbound(
            "text",
            MessageSid=message_sid(),
            AccountSid=self.company.account_sid,
            From=f"whatsapp:+{phone}",
            To=self.company.number,
            Body=body,
            ProfileName=self.marks.name,
        )

    def lines(self) -> list[dict[str, Any]]:
        """The log so far; every line is one of ours."""
        return [json.loads(line) for line in self.log.read_text().splitlines()]

    def until(self, what: Callable[[], bool], why: str, timeout_s: float = 60.0) -> None:
        deadline = time.monotonic() + timeout_s
        while not what():
            assert time.monotonic() < deadline, f"{why}: {self.log.read_text()[-3000:]}"
            time.sleep(0.05)

    def logged(self, event: str) -> bool:
        return f'"event": "{event}"' in self.log.read_text()

    def metrics(self) -> str:
        """The metrics of both processes."""
        [port] = [line["port"] for line in self.lines() if line["event"] == "metrics_listening"]
        return httpx2.get(f"http://127.0.0.1:{port}/metrics").text

    def cut_connections(self) -> None:
        """Let the database cut every connection of the process, as a restart does."""
        self.product.rows("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = %s", self.login)


def _model(marks: Marks) -> Callable[[Request], Reply]:
    def script(request: Request) -> Reply:
        said = request.last_user_text
        everything = json.dumps(request.body, ensure_ascii=False) + str(request.headers)
        if ECHOED in said:
            return Reply(status=400, error=f"can't read {everything}")
        if KEY_ECHOED in said:
            return Reply(status=401, error=f"Incorrect API key provided: {marks.api_key}")
        if OVERLOADED in said:
            return Reply(status=503, error=f"overloaded by {everything}", headers={"X-Request": marks.body})
        return Reply(text=f"{marks.answer} {said}")

    return script


_POISON = f"""
CREATE FUNCTION poison() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    RAISE EXCEPTION 'bad row: %', NEW.body USING DETAIL = 'Failing row contains ' || NEW::text, HINT = NEW.body;
END $$;
CREATE TRIGGER poison BEFORE INSERT ON messages FOR EACH ROW WHEN (NEW.body LIKE '%{POISON}%') EXECUTE FUNCTION poison()
"""


@pytest.fixture
def scene(cluster: Lease, database_url: str, tmp_path: Path) -> Iterator[Scene]:
    marks = Marks()
    login = f"leak_{secrets.token_hex(5)}"
    with psycopg.connect(database_url, options="-c search_path=recado", autocommit=True) as conn:
        roles = "recado_app, recado_platform, recado_engine"
        conn.execute(f"CREATE ROLE {login} LOGIN PASSWORD '{marks.password}' IN ROLE {roles}")
        conn.execute(_POISON)
    url = cluster.url(login, marks.password, database_url.rsplit("/", 1)[1].split("?")[0])
    own = {"secret_keys": marks.secret_key}
    log = tmp_path / "serve.log"
    with (
        ModelServer(_model(marks)) as model,
        CollectorServer() as collector,
        Product(database_url, tmp_path, own, api=False, work=False) as product,
    ):
        product.base_url = f"http://127.0.0.1:{free_port()}"
        company = _company(product, marks)
        env = {name: value for name, value in os.environ.items() if not name.startswith("RECADO_")} | {
            "RECADO_HOME": str(tmp_path / "home"),
            "RECADO_DATABASE_URL": url,
            "RECADO_SECRET_KEYS": marks.secret_key,
            "RECADO_TWILIO_API_URL": product.simulator_url,
            "RECADO_PUBLIC_URL": product.base_url,
            "RECADO_QUIET_WINDOW_MS": "150",
            "RECADO_MODEL_TIMEOUT_S": "8",
            "RECADO_LOG_LEVEL": "DEBUG",
            "RECADO_METRICS_PORT": "0",
            "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
            "OTEL_BSP_SCHEDULE_DELAY": "100",
            "OPENAI_BASE_URL": model.url,
            "OPENAI_API_KEY": marks.api_key,
            "OPENAI_LOG": "debug",
            "PYTHONASYNCIODEBUG": "1",
        }
        with log.open("wb") as file:
            port = product.base_url.rpartition(":")[2]
            process = subprocess.Popen(
                [sys.executable, "-W", "always", "-m", "recado", "serve", "--port", port],
                env=env, cwd=tmp_path, stdout=file, stderr=file,
            )  # fmt: skip
        made = Scene(marks, product, company, process, log, login, collector)
        ended = threading.Event()
        watch = threading.Thread(target=_watch_arguments, args=(made.arguments, ended), daemon=True)
        watch.start()
        try:
            made.until(lambda: made.logged("listening"), "the product did not start")
            yield made
        finally:
            process.kill()
            process.wait()
            ended.set()
            watch.join()
    with psycopg.connect(database_url, autocommit=True) as conn:
        conn.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = %s", [login])
        conn.execute(f"DROP ROLE {login}")


def _company(product: Product, marks: Marks) -> Company:
    sid, number = "AC" + secrets.token_hex(16), f"whatsapp:+{marks.ours}"
    wiring = product.wiring
    assert wiring is not None
    made = product.company(
        account=(sid, marks.token, number),
        model=MODEL,
        instructions=f"Seja breve {marks.instructions}.",
        faq=f"# Qual o horário?\nDas 7h às 20h {marks.knowledge}.\n",
    )

    async def apologise() -> None:
        async with scoped(wiring.pool, made.owner_id) as scope:
            await assistant.set(scope, None, apology=f"Desculpe {marks.apology}.")

    product.call(apologise)
    return made


def _watch_arguments(seen: set[str], ended: threading.Event) -> None:
    looked: dict[str, int] = {}
    while not ended.wait(0.05):
        there = [name for name in os.listdir("/proc") if name.isdigit()]
        # A process has its arguments from its `exec` on, soon after it began.
        looked = {name: looked.get(name, 0) + 1 for name in there}
        for name in (name for name in there if looked[name] <= 5):
            try:
                seen.add(Path("/proc", name, "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace"))
            except OSError:
                continue


def test_a_journey_with_everything_going_wrong_leaves_no_mark_anywhere(scene: Scene, cluster: Lease) -> None:
    marks = scene.marks
    ana, rui = scene.contact(marks.phone), scene.contact(marks.other_phone)

    ana.says(f"Qual o horário? {marks.body}", profile_name=marks.name)
    assert marks.answer in ana.replies(1, status="delivered")[0].body
    ana.says(f"{ECHOED} {marks.body}")
    ana.replies(2)
    ana.says(f"{KEY_ECHOED} {marks.body}")
    ana.replies(3)
    ana.says(f"{OVERLOADED} {marks.body}")
    ana.replies(4)

    quoting = f"The 'To' number {rui.address} is not valid; {marks.body} {marks.token}"
    rui.fault(operation="create", http_status=429, code=20429, error_message=quoting, retry_after_s=0.1, count=1)
    rui.fault(operation="typing", http_status=400, code=20001, error_message=quoting)
    rui.says(f"Oi {marks.body}")
    rui.replies(1)
    rui.fault(operation="create", http_status=400, code=21211, error_message=quoting, count=1)
    rui.says(f"Alô {marks.body}")
    scene.until(lambda: scene.log.read_text().count('"event": "send_failed"') == 2, "no refused send")

    assert scene.post(INBOUND, scene.message(f"{POISON} {marks.body}", marks.phone)) == 500
    scene.product.execute("ALTER TABLE messages DISABLE TRIGGER poison")
    assert scene.post(INBOUND, scene.message(f"{POISON} {marks.body}", marks.phone)) == 200
    scene.product.execute("ALTER TABLE messages ENABLE TRIGGER poison")  # before the turn: its reply is poison
    scene.until(lambda: scene.logged("turn_failed"), "no broken turn")

    scene.cut_connections()
    scene.call("GET", "/readyz")
    scene.post(INBOUND, scene.message(marks.body, marks.phone))
    scene.cut_connections()
    scene.until(lambda: scene.call("GET", "/readyz") == 200, "not ready again")

    _knock(scene)
    _ask_the_api(scene)
    token = _sign_in(scene)

    page = scene.metrics()
    for counted in (
        'recado_webhook_seconds_count{process="api",outcome="accepted",route="inbound"} ',
        'recado_tries_total{process="worker",error_class="recipient",operation="send"} 1.0',
        'recado_tries_total{process="worker",error_class="not_authorized",operation="model"} 1.0',
        f'recado_model_tokens_total{{process="worker",model="{MODEL}",type="input"}} ',
        'recado_turns_total{process="worker",outcome="broken"} 1.0',
    ):
        assert counted in page, page
    assert marks.found_in(page) == []
    assert len([line for line in page.splitlines() if not line.startswith("#")]) < 400

    spans = scene.collector.until(lambda found: any(one.name == "confirm" for one in found))
    assert {"receive", "accept", "queue turns", "answer", "model", "chat scripted", "deliver", "POST Messages"} <= {
        one.name for one in spans
    }
    assert any(one.failed for one in spans if one.name == "chat scripted")
    sent = b"".join(scene.collector.raw).decode(errors="replace")
    assert marks.found_in(sent) == []

    scene.process.send_signal(signal.SIGABRT)  # Python's own last words
    scene.process.wait(20)
    raw = scene.log.read_text()
    journal, _, last_words = raw.partition("Fatal Python error")
    assert "Thread" in last_words or "thread" in last_words
    scene.log.write_text(journal)
    lines = scene.lines()
    assert {name for line in lines for name in line} <= FIELDS
    said = {line["event"] for line in lines}
    assert {"accepted", "answered", "sent", "send_failed", "model_retried", "rejected", "request_failed"} <= said
    assert "confirmed" in said  # DEBUG
    assert {"dbos", "openai._base_client"} <= {line["logger"] for line in lines}

    assert marks.found_in(raw) == []
    assert token not in raw
    assert len(scene.answers) > 12
    assert marks.found_in("\n".join(scene.answers)) == []
    assert any("recado serve" in line for line in scene.arguments)
    assert marks.found_in("\n".join(scene.arguments)) == []
    server_log = cluster.cluster.log.read_text(errors="replace")
    assert "terminating connection" in server_log
    assert marks.found_in(server_log) == []


def _knock(scene: Scene) -> None:
    """What strangers and the confused send, with marks in every place that an answer could quote."""
    marks = scene.marks
    message = scene.message(marks.body, marks.phone)
    for status, known in (
        (403, scene.post(INBOUND, message, token=marks.presented_key)),
        (403, scene.post(OUTBOUND, message, token=marks.presented_key)),
        (403, scene.call("POST", INBOUND, data=dict(message), headers={"X-API-Key": marks.presented_key})),
        (403, scene.call("POST", INBOUND, json={"AccountSid": marks.body, "Body": marks.body})),
        (400, scene.call("POST", INBOUND, content=marks.body, headers={"Content-Type": "application/json"})),
        (415, scene.call("POST", INBOUND, content=marks.body, headers={"Content-Type": f"text/{marks.body}"})),
        (413, scene.call("POST", INBOUND, content=marks.body * 20_000)),
        (404, scene.call("GET", f"/{marks.name}/whatsapp:+{marks.phone}?token={marks.token}")),
        (405, scene.call("PUT", f"{INBOUND}?to={marks.phone}", content=marks.body)),
        (404, scene.call("GET", "/v1/nothing", headers={"Authorization": f"Bearer {marks.presented_key}"})),
        (400, scene.post(OUTBOUND + f"?message={marks.name}&part={marks.phone}", message)),
    ):
        assert known == status, (known, status)


def _ask_the_api(scene: Scene) -> None:
    """What a program with a key of the owner asks wrongly, with marks in every place that an answer could quote."""
    marks, wiring = scene.marks, scene.product.wiring
    assert wiring is not None

    async def make_key() -> str:
        async with scoped(wiring.pool, scene.company.owner_id) as scope:
            return (await keys.make(scope, name="test", scopes=["admin"]))[1]

    headers = {"Authorization": f"Bearer {scene.product.call(make_key)}", "If-Match": '"1"'}
    [conversation] = scene.product.rows("SELECT id FROM conversations ORDER BY id LIMIT 1")
    [account] = scene.product.rows("SELECT id FROM twilio_accounts")
    thread, accounts = f"/v1/conversations/{conversation['id']}", f"/v1/twilio-accounts/{account['id']}"
    sid = "AC" + "9" * 32
    key = {"sid": marks.body, "secret": marks.token}
    for status, path, body in (
        (422, f"{thread}/messages", {"text": marks.body, marks.body: marks.phone}),
        (422, f"{thread}/take", {"reason": f"{marks.body}\0"}),
        (422, f"{thread}/assign", {"assignee_id": marks.phone}),
        (422, "/v1/keys", {"name": f"{marks.name}\0", "scopes": [marks.body]}),
        (422, "/v1/twilio-accounts", {"account_sid": marks.phone, "auth_token": marks.token, "api_key": key}),
        (422, "/v1/twilio-accounts", {"account_sid": sid, "auth_token": f"{marks.token}\n{marks.password}"}),
        (403, "/v1/twilio-accounts", {"account_sid": sid, "auth_token_ref": f"env:{marks.body}"}),
        (422, f"{accounts}/rotate", {"auth_token": f"{marks.token}\t", "auth_token_ref": None}),
        (412, f"{accounts}/finish-rotation", None),
        (422, "/v1/numbers", {"account_id": str(account["id"]), "address": f"whatsapp:{marks.phone}x"}),
        (422, "/v1/assistants", {"name": "\0", "instructions": marks.instructions, "apology": marks.apology}),
    ):
        more = {} if body is None else {"json": body}
        version = '"9999"' if status == 412 else '"1"'
        assert scene.call("POST", path, headers=headers | {"If-Match": version}, **more) == status, path
    for status, method, path, body in (
        (422, "PUT", "/v1/knowledge/sources/a.csv", {"text": f"{marks.knowledge}\n{marks.body}\n"}),
        (422, "PUT", f"/v1/knowledge/sources/{marks.name}.exe", {"text": marks.knowledge}),
        (404, "DELETE", f"/v1/knowledge/sources/{marks.name}.md", None),
        (422, "GET", f"/v1/usage?period={marks.phone}", None),
        (422, "GET", f"/v1/audit?cursor={marks.body}", None),
        (422, "GET", f"/v1/knowledge/{marks.body}", None),
        (200, "GET", "/v1/audit", None),
        (200, "GET", "/v1/twilio-accounts", None),
        (200, "GET", accounts, None),
    ):
        more = {} if body is None else {"json": body}
        assert scene.call(method, path, headers=headers, **more) == status, path
    # What can be done: secrets given and taken, in a log that holds none of them.
    rotate = {"auth_token": marks.presented_key}
    version = {"If-Match": f'"{scene.product.rows("SELECT version FROM twilio_accounts")[0]["version"]}"'}
    assert scene.call("POST", f"{accounts}/rotate", headers=headers | version, json=rotate) == 200


def _sign_in(scene: Scene) -> str:
    """People at the sign-in with marks in all that they say, wrong and right; answers the token that they got."""
    marks, email = scene.marks, "ana@padaria.example"
    wiring = scene.product.wiring
    assert wiring is not None

    async def add() -> None:
        async with scoped(wiring.pool, scene.company.owner_id) as scope:
            hashed, now = CHEAP.hash(marks.password), wiring.clock.now()
            await users.put(scope, email=email, role="viewer", password_hash=hashed, now=now)

    scene.product.call(add)
    right = {"email": email, "password": marks.password}
    cookie = {"Cookie": f"recado={marks.presented_key}"}
    for status, known in (
        (401, scene.call("POST", "/v1/sessions", json=right | {"email": f"{marks.name}@x.example"})),
        (401, scene.call("POST", "/v1/sessions", json=right | {"password": marks.token})),
        (422, scene.call("POST", "/v1/sessions", json=[right, marks.body])),
        (403, scene.call("POST", "/v1/sessions", json=right, headers={"Origin": f"https://{marks.name}.example"})),
        (401, scene.call("GET", "/v1/sessions/current", headers=cookie | {"Recado-Owner": marks.phone})),
        (403, scene.call("DELETE", "/v1/sessions/current", headers=cookie | {"Sec-Fetch-Site": "cross-site"})),
        (404, scene.call("POST", "/v1/invitations/accept", json={"token": marks.token, "password": marks.password})),
        (201, scene.call("POST", "/v1/sessions", json=right)),
    ):
        assert known == status, (known, status)
    found = re.search(r"recado=(rs_[\w-]{43})", scene.answers[-1])
    assert found is not None
    return found[1]
