"""What the ears keep of the microphone."""

from __future__ import annotations

from voiceloop.core.audio import FRAME, RATE
from voiceloop.ports import Capture
from voiceloop.session.ears import Ears
from voiceloop.testing import FakeVad, tone


def test_who_only_listens_keeps_little() -> None:
    idle = True
    ears = Ears(FakeVad(), None, lambda event: None, capacity=60 * RATE, idle=lambda: idle)
    heard = 0
    for _ in range(30 * 50):
        ears.hear(Capture(tone(FRAME / RATE)))
        heard += FRAME
    assert ears.read(0, heard).size <= 15 * RATE
    assert ears.read(heard - 10 * RATE, heard).size == 10 * RATE
    idle = False
    for _ in range(40 * 50):
        ears.hear(Capture(tone(FRAME / RATE)))
        heard += FRAME
    assert ears.read(heard - 40 * RATE, heard).size == 40 * RATE
