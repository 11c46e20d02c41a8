"""The product as tests run it: API, worker and simulated Twilio in one thread, on a database of their own."""

from __future__ import annotations

import asyncio
import secrets
import threading
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar
from uuid import UUID

from recado.app import bind, create_app, server
from recado.assistants import assistant, knowledge
from recado.channels.twilio import accounts, proof
from recado.db.scope import scoped
from recado.identity import owners
from recado.settings import Settings
from recado.simulator import app as simulator
from recado.simulator.client import SimulatorClient
from recado.simulator.engine import Pace
from recado.simulator.handset import Phone
from recado.simulator.views import Bubble, Sent
from recado.stopping import tell_stacks
from recado.wiring import Wiring, wire
from recado.worker import working
from tests import lending

T = TypeVar("T")
#: How long anything is waited for that should come at once: the machine may be busy with other tests.
WAIT_S = 60.0
#: A burst in a test is what comes within it.
QUIET_WINDOW = timedelta(milliseconds=150)
INBOUND = "/channels/twilio/v1/webhooks/inbound"
OUTBOUND = "/channels/twilio/v1/webhooks/outbound"
FAQ = """# Qual o horário de funcionamento?
Abrimos de segunda a sábado, das 7h às 20h.

# Vocês fazem entrega?
Sim, entregamos no centro por R$ 8,00.
"""


@dataclass(slots=True)
class Product:
    """A running product; every test makes an owner of its own in it."""

    database_url: str = field(repr=False)
    home: Path
    settings: dict[str, Any] = field(default_factory=dict)
    api: bool = True
    work: bool = True
    base_url: str = ""
    simulator_url: str = ""
    wiring: Wiring | None = None
    declared_dead: bool = False
    _loop: asyncio.AbstractEventLoop | None = None
    _stop: asyncio.Event | None = None
    _thread: threading.Thread | None = None
    _ready: threading.Event = field(default_factory=threading.Event)
    _failure: BaseException | None = None

    def __enter__(self) -> Product:
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        self._ready.wait(WAIT_S)
        if self._failure is not None:
            raise self._failure
        return self

    def __exit__(self, *_: object) -> None:
        assert self._loop is not None
        assert self._stop is not None
        assert self._thread is not None
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(WAIT_S)
        if self._thread.is_alive():
            tell_stacks(self._loop)
        assert not self._thread.is_alive(), "the product did not stop"
        if self._failure is not None:
            raise self._failure

    def _run(self) -> None:
        try:
            asyncio.run(self._main())
        except BaseException as error:
            self._failure = error
        finally:
            self._ready.set()

    async def _main(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        async with AsyncExitStack() as stack:
            if not self.simulator_url:
                pace = simulator.SimulatorSettings(port=0, pace=Pace(sent_ms=10, delivered_ms=20))
                self.simulator_url = await stack.enter_async_context(simulator.running(pace))
            sock = stack.enter_context(bind("127.0.0.1", 0))
            self.base_url = f"http://127.0.0.1:{sock.getsockname()[1]}"
            values = {
                "home": self.home,
                "database_url": self.database_url,
                "public_url": self.base_url,
                "twilio_api_url": self.simulator_url,
                "quiet_window_ms": QUIET_WINDOW // timedelta(milliseconds=1),
                "log_level": "DEBUG",
                **self.settings,
            }
            self.wiring = await stack.enter_async_context(wire(Settings(**values, _env_file=None)))
            if self.work:
                await stack.enter_async_context(working(self.wiring, declared_dead=self._die))
            if self.api:
                serving = server(create_app(self.wiring), "127.0.0.1", sock.getsockname()[1])
                task = asyncio.create_task(serving.serve(sockets=[sock]))
                while not serving.started:
                    await asyncio.sleep(0.01)
            self._ready.set()
            await self._stop.wait()
            if self.api:
                serving.should_exit = True
                await task

    def _die(self) -> None:
        self.declared_dead = True

    def call(self, work: Callable[[], Awaitable[T]]) -> T:
        """Run a coroutine function in the product's loop."""
        assert self._loop is not None

        async def run() -> T:
            return await work()

        return asyncio.run_coroutine_threadsafe(run(), self._loop).result(WAIT_S + 5)

    def rows(self, query: str, *parameters: Any) -> list[dict[str, Any]]:
        """Rows of the database, as its superuser sees them."""
        return lending.rows(self.database_url, query, *parameters)

    def execute(self, query: str, *parameters: Any) -> None:
        lending.rows(self.database_url, query, *parameters)

    def company(
        self,
        *,
        model: str | None = None,
        faq: str = FAQ,
        instructions: str = "",
        account: tuple[str, str, str] | None = None,
    ) -> Company:
        """A new owner with an account (sid, token, number) and knowledge, known to the simulator too."""
        wiring = self.wiring
        assert wiring is not None
        account_sid, token, number = account or (
            "AC" + secrets.token_hex(16),
            secrets.token_hex(16),
            f"whatsapp:+1415{secrets.randbelow(10**7):07d}",
        )

        owner_id = self.call(
            lambda: establish(wiring, account_sid, token, number, model=model, faq=faq, instructions=instructions)
        )
        company = Company(self, owner_id, account_sid, token, number)

        async def introduce() -> None:
            async with SimulatorClient(self.simulator_url) as client:
                await client.add_account(account_sid, token)
                await client.add_number(account_sid, number, self.base_url + INBOUND)

        self.call(introduce)
        return company


async def establish(
    wiring: Wiring,
    account_sid: str,
    token: str,
    number: str,
    *,
    model: str | None = None,
    faq: str = "",
    instructions: str = "",
) -> UUID:
    """A new owner with an account and a number, and knowledge if there is any; answers its id."""
    async with await wiring.connect("recado_platform") as conn:
        owner = await owners.add(conn, "Padaria " + secrets.token_hex(8))
    async with scoped(wiring.pool, owner.id) as scope:
        added = await accounts.add_account(
            scope, wiring.keyring, account_sid=account_sid, auth_token=token, proven_at=wiring.clock.now()
        )
        made = await assistant.ensure_default(scope)
        await assistant.set(scope, None, instructions=instructions, model=model, language="pt")
        await accounts.add_number(scope, account_sid=account_sid, address=number, assistant_id=made.id)
        await proof.keep_senders(scope, added.id, frozenset({number}), now=wiring.clock.now())
        if faq:
            await knowledge.replace(scope, source="faq.md", entries=knowledge.read_markdown(faq), language="pt")
    return owner.id


@dataclass(frozen=True, slots=True)
class Company:
    """An owner in the product, and the simulator's side of it."""

    product: Product
    owner_id: UUID
    account_sid: str
    token: str
    number: str

    def contact(self) -> Contact:
        return Contact(self, f"whatsapp:+55119{secrets.randbelow(10**8):08d}")


@dataclass(frozen=True, slots=True)
class Contact:
    """A person with a phone."""

    company: Company
    address: str

    def _call(self, work: Callable[[SimulatorClient], Awaitable[T]]) -> T:
        async def run() -> T:
            async with SimulatorClient(self.company.product.simulator_url) as client:
                return await work(client)

        return self.company.product.call(run)

    def says(self, body: str, **more: Any) -> Sent:
        """Write to the company; answers after the webhook was answered."""
        return self._call(
            lambda client: client.send(
                body, account_sid=self.company.account_sid, from_=self.address, to=self.company.number, **more
            )
        )

    def does(self, what: Callable[[Phone], Awaitable[T]]) -> T:
        """Anything a phone can do: `contact.does(lambda phone: phone.voice(path))`."""
        company = self.company

        async def work(client: SimulatorClient) -> T:
            phone = Phone(client=client, account_sid=company.account_sid, number=company.number, address=self.address)
            return await what(phone)

        return self._call(work)

    def replies(self, count: int = 1, *, timeout_s: float = WAIT_S, status: str | None = None) -> list[Bubble]:
        """What the contact was sent, once there are that many."""
        return self._call(lambda client: client.wait_for_replies(self.address, count, timeout_s, status=status))

    def seen(self) -> list[Bubble]:
        """What the contact was sent until now."""
        return self._call(lambda client: client.replies(self.address))

    def resend(self, sid: str, *, times: int = 1) -> Sent:
        return self._call(lambda client: client.resend(sid, times=times))

    def fault(self, preset: str | None = None, **fault: Any) -> str:
        """Let something go wrong for this contact only."""
        key = "from_" if fault.get("operation") == "inbound" else "to"
        fault.setdefault(key, "^" + self.address.replace("+", r"\+") + "$")
        return self._call(lambda client: client.add_fault(preset, **fault))

    def settled(self, count: int, status: str = "delivered", *, timeout_s: float = WAIT_S) -> list[dict[str, Any]]:
        """The outbound messages in the database, once there are that many with that status."""
        deadline = time.monotonic() + timeout_s
        while True:
            found = [row for row in self.messages() if row["direction"] == "outbound"]
            if len(found) >= count and all(row["status"] == status for row in found):
                return found
            assert time.monotonic() < deadline, [(row["status"], row["error_code"]) for row in found]
            time.sleep(0.02)

    def calls(self) -> list[Any]:
        """The REST calls about this contact."""
        every = self._call(lambda client: client.calls())
        return [call for call in every if call.form.get("To") == self.address]

    def messages(self) -> list[dict[str, Any]]:
        """The contact's messages in the database, oldest first."""
        return self.company.product.rows(
            "SELECT m.* FROM messages m JOIN conversations v ON v.id = m.conversation_id "
            "JOIN contacts c ON c.id = v.contact_id WHERE c.address = %s ORDER BY m.id",
            self.address,
        )
