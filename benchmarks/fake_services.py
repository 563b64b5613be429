"""The three services of a turn, faked in one process with exact delays, for hundreds of sessions at once.

    python benchmarks/fake_services.py --port 0          # prints {"port": ..., "base_url": ...} as one line of JSON
    services = await start(Options()); services.base_url; await services.close()

POST /v1/audio/transcriptions   answers `stt_s` after the request was complete
POST /v1/chat/completions       streams: first token `chat_first_s` after that, then one each `chat_token_s`
POST /v1/audio/speech           first byte after `tts_first_s`, then pcm (or wav) at `tts_pace` times real time
GET  /stats                     per session each request with the times of arrival and answer (time.monotonic)
POST /reset                     forgets the stats

Sessions are told apart by the header x-voiceloop-session. Deadlines are absolute, so that delays do not add up. The
true times are in the stats. Above 400 lines because it is one file that can be copied anywhere and run.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import multiprocessing
import select
import selectors
import signal
import sys
import time
from array import array
from collections.abc import AsyncGenerator, Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field, fields
from email.parser import BytesParser
from email.policy import HTTP
from functools import partial
from typing import Any, TypeVar

T = TypeVar("T")

TTS_HZ = 24_000
TICK_S = 0.02
LARGEST = 26_214_400 + 65_536


@dataclass(frozen=True)
class Options:
    """Delays in seconds from the moment a request was complete, and what is answered."""

    stt: str = "fixed"
    stt_s: float = 0.2
    stt_text: str = "What is the capital of France, and how many people live there?"
    stt_workers: int = 1
    chat_first_s: float = 0.2
    chat_token_s: float = 0.01
    chat_text: str = "The capital of France is Paris. About two million people live in the city itself."
    tts_first_s: float = 0.1
    tts_char_s: float = 0.06
    tts_pace: float = 8.0


@dataclass
class Record:
    """One request: times on time.monotonic, which is one clock for all processes of a machine."""

    kind: str
    turn: str | None
    arrived: float
    answered: float | None = None
    finished: float | None = None
    late: bool = False
    broken: bool = False
    detail: str = ""


@dataclass
class Stats:
    """What has been asked, by session."""

    sessions: dict[str, list[Record]] = field(default_factory=dict)
    n_late: int = 0
    n_connections: int = 0

    def add(self, session: str, record: Record) -> None:
        """Keeps a record, in order of arrival."""
        self.sessions.setdefault(session, []).append(record)

    def as_json(self) -> bytes:
        """All of it."""
        found = {
            "now": time.monotonic(),
            "n_late": self.n_late,
            "n_connections": self.n_connections,
            "sessions": {name: [asdict(r) for r in records] for name, records in self.sessions.items()},
        }
        return json.dumps(found).encode()


@dataclass
class Request:
    """One complete request."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


class Connection(asyncio.Protocol):
    """One keep-alive connection; requests on it are answered one after the other."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._loop = asyncio.get_running_loop()
        self._data = bytearray()
        self._head: tuple[str, str, dict[str, str], int] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._record: Record | None = None
        self._paused = False
        self._transport: asyncio.Transport | None = None

    @property
    def transport(self) -> asyncio.Transport:
        """Of this connection, while it is open."""
        assert self._transport is not None
        return self._transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._services.stats.n_connections += 1
        self._services.connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._services.connections.discard(self)
        if self._timer is not None:
            self._timer.cancel()
        if self._record is not None:
            self._record.broken = True
        self._transport = None

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False

    def data_received(self, data: bytes) -> None:
        self._data += data
        self._advance()

    def _advance(self) -> None:
        """Answers the next request if it is complete and the one before it is answered."""
        if self._record is not None or self._transport is None:
            return
        if self._head is None and not self._read_head():
            return
        assert self._head is not None
        method, path, headers, length = self._head
        body = self._body(headers, length)
        if body is None:
            return
        self._head = None
        try:
            self._services.serve(Request(method, path, headers, body), self)
        except (ValueError, KeyError, TypeError) as exc:
            self.fail(400, f"{type(exc).__name__}: {exc}")

    def _read_head(self) -> bool:
        end = self._data.find(b"\r\n\r\n")
        if end < 0:
            if len(self._data) > 65_536:
                self.transport.abort()
            return False
        first, *lines = bytes(self._data[:end]).decode("latin-1").split("\r\n")
        del self._data[: end + 4]
        try:
            method, path, _ = first.split(" ")
            headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
            length = int(headers.get("content-length", "0"))
        except ValueError:
            self.transport.abort()
            return False
        if length > LARGEST:
            self.transport.abort()
            return False
        if headers.get("expect", "").lower() == "100-continue":
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        self._head = (method, path, headers, length)
        return True

    def _body(self, headers: dict[str, str], length: int) -> bytes | None:
        if headers.get("transfer-encoding", "").lower() == "chunked":
            return self._chunks()
        if len(self._data) < length:
            return None
        body = bytes(self._data[:length])
        del self._data[:length]
        return body

    def _chunks(self) -> bytes | None:
        body, at = bytearray(), 0
        while (end := self._data.find(b"\r\n", at)) >= 0:
            size = int(bytes(self._data[at:end]).partition(b";")[0], 16)
            if len(self._data) < end + 2 + size + 2:
                return None
            body += self._data[end + 2 : end + 2 + size]
            at = end + 2 + size + 2
            if size == 0:
                del self._data[:at]
                return bytes(body)
        return None

    def begin(self, record: Record) -> None:
        """A request is being answered; others on this connection wait."""
        self._record = record

    def at(self, when: float, do: Callable[[], None]) -> None:
        """Runs do at a time of the loop, unless the client is gone by then."""
        self._timer = self._loop.call_at(when, do)

    def send(self, data: bytes) -> None:
        """Writes; the first bytes of an answer count as its time."""
        if self._transport is None:
            return
        self._transport.write(data)
        if self._record is not None and self._record.answered is None:
            self._record.answered = time.monotonic()

    @property
    def stuck(self) -> bool:
        """True while the client does not read."""
        return self._paused

    def finish(self, data: bytes = b"") -> None:
        """The end of an answer."""
        self.send(data)
        if self._record is not None:
            self._record.finished = time.monotonic()
            self._record = None
        self._loop.call_soon(self._advance)

    def whole(self, body: bytes, kind: str = "application/json", status: str = "200 OK", *, bare: bool = False) -> None:
        """A whole answer. bare: for HEAD, without its body."""
        head = f"HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {len(body)}\r\n\r\n"
        self.finish(head.encode() + (b"" if bare else body))

    def fail(self, status: int, message: str) -> None:
        """An error as OpenAI writes it."""
        found = {"error": {"message": message, "type": "invalid_request_error", "param": None, "code": None}}
        self.whole(json.dumps(found).encode(), status=f"{status} No")

    def stream(self, kind: str) -> None:
        """Sends the head of a chunked answer together with its first chunk, see `chunk`."""
        self.send(f"HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ntransfer-encoding: chunked\r\n\r\n".encode())


def chunk(data: bytes) -> bytes:
    """One chunk of a chunked body."""
    return b"%x\r\n%b\r\n" % (len(data), data)


class Services:
    """The server, its options and what it has seen. Made by `start`."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.stats = Stats()
        self.connections: set[Connection] = set()
        self._server: asyncio.Server | None = None
        self._pool: ProcessPoolExecutor | None = None
        self._tone = _tone(10 * TTS_HZ)
        self._routes = {
            "/audio/transcriptions": self._transcribe,
            "/chat/completions": self._chat,
            "/audio/speech": self._speak,
        }

    @property
    def port(self) -> int:
        """Where it listens."""
        assert self._server is not None
        return int(self._server.sockets[0].getsockname()[1])

    @property
    def base_url(self) -> str:
        """With /v1."""
        return f"http://127.0.0.1:{self.port}/v1"

    async def open(self, port: int) -> None:
        """Listens on 127.0.0.1; with moonshine, after its workers have loaded it."""
        loop = asyncio.get_running_loop()
        if self.options.stt == "moonshine":
            context = multiprocessing.get_context("spawn")
            self._pool = ProcessPoolExecutor(self.options.stt_workers, mp_context=context)
            silent = bytes(2 * 16_000)
            async with asyncio.TaskGroup() as group:
                for _ in range(self.options.stt_workers):
                    group.create_task(_result(loop.run_in_executor(self._pool, decode, silent)))
        self._server = await loop.create_server(lambda: Connection(self), "127.0.0.1", port, backlog=1024)

    async def close(self) -> None:
        """Ends all connections."""
        if self._server is not None:
            self._server.close()
        for connection in list(self.connections):
            connection.transport.abort()
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)
        await asyncio.sleep(0)

    def serve(self, request: Request, connection: Connection) -> None:
        """Begins an answer; the rest happens on timers."""
        path = request.path.partition("?")[0]
        route = self._routes.get(path.removeprefix("/v1"))
        if request.method == "POST" and route is not None:
            now = asyncio.get_running_loop().time()
            kind = path.rpartition("/")[2]
            record = Record(kind, request.headers.get("x-voiceloop-turn"), now)
            self.stats.add(request.headers.get("x-voiceloop-session", ""), record)
            connection.begin(record)
            route(request, connection, record)
        elif path == "/stats":
            connection.whole(self.stats.as_json())
        elif path == "/reset":
            self.stats = Stats()
            connection.whole(b"{}")
        elif path.endswith("/models"):
            connection.whole(b'{"object":"list","data":[]}', bare=request.method == "HEAD")
        else:
            connection.fail(404, f"Unknown request: {request.method} {path}")

    def _transcribe(self, request: Request, connection: Connection, record: Record) -> None:
        due = record.arrived + self.options.stt_s
        parts = multipart(request)
        pcm = samples(parts["file"])
        plain = parts.get("response_format", b"json") == b"text"
        record.detail = f"{len(pcm) / 2 / 16_000:.3f} s"

        def answer(text: str) -> None:
            if plain:
                connection.whole(text.encode(), "text/plain; charset=utf-8")
                return
            usage = {"type": "duration", "seconds": math.ceil(len(pcm) / 2 / 16_000)}
            connection.whole(json.dumps({"text": text, "usage": usage}).encode())

        if self._pool is None:
            connection.at(due, partial(answer, self.options.stt_text))
            return

        def decoded(future: asyncio.Future[str]) -> None:
            if future.cancelled():
                return
            if (exc := future.exception()) is not None:
                connection.fail(500, f"{type(exc).__name__}: {exc}")
                return
            loop = asyncio.get_running_loop()
            if loop.time() > due:
                record.late = True
                self.stats.n_late += 1
                answer(future.result())
            else:
                connection.at(due, partial(answer, future.result()))

        asyncio.get_running_loop().run_in_executor(self._pool, decode, pcm).add_done_callback(decoded)

    def _chat(self, request: Request, connection: Connection, record: Record) -> None:
        asked = json.loads(request.body)
        tokens = _tokens(self.options.chat_text)
        record.detail = str(asked["messages"][-1]["content"])[:200]
        first = record.arrived + self.options.chat_first_s
        if not asked.get("stream"):
            message = {"role": "assistant", "content": self.options.chat_text}
            choice = {"index": 0, "message": message, "finish_reason": "stop"}
            body = json.dumps(_completion(asked, "chat.completion", [choice])).encode()
            connection.at(first + self.options.chat_token_s * (len(tokens) - 1), partial(connection.whole, body))
            return
        deltas: list[dict[str, Any]] = [{"content": token} for token in tokens]
        events = [_event(asked, delta, None) for delta in deltas]
        events[0] = _event(asked, {"role": "assistant", **deltas[0]}, None)
        last = chunk(_event(asked, {}, "stop")) + chunk(b"data: [DONE]\n\n") + b"0\r\n\r\n"

        def send(n: int) -> None:
            if n == 0:
                connection.stream("text/event-stream; charset=utf-8")
            if n + 1 == len(events):
                connection.finish(chunk(events[n]) + last)
                return
            connection.send(chunk(events[n]))
            connection.at(first + (n + 1) * self.options.chat_token_s, partial(send, n + 1))

        connection.at(first, partial(send, 0))

    def _speak(self, request: Request, connection: Connection, record: Record) -> None:
        asked = json.loads(request.body)
        text = str(asked["input"])
        if not 0 < len(text) <= 4096:
            connection.fail(400, "input must have 1 to 4096 characters")
            return
        shape = asked.get("response_format", "mp3")
        if shape not in ("pcm", "wav"):
            connection.fail(400, f"response_format {shape} is not faked: use pcm or wav")
            return
        record.detail = f"{len(text)} characters"
        n_bytes = 2 * round(TTS_HZ * self.options.tts_char_s * len(text) / float(asked.get("speed", 1.0)))
        head = wav_head() if shape == "wav" else b""
        first = record.arrived + self.options.tts_first_s
        step = 2 * round(TTS_HZ * TICK_S * self.options.tts_pace)

        def send(n: int, at: int) -> None:
            if n == 0:
                connection.stream(f"audio/{shape}")
            data = (head if n == 0 else b"") + self._piece(at, min(step, n_bytes - at))
            if at + step >= n_bytes:
                connection.finish(chunk(data) + b"0\r\n\r\n")
                return
            connection.send(chunk(data))
            following = first + (n + 1) * TICK_S
            # A client that does not read (it plays at real time) is waited for, as TCP would make a service wait.
            connection.at(following, partial(wait, n + 1, at + step))

        def wait(n: int, at: int) -> None:
            if connection.stuck:
                connection.at(asyncio.get_running_loop().time() + TICK_S, partial(wait, n, at))
            else:
                send(n, at)

        connection.at(first, partial(send, 0, 0))

    def _piece(self, at: int, n: int) -> bytes:
        """n bytes of the endless tone from byte `at`; its length is a whole number of periods."""
        at %= len(self._tone)
        piece = self._tone[at : at + n]
        while len(piece) < n:
            piece += self._tone[: n - len(piece)]
        return piece


async def _result(future: asyncio.Future[T]) -> T:
    return await future


def _tone(n: int, hz: int = 220) -> bytes:
    """s16le at TTS_HZ, -12 dBFS, with a slow tremolo so that it looks like syllables."""
    shape = (
        8000 * math.sin(2 * math.pi * hz * i / TTS_HZ) * (0.6 + 0.4 * math.sin(2 * math.pi * 4 * i / TTS_HZ))
        for i in range(n)
    )
    data = array("h", (int(x) for x in shape))
    if sys.byteorder == "big":
        data.byteswap()
    return data.tobytes()


def _tokens(text: str) -> list[str]:
    """Words with the space before them, about as a model's tokens fall."""
    first, *rest = text.split(" ")
    return [first, *(f" {word}" for word in rest)]


def _completion(asked: dict[str, Any], kind: str, choices: list[dict[str, Any]]) -> dict[str, Any]:
    model = asked.get("model", "fake")
    return {"id": "chatcmpl-fake", "object": kind, "created": 0, "model": model, "choices": choices}


def _event(asked: dict[str, Any], delta: dict[str, Any], reason: str | None) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": reason}
    return b"data: " + json.dumps(_completion(asked, "chat.completion.chunk", [choice])).encode() + b"\n\n"


def multipart(request: Request) -> dict[str, bytes]:
    """The parts of a form by name."""
    head = f"content-type: {request.headers['content-type']}\r\n\r\n".encode("latin-1")
    message = BytesParser(policy=HTTP).parsebytes(head + request.body)
    return {
        str(part.get_param("name", header="content-disposition")): bytes(part.get_payload(decode=True))  # type: ignore[arg-type]
        for part in message.iter_parts()  # type: ignore[attr-defined]
    }


def samples(wav: bytes) -> bytes:
    """What is behind the header of a 16 kHz mono s16le WAV. ValueError if it is another file."""
    if wav[:4] != b"RIFF" or (at := wav.find(b"data")) < 0:
        raise ValueError("the upload is no WAV")
    return wav[at + 8 :]


def wav_head() -> bytes:
    """Of a WAV of unknown length."""
    fmt = b"".join(
        n.to_bytes(size, "little") for n, size in ((1, 2), (1, 2), (TTS_HZ, 4), (2 * TTS_HZ, 4), (2, 2), (16, 2))
    )
    return b"RIFF\xff\xff\xff\xffWAVEfmt \x10\0\0\0" + fmt + b"data\xff\xff\xff\xff"


class _Here:
    """A Runner that runs everything where it is: a worker process has nothing else to do."""

    async def call(self, fn: Callable[[], T], *, timeout_s: float | None = None) -> T:
        return fn()

    async def stream(self, fn: Callable[[], Iterator[T]], *, timeout_s: float | None = None) -> AsyncGenerator[T, None]:
        for item in fn():
            yield item


_engine: Any = None


def decode(pcm: bytes) -> str:
    """In a worker process: what is said in 16 kHz s16le."""
    global _engine
    import numpy as np

    from voiceloop.adapters.stt.moonshine import Moonshine
    from voiceloop.core.audio import split

    if _engine is None:
        _engine = Moonshine(_Here())
    speech = np.frombuffer(pcm, "<i2").astype(np.int16)
    pieces = split(speech, _engine.longest, _engine.longest // 2)
    return " ".join(asyncio.run(_engine.transcribe(piece)).text for piece in pieces).strip()


async def start(options: Options | None = None, port: int = 0) -> Services:
    """Fake services that are listening. `close` them."""
    services = Services(options or Options())
    await services.open(port)
    return services


def precise_loop() -> asyncio.AbstractEventLoop:
    """A loop whose timers come within 0.1 ms. The usual one comes up to 2 ms late: epoll's timeout counts in ms and
    is rounded up, by Python and again by the kernel. select() counts in us, and one descriptor is enough for it."""
    if not hasattr(selectors, "EpollSelector"):
        return asyncio.new_event_loop()

    class Selector(selectors.EpollSelector):
        def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
            if timeout is not None and timeout > 0:
                select.select([self.fileno()], [], [], timeout)
                timeout = 0
            return super().select(timeout)

    return asyncio.SelectorEventLoop(Selector())


async def _serve(options: Options, port: int) -> None:
    services = await start(options, port)
    print(json.dumps({"port": services.port, "base_url": services.base_url}), flush=True)
    over = asyncio.Event()
    # SIGTERM too: worker processes of the decoder would outlive us.
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, over.set)
    await over.wait()
    await services.close()


def main(argv: list[str] | None = None) -> None:
    """Serves until Ctrl-C. Each field of Options is a command-line option."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, default=0)
    for f in fields(Options):
        kinds = {"choices": ["fixed", "moonshine"]} if f.name == "stt" else {"type": type(f.default)}
        parser.add_argument(f"--{f.name.replace('_', '-')}", default=f.default, **kinds)  # type: ignore[arg-type]
    given = vars(parser.parse_args(argv))
    port = given.pop("port")
    with asyncio.Runner(loop_factory=precise_loop) as runner:
        runner.run(_serve(Options(**given), port))


if __name__ == "__main__":
    main()
