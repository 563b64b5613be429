"""The ASGI app: routes of the audio API inside the layers that guard them. More routes may be given."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import msgspec
from starlette.routing import BaseRoute, Route, Router
from starlette.types import ASGIApp, Receive, Scope, Send

from voiceloop import __version__
from voiceloop.server.access import Doors, Guarded, Keyed
from voiceloop.server.endpoint import Desk, Endpoint
from voiceloop.server.exchange import Exchange
from voiceloop.server.front import Front
from voiceloop.server.keys import KeyFile
from voiceloop.server.metrics import CONTENT_TYPE, Metrics
from voiceloop.server.speech import SpeechEndpoint
from voiceloop.server.traffic import Metered
from voiceloop.server.transcriptions import RecordingEndpoint
from voiceloop.wire.speech_answers import model, models
from voiceloop.wire.speech_errors import Refusal


def make_app(
    desk: Desk,
    keys: KeyFile,
    doors: Doors,
    *,
    key_needed: bool,
    more_routes: Sequence[BaseRoute] = (),
    metrics: Metrics | None = None,
) -> ASGIApp:
    """The whole app. key_needed: even if there is none, so that nobody comes in."""
    metrics = metrics or Metrics()
    metrics.queue("speech_api", lambda: desk.line.load)
    routes = [*speech_routes(desk), Route("/metrics", _Numbers(desk, metrics)), *more_routes]
    router = Router(routes, redirect_slashes=False, default=_nothing_here)
    front = Front(Guarded(Keyed(router, keys, needed=key_needed), doors), idle_s=desk.serve.idle_s)
    return Metered(front, metrics.traffic)


def speech_routes(desk: Desk) -> list[BaseRoute]:
    """Those of the audio API."""
    return [
        Route("/v1/audio/speech", SpeechEndpoint(desk)),
        Route("/v1/audio/transcriptions", RecordingEndpoint(desk, "transcribe")),
        Route("/v1/audio/translations", RecordingEndpoint(desk, "translate")),
        Route("/v1/models", _Models(desk)),
        Route("/v1/models/{name:path}", _Model(desk)),
        Route("/health", _Health(desk)),
    ]


class _Models(Endpoint):
    async def handle(self, exchange: Exchange) -> None:
        await exchange.answer(models(self._desk.models))


class _Model(Endpoint):
    async def handle(self, exchange: Exchange) -> None:
        name = cast("str", exchange.scope["path_params"]["name"])
        if name not in self._desk.models:
            raise Refusal(404, f"There is no model {name!r}.", param="model", code="model_not_found")
        await exchange.answer(model(name))


class _Health(Endpoint):
    """200 while there is a worker that works, else 503. Without a key: it tells nothing about anyone."""

    async def handle(self, exchange: Exchange) -> None:
        facts = self._desk.work.facts
        body = {
            "status": "ok" if facts else "starting",
            "version": __version__,
            "engines": {"stt": facts.stt, "tts": facts.tts} if facts else {},
            "requests": self._desk.line.n_present,
        }
        await exchange.answer(msgspec.json.encode(body), status=200 if facts else 503)


class _Numbers(Endpoint):
    """Who may see them is who may use the rest: they tell how much is said here, and when."""

    def __init__(self, desk: Desk, metrics: Metrics) -> None:
        super().__init__(desk)
        self._metrics = metrics

    async def handle(self, exchange: Exchange) -> None:
        await exchange.answer(await self._metrics.text(), CONTENT_TYPE)


async def _nothing_here(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "websocket":
        raise Refusal(404, "There is no socket here.", code="not_found")
    known = (
        "/v1/audio/speech, /v1/audio/transcriptions, /v1/audio/translations, /v1/models, /health and /metrics; "
        "/ and /ws to talk"
    )
    raise Refusal(404, f"There is nothing at {scope['path']!r}. Known: {known}.", code="not_found")
