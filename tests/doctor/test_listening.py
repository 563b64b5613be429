"""The measurement on a simulated pair of devices whose true delays are known, with the port's own counting."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from tests.adapters.test_sounddevice import Status, Times
from voiceloop.adapters.audio.playback import Playback
from voiceloop.adapters.audio.taps import Framer, Tap
from voiceloop.adapters.resample.stream import StreamResampler
from voiceloop.core.audio import FRAME, RATE, Pcm, silence
from voiceloop.doctor.listening import Take, listen, measured
from voiceloop.errors import DeviceError
from voiceloop.ports import Capture
from voiceloop.process import wait_for
from voiceloop.testing import FakePort, script
from voiceloop.virtual import VirtualLoop


@dataclass
class Facts:
    """What PortAudio says of the pair."""

    in_delay_s: float
    out_delay_s: float
    pair: str = "Cards: ear at 16000 Hz, Cards: mouth at 16000 Hz"
    in_rate: int = RATE


class Simulated(FakePort):
    """Two ends of one clock. What is pulled is heard `out_s` later, and what sounds is recorded `in_s` later."""

    def __init__(self, facts: Facts, *, out_s: float, in_s: float, gain: float = 0.1, noise: float = 30.0) -> None:
        super().__init__(script(), ends=False)
        self.opened: Facts | None = None
        self._facts = facts
        self._delay = round((out_s + in_s) * RATE)
        self._gain, self._noise = gain, noise
        self._playback = Playback(RATE)
        self._tap = Tap()
        self.out_rate = RATE

    @property
    def xruns(self) -> tuple[int, int]:
        return self._tap.lost, self._tap.late

    async def open(self) -> None:
        self.opened = self._facts
        self._tap.connect(self._playback, self._facts.out_delay_s, bool)

    async def frames(self) -> AsyncGenerator[Capture, None]:
        framer, rng = Framer(RATE, RATE, StreamResampler, one_clock=True), np.random.default_rng(1)
        air = np.zeros(self._delay + FRAME)
        while True:
            await asyncio.sleep(FRAME / RATE)
            out = silence(FRAME)
            self._tap.play(out, FRAME, Times(), Status())  # type: ignore[arg-type]
            air = np.concatenate((air, out))
            mic, air = air[:FRAME] * self._gain + rng.normal(0, self._noise, FRAME), air[FRAME:]
            self._tap.record(mic.clip(-32768, 32767).astype(np.int16).tobytes(), FRAME, Times(), Status())
            for block in self._tap.blocks():
                for capture in framer.feed(block, self._playback.news(block.heard)):
                    yield capture

    async def write(self, reply: int, pcm: Pcm) -> None:
        await self._playback.write(reply, pcm)

    async def close(self) -> None:
        self.opened = None


def take(port: Any, n: int = 5) -> Take:
    told: list[str] = []
    takes: list[Take] = []

    async def work() -> None:
        takes.append(await listen(port, n, told.append))

    wait_for(work(), VirtualLoop)
    assert told == ["opening the devices", "listening to the room", f"playing {n} short sounds"]
    return takes[0]


@pytest.mark.parametrize("more_s", [0.0, 0.09, 0.25, -0.04])
def test_the_delay_that_portaudio_does_not_tell_is_found(more_s: float) -> None:
    port = Simulated(Facts(0.05, 0.06), in_s=0.05, out_s=0.06 + more_s)
    found = measured(take(port))
    assert found is not None
    heard, calibration = found
    assert heard.found == 5
    assert heard.delay_s == pytest.approx(0.13 + more_s, abs=0.002)
    assert heard.loss_db == pytest.approx(20, abs=0.5)
    assert calibration.extra_s == pytest.approx(more_s, abs=0.021), "a block"
    assert calibration.device_s == pytest.approx(0.11 + more_s, abs=0.021)
    assert calibration.reported_s == pytest.approx(0.11)


def test_the_recording_is_told_apart_from_its_beginning() -> None:
    found = take(Simulated(Facts(0.05, 0.06), in_s=0.05, out_s=0.06), 2)
    assert found.quiet.size == round(1.2 * RATE)
    assert not found.ref[: found.quiet.size].any()
    assert found.mic.size == found.ref.size == pytest.approx(3.7 * RATE, abs=FRAME)
    assert found.took_s == pytest.approx(3.7, abs=0.03)
    assert (found.late, found.lost) == (0, 0)


def test_headphones_give_nothing_back() -> None:
    assert measured(take(Simulated(Facts(0.05, 0.06), in_s=0.05, out_s=0.06, gain=0.0))) is None


def test_a_device_that_is_lost_is_one_sentence() -> None:
    class Lost(Simulated):
        async def frames(self) -> AsyncGenerator[Capture, None]:
            for _ in range(90):
                yield Capture(silence(FRAME), silence(FRAME))
            raise DeviceError("The sound device was lost: connect it again.")

    with pytest.raises(DeviceError, match="was lost"):
        take(Lost(Facts(0.05, 0.06), in_s=0.05, out_s=0.06))


def test_a_loudspeaker_that_takes_nothing_is_waited_for_no_longer_than_the_recording() -> None:
    class Stuck(Simulated):
        async def write(self, reply: int, pcm: Pcm) -> None:
            await asyncio.get_running_loop().create_future()

    found = take(Stuck(Facts(0.05, 0.06), in_s=0.05, out_s=0.06))
    assert not found.ref.any()
    assert measured(found) is None


def test_a_port_that_says_nothing_of_its_progress_adds_nothing() -> None:
    found = take(Simulated(Facts(0.05, 0.06), in_s=0.05, out_s=0.2))
    silent = SimpleNamespace(**{name: getattr(found, name) for name in found.__dataclass_fields__} | {"told": ()})
    result = measured(silent)  # type: ignore[arg-type]
    assert result is not None
    assert result[1].extra_s == 0.0
