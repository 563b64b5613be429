"""Does the work of the audio API with the engines at hand; runs inside the worker process.

Jobs take turns: each piece of work (a piece of at most PIECE_S of a recording, or the next sound of a text) waits for
its place in one line, so that a short request never waits for the end of a long one.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from types import CoroutineType
from typing import Any, ParamSpec, TypeVar

from voiceloop import build, jobs
from voiceloop.core.audio import RATE, Pcm, silence
from voiceloop.core.transcript import Segment
from voiceloop.errors import MediaError, VoiceloopError
from voiceloop.ports import Aligner, Manner, Synthesizer, Timed, Transcriber, Translator, Vad
from voiceloop.server.failures import refusal
from voiceloop.server.orders import PIECE, Facts, Heard, News, Order, Recording, Said, Sound, Speech
from voiceloop.wire.speech_errors import Refusal, bad

P = ParamSpec("P")
T = TypeVar("T")

PIECE_S = 20.0
"""As much as the embedded recognizer hears at once. With pieces of 10 s it makes more mistakes, where no pause is near:
16.2 % of the words of 60 recordings instead of 13.8 (benchmarks/speech_api.py)."""

NOTHING_S = 0.25
"""The silence that a text without anything to pronounce gives, as emoji alone. Such answers of a language model are
usual, and an error would fail the turn of who only wants to hear them."""

_SLICES = 5
"""Of a second: how much is encoded in one go, 2 ms."""


@dataclass(frozen=True, slots=True)
class Engines:
    """What does the work. names: of the engines, by port. vad: makes one for each recording. whole: the synthesizer
    is a service, which cuts texts itself."""

    transcriber: Transcriber
    synthesizer: Synthesizer
    names: dict[str, str]
    vad: Callable[[], Vad | None]
    aligner: Aligner | None = None
    whole: bool = False


class Bench:
    """A `Work`. at_once: pieces of all jobs that are worked on at the same time. max_s: of a recording.

    piece_s: how long a piece may take, once it is its turn.
    """

    def __init__(self, engines: Engines, *, at_once: int, max_s: float, piece_s: float) -> None:
        self._engines = engines
        self._places = _Places(at_once, piece_s)
        self._max_s = max_s

    @property
    def facts(self) -> Facts:
        """Known after the engines are warm."""
        engines = self._engines
        return Facts(
            stt=engines.names["stt"],
            tts=engines.names["tts"],
            voices=list(engines.synthesizer.voices),
            translates=isinstance(engines.transcriber, Translator),
        )

    async def run(self, order: Order) -> AsyncGenerator[News, None]:
        """What comes of an order. Raises Refusal."""
        work = self._speech(order) if isinstance(order, Speech) else self._recording(order)
        try:
            async with aclosing(work):
                async for news in work:
                    yield news
        except MediaError as exc:
            path = order.path if isinstance(order, Recording) else ""
            raise refusal(MediaError(str(exc).replace(path, "file"))) from exc
        except VoiceloopError as exc:
            raise refusal(exc) from exc

    # --- text to sound ---

    async def _speech(self, order: Speech) -> AsyncGenerator[News, None]:
        rate = self._engines.synthesizer.rate
        encoder = build.encoder(order.format, rate)
        n = 0
        async with aclosing(self._spoken(order)) as chunks:
            async for pcm in chunks:
                for at in range(0, pcm.size, rate // _SLICES):
                    for piece in _cut(encoder.feed(pcm[at : at + rate // _SLICES])):
                        yield piece
                    await asyncio.sleep(0)
                n += pcm.size
        rest = b"" if n else encoder.feed(silence(round(NOTHING_S * rate)))
        for piece in _cut(rest + encoder.finish()):
            yield piece

    async def _spoken(self, order: Speech) -> AsyncGenerator[Pcm, None]:
        engines = self._engines
        manner = Manner(order.voice, order.speed if order.speed != 1.0 else None, order.instructions, order.model)
        async with aclosing(jobs.speech(engines.synthesizer, order.text, manner, whole=engines.whole)) as chunks:
            while True:
                async with self._places.place():
                    chunk = await anext(chunks, None)
                if chunk is None:
                    return
                yield chunk

    # --- sound to text ---

    async def _recording(self, order: Recording) -> AsyncGenerator[News, None]:
        wanted = jobs.Wanted(
            language=order.language or None,
            prompt=order.prompt or None,
            temperature=order.temperature,
            words=order.words,
            translate=order.task == "translate",
            piece_s=PIECE_S,
        )
        vad = _Measured(self._engines.vad(), self._max_s)
        engine = _InLine(self._engines.transcriber, self._places)
        job = jobs.Transcription(engine, order.path, wanted=wanted, aligner=self._engines.aligner, vad=vad)
        async with aclosing(job.segments()) as segments:
            async for segment in segments:
                yield _said(segment)
        yield Heard(job.duration_s, job.language)


class _Places:
    """The line in which pieces of work wait, and the deadline of each."""

    def __init__(self, n: int, piece_s: float) -> None:
        self._free = asyncio.Semaphore(n)
        self._piece_s = piece_s

    @asynccontextmanager
    async def place(self) -> AsyncGenerator[None, None]:
        """A place for as long as the context is open. Raises Refusal at the deadline."""
        async with self._free:
            try:
                async with asyncio.timeout(self._piece_s):
                    yield
            except TimeoutError:
                said = f"A piece of the work took longer than {self._piece_s:g} s and was given up."
                raise Refusal(504, said, code="timeout") from None


class _Measured:
    """A `Vad` that hears the length of a recording as well.

    A small file may hold days of silence: nothing of it is transcribed, but even to read it takes time. What a file
    says of its length is not asked: streamed WAV and FLAC say days where there are seconds.
    """

    def __init__(self, vad: Vad | None, max_s: float) -> None:
        self._vad = vad
        self._left = max_s * RATE
        self._max_s = max_s

    def probability(self, frame: Pcm) -> float:
        """That of the VAD; without one everything is speech. Raises Refusal."""
        self._left -= frame.size
        if self._left < 0:
            raise too_long(self._max_s)
        return self._vad.probability(frame) if self._vad else 1.0

    def reset(self) -> None:
        """Forgets what it heard."""
        if self._vad:
            self._vad.reset()


class _InLine:
    """A `Transcriber` whose calls wait for a place. It is `Timed` and a `Translator` if the engine is."""

    def __init__(self, engine: Transcriber, places: _Places) -> None:
        self._places = places
        self.longest = engine.longest
        self.warm_up = engine.warm_up
        self.aclose = engine.aclose
        self.transcribe = self._in_line(engine.transcribe)
        if isinstance(engine, Timed):
            self.transcribe_timed = self._in_line(engine.transcribe_timed)
        if isinstance(engine, Translator):
            self.translate = self._in_line(engine.translate)

    def _in_line(self, call: Callable[P, CoroutineType[Any, Any, T]]) -> Callable[P, CoroutineType[Any, Any, T]]:
        async def waits(*args: P.args, **kwargs: P.kwargs) -> T:
            async with self._places.place():
                return await call(*args, **kwargs)

        return waits


def too_long(max_s: float) -> VoiceloopError:
    """What is said of a recording that is."""
    return bad("file", f"The recording is longer than {max_s / 3600:g} hours.", "file_too_long")


def _said(segment: Segment) -> Said:
    words = [Said(word.text, word.start_s, word.end_s) for word in segment.words]
    return Said(segment.text, segment.start_s, segment.end_s, segment.logprob, words)


def _cut(data: bytes) -> Iterator[Sound]:
    for at in range(0, len(data), PIECE):
        yield Sound(data[at : at + PIECE])
