"""A scripted language model over real HTTP: what tests and benchmarks talk to instead of a provider.

It speaks OpenAI's chat completions and responses APIs, without streams, and answers as a script says:

    with ModelServer(say("Abrimos às 7h.")) as server:
        ...                                   # OPENAI_BASE_URL = server.url
        server.requests[-1].last_user_text

A script is a function from `Request` to `Reply` or text. `python tests/model_server.py --port 9000 --delay-s 2`
runs one that echoes the last user message, until it is interrupted; it prints its address first.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Self

from aiohttp import web


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One request as it came."""

    path: str
    headers: Mapping[str, str]
    body: dict[str, Any]

    @property
    def model(self) -> str:
        """The model that was asked for."""
        return str(self.body.get("model", ""))

    @property
    def turns(self) -> list[tuple[str, str]]:
        """Role and text of each message, in order, whichever of the two APIs was used."""
        messages = self.body.get("messages") or self.body.get("input") or []
        if isinstance(messages, str):
            return [("user", messages)]
        return [(str(m.get("role", "")), _text(m.get("content"))) for m in messages]

    @property
    def user_parts(self) -> list[str | bytes]:
        """The last message of the user in its parts: texts, and pictures as their bytes."""
        messages = self.body.get("messages") or self.body.get("input") or []
        last = [message for message in messages if message.get("role") == "user"][-1]["content"]
        if isinstance(last, str):
            return [last]
        return [_picture(part) or str(part.get("text", "")) for part in last]

    @property
    def pictures(self) -> list[bytes]:
        """The bytes of every picture in the request, in order."""
        messages = self.body.get("messages") or self.body.get("input") or []
        parts = [
            part for message in messages if isinstance(message.get("content"), list) for part in message["content"]
        ]
        return [picture for part in parts if (picture := _picture(part))]

    @property
    def instructions(self) -> str:
        """What the model was told to be: the instructions and every system or developer message."""
        told = [text for role, text in self.turns if role in ("system", "developer")]
        return "\n".join([str(self.body.get("instructions") or ""), *told]).strip()

    @property
    def tools(self) -> dict[str, dict[str, Any]]:
        """The functions that the model may call, by their names."""
        given = [tool.get("function", tool) for tool in self.body.get("tools") or []]
        return {str(tool["name"]): tool for tool in given}

    @property
    def told(self) -> list[str]:
        """What the model's calls were answered, in order."""
        messages = self.body.get("messages") or self.body.get("input") or []
        if isinstance(messages, str):
            return []
        return [
            _text(message.get("output", message.get("content")))
            for message in messages
            if message.get("role") == "tool" or message.get("type") == "function_call_output"
        ]

    @property
    def last_user_text(self) -> str:
        """The last message of the user."""
        return next((text for role, text in reversed(self.turns) if role == "user"), "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A call of a tool; arguments that are a text go out as they are."""

    name: str
    arguments: Mapping[str, Any] | str

    @property
    def written(self) -> str:
        """The arguments as models write them."""
        return self.arguments if isinstance(self.arguments, str) else json.dumps(dict(self.arguments))


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What the server does with one request; the fields apply in the order in which they stand here."""

    delay_s: float = 0.0
    hang: bool = False
    drop: bool = False
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    error: str = "scripted failure"
    hides: Mapping[str, Any] | None = None
    text: str = ""
    reasoning: str = ""
    calls: tuple[Call, ...] = ()
    input_tokens: int = 11
    output_tokens: int = 7


Script = Callable[[Request], Reply | str]


def say(text: str, *, delay_s: float = 0.0) -> Script:
    """Always answer with the same text."""
    return lambda _request: Reply(text=text, delay_s=delay_s)


def echo(*, delay_s: float = 0.0) -> Script:
    """Answer with the user's last message."""
    return lambda request: Reply(text=request.last_user_text, delay_s=delay_s)


def in_turn(*replies: Reply | str) -> Script:
    """Give these answers one after the other; the last one stays."""
    left = list(replies)
    return lambda _request: left.pop(0) if len(left) > 1 else left[0]


class ModelServer:
    """The server in a thread of its own, on a free port of 127.0.0.1 unless one is given."""

    def __init__(self, script: Script | None = None, *, port: int = 0) -> None:
        self.script: Script = script or echo()
        self.requests: list[Request] = []
        #: What is said in a voice note, by its bytes; of any other nobody hears a word.
        self.spoken: dict[bytes, str] = {}
        self.notes = 0
        self.listening_s = 0.0
        self._port = port
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._stop = asyncio.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="model-server", daemon=True)

    @property
    def url(self) -> str:
        """What OPENAI_BASE_URL is to be."""
        return f"http://127.0.0.1:{self._port}/v1"

    def __enter__(self) -> Self:
        self._thread.start()
        self._ready.wait()
        if self._failure is not None:
            self._thread.join()
            raise self._failure
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        server = web.Server(self._answer, access_log=None)
        runner = web.ServerRunner(server, shutdown_timeout=0.1)
        await runner.setup()
        try:
            site = web.TCPSite(runner, "127.0.0.1", self._port, backlog=1024)
            await site.start()
            self._port = runner.addresses[0][1]
            self._ready.set()
            await self._stop.wait()
        except OSError as error:
            self._failure = error
            self._ready.set()
        finally:
            await runner.cleanup()

    async def _listen(self, call: web.BaseRequest) -> web.Response:
        self.notes += 1
        form = await call.read()
        began = time.monotonic()
        while time.monotonic() - began < self.listening_s:  # it may be made shorter meanwhile
            await asyncio.sleep(min(0.05, self.listening_s))
        return web.json_response({"text": next((text for note, text in self.spoken.items() if note in form), "")})

    async def _answer(self, call: web.BaseRequest) -> web.StreamResponse:
        if call.path == "/v1/audio/transcriptions":
            return await self._listen(call)
        shape = _SHAPES.get(call.path.removeprefix("/v1"))
        if call.method != "POST" or shape is None:
            return web.json_response({"error": {"message": f"no such route: {call.path}"}}, status=404)
        request = Request(path=call.path, headers=dict(call.headers), body=json.loads(await call.read()))
        self.requests.append(request)
        said = self.script(request)
        reply = Reply(text=said) if isinstance(said, str) else said
        if reply.delay_s:
            await asyncio.sleep(reply.delay_s)
        if reply.hang:
            await self._stop.wait()
        if reply.hang or reply.drop:
            if call.transport is not None:
                call.transport.abort()
            return web.Response(status=500)
        if reply.hides is not None:
            return web.json_response({"error": dict(reply.hides)})
        if reply.status != 200:
            error = {"error": {"message": reply.error, "type": "scripted", "code": None}}
            return web.json_response(error, status=reply.status, headers=reply.headers)
        return web.json_response(shape(request, reply, len(self.requests)), headers=reply.headers)


def _text(content: Any) -> str:
    if isinstance(content, str):
        return content
    return "".join(str(part.get("text", "")) for part in content or [])


def _picture(part: dict[str, Any]) -> bytes | None:
    url = part.get("image_url")
    url = url.get("url") if isinstance(url, dict) else url
    return base64.b64decode(url.partition(";base64,")[2]) if url else None


def _chat_completion(request: Request, reply: Reply, number: int) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": reply.text}
    if reply.reasoning:
        message["reasoning_content"] = reply.reasoning
    if reply.calls:
        message["tool_calls"] = [
            {
                "id": f"call_{number}_{at}",
                "type": "function",
                "function": {"name": call.name, "arguments": call.written},
            }
            for at, call in enumerate(reply.calls)
        ]
    return {
        "id": f"chatcmpl-{number}",
        "object": "chat.completion",
        "created": 1_760_000_000,
        "model": request.model,
        "choices": [{"index": 0, "message": message, "finish_reason": "tool_calls" if reply.calls else "stop"}],
        "usage": {
            "prompt_tokens": reply.input_tokens,
            "completion_tokens": reply.output_tokens,
            "total_tokens": reply.input_tokens + reply.output_tokens,
        },
    }


def _response(request: Request, reply: Reply, number: int) -> dict[str, Any]:
    content = [{"type": "output_text", "text": reply.text, "annotations": []}]
    thoughts = [
        {"type": "reasoning", "id": f"rs_{number}", "summary": [{"type": "summary_text", "text": reply.reasoning}]}
    ]
    calls = [
        {
            "type": "function_call",
            "id": f"fc_{number}_{at}",
            "call_id": f"call_{number}_{at}",
            "name": call.name,
            "arguments": call.written,
            "status": "completed",
        }
        for at, call in enumerate(reply.calls)
    ]
    return {
        "id": f"resp_{number}",
        "object": "response",
        "created_at": 1_760_000_000,
        "status": "completed",
        "model": request.model,
        "output": [
            *(thoughts if reply.reasoning else []),
            {"type": "message", "id": f"msg_{number}", "status": "completed", "role": "assistant", "content": content},
            *calls,
        ],
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        "usage": {
            "input_tokens": reply.input_tokens,
            "input_tokens_details": {"cached_tokens": 0},
            "output_tokens": reply.output_tokens,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": reply.input_tokens + reply.output_tokens,
        },
    }


_SHAPES = {"/chat/completions": _chat_completion, "/responses": _response}


def main() -> None:
    """Serve until interrupted or terminated."""
    parser = argparse.ArgumentParser(description="An OpenAI-compatible model that echoes, for benchmarks.")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--delay-s", type=float, default=0.0)
    parser.add_argument("--text", help="always answer with this instead of the user's last message")
    given = parser.parse_args()
    script = say(given.text, delay_s=given.delay_s) if given.text else echo(delay_s=given.delay_s)
    with suppress(KeyboardInterrupt), ModelServer(script, port=given.port) as server:
        print(server.url, flush=True)
        threading.Event().wait()


if __name__ == "__main__":
    main()
