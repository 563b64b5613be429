"""What was handed over and not heard waits again; a device at another rate; a whisper that wakes the loudspeaker."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from voiceloop.adapters.audio import listing
from voiceloop.adapters.audio.listing import Lookout
from voiceloop.adapters.audio.outlet import Rated
from voiceloop.adapters.audio.playback import Playback
from voiceloop.adapters.audio.portaudio import DeviceInfo
from voiceloop.adapters.audio.primer import Primer
from voiceloop.adapters.resample.stream import StreamResampler
from voiceloop.core.audio import Pcm, level_db
from voiceloop.ports import Progress
from voiceloop.testing import tone

RATE = 1_000
FADE = 5


def ramp(n: int, start: int = 1) -> Pcm:
    return np.arange(start, start + n, dtype=np.int16)


# --- rewind ---


@given(
    steps=st.lists(
        st.tuples(st.sampled_from(["pull", "look", "lose"]), st.integers(1, 60), st.integers(0, 40)), max_size=30
    )
)
def test_whatever_is_lost_on_the_way_each_sample_is_heard_once_and_counted(steps) -> None:
    """A loudspeaker that is `behind` samples late, and is pulled out now and then with what is on its way."""
    playback = Playback(RATE)
    assert playback.offer(1, ramp(700, 1000)) == 700
    given, heard, told = list[int](), list[int](), 0
    base = 0  # position of the first sample in `given`
    for what, n, behind in [*steps, ("pull", 700, 0), ("look", 1, 0)]:
        if what == "pull":
            given += playback.pull(n).tolist()
            continue
        reached = max(0, len(given) - behind)
        heard += given[:reached]
        given, base = given[reached:], base + reached
        if what == "lose":
            playback.rewind(base)
            base, given = playback.pulled, []
            assert playback.counts(1) == (700, np.count_nonzero(heard))
        else:
            for progress in playback.news(base):
                assert progress.n >= told
                told = progress.n
    sounds = [x for x in heard if x]
    assert told == 700
    assert len(sounds) == 700
    right = np.array(sounds) == ramp(700, 1000)
    wrong = np.flatnonzero(~right)
    assert np.all(np.array(sounds)[wrong] < ramp(700, 1000)[wrong]), "softer, where it fades in, and never another one"


def test_what_was_heard_and_not_told_before_the_loss_is_told_after_it() -> None:
    playback = Playback(RATE)
    playback.offer(1, ramp(100))
    playback.offer(2, ramp(100))
    playback.pull(150)
    playback.rewind(120)
    assert playback.news() == (Progress(1, 100), Progress(2, 20))
    playback.pull(80)
    assert playback.news() == (Progress(2, 100),)


def test_a_held_reply_is_rewound_too() -> None:
    playback = Playback(RATE)
    playback.offer(1, ramp(100))
    playback.pull(50)
    assert playback.hold(1) == 50
    playback.rewind(30)
    assert playback.hold(1) == 30
    assert not playback.pull(20).any(), "it is still held, and nothing fades any more"
    playback.resume(1)
    assert playback.pull(70)[FADE:].tolist() == ramp(65, 31 + FADE).tolist()
    assert playback.news() == (Progress(1, 100),)


def test_what_was_flushed_does_not_come_again() -> None:
    playback = Playback(RATE)
    playback.offer(1, ramp(100))
    playback.pull(50)
    assert playback.flush(1) == 50
    playback.rewind(10)
    assert playback.counts(1) == (100, 50)
    assert playback.news() == (Progress(1, 50, final=True),)
    playback.pull(FADE)
    assert not playback.pull(50).any()


def test_the_order_of_replies_stays() -> None:
    playback = Playback(RATE)
    playback.offer(1, ramp(20))
    playback.offer(2, ramp(20, 101))
    playback.offer(3, ramp(20, 201))
    playback.pull(50)
    playback.rewind(10)
    again = playback.pull(50)
    assert [again[i] for i in (9, 29, 49)] == [20, 120, 220]
    assert [p.reply for p in playback.news()] == [1, 2, 3]


async def test_a_writer_waits_for_what_came_back_first() -> None:
    playback = Playback(RATE)
    await playback.write(1, ramp(2000))
    playback.pull(500)
    playback.news(0)
    await playback.write(1, ramp(500, 2001))
    playback.rewind(0)
    assert playback.waiting == 2500
    assert playback.offer(1, ramp(10)) == 0, "the queue is more than full, and takes nothing"


# --- another rate ---


@pytest.mark.parametrize("rate", [8_000, 44_100, 48_000])
def test_a_device_at_another_rate_plays_the_same_and_counts_alike(rate: int) -> None:
    playback = Playback(16_000)
    playback.pull(123)
    playback.offer(1, tone(1.0, hz=440))
    rated = Rated(playback, rate, StreamResampler)
    assert (rated.rate, rated.pulled) == (16_000, 123)
    block = rate // 50
    out = np.concatenate([rated.pull(block) for _ in range(60)])
    assert out.size == 60 * block
    assert rated.pulled == pytest.approx(123 + 1.2 * 16_000, abs=1)
    assert playback.pulled - rated.pulled < 0.03 * 16_000, "what the resampler holds back"
    assert np.count_nonzero(np.abs(out) > 100) / rate == pytest.approx(1.0, abs=0.03)
    spectrum = np.abs(np.fft.rfft(out[: rate // 2].astype(float)))
    assert abs(int(spectrum.argmax()) * 2 - 440) <= 4
    assert playback.news(rated.pulled) == (Progress(1, 16_000),)


# --- the primer ---


def test_a_whisper_comes_before_a_reply_after_a_silence() -> None:
    playback = Playback(RATE, primer=Primer(RATE, 0.1, 1.0))
    playback.offer(1, ramp(50))
    out = playback.pull(200)
    assert out[100:150].tolist() == ramp(50).tolist(), "at the start the loudspeaker is taken to sleep"
    assert np.abs(out[:100]).max() <= 4
    assert -90 < level_db(out[:100]) < -78
    assert playback.news(120) == (Progress(1, 20),), "the whisper is no part of the reply"
    playback.pull(900)
    playback.offer(2, ramp(50))
    assert playback.pull(50).tolist() == ramp(50).tolist(), "it is still awake"
    playback.pull(1000)
    playback.offer(3, ramp(50))
    parts = np.concatenate([playback.pull(30) for _ in range(6)])
    assert parts[100:150].tolist() == ramp(50).tolist()
    assert parts[:100].any()


def test_another_device_sleeps_at_its_start() -> None:
    """A reply that goes on where the one before was pulled out begins on a loudspeaker that was just connected."""
    playback = Playback(RATE, primer=Primer(RATE, 0.1, 1.0))
    playback.offer(1, ramp(50))
    playback.pull(130)
    playback.rewind(110)
    out = playback.pull(200)
    assert out[:100].any()
    assert np.abs(out[:100]).max() <= 4
    assert out[100 + FADE : 140].tolist() == ramp(40 - FADE, 11 + FADE).tolist()


def test_without_a_primer_there_is_none() -> None:
    playback = Playback(RATE)
    playback.pull(100_000)
    playback.offer(1, ramp(50))
    assert playback.pull(50).tolist() == ramp(50).tolist()


# --- what another process sees ---


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing, "EVERY_S", 0.001)


MIC = DeviceInfo(0, "Mic", "ALSA", 1, 0, 48_000)


async def test_a_lookout_tells_what_it_sees_on_the_loop(quick: None) -> None:
    seen: asyncio.Queue[Sequence[DeviceInfo] | None] = asyncio.Queue()
    tables: list[list[DeviceInfo] | None] = [None, [], [MIC]]
    lookout = Lookout(seen.put_nowait, lambda: tables.pop(0) if len(tables) > 1 else tables[0])
    lookout.want(True)
    lookout.want(True)
    assert await seen.get() is None, "nobody can tell"
    assert await seen.get() == []
    assert await seen.get() == [MIC]
    lookout.want(False)
    lookout.want(False)
    while not seen.empty():
        seen.get_nowait()
    await asyncio.sleep(0)
    assert seen.empty()


def test_a_look_is_a_list_of_devices() -> None:
    found = listing.look()
    assert found is not None
    assert all(isinstance(device, DeviceInfo) for device in found)


def test_a_look_that_fails_tells_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing, "_CODE", "raise SystemExit(3)")
    assert listing.look() is None


_HANGS = """
import threading
from voiceloop.adapters.audio import listing, portaudio
def library():
    threading.Event().wait()
listing._PATIENCE_S, portaudio.library = 0.01, library
listing.main()
"""


def test_a_look_that_hangs_outlives_nobody() -> None:
    """Who asked for it may have ended meanwhile, and with it the thread that would have ended it."""
    with subprocess.Popen([sys.executable, "-c", _HANGS], stdout=subprocess.PIPE) as child:
        try:
            assert child.wait(60) == 1
        finally:
            child.kill()
