"""Engines that take as long as they took, and answer what they answered."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Sequence
from typing import cast

from voiceloop.core import events as ev
from voiceloop.core.audio import RATE, Pcm, silence
from voiceloop.core.policy import Policy
from voiceloop.errors import ProviderError
from voiceloop.journal.reader import Step
from voiceloop.ports import Transcriber, Transcript, TurnView
from voiceloop.virtual import VirtualLoop
from voiceloop.whatif.memory import UNKNOWN_ANSWER, UNKNOWN_WORDS, Memory


class Orders:
    """A `Tap` that keeps every step, and tells which samples a recognition is about."""

    def __init__(self) -> None:
        self.steps: list[Step] = []
        self.started = asyncio.Event()
        self._pending: deque[ev.Transcribe] = deque(maxlen=64)

    def begin(self, session: str, policy: Policy, out_rate: int) -> None:
        """The session listens from now on."""
        self.started.set()

    def mic(self, pcm: Pcm) -> None:
        """Known already."""

    def out(self, reply: int, pcm: Pcm) -> None:
        """Silence."""

    def step(self, now: int, at: int, event: ev.Input, actions: Sequence[ev.Action]) -> None:
        """Keeps it."""
        self.steps.append(Step(now, at, event, tuple(actions)))
        self._pending.extend(action for action in actions if isinstance(action, ev.Transcribe))

    def of(self, n: int) -> ev.Transcribe | None:
        """The newest order for so many samples."""
        return next((order for order in reversed(self._pending) if order.end - order.context == n), None)


class RecordedEars:
    """A `Transcriber`. engine: runs again; None: there is none here. recorded: what was found then counts more than
    what the engine finds, because another engine found it."""

    def __init__(self, memory: Memory, orders: Orders, engine: Transcriber | None, *, recorded: bool) -> None:
        self._memory = memory
        self._orders = orders
        self._engine = engine
        self._recorded = recorded
        self.unknown = 0
        """Stretches of sound whose words nobody knows."""

    @property
    def longest(self) -> int | None:
        """As the engine's; what was recorded is looked up whole."""
        return None if self._recorded or self._engine is None else self._engine.longest

    async def warm_up(self) -> None:
        """The engine's, which takes no time."""
        if self._engine is not None:
            with _loop().still():
                await self._engine.warm_up()

    async def transcribe(self, pcm: Pcm, *, language: str | None = None, prompt: str | None = None) -> Transcript:
        """The words, after as long as it took then."""
        found = await self._found(pcm, language, prompt)
        await asyncio.sleep(self._memory.recognition(pcm.size) / RATE)
        return found

    async def aclose(self) -> None:
        """Whoever made the engine closes it."""

    async def _found(self, pcm: Pcm, language: str | None, prompt: str | None) -> Transcript:
        order = self._orders.of(pcm.size)
        if self._recorded and order and (known := self._memory.words(order.start, order.end)):
            return Transcript(known.text, logprob=known.logprob, p_stop=known.p_stop, p_comma=known.p_comma)
        if self._engine is not None:
            with _loop().still():
                return await self._engine.transcribe(pcm, language=language, prompt=prompt)
        self.unknown += 1
        return Transcript(UNKNOWN_WORDS)


class RecordedHandler:
    """A `Handler` that answers the same words as it did then, and others with a placeholder."""

    def __init__(self, memory: Memory, *, early: bool) -> None:
        self._memory = memory
        self.early = early

    async def warm_up(self) -> None:
        """Nothing to load."""

    async def reply(self, turn: TurnView) -> AsyncGenerator[str, None]:
        """The recorded pieces, at their times."""
        start = asyncio.get_running_loop().time()
        call = self._memory.answer(turn.text)
        if call is None:
            await _until(start, self._memory.thinking())
            yield UNKNOWN_ANSWER
            return
        for ticks, result in call.came:
            await _until(start, ticks)
            if isinstance(result, ev.Failed):
                raise ProviderError(result.message, stage="handler", retryable=result.retryable)
            if isinstance(result, ev.ReplyText) and result.text:
                yield result.text

    async def aclose(self) -> None:
        """Nothing to give back."""


class RecordedVoice:
    """A `Synthesizer` of silence, as long as the speech was then."""

    def __init__(self, memory: Memory) -> None:
        self._memory = memory
        self.rate = memory.recording.out_rate

    async def warm_up(self) -> None:
        """Nothing to load."""

    async def speak(self, text: str) -> AsyncGenerator[Pcm, None]:
        """Pieces at the recorded times; all at once what was never spoken to its end."""
        start, n = asyncio.get_running_loop().time(), 0
        call = self._memory.speech(text)
        for ticks, result in call.came if call else []:
            await _until(start, ticks)
            if isinstance(result, ev.Failed):
                raise ProviderError(result.message, stage="tts", retryable=result.retryable)
            if isinstance(result, ev.Prepared) and result.n > n:
                yield silence(result.n - n)
                n = result.n
        if call is None:
            await _until(start, self._memory.speaking())
        if (call is None or not call.done) and (rest := self._memory.length(text) - n) > 0:
            yield silence(rest)

    async def aclose(self) -> None:
        """Nothing to give back."""


async def _until(start: float, ticks: int) -> None:
    await asyncio.sleep(max(0.0, start + ticks / RATE - asyncio.get_running_loop().time()))


def _loop() -> VirtualLoop:
    return cast("VirtualLoop", asyncio.get_running_loop())
