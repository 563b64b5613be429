"""Transcribers one behind the other."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from dataclasses import replace
from typing import Any, TypeVar, cast

from voiceloop.adapters.chain.links import Link, Links, Round
from voiceloop.core.audio import RATE, Pcm, split
from voiceloop.core.transcript import Segment, Word
from voiceloop.ports import Chooser, Timed, Transcriber, Transcript, Translator

T = TypeVar("T")

Heard = Callable[[Pcm], Coroutine[Any, Any, Transcript]]

_LATE_SHARE = 0.5
"""Of its length a sound adds to the time until a link is late: it has to be sent."""


class HearingChain:
    """A Transcriber of several, and a Chooser, Timed or Translator if one of them is.

    Each of these is asked of the first link that can do it.
    """

    def __init__(self, links: Sequence[Link[Transcriber]], *, late_s: float, hedge: bool = False) -> None:
        """links: the favourite first. late_s: how long the next one waits for the one before, and half the length of
        the sound. hedge: start another one when the first takes longer than usual, and use what comes first."""
        self._links = Links(links, late_s=late_s, hedge=hedge)
        self.counts = self._links.counts
        # isinstance with these ports looks for the method.
        if any(isinstance(link.engine, Chooser) for link in links):
            self.choose = self._choose
        if any(isinstance(link.engine, Timed) for link in links):
            self.transcribe_timed = self._transcribe_timed
        if any(isinstance(link.engine, Translator) for link in links):
            self.translate = self._translate

    @property
    def longest(self) -> int | None:
        """The favourite's; for the others what is too long is cut here."""
        return self._links.all[0].engine.longest

    async def warm_up(self) -> None:
        """All of them, at once. Raises VoiceloopError when none can start."""
        await self._links.warm_up()

    async def transcribe(self, pcm: Pcm, *, language: str | None = None, prompt: str | None = None) -> Transcript:
        """As the port. Raises the first link's error when no link is left."""

        async def call(link: Link[Transcriber]) -> Transcript:
            engine = link.engine
            return await _pieces(engine, pcm, lambda piece: engine.transcribe(piece, language=language, prompt=prompt))

        return await self._ask(pcm, call, lambda link: True, lambda found: bool(found.text))

    async def aclose(self) -> None:
        """All of them."""
        await self._links.aclose()

    async def _choose(self, pcm: Pcm, phrases: Sequence[str]) -> tuple[Transcript, tuple[float, ...]]:
        """By the first link that can: a service that only writes words is passed over."""

        async def call(link: Link[Transcriber]) -> tuple[Transcript, tuple[float, ...]]:
            return await cast("Chooser", link.engine).choose(pcm, phrases)

        return await self._ask(pcm, call, lambda link: isinstance(link.engine, Chooser), lambda found: True)

    async def _transcribe_timed(
        self, pcm: Pcm, *, language: str | None = None, prompt: str | None = None, temperature: float = 0.0
    ) -> Transcript:
        """As `Timed`."""

        async def call(link: Link[Transcriber]) -> Transcript:
            timed = cast("Timed", link.engine)
            return await _pieces(
                link.engine,
                pcm,
                lambda piece: timed.transcribe_timed(piece, language=language, prompt=prompt, temperature=temperature),
            )

        return await self._ask(pcm, call, lambda link: isinstance(link.engine, Timed), lambda found: True)

    async def _translate(self, pcm: Pcm, *, prompt: str | None = None, temperature: float = 0.0) -> Transcript:
        """As `Translator`."""

        async def call(link: Link[Transcriber]) -> Transcript:
            translator = cast("Translator", link.engine)
            return await _pieces(
                link.engine, pcm, lambda piece: translator.translate(piece, prompt=prompt, temperature=temperature)
            )

        return await self._ask(pcm, call, lambda link: isinstance(link.engine, Translator), lambda found: True)

    async def _ask(
        self,
        pcm: Pcm,
        call: Callable[[Link[Transcriber]], Coroutine[Any, Any, T]],
        able: Callable[[Link[Transcriber]], bool],
        good: Callable[[T], bool],
    ) -> T:
        round_ = Round[Transcriber](self._links, "stt", able)
        link, found = await round_.ask(call, more_s=_LATE_SHARE * pcm.size / RATE, good=good)
        round_.succeeded(link)
        return found


async def _pieces(engine: Transcriber, pcm: Pcm, hear: Heard) -> Transcript:
    """The words of a sound that may be longer than the engine takes; where it was said counts from its beginning."""
    longest = engine.longest
    if longest is None or pcm.size <= longest:
        return await hear(pcm)
    texts: list[str] = []
    segments: list[Segment] = []
    at, last = 0, Transcript("")
    for piece in split(pcm, longest, longest // 2):
        last = await hear(piece)
        texts.append(last.text)
        segments += (_later(segment, at / RATE) for segment in last.segments)
        at += piece.size
    return replace(last, text=" ".join(text for text in texts if text), segments=tuple(segments))


def _later(segment: Segment, by_s: float) -> Segment:
    words = tuple(Word(word.text, word.start_s + by_s, word.end_s + by_s) for word in segment.words)
    return replace(segment, start_s=segment.start_s + by_s, end_s=segment.end_s + by_s, words=words)
