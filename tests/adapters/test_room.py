"""The simulated room gives what it says: delays, levels, clocks, people; and its port keeps a port's contract."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from voiceloop.adapters.audio.room import EchoPath, Jump, Noise, Room, RoomPort, at_level, speech_db
from voiceloop.core.audio import FRAME, RATE, Pcm, level_db, silence
from voiceloop.ports import AudioPort, Capture, Progress
from voiceloop.testing import VirtualLoop

DATA = Path(__file__).parents[1] / "data"


def recording(name: str) -> Pcm:
    pcm, _ = soundfile.read(DATA / name, dtype="int16")
    return pcm[: pcm.size // FRAME * FRAME]


def hiss(n: int, seed: int = 3) -> Pcm:
    return np.random.default_rng(seed).normal(0, 3000, n).astype(np.int16)


def lateness(mic: Pcm, ref: Pcm) -> int:
    """Samples by which mic comes after ref."""
    size = 2 * mic.size
    found = np.fft.irfft(np.fft.rfft(mic, size) * np.conj(np.fft.rfft(ref, size)))
    return int(np.argmax(found[: mic.size]))


def test_nothing_is_heard_in_an_empty_room() -> None:
    mic, ref = Room().run(hiss(RATE))
    assert not mic.any()
    assert np.array_equal(ref, hiss(RATE))


@pytest.mark.parametrize("delay_ms", [1, 20, 150, 300])
def test_the_echo_comes_after_its_delay_and_the_reference_at_once(delay_ms: int) -> None:
    far = hiss(RATE)
    mic, ref = Room(EchoPath(-12, delay_ms, rt60_s=0)).run(far)
    assert np.array_equal(ref, far)
    delay = delay_ms * RATE // 1000
    assert not mic[:delay].any()
    assert lateness(mic, ref) == delay


@pytest.mark.parametrize("level", [-6, -12, -20])
@pytest.mark.parametrize("seed", [0, 1])
def test_the_echo_of_speech_has_the_level_it_is_said_to_have(level: float, seed: int) -> None:
    far = recording("jfk.flac")
    for path in (EchoPath(level, 60, seed=seed), EchoPath(level, 60, 0.6, band_hz=(200, 6000), seed=seed)):
        mic, _ = Room(path).run(far)
        assert speech_db(mic) - speech_db(far) == pytest.approx(level, abs=2.5)


def test_frames_give_the_same_as_the_whole() -> None:
    """The echo of a click goes on over many frames, and is the impulse response."""
    path = EchoPath(-6, 60, rt60_s=0.2)
    far = silence(RATE)
    far[500] = 20_000
    mic, _ = Room(path).run(far)
    wanted = np.rint(20_000 * path.response())
    start = 500 + 60 * RATE // 1000
    assert np.array_equal(mic[start : start + wanted.size], wanted[: mic.size - start].astype(np.int16))


def test_a_jump_moves_the_echo() -> None:
    far = hiss(2 * RATE)
    mic, ref = Room(EchoPath(-6, 60, rt60_s=0, jumps=(Jump(1.0, 20.0),))).run(far)
    assert lateness(mic[:RATE], ref[:RATE]) == 960
    assert lateness(mic[RATE:], ref[RATE:]) == 1280


@pytest.mark.parametrize("ppm", [100, -100])
def test_the_reference_follows_a_loudspeaker_with_another_clock(ppm: float) -> None:
    """The loudspeaker takes more samples, or less; the echo moves against the reference by as much."""
    room = Room(EchoPath(-6, 100, rt60_s=0, skew_ppm=ppm))
    seconds = 12
    mic, ref = room.run(hiss(seconds * RATE + RATE))
    assert mic.size == ref.size
    assert room.wants in (FRAME - 1, FRAME, FRAME + 1)
    early = lateness(mic[RATE : 2 * RATE], ref[RATE : 2 * RATE])
    late = lateness(mic[11 * RATE : 12 * RATE], ref[11 * RATE : 12 * RATE])
    assert late - early == pytest.approx(-10 * RATE * ppm * 1e-6, abs=1)


def test_a_bad_loudspeaker_distorts() -> None:
    tone = (16_000 * np.sin(2 * np.pi * 500 * np.arange(RATE) / RATE)).astype(np.int16)
    path = EchoPath(-6, 20, rt60_s=0)

    def third(room: Room) -> float:
        spectrum = np.abs(np.fft.rfft(room.run(tone)[0][RATE // 2 :]))
        return float(spectrum[750] / spectrum[250])

    assert third(Room(path)) < 0.001
    assert third(Room(replace(path, drive=6.0))) > 0.1


def test_people_speak_where_and_as_loud_as_they_are_told() -> None:
    room, voice = Room(), recording("sb_spk1_snt5.flac")
    room.say(at_level(voice, -30), 1000)
    mic, _ = room.run(silence(4 * RATE))
    assert not mic[:1000].any()
    assert np.array_equal(mic[1000 : 1000 + voice.size], at_level(voice, -30)[: mic.size - 1000])
    assert speech_db(mic) == pytest.approx(-30, abs=0.5)
    room.say(voice)
    mic, _ = room.run(silence(RATE))
    assert np.array_equal(mic, voice[:RATE])


@pytest.mark.parametrize("colour", ["white", "pink", "recorded"])
def test_noise_has_its_level(colour: str) -> None:
    noise = Noise(-50, hiss(1000) if colour == "recorded" else colour, seed=1)
    mic, _ = Room(noise=noise).run(silence(2 * RATE))
    assert level_db(mic) == pytest.approx(-50, abs=0.7)
    spectrum = np.abs(np.fft.rfft(mic)) ** 2
    ratio_db = 10 * np.log10(spectrum[600:1000].mean() / spectrum[6000:10000].mean())
    assert ratio_db == pytest.approx(10 if colour == "pink" else 0, abs=2)


def test_another_colour_is_refused() -> None:
    with pytest.raises(ValueError, match="white, pink"):
        Noise(-50, "mauve")


def test_the_path_can_change() -> None:
    far, room = hiss(RATE), Room()
    assert not room.run(far)[0].any()
    room.change(EchoPath(-6, 20, rt60_s=0))
    mic, ref = room.run(far)
    assert lateness(mic, ref) == 320
    room.change(EchoPath(-20, 40, rt60_s=0))
    quiet, _ = room.run(far)
    assert level_db(quiet[3 * FRAME :]) == pytest.approx(level_db(mic[3 * FRAME :]) - 14, abs=1)
    room.change(None)
    assert not room.run(far)[0].any()


def test_another_number_of_samples_is_refused() -> None:
    with pytest.raises(ValueError, match="takes 320"):
        Room().step(silence(319))


async def captures(port: AudioPort, n: int) -> list[Capture]:
    found: list[Capture] = []
    async with aclosing(port.frames()) as frames:
        async for capture in frames:
            found.append(capture)
            if len(found) == n:
                break
    return found


def play(port: RoomPort, n: int) -> list[Capture]:
    async def run() -> list[Capture]:
        await port.open()
        await port.write(1, hiss(2 * FRAME))
        found = await captures(port, n)
        assert asyncio.get_running_loop().time() == pytest.approx(n * FRAME / RATE)
        await port.close()
        return found

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(run())


def test_the_port_plays_and_hears_the_echo_of_it() -> None:
    found = play(RoomPort(Room(EchoPath(-6, 20, rt60_s=0))), 4)
    refs = np.concatenate([capture.ref for capture in found if capture.ref is not None])
    assert np.array_equal(refs[: 2 * FRAME], hiss(2 * FRAME))
    mic = np.concatenate([capture.mic for capture in found])
    assert lateness(mic, refs) == 320
    assert [news for capture in found for news in capture.played] == [Progress(1, FRAME), Progress(1, 2 * FRAME)]


def test_a_port_that_cancels_its_own_echo_gives_no_reference() -> None:
    assert all(capture.ref is None for capture in play(RoomPort(Room(), cancels=True), 3))


def test_the_port_ends_and_tells_who_watches() -> None:
    seen: list[int] = []
    port = RoomPort(Room(), watch=seen.append)
    port.finish(FRAME)
    assert not port.exhausted
    play(port, 3)
    assert seen == [0, FRAME, 2 * FRAME]
    assert port.exhausted
    assert asyncio.run(captures(port, 1)) == []
