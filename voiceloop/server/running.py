"""The app on uvicorn: where it listens, with which engines, and how it ends."""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
import ssl
from collections.abc import AsyncGenerator, Generator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import uvicorn
from starlette.routing import BaseRoute
from starlette.types import ASGIApp

from voiceloop import build
from voiceloop.config import Config
from voiceloop.errors import ConfigError
from voiceloop.ports import AudioPort
from voiceloop.server.access import Sockets, doors, is_loopback
from voiceloop.server.app import make_app
from voiceloop.server.batch import batch
from voiceloop.server.bridge import Conversations, Limits, bridge_routes, conversations
from voiceloop.server.endpoint import Desk
from voiceloop.server.flow import ReadingAhead
from voiceloop.server.keys import KeyFile
from voiceloop.server.limits import Line, Rates
from voiceloop.server.metrics import Assemble, Metrics
from voiceloop.server.page import page_routes
from voiceloop.server.realtime import Realtime
from voiceloop.server.realtime_talk import Setting

SOCKET_BYTES = 24 * 2**20
"""Largest WebSocket message: 15 MiB of sound as base64."""
BACKLOG = 256
_LEAVE_S = 0.2
"""How long a request may take to end when the server does; Ctrl-C is to end it within a second."""


@dataclass(frozen=True, slots=True)
class Running:
    """names: of the engines, by port."""

    app: ASGIApp
    names: dict[str, str]


def check(config: Config, keys: KeyFile) -> None:
    """What cannot be served as configured. Raises ConfigError."""
    settings = config.serve
    if not is_loopback(settings.host) and not keys.read():
        raise ConfigError(
            f"{settings.host} can be reached by others, and there is no key: make one with voiceloop keys add NAME, "
            "or listen at 127.0.0.1."
        )
    if bool(settings.tls_cert) != bool(settings.tls_key):
        raise ConfigError("serve.tls_cert and serve.tls_key belong together: one is missing.")
    if settings.tls_cert:
        try:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(settings.tls_cert, settings.tls_key)
        except OSError as exc:  # ssl.SSLError is one
            raise ConfigError(f"{settings.tls_cert} and its key cannot be used: {exc}.") from exc


@contextmanager
def listening(config: Config) -> Generator[socket.socket, None, None]:
    """The socket that clients come to. Raises ConfigError: taken before the engines are loaded, it fails at once."""
    host, port = config.serve.host, config.serve.port
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, protocol, _, address = found[0]
        with socket.socket(family, kind, protocol) as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
            listener.listen(BACKLOG)
            yield listener
    except socket.gaierror as exc:
        raise ConfigError(f"{host}: there is no such host.") from exc
    except OSError as exc:
        if exc.errno == errno.EADDRINUSE:
            raise ConfigError(f"port {port} is in use: choose another with --port, or end what uses it.") from exc
        if exc.errno in (errno.EACCES, errno.EADDRNOTAVAIL):
            raise ConfigError(f"{host}:{port} cannot be listened at: {exc.strerror}.") from exc
        raise


@asynccontextmanager
async def app(config: Config, keys: KeyFile, folder: Path, *, talk: bool) -> AsyncGenerator[Running, None]:
    """The app with a worker whose engines are warm. folder: for uploads. talk: conversations too, and not the speech
    API alone. Raises ConfigError."""
    settings = config.serve
    clock = asyncio.get_running_loop().time
    metrics = Metrics()
    talks = _conversations(config, metrics) if talk else nullcontext()
    async with metrics.watching(), batch(config) as work, talks as talking:
        metrics.worker(lambda: work.pid, lambda: work.n_starts)
        line = Line(settings.at_once, settings.queue, settings.per_key, settings.wait_s, clock)
        desk = Desk(settings, work, line, Rates(settings.per_minute, clock), folder)
        beyond = not is_loopback(settings.host)
        entrance = doors(settings.hosts, settings.origins, beyond=beyond)
        facts = work.facts
        names = {"stt": facts.stt, "tts": facts.tts} if facts else {}
        routes = _talk_routes(config, talking, Sockets(keys, needed=beyond)) if talking else []
        yield Running(
            make_app(desk, keys, entrance, key_needed=beyond, more_routes=routes, metrics=metrics),
            names,
        )


@dataclass(frozen=True, slots=True)
class _Talking:
    """What the doors of conversations share. realtime: the parts of a session of that door around a port."""

    known: Conversations
    limits: Limits
    realtime: Assemble


@asynccontextmanager
async def _conversations(config: Config, metrics: Metrics) -> AsyncGenerator[_Talking, None]:
    """Those of this server; their engines are shared, and warm."""
    settings = config.serve
    limits = Limits(
        settings.sessions, settings.sessions_each, settings.keep_s, settings.session_idle_s, settings.session_s
    )
    async with build.engines(config, max_wait_s=settings.queue_age_s, tally=metrics.count) as shared:
        await build.warm(shared)
        metrics.queue("engines", shared.load)

        def assemble(port: AudioPort) -> AbstractAsyncContextManager[build.Assembled]:
            return build.assemble(config, port=port, shared=shared)

        async with conversations(metrics.door("ws", assemble), limits) as known:
            yield _Talking(known, limits, metrics.door("realtime", assemble))


def _talk_routes(config: Config, talking: _Talking, sockets: Sockets) -> list[BaseRoute]:
    """The page, `/ws` and `/v1/realtime`."""
    setting = Setting(
        talking.realtime,
        talking.known.ports.distant,
        build.resampler,
        config.serve.voices,
        fast=config.serve.realtime_barge_in == "fast",
        stt_s=config.stt.timeout_s,
    )
    realtime = Realtime(setting, sockets, talking.limits, talking.known.places)
    return [*page_routes(framed_by=config.serve.embed), *bridge_routes(talking.known, sockets), *realtime.routes()]


def _worth_saying(record: logging.LogRecord) -> bool:
    """An answer without its end is our way to show that it broke off, and the end of the server cancels requests."""
    cancelled = record.exc_info is not None and isinstance(record.exc_info[1], asyncio.CancelledError)
    return not cancelled and "without completing response" not in record.getMessage()


class _Server(uvicorn.Server):
    """Ends by being cancelled: the signals are those of the command (process.py)."""

    @contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield

    async def close(self) -> None:
        """Nobody comes in any more, whoever is there is told, and what does not end by that is cancelled.

        uvicorn's own `shutdown` does not run when it is cancelled, and waits for requests for as long as they take.
        Left open, the loop would go on to watch the number of the listener, which the next socket gets.
        """
        for server in getattr(self, "servers", ()):
            server.close()
        state = self.server_state
        for connection in list(state.connections):
            connection.shutdown()
        for cancel in (False, True):
            if left := set(state.tasks):
                for task in left if cancel else ():
                    task.cancel()
                await asyncio.wait(left, timeout=_LEAVE_S)
        for connection in list(state.connections):
            connection.transport.abort()
        await asyncio.sleep(0)  # in which the loop lets go of them


async def run(config: Config, app: ASGIApp, listener: socket.socket) -> None:
    """Until it is cancelled; then connections are closed at once, whatever they wait for."""
    settings = config.serve
    logging.getLogger("uvicorn.error").addFilter(_worth_saying)
    server = _Server(
        uvicorn.Config(
            app,
            http="h11",
            ws=ReadingAhead,
            ws_max_size=SOCKET_BYTES,
            ws_per_message_deflate=False,
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            ssl_certfile=settings.tls_cert or None,
            ssl_keyfile=settings.tls_key or None,
            timeout_graceful_shutdown=1,
        )
    )
    try:
        await server.serve(sockets=[listener])
    finally:
        await server.close()
