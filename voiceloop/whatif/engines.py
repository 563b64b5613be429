"""Engines that take as long as they took, and answer what they answered."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import AsyncGenerator, Coroutine, Sequence
from types import TracebackType
from typing import Any, TypeVar

from voiceloop.core import events as ev
from voiceloop.core.audio import RATE, Pcm, silence
from voiceloop.core.policy import Policy
from voiceloop.errors import ProviderError
from voiceloop.journal.reader import Step
from voiceloop.ports import Chooser, Manner, Transcriber, Transcript, TurnView
from voiceloop.whatif.memory import UNKNOWN_ANSWER, UNKNOWN_WORDS, Memory

T = TypeVar("T")


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


class Elsewhere:
    """An event loop in a thread of its own. `do` keeps the caller's loop waiting: on that one no time passes."""

    def __enter__(self) -> Elsewhere:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="voiceloop-elsewhere", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        """What it gives, after as long as it takes."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()


class RecordedEars:
    """A `Transcriber`. engine: runs again, elsewhere; None: there is none here. recorded: what was found then counts
    more than what the engine finds, because another engine found it."""

    def __init__(
        self, memory: Memory, orders: Orders, engine: Transcriber | None, elsewhere: Elsewhere, *, recorded: bool
    ) -> None:
        self._memory = memory
        self._orders = orders
        self._engine = engine
        self._elsewhere = elsewhere
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
            self._elsewhere.do(self._engine.warm_up())

    async def transcribe(self, pcm: Pcm, *, language: str | None = None, prompt: str | None = None) -> Transcript:
        """The words, after as long as it took then."""
        found = self._found(pcm, language, prompt)
        await asyncio.sleep(self._memory.recognition(pcm.size) / RATE)
        return found

    async def choose(self, pcm: Pcm, phrases: Sequence[str]) -> tuple[Transcript, tuple[float, ...]]:
        """As `transcribe`; without odds where the engine knows none, or does not run again."""
        engine, odds = self._engine, tuple[float, ...]()
        if not self._recorded and isinstance(engine, Chooser):
            found, odds = self._elsewhere.do(engine.choose(pcm, phrases))
        else:
            found = self._found(pcm, None, None)
        await asyncio.sleep(self._memory.recognition(pcm.size) / RATE)
        return found, odds

    async def aclose(self) -> None:
        """Whoever made the engine closes it."""

    def _found(self, pcm: Pcm, language: str | None, prompt: str | None) -> Transcript:
        order = self._orders.of(pcm.size)
        if self._recorded and order and (known := self._memory.words(order.start, order.end)):
            return Transcript(known.text, logprob=known.logprob, p_stop=known.p_stop, p_comma=known.p_comma)
        if self._engine is not None:
            return self._elsewhere.do(self._engine.transcribe(pcm, language=language, prompt=prompt))
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

    @property
    def voices(self) -> tuple[str, ...]:
        """One."""
        return ("recorded",)

    async def warm_up(self) -> None:
        """Nothing to load."""

    async def speak(self, text: str, manner: Manner | None = None) -> AsyncGenerator[Pcm, None]:
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
