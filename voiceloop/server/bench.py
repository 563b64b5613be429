"""Does the work of the audio API with the engines at hand; runs inside the worker process.

Jobs take turns: each piece of work (a piece of at most PIECE_S of a recording, or the next sound of a text) waits for
its place in one line, so that a short request never waits for the end of a long one.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from voiceloop.core.audio import RATE, Pcm, seconds, silence, split
from voiceloop.errors import MediaError, VoiceloopError
from voiceloop.ports import Manner, Runner, Synthesizer, Timed, Transcriber, Transcript, Translator
from voiceloop.server.failures import refusal
from voiceloop.server.orders import PIECE, Facts, Heard, News, Order, Recording, Said, Sound, Speech
from voiceloop.wire.speech_api import AudioFormat
from voiceloop.wire.speech_errors import bad

_SLICES = 5
"""Of a second: how much is encoded in one go, 2 ms."""
PIECE_S = 10
NOTHING_S = 0.25
"""The silence that a text without anything to pronounce gives, as emoji alone. Such answers of a language model are
usual, and an error would fail the turn of who only wants to hear them."""


class Encoder(Protocol):
    """A stream of one format."""

    def feed(self, pcm: Pcm) -> bytes: ...
    def finish(self) -> bytes: ...


@dataclass(frozen=True, slots=True)
class Media:
    """How files are read and sound is encoded."""

    recording: Callable[[str], Iterator[Pcm]]
    encoder: Callable[[AudioFormat, int], Encoder]
    speech: Callable[[Synthesizer, str, Manner], AsyncGenerator[Pcm, None]]


@dataclass(frozen=True, slots=True)
class Engines:
    """The engines and their names."""

    transcriber: Transcriber
    synthesizer: Synthesizer
    names: dict[str, str]


class Bench:
    """A `Work`. at_once: pieces of all jobs that are worked on at the same time. max_s: of a recording."""

    def __init__(self, engines: Engines, media: Media, runner: Runner, *, at_once: int, max_s: float) -> None:
        self._engines = engines
        self._media = media
        self._runner = runner
        self._places = asyncio.Semaphore(at_once)
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
        encoder = self._media.encoder(order.format, rate)
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
        manner = Manner(order.voice, order.speed if order.speed != 1.0 else None, order.instructions, order.model)
        async with aclosing(self._media.speech(self._engines.synthesizer, order.text, manner)) as chunks:
            while True:
                async with self._places:
                    chunk = await anext(chunks, None)
                if chunk is None:
                    return
                yield chunk

    # --- sound to text ---

    async def _recording(self, order: Recording) -> AsyncGenerator[News, None]:
        at, language = 0, None
        async with aclosing(self._pieces(order.path)) as pieces:
            async for piece in pieces:
                async with self._places:
                    transcript = await self._transcript(piece, order)
                language = transcript.language or language
                for said in _said(transcript, seconds(at), seconds(piece.size)):
                    yield said
                at += piece.size
        yield Heard(seconds(at), language)

    async def _pieces(self, path: str) -> AsyncGenerator[Pcm, None]:
        """The recording cut where it is quiet. Raises Refusal beyond max_s: it is found while it is read."""
        longest = min(self._engines.transcriber.longest or PIECE_S * RATE, PIECE_S * RATE)
        rest, read = silence(0), 0
        async with aclosing(self._runner.stream(lambda: self._media.recording(path))) as blocks:
            async for block in blocks:
                read += block.size
                if read > self._max_s * RATE:
                    raise bad("file", f"The recording is longer than {self._max_s / 3600:g} hours.", "file_too_long")
                rest = np.concatenate((rest, block))
                if rest.size > longest:
                    *whole, rest = split(rest, longest, longest // 2)
                    for piece in whole:
                        yield piece
        yield rest

    async def _transcript(self, piece: Pcm, order: Recording) -> Transcript:
        engine = self._engines.transcriber
        language, prompt = order.language or None, order.prompt or None
        if order.task == "translate":
            if not isinstance(engine, Translator):
                raise bad("model", "This server cannot translate.", "unsupported")
            return await engine.translate(piece, prompt=prompt, temperature=order.temperature)
        if isinstance(engine, Timed):
            return await engine.transcribe_timed(piece, language=language, prompt=prompt, temperature=order.temperature)
        return await engine.transcribe(piece, language=language, prompt=prompt)


def _said(transcript: Transcript, at_s: float, length_s: float) -> Iterator[Said]:
    if transcript.segments:
        for segment in transcript.segments:
            words = [Said(w.text, at_s + w.start_s, at_s + w.end_s) for w in segment.words]
            yield Said(segment.text, at_s + segment.start_s, at_s + segment.end_s, segment.logprob, words)
    elif transcript.text:
        yield Said(transcript.text, at_s, at_s + length_s, transcript.logprob)


def _cut(data: bytes) -> Iterator[Sound]:
    for at in range(0, len(data), PIECE):
        yield Sound(data[at : at + PIECE])
