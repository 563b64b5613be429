"""A recording of any length to text with times: cut at silences, piece by piece, put together again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from os import PathLike

from voiceloop.core.audio import FRAME, RATE, Rechunker, seconds, ticks
from voiceloop.core.stretches import Stretch, Stretches
from voiceloop.core.transcript import Document, Segment
from voiceloop.core.words import sentences, shifted, spread, text_of
from voiceloop.errors import ConfigError
from voiceloop.media import Reel
from voiceloop.ports import Aligner, Timed, Transcriber, Transcript, Translator, Vad

_CONTEXT = 200
"""Characters of the text before that a piece is told, as Whisper's own long form does with 224 tokens."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is asked of a recording.

    language: ISO 639-1. temperature: for `Timed` engines and translators. times: those of segments, where the engine
    knows better than the pauses; only without them the configured form of a service's answers counts. words: the times
    of each word as well. translate: into English. piece_s: most that one call may take; 0: as the engine likes it.
    lanes: calls at the same time, for services; above 1 a piece is not told the words before it.
    """

    language: str | None = None
    prompt: str | None = None
    temperature: float = 0.0
    times: bool = True
    words: bool = False
    translate: bool = False
    piece_s: float = 0.0
    lanes: int = 1


class Transcription:
    """One recording on its way to text.

    Iterate `segments` once, under `aclosing`; `language`, `duration_s` and `early` are complete afterwards.
    length_s: how long the file says it is, None if it does not; for the share that is done. Raises MediaError at
    once for what is no recording. Holds some pieces of sound at a time, however long the recording is.
    """

    def __init__(
        self,
        engine: Transcriber,
        path: str | PathLike[str],
        *,
        wanted: Wanted | None = None,
        aligner: Aligner | None = None,
        vad: Vad | None = None,
    ) -> None:
        """aligner: for engines that do not time their words; without it they are spread by their letters.
        vad: leaves out what is no speech, and makes times true."""
        self._engine = engine
        self._reel = Reel(path)
        self._wanted = wanted or Wanted()
        self._aligner = aligner
        self._vad = vad
        self._context = ""
        self.length_s = self._reel.duration_s
        self.duration_s = 0.0
        self.language = self._wanted.language
        self.early = False
        """Whether the file ends before the sound that it promises: an upload that was cut off."""

    async def segments(self, progress: Callable[[float], object] = lambda s: None) -> AsyncGenerator[Segment, None]:
        """Segments in order, as soon as they are known. progress: is called with the seconds done.

        Raises ConfigError, MediaError, ProviderError.
        """
        if self._wanted.translate and not isinstance(self._engine, Translator):
            raise ConfigError("this engine cannot translate: choose a service that can, as with stt.engine openai.")
        waiting: list[Stretch] = []
        async with aclosing(self._stretches()) as stretches:
            async for stretch in stretches:
                waiting.append(stretch)
                if len(waiting) >= self._wanted.lanes:
                    for segment in await self._several(waiting):
                        yield segment
                    progress(seconds(waiting[-1].start + waiting[-1].pcm.size))
                    waiting = []
        for segment in await self._several(waiting):
            yield segment
        progress(self.duration_s)

    async def document(self, progress: Callable[[float], object] = lambda s: None) -> Document:
        """All of it. progress and what it raises: as with `segments`."""
        async with aclosing(self.segments(progress)) as found:
            segments = tuple([segment async for segment in found])
        return Document(text_of(segments), self.duration_s, self.language, segments)

    async def _stretches(self) -> AsyncGenerator[Stretch, None]:
        """The recording, cut; other tasks get their turn after each block."""
        cutter = Stretches(self._longest(), self._gap())
        frames, n = Rechunker(FRAME), 0
        if self._vad:
            self._vad.reset()
        for block in self._reel.samples():
            n += block.size
            self.duration_s = seconds(n)
            for frame in frames.feed(block):
                for stretch in cutter.feed(frame, self._vad.probability(frame) if self._vad else 1.0):
                    yield stretch
            await asyncio.sleep(0)
        rest = frames.flush()
        if rest.size:
            for stretch in cutter.feed(rest, self._vad.probability(rest) if self._vad else 1.0):
                yield stretch
        for stretch in cutter.flush():
            yield stretch
        self.early = self._reel.early

    def _longest(self) -> int:
        """Most ticks of one piece."""
        most = self._engine.longest or ticks(20.0)
        # What tells its own times may take minutes; what does not is one segment, or is aligned.
        most = min(most, ticks(300.0 if isinstance(self._engine, Timed) else 30.0))
        return min(most, ticks(self._wanted.piece_s)) if self._wanted.piece_s else most

    def _gap(self) -> int:
        """Silence that ends a piece: a service takes what there is in few calls. Cut at 0.8 s, "fellow Americans, ask
        not" became "As not"."""
        return ticks(10.0 if self._longest() > ticks(60.0) else 2.5)

    async def _several(self, stretches: Sequence[Stretch]) -> list[Segment]:
        """The segments of pieces that are transcribed at the same time."""
        if len(stretches) == 1:
            found = [await self._piece(stretches[0])]
        else:
            try:
                async with asyncio.TaskGroup() as group:
                    tasks = [group.create_task(self._piece(stretch)) for stretch in stretches]
            except ExceptionGroup as several:
                raise several.exceptions[0] from None
            found = [task.result() for task in tasks]
        segments = [segment for piece in found for segment in piece]
        self._context = f"{self._context} {text_of(segments)}".strip()[-_CONTEXT:]
        return segments

    async def _piece(self, stretch: Stretch) -> list[Segment]:
        heard = await self._heard(stretch)
        self.language = self.language or heard.language
        start_s = seconds(stretch.start)
        if heard.segments:
            return [shifted(segment, start_s) for segment in heard.segments if segment.text]
        if not heard.text:
            return []
        first, last = (seconds(at) for at in stretch.voiced)
        if not self._wanted.words:
            return [Segment(heard.text, first, last, heard.logprob)]
        if self._aligner and stretch.pcm.size <= 30 * RATE:
            aligned = Segment(heard.text, 0, 0, None, await self._aligner.align(stretch.pcm, heard.text))
            words = shifted(aligned, start_s).words
        else:
            words = spread(heard.text, first, last)
        return list(sentences(words, heard.logprob))

    async def _heard(self, stretch: Stretch) -> Transcript:
        wanted, engine = self._wanted, self._engine
        prompt = wanted.prompt
        if wanted.lanes == 1 and self._context:
            prompt = f"{prompt} {self._context}" if prompt else self._context
        if wanted.translate and isinstance(engine, Translator):
            return await engine.translate(stretch.pcm, prompt=prompt, temperature=wanted.temperature)
        if isinstance(engine, Timed) and (wanted.times or wanted.words or wanted.temperature):
            return await engine.transcribe_timed(
                stretch.pcm, language=wanted.language, prompt=prompt, temperature=wanted.temperature
            )
        return await engine.transcribe(stretch.pcm, language=wanted.language, prompt=prompt)
