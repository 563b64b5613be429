"""Synthesizers one behind the other: where one breaks, the next goes on with the rest of the reply."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import replace
from functools import partial

import numpy as np

from voiceloop.adapters.chain.links import Link, Links, Round, in_time
from voiceloop.core import pace
from voiceloop.core.audio import Pcm, fade, silence
from voiceloop.errors import VoiceloopError
from voiceloop.ports import Manner, Resampler, Synthesizer

_RATE = 24_000
_FADE_S = 0.005
"""Kept back of what a link gives, so that a speech that breaks off does not end in a click."""

_PAUSE_S = 0.15
"""Between the broken half of a sentence and the rest by another voice."""

_Streams = dict[Link[Synthesizer], AsyncGenerator[Pcm, None]]

_LOUD = 300
"""Speech begins with the first sample above it; engines put up to 0.3 s of quiet before it."""


class SpeakingChain:
    """A Synthesizer of several. A reply that has changed its voice keeps it; nothing is said twice in full."""

    rate = _RATE
    """What all are resampled to, Hz."""

    def __init__(
        self,
        links: Sequence[Link[Synthesizer]],
        resampler: Callable[[int, int], Resampler],
        *,
        late_s: float,
        hedge: bool = False,
    ) -> None:
        """links: the favourite first. late_s: how long the next one waits for the first sound of the one before, and
        for each next piece when what came has been played. hedge: start another one when the first sound takes longer
        than usual, and use what comes first.
        """
        self._links = Links(links, late_s=late_s, hedge=hedge)
        self._resampler = resampler
        self._tempos = {link: Tempo() for link in links}
        self.counts = self._links.counts

    @property
    def voices(self) -> tuple[str, ...]:
        """Those of the favourite."""
        return self._links.all[0].engine.voices

    async def warm_up(self) -> None:
        """All of them, at once. Raises VoiceloopError when none can start."""
        await self._links.warm_up()

    async def speak(self, text: str, manner: Manner | None = None) -> AsyncGenerator[Pcm, None]:
        """int16 (n,), 24 kHz. Raises the first link's error when no link is left. May be cancelled.

        Where a link breaks in the middle of the text, the next one goes on at the last word that was surely said,
        which `Tempo` estimates: some words may come twice, none is lost, and never the whole text twice.
        """
        round_ = Round[Synthesizer](self._links, "tts")
        while text:
            streams = _Streams()
            try:
                call = partial(self._first, streams, text, manner)
                link, pcm = await round_.ask(call, good=lambda pcm: pcm.size > 0)
                self._links.keep(link)
                tempo, given, tail = self._tempos[link], Given(), _Tail(round(_FADE_S * self.rate))
                try:
                    async with aclosing(self._rest(streams[link], link, pcm, given, last=round_.last)) as pieces:
                        async for piece in pieces:
                            if (ready := tail.feed(piece)).size:
                                yield ready
                    if (ready := tail.end()).size:
                        yield ready
                    round_.succeeded(link)
                    tempo.learn(text, given.speech)
                    return
                except VoiceloopError as exc:
                    last = round_.last
                    round_.failed(link, exc)
                    if last:
                        raise
                    text = tempo.rest(text, given.speech)
                yield np.concatenate((fade(tail.end(), tail.size, out=True), silence(round(_PAUSE_S * self.rate))))
            finally:
                for used, stream in streams.items():
                    await stream.aclose()
                    used.breaker.dropped()

    async def _first(self, streams: _Streams, text: str, manner: Manner | None, link: Link[Synthesizer]) -> Pcm:
        """Begins a link's speech, and gives its first piece; nothing if there is nothing to say."""
        streams[link] = self._stream(link, text, manner)
        return await anext(streams[link], silence(0))

    async def _rest(
        self, stream: AsyncGenerator[Pcm, None], link: Link[Synthesizer], pcm: Pcm, given: Given, *, last: bool
    ) -> AsyncGenerator[Pcm, None]:
        """The first piece and all others. Raises ProviderTimeout when what came has long been played; not the last."""
        clock = asyncio.get_running_loop().time
        began = clock()
        while pcm.size:
            given.add(pcm)
            yield pcm
            ahead_s = given.n / self.rate - (clock() - began)
            async with in_time(None if last else self._links.late_s + max(0.0, ahead_s), link.name, "tts"):
                pcm = await anext(stream, silence(0))

    async def aclose(self) -> None:
        """All of them."""
        await self._links.aclose()

    async def _stream(self, link: Link[Synthesizer], text: str, manner: Manner | None) -> AsyncGenerator[Pcm, None]:
        """One link's speech at our rate, no piece of it empty."""
        engine = link.engine
        if manner and manner.voice and engine.voices and manner.voice not in engine.voices:
            manner = replace(manner, voice="", model="")
        converter: Resampler | None = None
        async with aclosing(engine.speak(text, manner)) as chunks:
            async for chunk in chunks:
                if converter is None:
                    converter = self._resampler(engine.rate, self.rate)
                if (pcm := converter.process(chunk)).size:
                    yield pcm
        if converter is not None and (pcm := converter.flush()).size:
            yield pcm


class Given:
    """How much came of one text. n: samples. speech: those from the first loud one on."""

    def __init__(self) -> None:
        self.n = 0
        self.speech = 0

    def add(self, pcm: Pcm) -> None:
        """One more piece."""
        self.n += pcm.size
        if self.speech:
            self.speech += pcm.size
        elif (loud := np.flatnonzero(np.abs(pcm.astype(np.int32)) > _LOUD)).size:
            self.speech = pcm.size - int(loud[0])


class Tempo:
    """How fast one voice speaks: samples for a unit of `core.pace`, learned from what it has said."""

    SURE = 0.8
    """Of the words that seem to have been said, those in this part of the time are taken for said: see `rest`."""

    def __init__(self, samples: float = 0.042 * _RATE) -> None:
        self._samples = samples

    def learn(self, text: str, n: int) -> None:
        """The whole text became n samples."""
        if n and (length := pace.length(text)):
            self._samples += 0.3 * (n / length - self._samples)

    def rest(self, text: str, n: int) -> str:
        """What is left to say of a text that broke off after n samples: from a word border on, the last word at least.

        The estimate is a fifth and a word early on purpose: a word said twice is better than one that is lost. Of
        180 breaks of sentences by espeak-ng and hibari a fifth alone lost 22 words.
        """
        sure = self.SURE * n / self._samples
        said = [word for word in pace.words(text)[:-1] if word.stop <= sure]
        return text[said[-2].end if len(said) > 1 else 0 :].lstrip()


class _Tail:
    """Keeps the newest `size` samples back."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._kept = silence(0)

    def feed(self, pcm: Pcm) -> Pcm:
        """What is old enough."""
        pcm = np.concatenate((self._kept, pcm))
        cut = max(0, pcm.size - self.size)
        self._kept = pcm[cut:]
        return pcm[:cut]

    def end(self) -> Pcm:
        """The rest."""
        kept, self._kept = self._kept, silence(0)
        return kept
