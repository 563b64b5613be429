"""One contract for every EchoCanceller."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from voiceloop.adapters.echo.aec3 import Aec3
from voiceloop.core.audio import FRAME, RATE, Pcm, level_db, silence
from voiceloop.ports import EchoCanceller

DATA = Path(__file__).parents[1] / "data"
CANCELLERS: dict[str, Callable[[], EchoCanceller]] = {"aec3": Aec3}


@pytest.fixture(params=CANCELLERS)
def canceller(request: pytest.FixtureRequest) -> EchoCanceller:
    return CANCELLERS[request.param]()


def recording(name: str) -> Pcm:
    pcm, _ = soundfile.read(DATA / name, dtype="int16")
    return pcm[: pcm.size // FRAME * FRAME]


def run(canceller: EchoCanceller, mic: Pcm, ref: Pcm) -> Pcm:
    frames = zip(mic.reshape(-1, FRAME), ref.reshape(-1, FRAME), strict=True)
    return np.concatenate([canceller.process(m, r) for m, r in frames])


def echo_of(far: Pcm, delay: int) -> Pcm:
    """What a small room gives back: a delay, then a decaying tail."""
    rng = np.random.default_rng(1)
    room = np.concatenate((np.zeros(delay), rng.standard_normal(1600) * np.exp(-np.arange(1600) / 300) * 0.05))
    return np.rint(np.convolve(far, room)[: far.size]).astype(np.int16)


@pytest.mark.parametrize("delay_ms", [0, 60, 250])
def test_echo_goes_away(canceller: EchoCanceller, delay_ms: int) -> None:
    far = recording("jfk.flac")
    mic = echo_of(far, delay_ms * RATE // 1000)
    out = run(canceller, mic, far)
    assert out.dtype == np.int16
    assert out.shape == mic.shape
    assert level_db(out[5 * RATE :]) < level_db(mic[5 * RATE :]) - 20


def test_the_user_stays(canceller: EchoCanceller) -> None:
    near = recording("sb_spk1_snt5.flac")
    out = run(canceller, near, silence(near.size))
    assert level_db(out) == pytest.approx(level_db(near), abs=2)


def test_the_user_stays_in_the_silence_after_a_reply(canceller: EchoCanceller) -> None:
    far, near = recording("libri_533-1066-0007.flac"), recording("jfk.flac")
    run(canceller, echo_of(far, 0), far)
    out = run(canceller, near, silence(near.size))
    assert level_db(out) == pytest.approx(level_db(near), abs=2)


def test_digital_silence_stays_silent(canceller: EchoCanceller) -> None:
    far = recording("lj_LJ002-0020.flac")
    run(canceller, echo_of(far, 0), far)
    assert level_db(run(canceller, silence(RATE), silence(RATE))[RATE // 2 :]) < -80


def test_arguments_are_left_alone(canceller: EchoCanceller) -> None:
    mic, ref = recording("jfk.flac")[:FRAME].copy(), silence(FRAME)
    before = mic.copy()
    out = canceller.process(mic, ref)
    assert np.array_equal(mic, before)
    assert not ref.any()
    assert not np.shares_memory(out, mic)


GOOD = silence(FRAME)


@pytest.mark.parametrize(
    "bad", [silence(0), silence(160), silence(321), silence(640).reshape(2, 320), np.zeros(320, np.float32)]
)
def test_wrong_shapes_raise(canceller: EchoCanceller, bad: Pcm) -> None:
    with pytest.raises(ValueError, match="320"):
        canceller.process(bad, GOOD)
    with pytest.raises(ValueError, match="320"):
        canceller.process(GOOD, bad)


def test_resting_and_waking_lose_and_repeat_no_sample() -> None:
    """A ramp of sound goes through rest, work and rest again: the lag stays the same."""
    near = recording("jfk.flac")[: 6 * RATE]
    far = silence(near.size)
    far[2 * RATE : 3 * RATE] = recording("lj_LJ002-0020.flac")[:RATE] // 64
    out = run(Aec3(), near, far)
    lag = 128
    assert np.array_equal(out[lag : 2 * RATE], near[: 2 * RATE - lag])
    assert np.array_equal(out[4 * RATE + 2 * FRAME + lag :], near[4 * RATE + 2 * FRAME : -lag])
    worked = out[2 * RATE + lag : 4 * RATE].astype(float)
    shifts = [float(np.dot(worked, near[2 * RATE + s : 4 * RATE - lag + s].astype(float))) for s in range(-40, 41)]
    assert abs(int(np.argmax(shifts)) - 40) <= 2


def noisy(pcm: Pcm, rms: float = 30.0) -> Pcm:
    return np.clip(pcm + np.random.default_rng(2).normal(0, rms, pcm.size), -32768, 32767).astype(np.int16)


def test_with_headphones_the_user_stays_over_the_reply() -> None:
    far = recording("jfk.flac")
    near = silence(far.size)
    voice = recording("libri_533-1066-0007.flac")[: 5 * RATE]
    near[4 * RATE : 4 * RATE + voice.size] = voice
    canceller = Aec3()
    run(canceller, noisy(silence(4 * RATE)), silence(4 * RATE))
    out = run(canceller, noisy(near), far)
    spoken = slice(4 * RATE, 4 * RATE + voice.size)
    assert level_db(out[spoken]) == pytest.approx(level_db(noisy(near)[spoken]), abs=1)


def test_when_the_headphones_come_off_the_echo_goes_away_again() -> None:
    far = np.concatenate([recording("jfk.flac")] * 2)
    mic = echo_of(far, 60 * RATE // 1000) // 2
    mic[: 5 * RATE] = 0
    out = run(Aec3(), noisy(mic), far)
    assert level_db(out[10 * RATE :]) < level_db(noisy(mic)[10 * RATE :]) - 15
