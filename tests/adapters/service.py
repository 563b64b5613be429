"""A real HTTP server on a real socket whose misbehaviour is scripted, request by request.

    async with Service(status(500), json_answer({"text": "hello"})) as service:
        ...  Service(service.url) ...
        service.requests, service.n_connections

The last script answers all further requests. HEAD (the warm-up) is answered by itself and not counted.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass


@dataclass(frozen=True)
class Request:
    """One request with its whole body; connection: how many connections came before its own."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes
    connection: int


class Wire:
    """The socket under one answer."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self.hung_up = False

    async def send(self, data: bytes) -> None:
        """Sends at once; each call is one segment on the wire, or nearly."""
        self._writer.write(data)
        await self._writer.drain()

    async def gone(self) -> None:
        """Waits until the client closes the connection."""
        with suppress(ConnectionError):
            while await self._reader.read(65_536):
                pass
        self.hung_up = True

    def close(self) -> None:
        """Closes the connection after this answer."""
        self._writer.close()

    def reset(self) -> None:
        """Breaks the connection."""
        self._writer.transport.abort()


Script = Callable[[Request, Wire], Awaitable[None]]


class Service:
    """Serves the scripts on a free port of 127.0.0.1."""

    def __init__(self, *scripts: Script) -> None:
        self._scripts = list(scripts)
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()
        self.requests: list[Request] = []
        self.heads: list[Request] = []
        self.n_connections = 0
        self.asked = asyncio.Event()
        self.cancelled = asyncio.Event()
        self.port = 0

    @property
    def url(self) -> str:
        """Base URL with /v1."""
        return f"http://127.0.0.1:{self.port}/v1"

    async def __aenter__(self) -> Service:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for writer in self._writers:
            writer.transport.abort()
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def settled(self, n_open: int = 0) -> None:
        """Waits until the client has closed all but so many connections."""
        while len(pending := [task for task in self._tasks if not task.done()]) > n_open:
            await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._writers.add(writer)
        number = self.n_connections
        self.n_connections += 1
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            while not writer.is_closing():
                request = await _read(reader, number)
                if request is None:
                    break
                wire = Wire(reader, writer)
                if request.method == "HEAD":
                    self.heads.append(request)
                    await wire.send(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n")
                    continue
                self.requests.append(request)
                self.asked.set()
                script = self._scripts.pop(0) if len(self._scripts) > 1 else self._scripts[0]
                await script(request, wire)
                if wire.hung_up:
                    self.cancelled.set()
                    break
        writer.close()


async def _read(reader: asyncio.StreamReader, number: int) -> Request | None:
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return None
    first, *lines = head.decode("latin-1").strip().split("\r\n")
    method, path, _ = first.split(" ")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    body = b""
    if headers.get("transfer-encoding") == "chunked":
        while size := int(await reader.readline(), 16):
            body += (await reader.readexactly(size + 2))[:-2]
        await reader.readline()
    else:
        body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Request(method, path, headers, body, number)


def _head(status: int, headers: Mapping[str, str]) -> bytes:
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"HTTP/1.1 {status} Whatever\r\n{lines}\r\n".encode("latin-1")


def answer(
    body: bytes = b"", kind: str = "application/json", status: int = 200, headers: Mapping[str, str] | None = None
) -> Script:
    """A whole answer with Content-Length."""

    async def script(_: Request, wire: Wire) -> None:
        await wire.send(
            _head(status, {"content-type": kind, "content-length": str(len(body)), **(headers or {})}) + body
        )

    return script


def json_answer(found: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Script:
    """A whole JSON answer."""
    return answer(json.dumps(found).encode(), status=status, headers=headers)


def error(message: str, status: int, headers: Mapping[str, str] | None = None) -> Script:
    """OpenAI's error object."""
    found = {"error": {"message": message, "type": "invalid_request_error", "param": None, "code": None}}
    return json_answer(found, status, headers)


def html(status: int, title: str = "Bad Gateway") -> Script:
    """What a proxy says."""
    page = f"<html><head><title>{title}</title></head><body><h1>{title}</h1></body></html>"
    return answer(page.encode(), "text/html; charset=utf-8", status)


def chunked(
    pieces: Iterable[bytes], kind: str = "audio/pcm", *, ends: bool = True, then: Script | None = None
) -> Script:
    """A chunked answer, one chunk and one segment for each piece.

    ends: with the last chunk of size 0; else the connection is closed in the middle of the body.
    then: what happens after the pieces, in place of the end.
    """

    async def script(request: Request, wire: Wire) -> None:
        await wire.send(_head(200, {"content-type": kind, "transfer-encoding": "chunked"}))
        for piece in pieces:
            await wire.send(b"%x\r\n%b\r\n" % (len(piece), piece))
            await asyncio.sleep(0)
        if then is not None:
            await then(request, wire)
        elif ends:
            await wire.send(b"0\r\n\r\n")
        else:
            wire.close()

    return script


def half(body: bytes, length: int, kind: str = "audio/pcm", status: int = 200) -> Script:
    """Content-Length promises more than comes."""

    async def script(_: Request, wire: Wire) -> None:
        await wire.send(_head(status, {"content-type": kind, "content-length": str(length)}) + body)
        wire.close()

    return script


def until_close(body: bytes, kind: str = "audio/pcm") -> Script:
    """No length at all: the end of the connection is the end of the body, as in HTTP/1.0."""

    async def script(_: Request, wire: Wire) -> None:
        await wire.send(_head(200, {"content-type": kind, "connection": "close"}) + body)
        wire.close()

    return script


async def never(_: Request, wire: Wire) -> None:
    """Accepts and says nothing."""
    await wire.gone()


async def headers_only(_: Request, wire: Wire) -> None:
    """Begins an answer and sends no body."""
    await wire.send(_head(200, {"content-type": "audio/pcm", "transfer-encoding": "chunked"}))
    await wire.gone()


async def slams(_: Request, wire: Wire) -> None:
    """Reads the request and closes without a word."""
    wire.close()


async def resets(_: Request, wire: Wire) -> None:
    """Reads the request and breaks the connection."""
    wire.reset()


def dribble(piece: bytes, every_s: float = 0.005, kind: str = "audio/pcm") -> Script:
    """A body that never ends, always quick enough for the deadline between chunks."""

    async def script(_: Request, wire: Wire) -> None:
        await wire.send(_head(200, {"content-type": kind, "transfer-encoding": "chunked"}))
        try:
            while True:
                await wire.send(b"%x\r\n%b\r\n" % (len(piece), piece))
                await asyncio.sleep(every_s)
        except ConnectionError:
            wire.hung_up = True

    return script


def sse(*events: object, done: bool = True) -> bytes:
    """Server-sent events of the objects, in OpenAI's way."""
    data = [e if isinstance(e, str) else json.dumps(e) for e in events]
    return "".join(f"data: {d}\n\n" for d in [*data, *(["[DONE]"] if done else [])]).encode()
