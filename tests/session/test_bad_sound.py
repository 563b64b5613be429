"""Sound as bad as it comes, through the real VAD and a whole session: it ends, in order, and stays responsive."""

from __future__ import annotations

import numpy as np
import pytest

from tests.program import recording
from voiceloop import build
from voiceloop.adapters.vad.silero import SileroVad
from voiceloop.config import Config
from voiceloop.core import events as ev
from voiceloop.core.audio import RATE, Pcm, silence
from voiceloop.session.session import Parts, Session
from voiceloop.testing import FakeHandler, FakePort, FakeResampler, FakeSynthesizer, FakeTranscriber, Recorder

POLICY = build.policy(Config())


def mixed(*sounds: Pcm, gain: float = 1.0, offset: int = 0) -> Pcm:
    """All at once, louder, and moved away from zero; what does not fit is clipped."""
    n = max(map(len, sounds))
    total = sum(np.pad(s.astype(np.float64), (0, n - len(s))) for s in sounds)
    return np.clip(total * gain + offset, -32768, 32767).astype(np.int16)


def bursts(n: int, seconds: float) -> Pcm:
    """Short pieces of a voice, evenly spread."""
    voice = recording("lj_LJ001-0008.flac")[RATE // 2 :][: RATE // 12]
    gap = silence(round(seconds * RATE / n) - voice.size)
    return np.concatenate([voice, gap] * n)


def endless(seconds: float) -> Pcm:
    """Somebody who never stops."""
    voice = recording("lj_LJ001-0008.flac")
    return np.resize(voice[np.abs(voice) > 200], round(seconds * RATE))


SOUNDS = {
    "zeros": lambda: silence(30 * RATE),
    "200 bursts a minute": lambda: bursts(100, 30.0),
    "two at once": lambda: mixed(recording("lj_LJ001-0008.flac"), recording("sb_spk1_snt1.flac")),
    "clipped": lambda: mixed(recording("lj_LJ001-0008.flac"), gain=30.0),
    "off zero": lambda: mixed(recording("lj_LJ001-0008.flac"), offset=4000),
    "never ends": lambda: endless(90.0),
}
LEAST = {"two at once": 1, "clipped": 1, "off zero": 1, "never ends": 1}


@pytest.mark.parametrize("name", SOUNDS)
async def test_bad_sound_keeps_the_order_and_ends(name: str) -> None:
    """What is opened is closed, each turn gets its last word, and a question behind it is answered."""
    question = recording("ps_goforward.flac")
    mic = np.concatenate([silence(RATE // 2), SOUNDS[name](), silence(3 * RATE), question, silence(3 * RATE)])
    recorder = Recorder()
    port = FakePort(mic, stepped=True)
    stt = FakeTranscriber(listen=lambda pcm: "so it goes on" if pcm.size > RATE else "")
    parts = Parts(port, SileroVad(), stt, FakeHandler(), FakeSynthesizer(), FakeResampler, policy=POLICY)
    await Session(parts, [recorder], strict=True).run()
    opened = [e.turn for e in recorder.of(ev.SpeechStarted)]
    assert opened == [e.turn for e in recorder.of(ev.SpeechStopped, ev.SpeechRejected)]
    decided = {e.turn for e in recorder.of(ev.Decided)}
    assert decided == {e.turn for e in recorder.of(ev.Heard, ev.TurnDropped)}
    started = [e.reply for e in recorder.of(ev.ReplyStarted)]
    assert len(set(started)) == len(started)
    assert set(started) <= {e.reply for e in recorder.of(ev.ReplyEnded)}
    assert len(decided) >= LEAST.get(name, 0) + 1, "the question is one"
    assert recorder.of(ev.Heard)[-1].turn == max(decided)
    assert recorder.of(ev.ReplyEnded)[-1].ending == "completed"
    assert all(e.end <= len(mic) for e in recorder.of(ev.SpeechStopped))
