"""One contract for every EchoCanceller."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from voiceloop.adapters.audio.room import EchoPath, Jump, Noise, Room, at_level, speech_db
from voiceloop.adapters.echo.aec3 import Aec3
from voiceloop.adapters.echo.cleaning import Cleaning
from voiceloop.adapters.echo.linear import Linear
from voiceloop.core.audio import FRAME, RATE, Pcm, level_db, silence
from voiceloop.ports import EchoCanceller

DATA = Path(__file__).parents[1] / "data"
CANCELLERS: dict[str, Callable[[], EchoCanceller]] = {"aec3": Aec3, "cleaning": lambda: Cleaning(Aec3())}


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


# --- in the simulated room ---

LAG = 128


def reply(seconds: float) -> Pcm:
    """Speech without a long pause, so long."""
    names = ("jfk.flac", "lj_LJ002-0020.flac", "libri_533-1066-0007.flac")
    pcm = np.concatenate([at_level(recording(name), -25) for name in names] * 3)
    return pcm[: int(seconds * RATE) // FRAME * FRAME]


def fallen_db(mic: Pcm, out: Pcm, start_s: float, end_s: float) -> float:
    """By how much a stretch became quieter."""
    a, b = int(start_s * RATE), int(end_s * RATE)
    return level_db(mic[a:b]) - level_db(out[a + LAG : b + LAG])


PATHS = {
    "near": EchoPath(-6, 20, rt60_s=0.2),
    "far": EchoPath(-6, 300, rt60_s=0.5, seed=2),
    "quiet": EchoPath(-20, 60, seed=3),
    "bad loudspeaker": EchoPath(-6, 60, drive=6.0, band_hz=(200, 7000), seed=4),
    "fast clock": EchoPath(-6, 100, skew_ppm=100, seed=5),
    "slow clock": EchoPath(-6, 100, skew_ppm=-100, seed=6),
}


@pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)
def test_nothing_of_a_reply_is_heard_through_a_room(path: EchoPath) -> None:
    """A recorded voice: with its room in it, the canceller needs 2 s; with a synthetic one, 1 s."""
    mic, ref = Room(path, Noise(-75)).run(reply(12))
    out = run(Aec3(), mic, ref)
    assert fallen_db(mic, out, 2, 11.9) > (15 if path.skew_ppm or path.drive else 25)


@pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)
def test_somebody_as_loud_as_the_echo_stays(path: EchoPath) -> None:
    """Level and sound of the voice are as without a reply, within what a room of noise and echo does."""
    voice = at_level(recording("sb_spk1_snt5.flac"), speech_db(reply(12)) + path.level_db)
    room = Room(path, Noise(-75))
    room.say(voice, 8 * RATE)
    mic, ref = room.run(reply(12))
    out = run(Aec3(), mic, ref)[8 * RATE + LAG :][: voice.size].astype(float)
    alike = np.dot(out, voice) / np.sqrt(np.dot(out, out) * np.dot(voice.astype(float), voice))
    assert alike > 0.8
    assert level_db(out.astype(np.int16)) == pytest.approx(level_db(voice), abs=2)


def test_a_jump_of_the_delay_is_followed() -> None:
    path = EchoPath(-6, 60, jumps=(Jump(6, 20), Jump(9, -40)))
    mic, ref = Room(path, Noise(-75)).run(reply(12))
    out = run(Aec3(), mic, ref)
    for start in (6.5, 9.5):
        assert fallen_db(mic, out, start, start + 2) > 25


@pytest.mark.parametrize("samples", [-3, 3])
def test_a_jump_of_a_few_samples_is_followed(samples: int) -> None:
    linear = Linear()
    mic, ref = Room(EchoPath(-6, 60, jumps=(Jump(6, samples / 16),)), Noise(-75)).run(reply(8))
    before, lost = 0.0, 0
    for at in range(0, mic.size, FRAME):
        linear.step(*(pcm[at : at + FRAME].astype(np.float32) / 32768 for pcm in (mic, ref)))
        before = linear.delay or 0.0 if at < 6 * RATE else before
        lost += linear.lost and at > 6.5 * RATE
    assert linear.delay == pytest.approx(before + samples, abs=1)
    assert lost == 0


@pytest.mark.parametrize("ppm", [-400, 400])
def test_a_reference_that_is_led_back_while_the_path_is_learned(ppm: int) -> None:
    linear = Linear()
    path = EchoPath(-6, 100, skew_ppm=ppm)
    mic, ref = Room(path, Noise(-75)).run(reply(8))
    for at in range(0, mic.size, FRAME):
        linear.step(*(pcm[at : at + FRAME].astype(np.float32) / 32768 for pcm in (mic, ref)))
    assert linear.drift_ppm == pytest.approx(-ppm, abs=60)
    assert not linear.lost


def test_the_path_is_remembered_between_replies() -> None:
    room, canceller = Room(EchoPath(-6, 60), Noise(-75)), Aec3()
    run(canceller, *room.run(reply(8)))
    run(canceller, *room.run(silence(3 * RATE)))
    mic, ref = room.run(reply(2))
    out = run(canceller, mic, ref)
    assert fallen_db(mic, out, 0.1, 1.9) > 25


def test_somebody_who_speaks_at_once_with_a_later_reply_stays() -> None:
    room, canceller = Room(EchoPath(-6, 60), Noise(-75)), Aec3()
    run(canceller, *room.run(reply(8)))
    run(canceller, *room.run(silence(3 * RATE)))
    voice = at_level(recording("sb_spk1_snt5.flac"), -31)
    room.say(voice)
    out = run(canceller, *room.run(reply(4)))[LAG : voice.size + LAG].astype(float)
    assert np.dot(out, voice) / np.sqrt(np.dot(out, out) * np.dot(voice.astype(float), voice)) > 0.8


def test_the_doubt_is_high_for_an_echo_and_low_for_a_person() -> None:
    path, canceller = EchoPath(-6, 60), Aec3()
    voice = at_level(recording("sb_spk1_snt5.flac"), -31)
    room = Room(path, Noise(-75))
    room.say(voice, 8 * RATE)
    mic, ref = room.run(reply(12))
    doubts: list[float] = []
    for at in range(0, mic.size, FRAME):
        canceller.process(mic[at : at + FRAME], ref[at : at + FRAME])
        doubts.append(canceller.doubt)
    assert all(0.0 <= doubt <= 1.0 for doubt in doubts)
    loud = [level_db(mic[at : at + FRAME]) > -40 for at in range(0, mic.size, FRAME)]
    echo = [doubt for doubt, there in zip(doubts[200:400], loud[200:400], strict=True) if there]
    spoken = [level_db(voice[at : at + FRAME]) > -35 for at in range(0, voice.size - FRAME, FRAME)]
    person = [doubt for doubt, there in zip(doubts[400:], spoken, strict=False) if there]
    assert np.median(echo) > 0.7
    assert np.median(person) < 0.3
    run(canceller, *room.run(silence(2 * RATE)))
    assert canceller.doubt == 0.0


def test_the_delay_and_the_drift_are_found() -> None:
    linear = Linear()
    mic, ref = Room(EchoPath(-12, 150, skew_ppm=100), Noise(-75)).run(reply(20))
    assert linear.delay is None
    for at in range(0, mic.size, FRAME):
        linear.step(*(pcm[at : at + FRAME].astype(np.float32) / 32768 for pcm in (mic, ref)))
    assert linear.drift_ppm == pytest.approx(-100, abs=20)
    # The reference waits for 30 ms of its own where the clocks differ, and has drifted by 32 samples since.
    assert linear.delay == pytest.approx(2400 - 480 - 32, abs=100)


def test_noise_suppression_and_gain_control() -> None:
    hiss = noisy(silence(6 * RATE), rms=100)
    assert level_db(run(Cleaning(None, noise="high"), hiss, silence(hiss.size))[3 * RATE :]) < level_db(hiss) - 10
    voice = at_level(recording("jfk.flac"), -45)
    louder = run(Cleaning(None, gain=True), voice, silence(voice.size))
    assert speech_db(louder[5 * RATE :]) > speech_db(voice[5 * RATE :]) + 6
    assert Cleaning(None).doubt == 0.0
