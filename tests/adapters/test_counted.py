"""Engines whose calls are counted: they do what the engine does, and each call is told once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

import numpy as np
import pytest

from voiceloop.adapters.counted import CountedEars, CountedVoice
from voiceloop.core.audio import RATE, Pcm, silence
from voiceloop.errors import ProviderError
from voiceloop.ports import Chooser, Manner, Timed, Transcript, Translator
from voiceloop.tally import Call
from voiceloop.testing import FakeSynthesizer, FakeTranscriber

pytestmark = pytest.mark.virtual


class Broken(FakeTranscriber):
    async def transcribe(self, pcm: Pcm, *, language: str | None = None, prompt: str | None = None) -> Transcript:
        raise ProviderError("It is broken.", stage="stt")


class Able(FakeTranscriber):
    async def translate(self, pcm: Pcm, *, prompt: str | None = None, temperature: float = 0.0) -> Transcript:
        return Transcript(f"{prompt} {temperature}")


async def test_words() -> None:
    told: list[Call] = []
    ears = CountedEars(FakeTranscriber(["yes"], delay_s=0.25), "fake", told.append)
    await ears.warm_up()
    assert (await ears.transcribe(silence(2 * RATE))).text == "yes"
    assert told == [Call("stt", "fake", "ok", 0.25, 2.0)]
    assert ears.longest is None


async def test_a_call_that_fails_and_one_that_is_not_wanted_any_more() -> None:
    told: list[Call] = []
    with pytest.raises(ProviderError, match="broken"):
        await CountedEars(Broken(), "broken", told.append).transcribe(silence(RATE))
    slow = CountedEars(FakeTranscriber(delay_s=9), "slow", told.append)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(1):
            await slow.transcribe(silence(RATE))
    assert told == [Call("stt", "broken", "failed", None, 1.0), Call("stt", "slow", "cancelled", None, 1.0)]


async def test_it_can_what_the_engine_can() -> None:
    told: list[Call] = []
    plain, able = (CountedEars(engine, "fake", told.append) for engine in (FakeTranscriber(), Able()))
    assert isinstance(able, Translator)
    assert not isinstance(plain, Translator | Chooser | Timed)
    assert not isinstance(able, Chooser | Timed)
    assert (await able.translate(silence(RATE), prompt="so", temperature=0.5)).text == "so 0.5"
    assert told == [Call("stt", "fake", "ok", 0.0, 1.0)]


async def test_speech() -> None:
    told: list[Call] = []
    voice = CountedVoice(FakeSynthesizer(rate=24_000, delay_s=0.5), "fake", told.append)
    assert (voice.rate, voice.voices) == (24_000, FakeSynthesizer().voices)
    async with aclosing(voice.speak("Good morning.")) as chunks:
        n = sum([chunk.size async for chunk in chunks])
    assert n > 0
    assert [(call.outcome, call.sound_s) for call in told] == [("ok", n / 24_000)]
    assert told[0].took_s == pytest.approx(0.5)


async def test_speech_that_is_left_and_speech_that_breaks() -> None:
    class Breaks(FakeSynthesizer):
        async def speak(self, text: str, manner: Manner | None = None) -> AsyncGenerator[Pcm, None]:
            yield np.ones(2400, np.int16)
            raise ProviderError("It broke off.", stage="tts")

    told: list[Call] = []
    async with aclosing(CountedVoice(FakeSynthesizer(), "fake", told.append).speak("A long sentence.")) as chunks:
        first = await anext(chunks)
    async with aclosing(CountedVoice(Breaks(rate=24_000), "breaks", told.append).speak("x")) as chunks:
        await anext(chunks)
        with pytest.raises(ProviderError):
            await anext(chunks)
    rate = FakeSynthesizer().rate
    assert [(c.engine, c.outcome, c.sound_s) for c in told] == [
        ("fake", "cancelled", first.size / rate),
        ("breaks", "failed", 0.1),
    ]
