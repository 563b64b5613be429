"""One request and its answer: the body read with limits, the answer sent in pieces, a client that hangs up noticed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Coroutine, Mapping
from typing import Any

from starlette.types import Message, Receive, Scope, Send

from voiceloop.wire.speech_errors import JSON, Refusal

DRAIN_BYTES = 32 * 2**20
DRAIN_S = 5.0
"""How much of a refused body is still read and thrown away, and how long: a client that is busy sending reads its
answer only afterwards, and a connection closed on unread bytes would lose it."""


EXCHANGE = "voiceloop.exchange"
KEY = "voiceloop.key"
ADDED = "voiceloop.headers"
"""What the layers of the app leave in the scope for those inside: the `Exchange`, the name of the key, and headers
for the answer."""

REFUSED = "voiceloop.refused"
RESUMED = "voiceloop.resumed"
"""What is left there for those outside: why it was refused, in a word, and that a socket went on with a session."""


class Gone(Exception):
    """The client has hung up."""


class Broken(Exception):
    """The answer cannot be completed; its end shows it, as the connection closes without one."""


class Exchange:
    """A request. name: its `x-request-id`. idle_s: how long the client may send or take nothing.

    Every answer goes through `send`, which gives it that name and the headers that a layer has put into scope[ADDED].
    """

    def __init__(self, scope: Scope, receive: Receive, send: Send, *, name: str, idle_s: float) -> None:
        self.scope = scope
        self.name = name
        self._receive = receive
        self._send = send
        self._idle_s = idle_s
        self._read = False
        self.started = False
        self.finished = False

    @property
    def key(self) -> str:
        """The name of the key that came with the request; "" if none is needed."""
        return self.scope.get(KEY, "")

    async def receive(self) -> Message:
        """As ASGI's."""
        message = await self._receive()
        if message["type"] == "http.request":
            self._read = not message.get("more_body", False)
        return message

    async def send(self, message: Message) -> None:
        """As ASGI's."""
        if message["type"] == "http.response.start":
            self.started = True
            more = {"x-request-id": self.name, **self.scope.get(ADDED, {})}
            pairs = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in more.items()]
            message = {**message, "headers": [*message.get("headers", ()), *pairs]}
        elif message["type"] == "http.response.body":
            self.finished = not message.get("more_body", False)
        await self._send(message)

    def header(self, name: str) -> str:
        """The first header of that name, or ""."""
        wanted = name.encode()
        return next((v.decode("latin-1") for k, v in self.scope["headers"] if k == wanted), "")

    # --- the request ---

    async def chunks(self, limit: int, too_large: Refusal) -> AsyncGenerator[bytes, None]:
        """The body as it comes. Raises Gone; `too_large` beyond the limit, at once where the length is told before;
        and a Refusal when it stands still."""
        length = self.header("content-length")
        if length.isdecimal() and int(length) > limit:
            raise too_large
        n = 0
        while not self._read:
            try:
                async with asyncio.timeout(self._idle_s):
                    message = await self._next()
            except TimeoutError:
                self._read = True  # there is nothing to wait for any more
                said = f"The body of the request stood still for {self._idle_s:g} s."
                raise Refusal(408, said, code="timeout", headers={"connection": "close"}) from None
            body: bytes = message.get("body", b"")
            n += len(body)
            if n > limit:
                raise too_large
            yield body

    async def _next(self) -> Message:
        message = await self.receive()
        if message["type"] == "http.disconnect":
            raise Gone
        return message

    async def while_there(self, work: Coroutine[Any, Any, None]) -> None:
        """The work, cancelled when the client hangs up. The body must have been read. Raises Gone, or as the work."""
        try:
            async with asyncio.TaskGroup() as group:
                watcher = group.create_task(self._watch())
                await work
                watcher.cancel()
        except BaseExceptionGroup as several:
            raise several.exceptions[0] from None

    async def _watch(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        if not self.finished:
            raise Gone

    # --- the answer ---

    async def start(self, content_type: str, status: int = 200, headers: Mapping[str, str] | None = None) -> None:
        """Status and headers."""
        named = {"content-type": content_type, **(headers or {})}
        pairs = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in named.items()]
        await self.send({"type": "http.response.start", "status": status, "headers": pairs})

    async def write(self, data: bytes) -> None:
        """A piece; waits while the client does not read. Raises Gone if it takes nothing for too long."""
        try:
            async with asyncio.timeout(self._idle_s):
                await self.send({"type": "http.response.body", "body": data, "more_body": True})
        except TimeoutError:
            raise Gone from None

    async def finish(self) -> None:
        """The end."""
        await self.send({"type": "http.response.body", "body": b"", "more_body": False})

    async def answer(
        self, body: bytes, content_type: str = JSON, status: int = 200, headers: Mapping[str, str] | None = None
    ) -> None:
        """A whole answer."""
        await self.start(content_type, status, {"content-length": str(len(body)), **(headers or {})})
        if self._read or self.header("expect"):
            await self.write(body)
        else:
            await self._answer_unread(body)
        await self.finish()

    async def _answer_unread(self, body: bytes) -> None:
        """Says it at once, and lets the client finish what it is sending."""
        await self.write(body)
        left = DRAIN_BYTES
        try:
            async with asyncio.timeout(DRAIN_S):
                while left > 0 and not self._read:
                    left -= len((await self._next()).get("body", b""))
        except (TimeoutError, Gone):
            return
