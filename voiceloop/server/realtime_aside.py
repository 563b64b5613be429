"""Responses that are spoken beside the talk: as fast as the engine speaks, while something else may be heard."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import aclosing

import numpy as np

from voiceloop.core.clauses import Clauses
from voiceloop.errors import ProviderError, VoiceloopError
from voiceloop.ports import Resampler, Synthesizer
from voiceloop.server.realtime_engines import Voiced
from voiceloop.session.mind import timed
from voiceloop.wire.realtime import rate_of
from voiceloop.wire.realtime_conversation import Conversation
from voiceloop.wire.realtime_outbox import Recite

_LONGEST_S = 300
"""Seconds of one of them; an engine that gives more has lost its way."""


class Aside:
    """Those of one client, one after the other. The conversation bounds how many there are."""

    def __init__(self, resampler: Callable[[int, int], Resampler], voices: Mapping[str, str]) -> None:
        """voices: what they are called at the engine."""
        self._resampler = resampler
        self._voices = voices
        self._orders: deque[Recite] = deque()
        self._new = asyncio.Event()
        self.written = asyncio.Event()
        """Set by who writes to the client whenever it has all that there was: what it does not read is not made."""

    def put(self, order: Recite) -> None:
        """One more."""
        self._orders.append(order)
        self._new.set()

    async def run(self, talk: Conversation, engine: Synthesizer, patience_s: float, news: asyncio.Event) -> None:
        """Speaks them, for ever. patience_s: for the next piece of sound. news: set when there is something to send."""
        while True:
            while not self._orders:
                self._new.clear()
                await self._new.wait()
            order, trouble = self._orders.popleft(), ""
            try:
                await self._speak(order, talk, engine, patience_s, news)
            except VoiceloopError as exc:
                trouble = str(exc)
            talk.recited(order.response, trouble)
            news.set()

    async def _speak(
        self, order: Recite, talk: Conversation, engine: Synthesizer, patience_s: float, news: asyncio.Event
    ) -> None:
        voice = Voiced(engine, lambda: order.output, self._voices)
        cutter, n, rate = Clauses(), 0, rate_of(order.output.format.type)
        for clause in [*cutter.feed(order.text), *cutter.flush()]:
            resampler, text = self._resampler(voice.rate, rate), clause
            chunks = timed(voice.speak(clause), patience_s, "tts", "Speech synthesis")
            async with aclosing(chunks):
                async for chunk in chunks:
                    pcm = resampler.process(chunk)
                    n += pcm.size
                    if n > _LONGEST_S * rate:
                        raise ProviderError("Speech synthesis does not come to an end.", stage="tts")
                    self.written.clear()
                    if not talk.recites(order.response, pcm, text):
                        return
                    text = ""
                    news.set()
                    await self.written.wait()
            talk.recites(order.response, np.asarray(resampler.flush()), text)
