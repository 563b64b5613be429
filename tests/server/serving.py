"""The app with fake engines, without a process or a socket beside it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing, asynccontextmanager
from pathlib import Path

import httpx
import msgspec
from starlette.types import ASGIApp

from voiceloop.ports import Synthesizer, Transcriber
from voiceloop.sections import ServeSection
from voiceloop.server.access import Doors, doors
from voiceloop.server.app import make_app
from voiceloop.server.bench import Bench, Engines
from voiceloop.server.endpoint import Desk
from voiceloop.server.keys import KeyFile
from voiceloop.server.limits import Line, Rates
from voiceloop.server.orders import Facts, News, Order, Work
from voiceloop.testing import FakeSynthesizer, FakeTranscriber, FakeVad

BASE = "http://127.0.0.1:8000"
HELLO = {"model": "tts-1", "voice": "alloy", "input": "Hello there."}
FACTS = Facts("fake", "fake", ["tone"], False)


class Clock:
    """Time that passes when it is told to."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Script:
    """A `Work` that answers with what it is given; an exception is raised. `orders` holds what was asked."""

    def __init__(self, *news: News | Exception, facts: Facts | None = FACTS) -> None:
        self._news = news
        self.facts = facts
        self.orders: list[Order] = []
        self.ended = 0

    async def run(self, order: Order) -> AsyncGenerator[News, None]:
        self.orders.append(order)
        try:
            for news in self._news:
                if isinstance(news, Exception):
                    raise news
                yield news
        finally:
            self.ended += 1


def bench(
    transcriber: Transcriber | None = None, synthesizer: Synthesizer | None = None, *, max_s: float = 3600.0
) -> Bench:
    """The real work with fake engines."""
    engines = Engines(
        transcriber or FakeTranscriber(delay_s=0),
        synthesizer or FakeSynthesizer(delay_s=0),
        {"stt": "fake", "tts": "fake"},
        FakeVad,
    )
    return Bench(engines, at_once=2, max_s=max_s, piece_s=60.0)


def app_of(
    work: Work,
    folder: Path,
    *,
    settings: ServeSection | None = None,
    clock: Clock | None = None,
    entrance: Doors | None = None,
    keys: KeyFile | None = None,
    key_needed: bool = False,
) -> ASGIApp:
    """The whole app."""
    settings, clock = settings or ServeSection(), clock or Clock()
    line = Line(settings.at_once, settings.queue, settings.per_key, settings.wait_s, clock)
    desk = Desk(settings, work, line, Rates(settings.per_minute, clock), folder)
    entrance = entrance or doors(settings.hosts, settings.origins, beyond=False)
    return make_app(desk, keys or KeyFile(folder / "keys"), entrance, key_needed=key_needed)


@asynccontextmanager
async def client(app: ASGIApp, headers: Mapping[str, str] | None = None) -> AsyncGenerator[httpx.AsyncClient, None]:
    """A client of it."""
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url=BASE, headers=headers, timeout=20) as http:
        yield http


async def until(fact: Callable[[], bool]) -> None:
    """Returns when something has become true elsewhere."""
    async with asyncio.timeout(20):
        while not fact():  # noqa: ASYNC110  it is true in another process, or on the disk
            await asyncio.sleep(0.005)


def uploads(folder: Path) -> list[Path]:
    """What is there of uploads."""
    return list(folder.glob("upload-*"))


async def gathered(work: Work, order: Order) -> list[News]:
    """All that comes of an order."""
    async with aclosing(work.run(order)) as news:
        return [piece async for piece in news]


def error_of(answer: httpx.Response) -> tuple[int, str | None, str | None]:
    """Status, param and code of an error; that it has OpenAI's shape and a name is asserted."""
    error = msgspec.json.decode(answer.content)["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["message"].endswith((".", "!", "?"))
    assert answer.headers["x-request-id"]
    assert answer.headers["content-type"] == "application/json"
    return answer.status_code, error["param"], error["code"]
