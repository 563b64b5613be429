"""Devices that are lost in the middle of a conversation, on virtual time."""

from __future__ import annotations

import asyncio
import sys

import numpy as np
import pytest

from tests.adapters.soundcard import Card, InlineDesk, SoundCards, Watcher
from tests.session.test_session import Numbers, Talk, sound
from tests.talk import parts
from voiceloop.adapters.audio.sounddevice import SoundDevicePort
from voiceloop.adapters.audio.supervised import Care, SupervisedPort
from voiceloop.adapters.resample.stream import StreamResampler
from voiceloop.core import events as ev
from voiceloop.core.audio import ticks
from voiceloop.core.policy import Policy
from voiceloop.core.silence import CHIME
from voiceloop.session.session import Parts, Session
from voiceloop.testing import FakeHandler, FakePort, FakeResampler, FakeTranscriber, FakeVad, Recorder, script

pytestmark = pytest.mark.virtual

QUESTION = (-0.5, 1.0, -8.0)
STORY = "Once upon a time there was a king, and he was old, and had a queen."
TELLER = {"hello": STORY}


def port(*mic: float, away: dict[float, float]) -> FakePort:
    """away: after how many seconds of sound the device is lost, and for how long."""
    return FakePort(script(*mic), away={round(since * 50): seconds for since, seconds in away.items()})


async def test_in_the_middle_of_a_sentence() -> None:
    talk = await Talk(port=port(*QUESTION, 1.0, -8.0, away={1.5: 40.0})).run()
    (lost,), (back,) = talk.of(ev.DeviceLost), talk.of(ev.DeviceBack)
    assert lost.reason == "The sound device was lost."
    assert back == ev.DeviceBack("fake", ticks(40))
    first, *_ = talk.of(ev.SpeechStopped)
    assert first.cause == "stalled"
    assert talk.heard[0] == "hello"
    assert talk.endings[0] == ("completed", "You said hello.")
    asked = talk.handler.asked[-1]
    assert "You said hello." in [message.text for message in asked.history], "it remembers"


async def test_in_the_middle_of_a_reply() -> None:
    talk = await Talk(port=port(*QUESTION, away={3.0: 40.0}), handler=FakeHandler(TELLER), tts=Numbers()).run()
    assert talk.endings == [("completed", STORY)]
    played = sound(talk.port)
    assert np.array_equal(played, np.concatenate(talk.tts.made)), "each sample once"
    (ended,) = talk.of(ev.ReplyEnded)
    assert ended.cut_at is None


async def test_while_it_thinks() -> None:
    talk = await Talk(port=port(*QUESTION, away={2.0: 40.0}), handler=FakeHandler(delay_s=5.0)).run()
    assert talk.endings == [("completed", "You said hello.")], "the answer is sign enough"


async def test_a_sound_tells_who_still_waits() -> None:
    talk = await Talk(port=port(*QUESTION, away={2.0: 3.0}), handler=FakeHandler(delay_s=5.0)).run()
    assert talk.endings == [("completed", CHIME), ("completed", "You said hello.")]


async def test_again_and_again() -> None:
    away = {float(second): 3.0 for second in range(1, 60)}
    mic = (-0.5, 0.4, -2.0) * 20
    talk = await Talk(port=port(*mic, away=away), stt=FakeTranscriber()).run()
    assert len(talk.of(ev.DeviceBack)) >= 58
    assert {ending for ending, _ in talk.endings} <= {"completed", "interrupted", "withdrawn"}
    assert len(talk.heard) >= 15


async def test_nobody_is_asked_whether_he_is_still_there_who_cannot_be_heard() -> None:
    policy = Policy(reprompt_after=ticks(3), end_after=ticks(10), back="")
    talk = await Talk(port=port(*QUESTION, away={5.0: 600.0}), policy=policy).run()
    ends = [trace.because for trace in talk.of(ev.Trace) if trace.what == "silence"]
    assert "end" not in ends[:1]
    assert len(talk.of(ev.DeviceBack)) == 1


async def test_a_session_may_be_closed_while_it_is_away() -> None:
    talk = Talk(port=port(*QUESTION, away={1.2: 1e6}))
    asyncio.get_running_loop().call_later(30, talk.session.close)
    await talk.run()
    assert not talk.of(ev.DeviceBack)


async def test_the_vad_begins_anew() -> None:
    class Vad(FakeVad):
        resets = 0

        def reset(self) -> None:
            self.resets += 1

    vad = Vad()
    made = parts(script(*QUESTION), vad=vad)
    made.port.away = {250: 2.0}
    await Session(made, strict=True).run()
    assert vad.resets == 2


# --- all of it, down to a PortAudio that fails on cue ---


@pytest.fixture
def desk(monkeypatch: pytest.MonkeyPatch) -> SoundCards:
    InlineDesk.hangs = False
    cards = SoundCards([Card("Mic", outputs=0, rates=(16_000,)), Card("Boxes", inputs=0, rates=(24_000,))])
    monkeypatch.setitem(sys.modules, "sounddevice", cards)
    return cards


def supervised() -> SupervisedPort:
    def make(ear, mouth, playback) -> SoundDevicePort:
        return SoundDevicePort(ear, mouth, StreamResampler, playback=playback, desk=InlineDesk())  # type: ignore[arg-type]

    return SupervisedPort(make, "Mic", "Boxes", Care(dead_s=0.0), lookout=Watcher)  # type: ignore[arg-type]


@pytest.mark.parametrize("which", ["Mic", "Boxes"])
@pytest.mark.parametrize("quietly", [False, True], ids=["ends", "falls silent"])
async def test_a_real_port_loses_its_devices(desk: SoundCards, which: str, quietly: bool) -> None:
    desk.mic = script(-0.5, 1.0, -20.0, 1.0, -8.0)
    recorder, tts = Recorder(), Numbers()
    stt, handler = FakeTranscriber(["hello", "again"]), FakeHandler(TELLER)
    made = Parts(supervised(), FakeVad(), stt, handler, tts, FakeResampler, policy=Policy(back=""))
    session = Session(made, [recorder], strict=True)
    loop = asyncio.get_running_loop()
    gone: list[Card] = []
    loop.call_later(3.0001, lambda: gone.extend(desk.unplug(which, quietly=quietly)))
    loop.call_later(20, lambda: desk.plug(*gone))
    loop.call_later(60, session.close)
    await session.run()
    assert len(recorder.of(ev.DeviceLost)) == len(recorder.of(ev.DeviceBack)) == 1
    assert recorder.of(ev.DeviceBack)[0].away <= ticks(17 + 3)
    story, second = recorder.of(ev.ReplyEnded)
    assert (story.ending, story.heard, second.ending) == ("completed", STORY, "completed")
    assert [message.text for message in handler.asked[-1].history] == ["hello", STORY]
    heard = desk.heard()
    heard = heard[heard != 0]
    written = np.concatenate(tts.made)
    assert heard.size == written.size, "each sample once"
    different = np.flatnonzero(heard != written)
    assert different.size <= 2 * 0.005 * 24_000, "but for what fades"


async def test_a_reply_goes_on_through_a_device_of_another_rate(desk: SoundCards) -> None:
    desk.mic = script(-0.5, 1.0, -40.0)
    recorder, tts = Recorder(), Numbers()
    made = Parts(
        supervised(), FakeVad(), FakeTranscriber(["hello"]), FakeHandler(TELLER), tts, FakeResampler,
        policy=Policy(back=""),
    )  # fmt: skip
    session = Session(made, [recorder], strict=True)
    loop = asyncio.get_running_loop()

    def exchange() -> None:
        desk.unplug("Boxes")
        desk.plug(Card("Boxes", inputs=0, rates=(48_000,)))

    loop.call_later(3.0001, exchange)
    loop.call_later(30, session.close)
    await session.run()
    (story,) = recorder.of(ev.ReplyEnded)
    assert (story.ending, story.heard, story.cut_at) == ("completed", STORY, None)
    total = sum(map(len, tts.made))
    seconds = sum(np.count_nonzero(pcm) / rate for _, rate, pcm in desk.played)
    assert seconds == pytest.approx(total / 24_000, abs=0.01)
    assert {rate for _, rate, _ in desk.played} == {24_000, 48_000}
