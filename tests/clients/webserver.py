"""Servers for a browser: an app on uvicorn in a thread, a peer of `/ws` that does as the test says, and a cable."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections.abc import Generator
from contextlib import closing, contextmanager, suppress
from queue import Queue
from typing import Any

import numpy as np
import uvicorn
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from starlette.types import ASGIApp
from starlette.websockets import WebSocket, WebSocketDisconnect

from voiceloop.core.audio import Pcm, silence
from voiceloop.server.page import page_routes

TOKEN = "a-token"


@contextmanager
def served(app: ASGIApp) -> Generator[int, None, None]:
    """The port of this machine on which the app answers."""
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(
        app,
        lifespan="off",
        log_config=None,
        ws="websockets-sansio",
        ws_per_message_deflate=False,
        timeout_graceful_shutdown=1,
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=lambda: asyncio.run(server.serve([listener])), daemon=True)
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        server.should_exit = True
        thread.join(10)


class Puppet:
    """A server of `/ws` that says what the test says, and remembers what it was told.

    mic: what it has of the microphone. mic_lost: so many samples of it have not arrived, it says at the next resume.
    """

    def __init__(self, *, accepts_resume: bool = True) -> None:
        self.messages: list[dict[str, Any]] = []
        self.mic: Pcm = silence(0)
        self.n_connections = 0
        self.accepts_resume = accepts_resume
        self.mic_lost = 0
        self._sockets: Queue[tuple[WebSocket, asyncio.AbstractEventLoop]] = Queue()
        self._socket: tuple[WebSocket, asyncio.AbstractEventLoop] | None = None
        self.app = Starlette(routes=[*page_routes(), WebSocketRoute("/ws", self._serve)])

    def say(self, *messages: dict[str, Any] | bytes | Pcm) -> None:
        """Sends them on the newest connection, in this order."""
        for message in messages:
            frame = message.astype("<i2").tobytes() if isinstance(message, np.ndarray) else message
            self._do("send_bytes" if isinstance(frame, bytes) else "send_text", frame)

    def close(self, code: int, reason: str = "") -> None:
        """Ends the newest connection."""
        self._do("close", code, reason)

    def told(self, kind: str) -> list[dict[str, Any]]:
        """The messages of a type, so far."""
        return [message for message in self.messages if message["type"] == kind]

    def _do(self, name: str, *arguments: Any) -> None:
        while not self._sockets.empty() or self._socket is None:
            self._socket = self._sockets.get(timeout=10)
        socket, loop = self._socket
        if name == "send_text":
            arguments = (json.dumps(arguments[0]),)
        asyncio.run_coroutine_threadsafe(getattr(socket, name)(*arguments), loop).result(10)

    async def _serve(self, socket: WebSocket) -> None:
        await socket.accept("voiceloop")
        self.n_connections += 1
        with suppress(WebSocketDisconnect, RuntimeError):
            first = json.loads(await socket.receive_text())
            self.messages.append(first)
            if first["type"] == "resume":
                if not self.accepts_resume:
                    self.accepts_resume = True
                    await socket.close(1008, "There is no such session any more.")
                    return
                self.mic = self.mic[: self.mic.size - self.mic_lost]
                self._sockets.put((socket, asyncio.get_running_loop()))
                await socket.send_text(json.dumps({"type": "resumed", "mic": self.mic.size}))
            else:
                self.mic = silence(0)
                self._sockets.put((socket, asyncio.get_running_loop()))
                await socket.send_text(json.dumps(ready(first)))
            while True:
                message = await socket.receive()
                if message["type"] != "websocket.receive":
                    return
                if (frame := message.get("bytes")) is not None:
                    self.mic = np.concatenate([self.mic, np.frombuffer(frame, "<i2").astype(np.int16)])
                else:
                    self.messages.append(json.loads(message["text"]))


def ready(start: dict[str, Any]) -> dict[str, Any]:
    """The answer to a start."""
    rates = {key: start[key] for key in ("sample_rate", "agent_sample_rate")}
    return {"type": "ready", "session": "s1", "token": TOKEN, "keep_s": 30.0, **rates}


class Cable:
    """Between a browser and a server: it can be cut, and mended. port: where the browser is to go."""

    def __init__(self, server: int) -> None:
        self._server = server
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._ends: list[socket.socket] = []
        self._whole = True
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        """Connections break, and new ones come to nothing."""
        self._whole = False
        for end in self._ends:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        self._ends.clear()

    def mend(self) -> None:
        """New connections come through."""
        self._whole = True

    def close(self) -> None:
        """For good."""
        self.cut()
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                if not self._whole:
                    near.close()
                    continue
                far = socket.create_connection(("127.0.0.1", self._server))
                self._ends += [near, far]
                for one, other in ((near, far), (far, near)):
                    threading.Thread(target=_carry, args=(one, other), daemon=True).start()


def _carry(one: socket.socket, other: socket.socket) -> None:
    with suppress(OSError), closing(one), closing(other):
        while data := one.recv(65536):
            other.sendall(data)
