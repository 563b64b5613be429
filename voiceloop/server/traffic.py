"""What came in and went out of the server, as numbers: the outermost layer of the app."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from voiceloop.server.exchange import REFUSED, RESUMED
from voiceloop.server.wires import COUNT, word

_REQUEST_S = (0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)

DOORS = {"/ws": "ws", "/v1/realtime": "realtime"}
"""Where conversations come in, and what they are called here."""

_ENDPOINTS = (
    *("/", "/static", "/health", "/metrics", "/protocol", "/v1/models", "/v1/realtime/client_secrets"),
    *("/v1/audio/speech", "/v1/audio/transcriptions", "/v1/audio/translations"),
)


class Traffic:
    """Of requests and connections."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.requests = counter(registry, "http_requests", "Requests, by status.", ("endpoint", "status"))
        self.request_s = histogram(
            registry, "http_request_seconds", "To the end of the answer.", ("endpoint",), _REQUEST_S
        )
        self.refusals = counter(registry, "refusals", "Requests and sockets refused.", ("endpoint", "reason"))
        self.sockets_open = Gauge("voiceloop_sockets_open", "Open sockets.", ("door",), registry=registry)
        self.sockets_closed = counter(registry, "sockets_closed", "Sockets closed, by why.", ("door", "reason"))
        self.reconnects = counter(registry, "reconnects", "Sockets that went on with a session.", ("door",))
        self.bytes = counter(
            registry, "socket_bytes", "Bytes of messages (of text: characters).", ("door", "direction")
        )


class Metered:
    """The outermost layer of the app: what came in and went out."""

    def __init__(self, app: ASGIApp, traffic: Traffic) -> None:
        self._app = app
        self._traffic = traffic

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Does it."""
        if scope["type"] == "http":
            await self._request(scope, receive, send)
        elif scope["type"] == "websocket":
            await self._socket(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _request(self, scope: Scope, receive: Receive, send: Send) -> None:
        traffic, endpoint = self._traffic, _endpoint(scope["path"])
        status = "gone"  # the client was, before there was an answer

        async def sent(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = str(message["status"])
            await send(message)

        clock = asyncio.get_running_loop().time
        began = clock()
        try:
            await self._app(scope, receive, sent)
        finally:
            traffic.request_s.labels(endpoint).observe(clock() - began)
            traffic.requests.labels(endpoint, status).inc()
            if reason := scope.get(REFUSED):
                traffic.refusals.labels(endpoint, reason).inc()

    async def _socket(self, scope: Scope, receive: Receive, send: Send) -> None:
        traffic, door = self._traffic, DOORS.get(scope["path"], "other")
        came, went = traffic.bytes.labels(door, "in"), traffic.bytes.labels(door, "out")
        scope[COUNT] = came.inc
        reason = "cancelled"  # neither side closed it

        async def received() -> Message:
            nonlocal reason
            message = await receive()
            if message["type"] == "websocket.receive":
                came.inc(_size(message))
            elif message["type"] == "websocket.disconnect" and reason == "cancelled":
                reason = "client"
            return message

        async def sent(message: Message) -> None:
            nonlocal reason
            if message["type"] == "websocket.send":
                went.inc(_size(message))
            elif message["type"] == "websocket.close" and reason == "cancelled":
                reason = word(message.get("code", 1000))
            await send(message)

        traffic.sockets_open.labels(door).inc()
        try:
            await self._app(scope, received, sent)
        finally:
            traffic.sockets_open.labels(door).dec()
            traffic.sockets_closed.labels(door, reason).inc()
            if refused := scope.get(REFUSED):
                traffic.refusals.labels(door, refused).inc()
            if scope.get(RESUMED):
                traffic.reconnects.labels(door).inc()


def counter(registry: CollectorRegistry, name: str, said: str, labels: Sequence[str]) -> Counter:
    """One that only grows; its name ends in _total."""
    return Counter(f"voiceloop_{name}", said, labels, registry=registry)


def histogram(
    registry: CollectorRegistry, name: str, said: str, labels: Sequence[str], buckets: Sequence[float]
) -> Histogram:
    """How often it was at most so much."""
    return Histogram(f"voiceloop_{name}", said, labels, buckets=buckets, registry=registry)


def _endpoint(path: str) -> str:
    """One of a few names, whatever is asked for."""
    if path in _ENDPOINTS:
        return path
    return next((known for known in ("/static", "/v1/models") if path.startswith(known + "/")), "other")


def _size(message: Mapping[str, object]) -> int:
    data = message.get("bytes") or message.get("text") or b""
    return len(data) if isinstance(data, bytes | str) else 0
