"""Connections as frames, on Starlette's WebSockets; and how many of them there may be."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from typing import Protocol, cast

from starlette.types import Message
from starlette.websockets import WebSocket, WebSocketDisconnect

from voiceloop.server.flow import SHORTCUT
from voiceloop.wire import bridge

COUNT = "voiceloop.count"
"""Key in an ASGI scope: a function that is told the bytes of what does not come by `receive`."""


class Wire(Protocol):
    """A connection: frames as text or bytes."""

    async def receive(self) -> str | bytes | None:
        """The next frame; None when the peer is gone."""
        ...

    def shortcut(self, take: Callable[[bytes], bool]) -> None:
        """From now on binary frames may be given to `take` at once, in their order, instead of being received; those
        that it does not take (False) are received as before. It must not raise."""
        ...

    async def send(self, frame: str | bytes) -> None:
        """Waits until it is on its way. Raises ConnectionError when the peer is gone."""
        ...

    async def close(self, code: int, reason: str) -> None:
        """The end. Never raises."""
        ...


class Closing(Exception):
    """The connection is to be closed, with a code of wire/bridge.py and a sentence."""

    def __init__(self, code: int, reason: str, name: str = "") -> None:
        """name: of the reason, in a word; "": as of all with that code."""
        super().__init__(reason)
        self.code = code
        self.reason = reason
        self.word = name or word(code)


_WORDS = {
    bridge.NORMAL: "ended",
    bridge.GOING: "server_stops",
    bridge.POLICY: "no_key",
    bridge.TOO_BIG: "too_big",
    1011: "failed",
    bridge.AGAIN_LATER: "full",
    bridge.REPLACED: "replaced",
    bridge.UNREADABLE: "unreadable",
    bridge.SLOW: "slow_reader",
    bridge.IDLE: "idle",
    bridge.OVER: "too_long",
    bridge.LOST: "lost",
}


def word(code: int) -> str:
    """What a close code of ours means."""
    return _WORDS.get(code, "other")


def _uncounted(n: int) -> None:
    """Nobody counts."""


class Socket:
    """A `Wire` on Starlette."""

    def __init__(self, socket: WebSocket) -> None:
        self._socket = socket
        self._first: str | bytes | None = None

    def again(self, frame: str | bytes) -> None:
        """This one is to be received first: it was looked at only."""
        self._first = frame

    async def receive(self) -> str | bytes | None:
        """The next frame; None when the peer is gone."""
        if self._first is not None:
            frame, self._first = self._first, None
            return frame
        try:
            message: Message = await self._socket.receive()
        except RuntimeError:  # it was told already
            return None
        if message["type"] != "websocket.receive":
            return None
        text = message.get("text")
        return cast("str | bytes", text if text is not None else message["bytes"])

    def shortcut(self, take: Callable[[bytes], bool]) -> None:
        """See `Wire`. Servers other than ours do not look for it."""
        scope = self._socket.scope
        count = cast("Callable[[int], None]", scope.get(COUNT, _uncounted))

        def taken(frame: bytes) -> bool:
            if not take(frame):
                return False
            count(len(frame))
            return True

        scope.setdefault("extensions", {})[SHORTCUT] = taken

    async def send(self, frame: str | bytes) -> None:
        """Waits until it is on its way. Raises ConnectionError when the peer is gone."""
        try:
            if isinstance(frame, str):
                await self._socket.send_text(frame)
            else:
                await self._socket.send_bytes(frame)
        except (WebSocketDisconnect, RuntimeError) as exc:
            raise ConnectionError from exc

    async def close(self, code: int, reason: str) -> None:
        """The end. Never raises."""
        with suppress(WebSocketDisconnect, RuntimeError):
            await self._socket.close(code, reason)


class Places:
    """How many conversations there may be, through whichever door. 0: any. per_peer: of one key, or of one address."""

    def __init__(self, most: int, per_peer: int) -> None:
        self._most = most
        self._per_peer = per_peer
        self._taken: Counter[str] = Counter()

    @property
    def n(self) -> int:
        """How many are taken."""
        return self._taken.total()

    def take(self, peer: str) -> None:
        """One more, until `leave`. Raises Closing when there is none."""
        if self._most and self.n >= self._most:
            raise Closing(bridge.AGAIN_LATER, "All places are taken: try again in a while.")
        if self._per_peer and self._taken[peer] >= self._per_peer:
            raise Closing(
                bridge.AGAIN_LATER, f"More than {self._per_peer} conversations at once from here.", "too_many_of_one"
            )
        self._taken[peer] += 1

    def leave(self, peer: str) -> None:
        """One fewer."""
        self._taken[peer] -= 1
        self._taken += Counter()  # forgets who has nothing here
