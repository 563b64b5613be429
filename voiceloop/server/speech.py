"""`POST /v1/audio/speech`: the first bytes leave as soon as the first words are spoken."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

from voiceloop.server.endpoint import Endpoint
from voiceloop.server.exchange import Exchange
from voiceloop.server.limits import Ticket
from voiceloop.server.orders import Sound, Speech
from voiceloop.wire.speech_answers import CONTENT_TYPES, EVENTS, audio_delta, audio_done, error_event
from voiceloop.wire.speech_api import SpeechRequest, speech_request
from voiceloop.wire.speech_errors import JSON, Refusal, too_large

MAX_BODY = 256 * 1024
"""Bytes: 4,096 characters and as many of instructions, each written as an escape of twelve, fit more than twice."""


class SpeechEndpoint(Endpoint):
    """Text to speech."""

    methods = ("POST",)

    async def handle(self, exchange: Exchange) -> None:
        """Answers. Raises Refusal, Gone."""
        kind = exchange.header("content-type").partition(";")[0].strip().lower()
        if kind != JSON and not (kind.startswith("application/") and kind.endswith("+json")):
            raise Refusal(415, f"The body must be {JSON}, as the header content-type says.", code="unsupported_type")
        self._desk.rates.count(exchange.key)
        async with self._desk.line.join(exchange.key) as ticket:
            large = too_large(f"The body is larger than {MAX_BODY} bytes.")
            body = b"".join([chunk async for chunk in exchange.chunks(MAX_BODY, large)])
            request = speech_request(body)
            order = Speech(
                text=request.text,
                format=request.format,
                voice=self._desk.voice(request.voice),
                speed=request.speed,
                instructions=request.instructions,
                model=self._desk.model(request.model),
            )
            await exchange.while_there(self._answer(exchange, request, order, ticket))

    async def _answer(self, exchange: Exchange, request: SpeechRequest, order: Speech, ticket: Ticket) -> None:
        await ticket.turn()
        async with aclosing(self._sounds(order)) as sounds:
            first = await anext(sounds, b"")  # an error before it is an answer of its own
            await exchange.start(EVENTS if request.sse else CONTENT_TYPES[request.format])
            if not request.sse:
                await exchange.write(first)
                async for sound in sounds:
                    await exchange.write(sound)
            else:
                await self._events(exchange, first, sounds)
            await exchange.finish()

    async def _events(self, exchange: Exchange, first: bytes, sounds: AsyncGenerator[bytes, None]) -> None:
        try:
            await exchange.write(audio_delta(first))
            async for sound in sounds:
                await exchange.write(audio_delta(sound))
            await exchange.write(audio_done())
        except Refusal as exc:
            await exchange.write(error_event(exc))

    async def _sounds(self, order: Speech) -> AsyncGenerator[bytes, None]:
        async with aclosing(self._desk.work.run(order)) as news:
            async for piece in news:
                if isinstance(piece, Sound):
                    yield piece.data
