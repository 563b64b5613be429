"""Speech engines of which each call is counted: whose it is, how it ended, how long it took."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import aclosing
from typing import Any, Concatenate, ParamSpec, TypeVar

from voiceloop.core.audio import RATE, Pcm
from voiceloop.ports import Chooser, Manner, Synthesizer, Timed, Transcriber, Transcript, Translator
from voiceloop.tally import Call, Outcome, Tally

P = ParamSpec("P")
T = TypeVar("T")


class CountedEars:
    """A `Transcriber`, and a `Chooser`, `Timed` or `Translator` if the engine is one."""

    def __init__(self, engine: Transcriber, name: str, tally: Tally) -> None:
        """name: what the engine is called in the configuration."""
        self._engine = engine
        self._name = name
        self._tally = tally
        # isinstance with these ports looks for the method.
        if isinstance(engine, Chooser):
            self.choose = self._counted(engine.choose)
        if isinstance(engine, Timed):
            self.transcribe_timed = self._counted(engine.transcribe_timed)
        if isinstance(engine, Translator):
            self.translate = self._counted(engine.translate)

    @property
    def longest(self) -> int | None:
        """Of the engine."""
        return self._engine.longest

    async def warm_up(self) -> None:
        """Of the engine, uncounted."""
        await self._engine.warm_up()

    async def aclose(self) -> None:
        """Of the engine."""
        await self._engine.aclose()

    async def transcribe(self, pcm: Pcm, *, language: str | None = None, prompt: str | None = None) -> Transcript:
        """As the engine does."""
        return await self._counted(self._engine.transcribe)(pcm, language=language, prompt=prompt)

    def _counted(
        self, hear: Callable[Concatenate[Pcm, P], Coroutine[Any, Any, T]]
    ) -> Callable[Concatenate[Pcm, P], Coroutine[Any, Any, T]]:
        async def call(pcm: Pcm, *args: P.args, **kwargs: P.kwargs) -> T:
            began = _now()
            outcome: Outcome = "failed"
            try:
                found = await hear(pcm, *args, **kwargs)
                outcome = "ok"
            except asyncio.CancelledError:
                outcome = "cancelled"
                raise
            finally:
                took_s = _now() - began if outcome == "ok" else None
                self._tally(Call("stt", self._name, outcome, took_s, pcm.size / RATE))
            return found

        return call


class CountedVoice:
    """A `Synthesizer`."""

    def __init__(self, engine: Synthesizer, name: str, tally: Tally) -> None:
        """name: what the engine is called in the configuration."""
        self._engine = engine
        self._name = name
        self._tally = tally

    @property
    def rate(self) -> int:
        """Of the engine."""
        return self._engine.rate

    @property
    def voices(self) -> tuple[str, ...]:
        """Of the engine."""
        return self._engine.voices

    async def warm_up(self) -> None:
        """Of the engine, uncounted."""
        await self._engine.warm_up()

    async def aclose(self) -> None:
        """Of the engine."""
        await self._engine.aclose()

    async def speak(self, text: str, manner: Manner | None = None) -> AsyncGenerator[Pcm, None]:
        """As the engine does."""
        began, n = _now(), 0
        outcome: Outcome = "failed"
        took_s: float | None = None
        try:
            async with aclosing(self._engine.speak(text, manner)) as chunks:
                async for chunk in chunks:
                    took_s = _now() - began if took_s is None else took_s
                    n += chunk.size
                    yield chunk
            outcome = "ok"
        except (asyncio.CancelledError, GeneratorExit):
            outcome = "cancelled"
            raise
        finally:
            self._tally(Call("tts", self._name, outcome, took_s, n / self._engine.rate))


def _now() -> float:
    return asyncio.get_running_loop().time()
