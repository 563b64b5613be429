"""Clauses -> speech -> port. Speech is kept back until its reply is released."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from contextlib import AbstractContextManager, aclosing
from dataclasses import dataclass

from voiceloop.core.audio import Pcm
from voiceloop.core.events import Prepared, Synthesize
from voiceloop.core.silence import CHIME
from voiceloop.errors import ProviderError
from voiceloop.ports import AudioPort, Resampler, Synthesizer, Tap
from voiceloop.session.chime import chime
from voiceloop.session.mind import timed

_MOST_S = 20
"""Seconds of speech of one reply kept in front of the port; the synthesizer then waits."""

_LONGEST_S = 120
"""Seconds of speech of one clause; a synthesizer that gives more has lost its way."""


class Speech:
    """The buffered speech of one reply. Bounded: `put` waits when it is full."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._chunks: deque[Pcm] = deque()
        self._held = 0
        self._filled = asyncio.Event()
        self._room = asyncio.Event()
        self.writer: asyncio.Task[None] | None = None

    def add(self, pcm: Pcm) -> None:
        """Keeps a chunk."""
        self._chunks.append(pcm)
        self._held += pcm.size
        self._filled.set()

    @property
    def full(self) -> bool:
        """Whether the synthesizer should wait."""
        return self._held >= self._most

    async def room(self) -> None:
        """Waits until it is not full."""
        while self.full:
            self._room.clear()
            await self._room.wait()

    async def next(self) -> Pcm:
        """The oldest chunk, waiting for it."""
        while not self._chunks:
            self._filled.clear()
            await self._filled.wait()
        pcm = self._chunks.popleft()
        self._held -= pcm.size
        self._room.set()
        return pcm


@dataclass(slots=True)
class _Gains:
    """volume: the user's. lowered: times that, for the moment."""

    volume: float
    lowered: float = 1.0


class Mouth:
    """Synthesizes clauses into buffers, and lets released replies flow to the port."""

    def __init__(
        self,
        synthesizer: Synthesizer,
        port: AudioPort,
        resampler: Callable[[int, int], Resampler],
        feed: Callable[[Prepared], None],
        *,
        spawn: Callable[[Coroutine[None, None, None], str], asyncio.Task[None] | None],
        waiting: Callable[[], AbstractContextManager[None]],
        timeout_s: float,
        volume: float = 1.0,
        taps: Sequence[Tap] = (),
    ) -> None:
        self._synthesizer = synthesizer
        self._port = port
        self._resampler = resampler
        self._feed = feed
        self._spawn = spawn
        self._waiting = waiting
        self._timeout_s = timeout_s
        self._taps = taps
        self._speech: dict[int, Speech] = {}
        self._gains = _Gains(volume)

    @property
    def volume(self) -> float:
        """Of everything that is said, 0..1."""
        return self._gains.volume

    @volume.setter
    def volume(self, volume: float) -> None:
        self._gains.volume = min(max(volume, 0.0), 1.0)
        self.tune()

    def lower(self, factor: float) -> None:
        """How much of its volume is left while a voice over it is judged; 1 is all of it."""
        self._gains.lowered = factor
        self.tune()

    def tune(self) -> None:
        """Tells the port, which must be open."""
        self._port.gain(self._gains.volume * self._gains.lowered)

    async def synthesize(self, order: Synthesize) -> None:
        """Speaks one clause into the buffer of its reply, and feeds how far it is."""
        speech = self._of(order.reply)
        if order.text == CHIME:
            sound = chime(self._port.out_rate)
            speech.add(sound)
            self._feed(Prepared(order.run, sound.size, final=True))
            return
        resampler = self._resampler(self._synthesizer.rate, self._port.out_rate)
        n = 0
        chunks = timed(self._synthesizer.speak(order.text), self._timeout_s, "tts", "Speech synthesis")
        async with aclosing(chunks):
            async for chunk in chunks:
                pcm = resampler.process(chunk)
                if pcm.size:
                    n += pcm.size
                    speech.add(pcm)
                    self._feed(Prepared(order.run, n))
                if n > _LONGEST_S * self._port.out_rate:
                    raise ProviderError("Speech synthesis does not come to an end.", stage="tts")
                if speech.full:
                    with self._waiting():
                        await speech.room()
        if (rest := resampler.flush()).size:
            n += rest.size
            speech.add(rest)
        self._feed(Prepared(order.run, n, final=True))

    def release(self, reply: int) -> None:
        """From now on the speech of this reply goes to the port."""
        speech = self._of(reply)
        speech.writer = self._spawn(self._write(reply, speech), f"writer {reply}")

    def forget(self, reply: int) -> None:
        """Drops what is left of a reply. The port has been told before."""
        speech = self._speech.pop(reply, None)
        if speech and speech.writer:
            speech.writer.cancel()

    def forget_all(self) -> None:
        """Drops everything."""
        for reply in list(self._speech):
            self.forget(reply)

    def _of(self, reply: int) -> Speech:
        return self._speech.setdefault(reply, Speech(_MOST_S * self._port.out_rate))

    async def _write(self, reply: int, speech: Speech) -> None:
        while True:
            pcm = await speech.next()
            for tap in self._taps:
                tap.out(reply, pcm)
            await self._port.write(reply, pcm)
