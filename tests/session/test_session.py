"""Whole conversations on virtual time."""

from __future__ import annotations

import pytest

from voiceloop.core.events import Heard, ReplyEnded
from voiceloop.session.session import Parts, Session
from voiceloop.testing import (
    FakeHandler,
    FakePort,
    FakeResampler,
    FakeSynthesizer,
    FakeTranscriber,
    FakeVad,
    Recorder,
    script,
)

pytestmark = pytest.mark.virtual


async def test_a_question_gets_an_answer() -> None:
    recorder = Recorder()
    port = FakePort(script(-0.5, 1.0, -1.0))
    parts = Parts(port, FakeVad(), FakeTranscriber(["hello"]), FakeHandler(), FakeSynthesizer(), FakeResampler)
    await Session(parts, [recorder], strict=True).run()
    for e in recorder.events:
        if type(e).__name__ != "Level":
            print(e)
    assert [e.text for e in recorder.of(Heard)] == ["hello"]
    (ended,) = recorder.of(ReplyEnded)
    assert ended.heard == "You said hello."
