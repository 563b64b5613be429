"""How far a client's WebSocket messages are read ahead of who takes them."""

from __future__ import annotations

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

_MOST = 16
"""Messages that wait for the app before the connection is not read any more."""

_SMALL = 16 * 1024
"""Bytes; behind a larger one nothing is read until it is taken."""


class ReadingAhead(WebSocketsSansIOProtocol):
    """uvicorn's own stops reading after each message and begins again when it is taken: two calls to the system for
    each frame of 20 ms, a tenth of what a quiet session costs."""

    def send_receive_event_to_app(self) -> None:
        """Puts a message into the queue; stops reading if there are enough."""
        few = self.queue.qsize() + 1 < _MOST and sum(map(len, self.frames)) <= _SMALL
        if not few or self.read_paused:
            super().send_receive_event_to_app()
            return
        self.read_paused = True  # so that it finds nothing to stop
        try:
            super().send_receive_event_to_app()
        finally:
            self.read_paused = False
