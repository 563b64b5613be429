"""What was said, and what to answer: the calls to the transcriber and the handler."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence, Sized
from contextlib import AbstractContextManager, aclosing, asynccontextmanager, nullcontext, suppress
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from voiceloop.core.audio import RATE, Pcm, split
from voiceloop.core.events import Answer, HandlerState, ReplyText, Score, Scored, Transcribe, Transcribed
from voiceloop.core.history import Item
from voiceloop.errors import ProviderError, ProviderTimeout, Stage
from voiceloop.ports import Chooser, EndOfTurn, Handler, Message, Transcriber, Transcript, TurnView
from voiceloop.session.judgement import Language, confirmed, doubted, joined, judged

T = TypeVar("T", bound=Sized)

_SECOND = 8 * RATE
"""Samples that are listened to once more: the end of the turn."""

_REMEMBERED = 16
"""Turns of which the words, and whether they are sure, are kept; handlers of older ones have long ended."""


@dataclass(frozen=True, slots=True)
class Deadlines:
    """Seconds until a stage has failed. stt: for one segment. handler, tts: for each next piece."""

    stt_s: float = 20.0
    handler_s: float = 30.0
    tts_s: float = 15.0


class Mind:
    """Transcribes segments and asks the handler; says what comes of it through `feed`."""

    def __init__(
        self,
        transcriber: Transcriber,
        handler: Handler,
        feed: Callable[[Transcribed | Scored | ReplyText | HandlerState], None],
        *,
        session: str,
        deadlines: Deadlines,
        language: Language,
        waiting: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        self._transcriber = transcriber
        self._handler = handler
        self._feed = feed
        self._session = session
        self._deadlines = deadlines
        self._language = language
        self._waiting = waiting
        self._settled: dict[int, list[str]] = {}
        self._sure: dict[int, asyncio.Event] = {}
        self._understood: dict[int, Transcribed] = {}

    async def transcribe(self, order: Transcribe, pcm: Pcm) -> None:
        """Feeds the words of a segment. pcm: [order.context, order.end)."""
        async with deadline(self._deadlines.stt_s, "stt", "Speech recognition"):
            text, last, odds = await self._heard(order, pcm)
        found = judged(self._language, order, text, last, pcm, odds)
        if not order.probe:
            self._understood[order.turn] = found
            _forget(self._understood)
        self._feed(found)

    async def score(self, order: Score, pcm: Pcm, model: EndOfTurn | None) -> None:
        """Feeds how likely it is that the speaker has nothing to add, with more of the silence behind his words.

        The words are looked for once more, if the recognizer tells its doubts, and the model, if there is one, is
        asked beside that. pcm: [order.start, order.end).
        """
        pcm, first = pcm[-_SECOND:], self._understood.get(order.turn, Transcribed(0, ""))
        async with deadline(self._deadlines.stt_s, "stt", "The end-of-turn model"):
            try:
                async with asyncio.TaskGroup() as group:
                    doubts = first.p_stop is not None
                    again = group.create_task(self._transcriber.transcribe(pcm)) if doubts else None
                    heard = group.create_task(model.score(pcm)) if model else None
            except* ProviderError as failed:
                raise failed.exceptions[0] from None
        p = first.finished
        if again:
            p = confirmed(self._language, first, again.result())
        if heard:
            p = joined(p, heard.result())
        self._feed(Scored(order.run, round(0.5 if p is None else p, 3)))

    async def answer(self, order: Answer, history: Sequence[Item], rate: int) -> None:
        """Feeds the handler's reply as it comes. rate: of the samples that history counts, Hz."""
        messages = tuple(
            Message(item.role, item.text, item.said, None if item.cut_at is None else item.cut_at / rate)
            for item in history
        )
        line = _Line(order.run, self._feed, self._sure.setdefault(order.turn, asyncio.Event()), self._waiting)
        view = TurnView(order.text, messages, order.turn, order.rev, self._session, line)
        deltas = timed(self._handler.reply(view), self._deadlines.handler_s, "handler", "The handler")
        async with aclosing(deltas):
            async for delta in deltas:
                self._feed(ReplyText(order.run, delta))
        self._feed(ReplyText(order.run, "", final=True))

    def be_sure(self, turn: int) -> None:
        """The turn cannot be reopened any more; handlers that wait for that go on."""
        self._sure.setdefault(turn, asyncio.Event()).set()
        _forget(self._sure)

    async def _heard(self, order: Transcribe, pcm: Pcm) -> tuple[str, Transcript, tuple[float, ...]]:
        """All words, the transcript of the last piece, and the odds of phrases if there is doubt and a `Chooser`."""
        phrases, engine = doubted(self._language, order, pcm), self._transcriber
        if phrases and isinstance(engine, Chooser):
            whole, odds = await engine.choose(pcm, phrases)
            return whole.text, whole, odds
        return *await self._words(None if order.probe else order.turn, pcm), ()

    async def _words(self, turn: int | None, pcm: Pcm) -> tuple[str, Transcript]:
        """All words, and the transcript of the last piece.

        Long segments in pieces. All but the last piece stay the same while the turn grows, and are done once.
        """
        longest = self._transcriber.longest
        if longest is None or pcm.size <= longest:
            whole = await self._transcriber.transcribe(pcm)
            return whole.text, whole
        if turn is not None and turn not in self._settled:
            self._settled = {turn: []}
        known = self._settled[turn] if turn is not None else list[str]()
        pieces = list(split(pcm, longest, longest // 2))
        for piece in pieces[len(known) : -1]:
            known.append((await self._transcriber.transcribe(piece)).text)
        last = await self._transcriber.transcribe(pieces[-1])
        return " ".join(text for text in [*known, last.text] if text), last


class _Line:
    """A `ports.Line` of one call: its word reaches the core from whatever thread it is given on."""

    def __init__(
        self,
        run: int,
        feed: Callable[[HandlerState], None],
        sure: asyncio.Event,
        waiting: Callable[[], AbstractContextManager[None]],
    ) -> None:
        self._run = run
        self._feed = feed
        self._sure = sure
        self._waiting = waiting
        self._loop = asyncio.get_running_loop()

    def tell(self, key: Literal["tool", "expect", "sure", "barge_in"], value: str = "") -> None:
        """Feeds it. When the session is over, nobody listens."""
        state = HandlerState(self._run, key, value)
        try:
            here = asyncio.get_running_loop() is self._loop
        except RuntimeError:
            here = False
        if here:
            self._feed(state)
        else:
            with suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._feed, state)

    async def sure(self) -> None:
        """Waits, without keeping a stepped port from going on: it is sure when time has passed."""
        with self._waiting():
            await self._sure.wait()


@asynccontextmanager
async def deadline(seconds: float, stage: Stage, who: str) -> AsyncGenerator[None, None]:
    """What takes longer inside raises ProviderTimeout."""
    scope = asyncio.timeout(seconds)
    try:
        async with scope:
            yield
    except TimeoutError as late:
        if not scope.expired():
            raise  # an engine's own, which is a bug of its adapter
        raise _late(seconds, stage, who) from late


async def timed(stream: AsyncGenerator[T, None], seconds: float, stage: Stage, who: str) -> AsyncGenerator[T, None]:
    """The items of a stream that hold something, each within `seconds` of the one before, else ProviderTimeout."""
    clock = asyncio.get_running_loop().time
    async with aclosing(stream):
        since = clock()
        while True:
            scope = asyncio.timeout_at(since + seconds)  # `deadline` costs more than some streams do
            try:
                async with scope:
                    item = await anext(stream)
            except StopAsyncIteration:
                return
            except TimeoutError as late:
                if not scope.expired():
                    raise
                raise _late(seconds, stage, who) from late
            if len(item):
                yield item
                since = clock()
            elif clock() >= since + seconds:  # it never waited, so that no timer had a chance
                raise _late(seconds, stage, who)
            await asyncio.sleep(0)  # a stream that never waits must not starve the loop


def _forget(turns: dict[int, Any]) -> None:
    """All but the newest `_REMEMBERED`."""
    for old in list(turns)[:-_REMEMBERED]:
        del turns[old]


def _late(seconds: float, stage: Stage, who: str) -> ProviderTimeout:
    return ProviderTimeout(f"{who} gave nothing for {seconds:g} seconds.", stage=stage, retryable=True)
