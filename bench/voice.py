"""Voice notes beside text: what five notes in work cost the answers to text, and how soon a lone note is answered.

And beside pictures: how soon those of others are answered while one contact's many notes are listened to.

Whisper base, two threads, on the machine that also runs everything else; the model that answers is instant.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import ExitStack
from itertools import cycle
from pathlib import Path
from statistics import median
from typing import Any

from PIL import Image

from bench import load, pairs, stack
from bench.flood import others, row
from bench.idle import QUIET_WINDOW_MS
from bench.turns import start
from recado.media.voice.weights import base_model_folder
from recado.simulator.client import SimulatorClient
from recado.simulator.handset import Phone
from tests.media.voice import NOTES, accuracy

IN_WORK, MANY = 5, 24
NOTE = next(note for note in NOTES if note.path.name == "en-bakery.ogg")


def _phone(client: SimulatorClient, number: int) -> Phone:
    address = f"whatsapp:+55118{number:08d}"
    return Phone(client=client, account_sid=load.ACCOUNT_SID, number=load.NUMBER, address=address)


async def _answered(client: SimulatorClient, phone: Phone, path: Path, *, timeout_s: float = 120) -> float:
    """Seconds from the webhook to the answer's POST."""
    began = time.time()
    await phone.voice(path)
    await client.wait_for_replies(phone.address, 1, timeout_s)
    (call,) = [c for c in await client.calls() if c.operation == "create" and c.form.get("To") == phone.address]
    return call.at - began


async def _busy(started: dict[str, Any], ended: asyncio.Event, *, first: int) -> int:
    """Keep that many notes in work until told to stop; how many were answered."""
    answered = 0
    numbers = iter(range(first, first + 10_000))

    async def keep(client: SimulatorClient, paths: Any) -> None:
        nonlocal answered
        for path in paths:
            if ended.is_set():
                return
            await _answered(client, _phone(client, next(numbers)), path)
            answered += 1

    async with SimulatorClient(started["simulator_url"]) as client:
        await asyncio.gather(*(keep(client, cycle(note.path for note in NOTES)) for _ in range(IN_WORK)))
    return answered


async def _text(started: dict[str, Any], *, count: int, first: int) -> dict[str, list[float]]:
    return await others(started, count=count, first=first, gap_s=0.25)


async def _measure(started: dict[str, Any], *, count: int, rounds: int) -> dict[str, Any]:
    async with SimulatorClient(started["simulator_url"]) as client:
        await client.add_account(load.ACCOUNT_SID, load.TOKEN)
        await client.add_number(load.ACCOUNT_SID, load.NUMBER, started["api_url"] + load.PATH)
        await _answered(client, _phone(client, 0), NOTE.path)
        lone = [await _answered(client, _phone(client, 1 + index), NOTE.path) for index in range(5)]
    await _text(started, count=10, first=90_000)
    firsts = iter(range(1000, 90_000, 1000))

    async def alone() -> dict[str, float]:
        return row(await _text(started, count=count, first=next(firsts)))

    async def beside() -> dict[str, float]:
        first, ended = next(firsts), asyncio.Event()
        working = asyncio.create_task(_busy(started, ended, first=first))
        await asyncio.sleep(1)
        found = row(await _text(started, count=count, first=first))
        ended.set()
        return {**found, "notes_answered_meanwhile": await working}

    return {
        "lone_note_s": [round(value, 2) for value in sorted(lone)],
        "text": await pairs.in_turn_async(alone, beside, times=rounds),
    }


async def _pictures(client: SimulatorClient, path: Path, *, count: int, first: int) -> list[float]:
    """Seconds to the answer to a picture, of people who each send one, one after the other."""
    found = []
    for number in range(first, first + count):
        phone = _phone(client, number)
        began = time.time()
        await phone.picture(path)
        await client.wait_for_replies(phone.address, 1, 120)
        (call,) = [c for c in await client.calls() if c.operation == "create" and c.form.get("To") == phone.address]
        found.append(round(call.at - began, 2))
    return found


async def _beside_many(started: dict[str, Any], folder: Path, *, count: int) -> dict[str, Any]:
    path = folder / "picture.jpg"
    Image.new("RGB", (800, 600), "red").save(path)
    async with SimulatorClient(started["simulator_url"]) as client:
        alone = await _pictures(client, path, count=count, first=200_000)
        noisy = _phone(client, 300_000)
        for _ in range(MANY):
            await noisy.voice(NOTE.path)
        beside = await _pictures(client, path, count=count, first=210_000)
        await client.wait_for_replies(noisy.address, 1, 180)
    # Not in turn: what the notes are listened to takes longer than all the pictures.
    pictures = pairs.compared(
        [({"answer_s": one}, {"answer_s": other}) for one, other in zip(alone, beside, strict=True)]
    )
    return {"pictures": pictures}


def _listening(model: Path) -> tuple[dict[str, float], float]:
    """The share of words that was understood, of each committed note; the median of the seconds for `NOTE` bare."""
    from recado.media.voice.whisper import Whisper

    async def listen() -> tuple[dict[str, float], float]:
        whisper = Whisper(str(model), threads=2, longest_s=60)

        async def hear(note: Any) -> str:
            heard = await whisper.transcribe(note.path, content_type="audio/ogg", languages={note.language: 1})
            return heard.text

        found = {note.path.name: round(accuracy(note.text, await hear(note)), 2) for note in NOTES}
        took = []
        for _ in range(5):
            began = time.perf_counter()
            await hear(NOTE)
            took.append(time.perf_counter() - began)
        await whisper.aclose()
        return found, round(median(took), 2)

    return asyncio.run(listen())


def measure(*, count: int = 40, rounds: int = 3) -> dict[str, Any]:
    """One stack with everything, text with and without notes in turn; a lone note beside listening to it bare."""
    with stack.home() as home, ExitStack() as running:
        model = base_model_folder(home / "models")
        words, bare_s = _listening(model)
        stack.run(stack.set_up(home))
        started = start(
            running,
            home,
            delay_s=0.0,
            transcriber=f"faster-whisper:{model}",
            limits="off",
            quiet_window_ms=QUIET_WINDOW_MS,
        )
        figures: dict[str, Any] = stack.run(_measure(started, count=count, rounds=rounds))
        figures |= stack.run(_beside_many(started, home, count=5))
    least_s = bare_s + QUIET_WINDOW_MS / 1000
    return figures | {
        "bare_note_s": bare_s,
        "lone_note_to_bare_and_quiet_window": round(median(figures["lone_note_s"]) / least_s, 2),
        "word_accuracy": words,
        "word_accuracy_mean": round(sum(words.values()) / len(words), 3),
    }
