"""The loudspeaker's queue: everything written is played, kept or dropped, once and in order."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from threading import Event, Thread

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from voiceloop.adapters.audio.playback import KEPT, Playback
from voiceloop.core.audio import Pcm, fade, silence
from voiceloop.ports import Progress

RATE = 1_000
FADE = 5


def ramp(n: int, start: int = 1) -> Pcm:
    """Samples that tell which they are."""
    return np.arange(start, start + n, dtype=np.int16)


def loud(n: int) -> Pcm:
    return np.full(n, 10_000, dtype=np.int16)


@pytest.fixture
def playback() -> Playback:
    return Playback(RATE)


def test_silence_when_nothing_waits(playback: Playback) -> None:
    assert playback.pull(20).tolist() == [0] * 20
    assert playback.quiet
    assert playback.news() == ()
    assert playback.pulled == 20


def test_replies_play_one_after_the_other(playback: Playback) -> None:
    playback.offer(1, ramp(15))
    playback.offer(2, ramp(30, 101))
    playback.offer(1, ramp(5, 16))
    assert playback.pull(30).tolist() == [*range(1, 21), *range(101, 111)]
    assert playback.news() == (Progress(1, 20), Progress(2, 10))
    assert playback.pull(30).tolist() == [*range(111, 131), *[0] * 10]
    assert playback.news() == (Progress(2, 30),)
    assert playback.news() == ()
    assert playback.counts(1) == (20, 20)


def test_a_reply_that_ran_dry_goes_to_the_end_of_the_line(playback: Playback) -> None:
    playback.offer(1, ramp(10))
    playback.pull(10)
    playback.offer(2, ramp(10, 101))
    playback.offer(1, ramp(10, 11))
    assert playback.pull(20).tolist() == [*range(101, 111), *range(11, 21)]


def test_hold_stops_at_a_sample_and_resume_goes_on_from_it(playback: Playback) -> None:
    playback.offer(1, loud(100))
    playback.pull(20)
    assert playback.hold(1) == 20
    assert playback.hold(1) == 20
    assert playback.pull(20).tolist() == [*fade(loud(FADE), FADE, out=True).tolist(), *[0] * 15]
    assert playback.pull(20).tolist() == [0] * 20
    assert playback.news() == (Progress(1, 20),)
    playback.resume(1)
    assert playback.pull(20).tolist() == fade(loud(20), FADE).tolist()
    assert playback.news() == (Progress(1, 40),)
    assert playback.counts(1) == (100, 40)


def test_fades_reach_over_short_blocks(playback: Playback) -> None:
    playback.offer(1, loud(100))
    playback.pull(4)
    playback.hold(1)
    down = np.concatenate([playback.pull(2) for _ in range(4)])
    assert down.tolist() == [*fade(loud(FADE), FADE, out=True).tolist(), 0, 0, 0]
    playback.resume(1)
    up = np.concatenate([playback.pull(2) for _ in range(4)])
    assert up.tolist() == fade(loud(8), FADE).tolist()


def test_a_hold_that_nobody_could_hear_leaves_no_trace(playback: Playback) -> None:
    playback.offer(1, ramp(100))
    playback.pull(20)
    playback.hold(1)
    playback.resume(1)
    assert playback.pull(20).tolist() == list(range(21, 41))


def test_hold_within_a_fade_in_falls_from_where_it_was(playback: Playback) -> None:
    playback.offer(1, loud(100))
    playback.pull(10)
    playback.hold(1)
    playback.pull(10)
    playback.resume(1)
    playback.pull(2)
    assert playback.hold(1) == 12
    assert 0 < playback.pull(1)[0] <= 5_000


def test_a_held_reply_keeps_the_others_waiting(playback: Playback) -> None:
    playback.offer(1, ramp(10))
    playback.offer(2, ramp(10))
    playback.hold(1)
    assert playback.pull(10).tolist() == [0] * 10
    playback.flush(1)
    assert playback.pull(10).tolist() == list(range(1, 11))
    assert playback.news() == (Progress(1, 0, final=True), Progress(2, 10))


def test_hold_before_the_first_sample(playback: Playback) -> None:
    assert playback.hold(1) == 0
    playback.offer(1, ramp(10))
    assert playback.pull(10).tolist() == [0] * 10
    playback.resume(1)
    assert playback.pull(10).tolist() == list(range(1, 11))


def test_flush_drops_the_rest_and_all_that_follows(playback: Playback) -> None:
    playback.offer(1, loud(100))
    playback.pull(20)
    assert playback.flush(1) == 20
    assert playback.offer(1, loud(10)) == 10
    playback.offer(2, ramp(10))
    assert playback.pull(20).tolist() == [*fade(loud(FADE), FADE, out=True).tolist(), *range(1, 11), *[0] * 5]
    assert playback.news() == (Progress(1, 20, final=True), Progress(2, 10))
    assert playback.flush(1) == 20
    assert playback.news() == ()
    assert playback.counts(1) == (100, 20)
    assert playback.waiting == 0


def test_a_flush_after_a_hold_ends_where_the_hold_did(playback: Playback) -> None:
    playback.offer(1, loud(100))
    playback.pull(20)
    playback.hold(1)
    playback.pull(20)
    assert playback.flush(1) == 20
    playback.resume(1)
    assert playback.pull(20).tolist() == [0] * 20
    assert playback.news() == (Progress(1, 20, final=True),)


def test_heard_lags_behind_handed_and_never_goes_back(playback: Playback) -> None:
    playback.pull(10)
    playback.offer(1, ramp(30))
    for _ in range(4):
        playback.pull(10)
    assert playback.news(heard=5) == ()
    assert playback.news(heard=25) == (Progress(1, 15),)
    assert playback.news(heard=20) == ()
    assert playback.news(heard=1_000) == (Progress(1, 30),)


def test_gain_is_spread_over_a_block_and_then_stays(playback: Playback) -> None:
    playback.offer(1, loud(60))
    playback.pull(20)
    playback.gain(0.5)
    block = playback.pull(20)
    assert block[0] == 10_000
    assert block[-1] == 5_000
    assert np.all(np.diff(block) < 0)
    assert playback.pull(20).tolist() == [5_000] * 20
    playback.gain(7.0)
    playback.pull(1)
    playback.offer(1, loud(5))
    assert playback.pull(5).tolist() == [10_000] * 5


async def test_write_waits_until_the_queue_is_low() -> None:
    playback = Playback(RATE, high_s=0.1, low_s=0.05)
    async with asyncio.TaskGroup() as group:
        writer = group.create_task(playback.write(1, ramp(130)))
        await asyncio.sleep(0)
        assert playback.waiting == 100
        heard = playback.pull(40).tolist()
        playback.news()
        await asyncio.sleep(0)
        assert playback.waiting == 60, "above the low-water mark nothing is added"
        heard += playback.pull(10).tolist()
        playback.news()
        await asyncio.sleep(0)
        assert writer.done()
    assert heard + playback.pull(80).tolist() == list(range(1, 131))


@pytest.mark.parametrize("stop", [lambda p: p.flush(1), lambda p: p.close()])
async def test_write_returns_when_its_reply_is_flushed(stop: Callable[[Playback], object]) -> None:
    playback = Playback(RATE, high_s=0.1, low_s=0.05)
    async with asyncio.TaskGroup() as group:
        group.create_task(playback.write(1, ramp(500)))
        await asyncio.sleep(0)
        playback.pull(10)
        stop(playback)
    await playback.write(1, ramp(500))
    assert playback.waiting == 0


@pytest.mark.parametrize("pcm", [np.zeros(4, np.float32), np.zeros((4, 1), np.int16)])
async def test_write_takes_mono_int16_only(playback: Playback, pcm: Pcm) -> None:
    with pytest.raises(ValueError, match="int16"):
        await playback.write(1, pcm)


def test_what_was_written_may_be_reused(playback: Playback) -> None:
    pcm = ramp(10)
    playback.offer(1, pcm)
    pcm[:] = 0
    assert playback.pull(10).tolist() == list(range(1, 11))


def test_old_replies_are_forgotten_but_not_those_that_wait(playback: Playback) -> None:
    playback.offer(0, ramp(10))
    for reply in range(1, KEPT + 10):
        playback.flush(reply)
    assert playback.counts(0) == (10, 0)
    assert playback.counts(1) == (0, 0)
    assert playback.pull(10).tolist() == list(range(1, 11))


NO_FADES = 50
"""A rate at which 5 ms are less than half a sample: each value comes out as it was written."""

OPS = st.lists(
    st.tuples(
        st.sampled_from(["offer", "offer", "pull", "pull", "hold", "resume", "flush", "news"]),
        st.integers(1, 3),
        st.integers(0, 40),
    ),
    max_size=80,
)


def check_played(playback: Playback, sound: Pcm, replies: range, queued: dict[int, int]) -> None:
    """Each reply was heard from its first sample on, in order, once, and as far as its count says."""
    for reply in replies:
        assert playback.counts(reply)[0] == queued[reply]
        heard = sound[sound // 100 == reply] % 100
        assert heard.tolist() == [n % 100 for n in range(playback.counts(reply)[1])]


@given(OPS)
def test_each_sample_is_played_kept_or_dropped(ops: list[tuple[str, int, int]]) -> None:
    playback = Playback(NO_FADES, high_s=1e6)
    replies = range(1, 4)
    queued, told = dict.fromkeys(replies, 0), dict.fromkeys(replies, 0)
    flushed, news, sound = dict[int, int](), list[Progress](), [silence(0)]
    for op, reply, n in ops:
        if op == "offer":
            values = [reply * 100 + i % 100 for i in range(queued[reply], queued[reply] + n)]
            assert playback.offer(reply, np.array(values, dtype=np.int16)) == n
            queued[reply] += 0 if reply in flushed else n
        elif op == "pull":
            sound.append(playback.pull(n).copy())
            assert sound[-1].size == n
        elif op == "news":
            news += playback.news(n * 10)
        elif op == "flush":
            stop = playback.flush(reply)
            assert stop == flushed.setdefault(reply, playback.counts(reply)[1])
        elif op == "hold":
            assert playback.hold(reply) == playback.counts(reply)[1]
        else:
            playback.resume(reply)
    news += playback.news()
    for item in news:
        assert told[item.reply] <= item.n
        told[item.reply] = item.n
    check_played(playback, np.concatenate(sound), replies, queued)
    assert [(item.reply, item.n) for item in news if item.final] == list(flushed.items())
    assert told == {reply: playback.counts(reply)[1] for reply in replies}
    assert playback.waiting == sum(queued[r] - told[r] for r in replies if r not in flushed)


def test_a_device_thread_and_the_loop_agree_on_every_count() -> None:
    """The stop that `hold` and `flush` report is where the samples really end, however the threads interleave."""
    playback = Playback(NO_FADES, high_s=1e6)
    played: list[Pcm] = []
    stop = Event()

    def device() -> None:
        while not stop.is_set():
            played.append(playback.pull(7).copy())

    thread = Thread(target=device)
    thread.start()
    replies = range(1, 200)
    stops = dict[int, int]()
    for reply in replies:
        playback.offer(reply, np.arange(500, dtype=np.int16) % 100 + reply * 100)
        held = playback.hold(reply)
        playback.resume(reply)
        stops[reply] = playback.flush(reply)
        assert held <= stops[reply]
    stop.set()
    thread.join()
    assert playback.waiting == 0
    assert {item.reply: item.n for item in playback.news() if item.final} == stops
    check_played(playback, np.concatenate(played), replies, dict.fromkeys(replies, 500))
