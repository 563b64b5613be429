"""Who may come in: pure ASGI layers around the app, so that streams and hang-ups pass through them untouched.

Loopback is not private: any page in the user's browser reaches it (form posts, scripts, DNS rebinding). So `Host` must
be a name of this machine, and an `Origin` that is there must be the server's own or a listed one.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import ip_address

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from voiceloop.server.exchange import ADDED, KEY
from voiceloop.server.keys import KeyFile
from voiceloop.wire.speech_errors import Refusal

_LOOPBACK_NAMES = ("localhost", "127.0.0.1", "::1")
KEY_PROTOCOL = "voiceloop-key."
"""A subprotocol that begins so carries a key; it is never answered, nor logged."""
_CORS_METHODS = "GET, POST, OPTIONS"
_CORS_S = "600"


@dataclass(frozen=True, slots=True)
class Doors:
    """hosts: names under which it may be reached beside those of loopback; "*" means any. origins: pages that may.

    beyond: it listens beyond loopback, where only keys let anyone in; then an address as `Host` is fine too, as DNS
    rebinding needs a name.
    """

    hosts: frozenset[str] = frozenset()
    origins: frozenset[str] = frozenset()
    beyond: bool = False

    def knows(self, host: str) -> bool:
        """Whether a `Host` header names this server."""
        name = host_name(host)
        return bool(name) and (
            "*" in self.hosts or name in _LOOPBACK_NAMES or name in self.hosts or (self.beyond and _is_address(name))
        )

    def trusts(self, origin: str, host: str, scheme: str) -> bool:
        """Whether a page from there may use it: our own page, or a listed one."""
        return origin.lower() == f"{scheme}://{host}".lower() or self.lists(origin)

    def lists(self, origin: str) -> bool:
        """Whether the origin is configured, so that CORS lets its scripts read answers."""
        return "*" in self.origins or origin.lower().rstrip("/") in self.origins


def doors(hosts: Iterable[str], origins: Iterable[str], *, beyond: bool) -> Doors:
    """From the configuration."""
    return Doors(
        frozenset(host.lower() for host in hosts), frozenset(o.lower().rstrip("/") for o in origins), beyond=beyond
    )


class Guarded:
    """`Host` and `Origin`, then CORS for the pages that are listed."""

    def __init__(self, app: ASGIApp, doors: Doors) -> None:
        self._app = app
        self._doors = doors

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Does it. Raises Refusal."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        host, origin = headers.get("host", ""), headers.get("origin")
        if not self._doors.knows(host):
            said = f"This server is not known as {host_name(host)!r}: list the name in serve.hosts."
            raise Refusal(421, said, code="unknown_host")
        listed = origin is not None and self._doors.lists(origin)
        if listed:
            scope[ADDED] = {
                "access-control-allow-origin": str(origin),
                "access-control-expose-headers": "x-request-id, retry-after, retry-after-ms",
                "vary": "Origin",
            }
        if listed and scope["type"] == "http" and scope["method"] == "OPTIONS":
            await _preflight(headers, send)
            return
        changes = scope["type"] == "websocket" or scope["method"] not in ("GET", "HEAD")
        scheme = "https" if scope["scheme"] in ("https", "wss") else "http"
        if origin is not None and changes and not self._doors.trusts(origin, host, scheme):
            raise Refusal(403, "Pages of this origin may not use the server: list it in serve.origins.", code="origin")
        await self._app(scope, receive, send)


class Keyed:
    """A bearer key for everything under /v1 and for /metrics, if there are keys; sockets see to it themselves
    (`Sockets`), as browsers can send them no header. needed: even if there is none, as when the last one was removed
    meanwhile."""

    def __init__(self, app: ASGIApp, keys: KeyFile, *, needed: bool) -> None:
        self._app = app
        self._keys = keys
        self._needed = needed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Does it. Raises Refusal."""
        closed = scope["type"] == "http" and scope["path"].startswith(("/v1/", "/metrics"))
        if closed and (self._needed or self._keys.read()):
            scope[KEY] = self._named(Headers(scope=scope).get("authorization", ""))
        await self._app(scope, receive, send)

    def _named(self, header: str) -> str:
        scheme, _, secret = header.partition(" ")
        wants = {"www-authenticate": "Bearer"}
        if scheme.lower() != "bearer" or not secret.strip():
            said = "No key was sent: the header is Authorization: Bearer KEY."
            raise Refusal(401, said, code="missing_api_key", headers=wants)
        name = self._keys.named(secret.strip())
        if name is None:
            raise Refusal(401, "The key is not valid.", code="invalid_api_key", headers=wants)
        return name


class Sockets:
    """Who opens a WebSocket: browsers can send no header, so a key may come as a subprotocol as well."""

    def __init__(self, keys: KeyFile, *, needed: bool) -> None:
        self._keys = keys
        self._needed = needed

    def named(self, secret: str) -> str | None:
        """The name of a key; None if it is none."""
        return self._keys.named(secret)

    def whose(self, scope: Scope) -> str | None:
        """The name of its key, or where there are no keys its address; None if it may not come in."""
        client = scope.get("client")
        if not self._needed and not self._keys.read():
            return str(client[0]) if client else "?"
        scheme, _, secret = Headers(scope=scope).get("authorization", "").partition(" ")
        offered = [secret.strip()] if scheme.lower() == "bearer" else []
        offered += [name.removeprefix(KEY_PROTOCOL) for name in scope["subprotocols"] if name.startswith(KEY_PROTOCOL)]
        return next((name for key in offered if (name := self._keys.named(key))), None)


async def _preflight(headers: Headers, send: Send) -> None:
    wanted = headers.get("access-control-request-headers", "authorization, content-type")
    answer = {
        "access-control-allow-methods": _CORS_METHODS,
        "access-control-allow-headers": wanted,
        "access-control-max-age": _CORS_S,
        "content-length": "0",
    }
    pairs = [(k.encode("latin-1"), v.encode("latin-1")) for k, v in answer.items()]
    await send({"type": "http.response.start", "status": 204, "headers": pairs})
    await send({"type": "http.response.body", "body": b""})


def host_name(host: str) -> str:
    """Of a `Host` header, without its port, in small letters."""
    if host.startswith("["):
        return host[1:].partition("]")[0].lower()
    return host.partition(":")[0].lower().rstrip(".")


def is_loopback(host: str) -> bool:
    """Whether who binds there is reached from this machine only."""
    return host.lower() == "localhost" or (_is_address(host) and ip_address(host).is_loopback)


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True
