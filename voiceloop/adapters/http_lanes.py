"""Connections to one service that survive being cancelled: a part of adapters/http.py.

Each connection has an httpx client of its own, a lane, and a lane whose exchange did not come to its end is thrown away
whole. One client for all would leak: httpcore 1.0.9 shields its cleaning up from anyio's cancellation but not from
asyncio's, and a voice loop cancels all the time (300 exchanges cancelled at random moments left 4 connections in the
pool that nobody could use or close).
"""

from __future__ import annotations

import ssl
import sys
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import SplitResult

from voiceloop.adapters import http_errors

if TYPE_CHECKING:
    import httpx

KEEPALIVE_S = 60.0
"""httpx's own 5 s would close the connection in nearly every pause of a conversation."""

MOST_IDLE = 64
"""Connections that are kept though nobody uses them."""


class Lane:
    """One httpx client with at most one connection. used: when it was last known to work, in the loop's time."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self.http = http
        self.used = float("-inf")


class Lanes:
    """The connections to one origin, made as they are needed."""

    def __init__(self, url: SplitResult, key: str) -> None:
        """url: its scheme and host count. Opens nothing, but imports httpx and reads the certificates for https."""
        import httpx

        if find_spec("sniffio") is None:
            # httpcore looks for it several times in a request, in every folder; with this it knows at once.
            cast("dict[str, Any]", sys.modules)["sniffio"] = None
        self._origin = f"{url.scheme}://{url.netloc}"
        self._headers = {"accept-encoding": "identity", "user-agent": "voiceloop"}  # compressors hold output back
        if key:
            self._headers["authorization"] = f"Bearer {key}"
        # Reading the certificates takes 20 ms, so once, and not for http.
        tls = url.scheme == "https"
        self._ssl = httpx.create_ssl_context() if tls else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self._trust_env = not http_errors.is_loopback(url.hostname or "")  # a proxy cannot reach our own machine
        self._limits = httpx.Limits(max_connections=None, max_keepalive_connections=1, keepalive_expiry=KEEPALIVE_S)
        self._idle: list[Lane] = []
        self._busy: set[Lane] = set()
        self._closed = False

    def take(self) -> Lane:
        """The lane used last, which is the likeliest to be open still, or a new one. `give_back` it."""
        if self._closed:
            raise RuntimeError("the service has been closed")
        lane = self._idle.pop() if self._idle else self._new()
        self._busy.add(lane)
        return lane

    async def give_back(self, lane: Lane, *, now: float, whole: bool) -> None:
        """whole: the exchange came to its end, so the connection can be used again; else it is closed.

        now: the loop's time. Closes what has been idle for too long, too.
        """
        self._busy.discard(lane)
        leaving: list[Lane] = []
        if whole and not self._closed:
            lane.used = now
            self._idle.append(lane)
        else:
            leaving.append(lane)
        while self._idle and (len(self._idle) > MOST_IDLE or self._idle[0].used < now - KEEPALIVE_S):
            leaving.append(self._idle.pop(0))
        for left in leaving:
            await left.http.aclose()

    def n_fresh(self, since: float) -> int:
        """Idle lanes known to work at that time of the loop or later."""
        return sum(lane.used >= since for lane in self._idle)

    async def aclose(self) -> None:
        """Closes all, whoever uses them. Twice is legal."""
        self._closed = True
        lanes = [*self._idle, *self._busy]
        self._idle.clear()
        self._busy.clear()
        for lane in lanes:
            await lane.http.aclose()

    def _new(self) -> Lane:
        import httpx

        # timeout: the deadlines are those of adapters/http.py.
        return Lane(
            httpx.AsyncClient(
                base_url=self._origin,
                headers=self._headers,
                timeout=None,
                verify=self._ssl,
                limits=self._limits,
                trust_env=self._trust_env,
            )
        )
