"""Shared engines as one client wants them: voice, speed, language, and a handler that stops when nobody listens."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence

import pytest

from tests.server.test_realtime_talk import STORY, connected
from voiceloop.core.audio import Pcm, silence
from voiceloop.ports import Chooser, Manner, Transcript, TurnView
from voiceloop.server.realtime_engines import Voiced, listening
from voiceloop.testing import FakeHandler, FakeSynthesizer, FakeTranscriber, tone
from voiceloop.wire.realtime_session import RealtimeSession, updated


class Choir(FakeSynthesizer):
    """Knows some voices, and remembers how it was asked to speak."""

    def __init__(self, *voices: str) -> None:
        super().__init__(rate=24_000)
        self._voices = voices
        self.manners: list[Manner | None] = []

    @property
    def voices(self) -> tuple[str, ...]:
        return self._voices

    async def speak(self, text: str, manner: Manner | None = None) -> AsyncGenerator[Pcm, None]:
        self.manners.append(manner)
        yield tone(0.1, rate=24_000)


@pytest.mark.parametrize(
    ("voices", "wanted", "speed", "manner"),
    [
        (("anna", "otto"), "otto", 1.0, Manner(voice="otto")),
        (("anna", "otto"), "cedar", 1.0, Manner(voice="anna")),  # by the configured names
        (("anna", "otto"), "marin", 1.0, None),  # as configured
        (("anna", "otto"), "marin", 1.5, Manner(speed=1.5)),
        ((), "marin", 1.0, Manner(voice="marin")),  # a service that knows its voices itself
        ((), "alloy", 1.0, None),  # what clients send that did not choose
    ],
)
async def test_voices(voices: tuple[str, ...], wanted: str, speed: float, manner: Manner | None) -> None:
    choir = Choir(*voices)
    session = updated(RealtimeSession(), {"audio": {"output": {"voice": wanted, "speed": speed}}})
    engine = Voiced(choir, lambda: session.audio.output, {"cedar": "anna"})
    assert [pcm.size async for pcm in engine.speak("Hello.")] == [2400]
    assert choir.manners == [manner]
    assert (engine.rate, engine.voices) == (24_000, voices)
    await engine.warm_up()
    await engine.aclose()


class Linguist(FakeTranscriber):
    """Remembers what it was told of the language."""

    def __init__(self) -> None:
        super().__init__(longest=99)
        self.told: list[tuple[str | None, str | None]] = []

    async def transcribe(self, pcm: Pcm, *, language: str | None = None, prompt: str | None = None) -> Transcript:
        self.told.append((language, prompt))
        return Transcript("ja")

    async def choose(self, pcm: Pcm, phrases: Sequence[str]) -> tuple[Transcript, tuple[float, ...]]:
        return Transcript("ja"), (0.0,) * len(phrases)


async def test_languages() -> None:
    linguist = Linguist()
    session = RealtimeSession()
    ears = listening(linguist, lambda: session)
    await ears.transcribe(silence(10))
    session = updated(session, {"audio": {"input": {"transcription": {"language": "de", "prompt": "Bahn"}}}})
    await ears.transcribe(silence(10))
    assert linguist.told == [(None, None), ("de", "Bahn")]
    assert isinstance(ears, Chooser)
    assert (await ears.choose(silence(10), ["ja"]))[1] == (0.0,)
    assert ears.longest == 99
    await ears.warm_up()
    await ears.aclose()
    assert not isinstance(listening(FakeTranscriber(), lambda: session), Chooser)


@pytest.mark.virtual
async def test_a_handler_is_stopped_when_nobody_listens() -> None:
    handler = FakeHandler({"a story": STORY}, word_s=0.5)
    async with connected(handler=handler) as client:
        client.update(output_modalities=["text"])
        client.text("a story")
        await client.wait("response.output_text.delta", 3)
        client.say("response.cancel")
        done = (await client.wait("response.done"))["response"]
        assert done["status"] == "cancelled"
        assert STORY.startswith(done["output"][0]["content"][0]["text"].strip())
        client.text("hello")
        assert (await client.wait("response.done", 2))["response"]["status"] == "completed"
    assert handler.cancelled == 1


@pytest.mark.virtual
async def test_what_a_handler_is_told() -> None:
    handler = FakeHandler()
    async with connected(handler=handler) as client:
        system = {"type": "message", "role": "system", "content": [{"type": "input_text", "text": "It is noon."}]}
        client.say("conversation.item.create", item=system)
        client.update(instructions="Be brief.")
        client.text("one")
        await client.wait("response.done")
        client.text("two")
        await client.wait("response.done", 2)
    view: TurnView = handler.asked[-1]
    assert view.text == "two"
    assert [(m.role, m.text) for m in view.history] == [("user", "one"), ("assistant", "You said one.")]
    assert view.brief
    assert view.brief.instructions == "Be brief."
    assert [getattr(said, "text", "") for said in view.brief.context] == ["It is noon.", "one", "You said one.", "two"]
