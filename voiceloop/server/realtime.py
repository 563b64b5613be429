"""The routes of OpenAI Realtime: the WebSocket `/v1/realtime`, and keys for browsers that open it for a while."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, cast

import msgspec
from msgspec import Meta, Struct
from starlette.datastructures import Headers
from starlette.routing import BaseRoute, Route, WebSocketRoute
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket

from voiceloop.server.access import Sockets
from voiceloop.server.bridge import Limits
from voiceloop.server.ephemeral import LEAST_S, LONGEST_S, PREFIX, USUAL_S, Ephemerals
from voiceloop.server.exchange import EXCHANGE, REFUSED, Exchange
from voiceloop.server.realtime_talk import Setting, Talk
from voiceloop.server.wires import Closing, Places, Socket
from voiceloop.wire import bridge
from voiceloop.wire.realtime import Json
from voiceloop.wire.realtime import Refusal as WireRefusal
from voiceloop.wire.realtime_session import RealtimeSession, updated
from voiceloop.wire.speech_errors import Refusal, bad, too_large

KEY_PROTOCOL = "openai-insecure-api-key."
BETA_PROTOCOL = "openai-beta.realtime-v1"
BODY_BYTES = 1_000_000
LASTS_S = 3600
"""What is said of how long a session may last, if nothing is configured."""


@dataclass(frozen=True, slots=True)
class _Opener:
    """Who opens a socket, and the session that he begins with."""

    peer: str
    session: RealtimeSession


class Realtime:
    """All clients of one server. places: which they share with other conversations."""

    def __init__(self, setting: Setting, sockets: Sockets, limits: Limits, places: Places | None = None) -> None:
        self._setting = setting
        self._sockets = sockets
        self._limits = limits
        self.places = places or Places(limits.sessions, limits.per_peer)
        self.secrets = Ephemerals(lambda: datetime.now(UTC).timestamp())

    def routes(self) -> list[BaseRoute]:
        """`/v1/realtime` and `/v1/realtime/client_secrets`."""
        return [
            WebSocketRoute("/v1/realtime", self._serve),
            Route("/v1/realtime/client_secrets", _ClientSecrets(self.secrets)),
        ]

    async def _serve(self, socket: WebSocket) -> None:
        asked = cast("list[str]", socket.scope.get("subprotocols", []))
        await socket.accept(subprotocol="realtime" if "realtime" in asked else None)
        wire = Socket(socket)
        try:
            opener = self._opener(socket.scope, asked)
            model = socket.query_params.get("model", "")
            session = msgspec.structs.replace(opener.session, model=model or opener.session.model)
            with self._place(opener.peer):
                beta = BETA_PROTOCOL in asked or "realtime=v1" in socket.headers.get("openai-beta", "")
                lasts = self._limits.longest_s or LASTS_S
                expires_at = int(datetime.now(UTC).timestamp() + lasts)
                talk = Talk(self._setting, session, expires_at=expires_at, beta=beta)
                await talk.run(wire, idle_s=self._limits.idle_s, longest_s=self._limits.longest_s)
        except Closing as why:
            socket.scope[REFUSED] = why.word
            await wire.close(why.code, why.reason)

    def _opener(self, scope: Scope, asked: list[str]) -> _Opener:
        """Raises Closing for who may not come in. A key that is sent as a subprotocol is never answered or logged."""
        scheme, _, secret = Headers(scope=scope).get("authorization", "").partition(" ")
        offered = [secret.strip()] if scheme.lower() == "bearer" else []
        offered += [name.removeprefix(KEY_PROTOCOL) for name in asked if name.startswith(KEY_PROTOCOL)]
        for key in offered:
            if key.startswith(PREFIX):
                if found := self.secrets.get(key):
                    return _Opener(found.owner, found.session)
                raise Closing(bridge.POLICY, "This client secret is not valid any more.", "old_secret")
        for key in offered:
            if peer := self._sockets.named(key):
                return _Opener(peer, RealtimeSession())
        if peer := self._sockets.whose(scope):
            return _Opener(peer, RealtimeSession())
        raise Closing(bridge.POLICY, "A key is needed, and this is none.")

    @contextmanager
    def _place(self, peer: str) -> Generator[None, None, None]:
        self.places.take(peer)
        try:
            yield
        finally:
            self.places.leave(peer)


class _ExpiresAfter(Struct, frozen=True):
    seconds: Annotated[int, Meta(ge=LEAST_S, le=LONGEST_S)] = USUAL_S


class _SecretRequest(Struct, frozen=True):
    expires_after: _ExpiresAfter | None = None
    session: Json | None = None


class _ClientSecrets:
    """`POST /v1/realtime/client_secrets`: a key that a page may be given."""

    def __init__(self, secrets: Ephemerals) -> None:
        self._secrets = secrets

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers. Raises Refusal, Gone."""
        exchange = cast("Exchange", scope[EXCHANGE])
        if scope["method"] != "POST":
            said = f"{scope['method']} is not possible here, only POST."
            raise Refusal(405, said, code="method_not_allowed", headers={"allow": "POST"})
        large = too_large(f"The body is larger than {BODY_BYTES} bytes.")
        body = b"".join([chunk async for chunk in exchange.chunks(BODY_BYTES, large)])
        try:
            request = msgspec.json.decode(body or b"{}", type=_SecretRequest)
            session = updated(RealtimeSession(), request.session or {})
        except WireRefusal as exc:
            raise bad(exc.param or "session", str(exc), exc.code) from None
        except msgspec.ValidationError as exc:
            raise bad(str(exc).partition("`$.")[2].rstrip("`") or "body", f"{exc}.") from None
        except (msgspec.DecodeError, UnicodeError, RecursionError):
            raise bad("body", "The body is not JSON.") from None
        seconds = request.expires_after.seconds if request.expires_after else USUAL_S
        value = self._secrets.make(exchange.key or _address(scope), session, seconds)
        expires_at = int(datetime.now(UTC).timestamp() + seconds)
        shown = session.to_json(f"sess_{value[-20:]}", expires_at)
        await exchange.answer(msgspec.json.encode({"value": value, "expires_at": expires_at, "session": shown}))


def _address(scope: Scope) -> str:
    client = scope.get("client")
    return str(client[0]) if client else "?"
