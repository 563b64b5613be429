"""What the ears keep of the microphone."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable

from voiceloop.core.audio import FRAME, RATE, Pcm
from voiceloop.core.events import Flushed, Played, Voice
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


class LateVad(FakeVad):
    """Judges every other frame later."""

    def __init__(self) -> None:
        super().__init__()
        self.later: asyncio.Future[float] | None = None

    def judge(self, frame: Pcm) -> float | Awaitable[float]:
        self.later = None if self.later else asyncio.get_running_loop().create_future()
        return self.probability(frame) if self.later is None else self.later


async def test_a_frame_that_is_judged_later_is_fed_then() -> None:
    fed: list[Voice | Played | Flushed] = []
    vad = LateVad()
    ears = Ears(vad, None, fed.append, capacity=RATE)
    judged = ears.hear(Capture(tone(FRAME / RATE)))
    assert judged is not None
    assert vad.later is not None
    assert ears.read(0, FRAME).size == FRAME
    assert not fed
    vad.later.set_result(0.75)
    await judged
    assert [event.p for event in fed if isinstance(event, Voice)] == [0.75]
    assert ears.hear(Capture(tone(FRAME / RATE))) is None
    assert [event.p for event in fed if isinstance(event, Voice)] == [0.75, 0.95]
