"""The outermost layer of the app: a name for every request, and an end for everything that goes wrong in one."""

from __future__ import annotations

import logging
import re
import secrets

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from voiceloop.server.exchange import EXCHANGE, REFUSED, Broken, Exchange, Gone
from voiceloop.wire.speech_errors import Refusal

_log = logging.getLogger(__name__)
_ID = re.compile(r"[\x21-\x7e]{1,128}")


class Front:
    """Every answer carries `x-request-id`, the client's or a new one; errors get OpenAI's shape.

    idle_s: how long a client may send or take nothing.
    """

    def __init__(self, app: ASGIApp, *, idle_s: float) -> None:
        self._app = app
        self._idle_s = idle_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Does it."""
        if scope["type"] == "websocket":
            await self._socket(scope, receive, send)
        elif scope["type"] != "http":
            await self._app(scope, receive, send)
        else:
            given = Headers(scope=scope).get("x-request-id", "")
            name = given if _ID.fullmatch(given) else f"req_{secrets.token_hex(12)}"
            await self._request(Exchange(scope, receive, send, name=name, idle_s=self._idle_s))

    async def _request(self, exchange: Exchange) -> None:
        exchange.scope[EXCHANGE] = exchange
        _log.info("%s: %s %s", exchange.name, exchange.scope["method"], exchange.scope["path"])
        refusal = None
        try:
            await self._app(exchange.scope, exchange.receive, exchange.send)
        except Gone:
            _log.info("%s: the client hung up", exchange.name)
        except Broken as exc:
            _log.error("%s: the answer broke off: %s", exchange.name, exc)
        except Refusal as exc:
            refusal = exc
        except Exception:  # noqa: BLE001  it is logged, and the client gets an answer
            _log.exception("%s: a bug", exchange.name)
            refusal = Refusal(500, "Something went wrong inside the server.", code="internal_error")
        if refusal is not None:
            exchange.scope[REFUSED] = refusal.code or str(refusal.status)
        if refusal is not None and exchange.started:
            # Left without its end, the answer shows to the client as broken off.
            _log.error("%s: the answer broke off: %s", exchange.name, refusal)
        elif refusal is not None:
            _log.info("%s: %d %s", exchange.name, refusal.status, refusal)
            await exchange.answer(refusal.body(), status=refusal.status, headers=refusal.headers)

    async def _socket(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self._app(scope, receive, send)
        except Refusal as exc:
            _log.info("a socket was refused: %s", exc)
            scope[REFUSED] = exc.code or str(exc.status)
            await send({"type": "websocket.close", "code": 1008, "reason": ""})
