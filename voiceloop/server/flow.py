"""How a client's WebSocket messages come to the app: read ahead of it, and sound on the shortest way."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

SHORTCUT = "voiceloop.shortcut"
"""Key in the extensions of an ASGI scope: a function that is given binary messages at once; False: not this one."""

_MOST = 16
"""Messages that wait for the app before the connection is not read any more."""

_SMALL = 16 * 1024
"""Bytes; behind a larger one nothing is read until it is taken."""


class ReadingAhead(WebSocketsSansIOProtocol):
    """uvicorn's own stops reading after each message and begins again when it is taken: two calls to the system for
    each frame of 20 ms, a tenth of what a quiet session costs. A queue and a task for each are another tenth."""

    _idle = False
    """The app waits, and has taken all that came before: the next message may overtake the queue."""

    async def receive(self) -> Any:
        """As ASGI says."""
        self._idle = True
        try:
            return await super().receive()
        finally:
            self._idle = False

    def send_receive_event_to_app(self) -> None:
        """Gives a message to the app, or puts it into the queue; stops reading if enough wait there."""
        if self._idle and self.curr_msg_data_type == "bytes" and len(self.frames) == 1 and self.queue.empty():
            take = cast("Callable[[bytes], bool] | None", (self.scope.get("extensions") or {}).get(SHORTCUT))
            if take is not None and take(bytes(self.frames[0])):
                self.frames = []
                return
        few = self.queue.qsize() + 1 < _MOST and sum(map(len, self.frames)) <= _SMALL
        if not few or self.read_paused:
            super().send_receive_event_to_app()
            return
        self.read_paused = True  # so that it finds nothing to stop
        try:
            super().send_receive_event_to_app()
        finally:
            self.read_paused = False
