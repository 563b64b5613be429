"""A recording is cut where nobody speaks, and every sample of speech is in one stretch."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from voiceloop.core.audio import FRAME, RATE, Pcm
from voiceloop.core.stretches import LEAD, Stretch, Stretches

SECOND = RATE // FRAME


def cut(voice: list[bool], longest_s: float = 20, gap_s: float = 2.5) -> tuple[Pcm, list[Stretch]]:
    """Frames that are loud where there is voice, each sample with a number of its own."""
    pcm = (np.arange(len(voice) * FRAME) % 30_000).astype(np.int16)
    cutter = Stretches(round(longest_s * RATE), round(gap_s * RATE))
    found: list[Stretch] = []
    for n, voiced in enumerate(voice):
        found += cutter.feed(pcm[n * FRAME : (n + 1) * FRAME], 0.9 if voiced else 0.1)
    return pcm, found + cutter.flush()


def seconds(*parts: tuple[bool, float]) -> list[bool]:
    return [voiced for voiced, length in parts for _ in range(round(length * SECOND))]


def test_silence_is_left_out() -> None:
    pcm, found = cut(seconds((False, 10), (True, 2), (False, 10), (True, 3), (False, 10)))
    assert [(s.start, s.voiced) for s in found] == [
        (9 * RATE, (10 * RATE, 12 * RATE)),
        (21 * RATE, (22 * RATE, 25 * RATE)),
    ]
    assert [s.pcm.size / RATE for s in found] == [4, 5]
    for s in found:
        assert np.array_equal(s.pcm, pcm[s.start : s.start + s.pcm.size])


def test_what_is_short_stays_whole() -> None:
    pcm, found = cut(seconds((False, 0.8), (True, 1), (False, 1.5), (True, 1), (False, 0.9)))
    assert [s.pcm.size for s in found] == [pcm.size]


def test_nothing_and_a_click() -> None:
    assert cut([])[1] == []
    assert cut(seconds((False, 5)))[1] == []
    assert cut([False] * 20 + [True] * 2 + [False] * 200)[1] == []


def test_a_long_speech_is_cut() -> None:
    pcm, found = cut(seconds((True, 50)), longest_s=20)
    assert np.array_equal(np.concatenate([s.pcm for s in found]), pcm)
    assert all(10 * RATE <= s.pcm.size <= 20 * RATE for s in found[:-1])


def test_a_cut_in_the_silence_after_speech() -> None:
    """What follows the cut may hold no voice at all: it waits for the next."""
    pcm = np.ones(12 * RATE, np.int16)
    pcm[: 5 * RATE] = 1000
    cutter = Stretches(6 * RATE, 3 * RATE)
    found: list[Stretch] = []
    for at in range(0, pcm.size, FRAME):
        found += cutter.feed(pcm[at : at + FRAME], 0.9 if at < 5 * RATE or at > 11 * RATE else 0.1)
    found += cutter.flush()
    assert [s.start for s in found] == [0, 10 * RATE + FRAME]
    assert [s.voiced for s in found] == [(0, 5 * RATE), (11 * RATE + FRAME, 12 * RATE)]


@given(st.lists(st.tuples(st.booleans(), st.integers(1, 300)), max_size=12), st.integers(1, 12), st.integers(0, 6))
def test_each_voiced_sample_is_in_one_stretch(runs: list[tuple[bool, int]], longest_s: int, gap_s: int) -> None:
    voice = [voiced for voiced, n in runs for _ in range(n if n > 3 or not voiced else 4)]
    pcm, found = cut(voice, longest_s, gap_s)
    covered = np.zeros(pcm.size, int)
    for s in found:
        covered[s.start : s.start + s.pcm.size] += 1
        assert s.pcm.size <= longest_s * RATE + FRAME
        assert np.array_equal(s.pcm, pcm[s.start : s.start + s.pcm.size])
        assert s.start <= s.voiced[0] <= s.voiced[1] <= s.start + s.pcm.size
    assert covered.max(initial=0) <= 1
    assert [s.start for s in found] == sorted(s.start for s in found)
    loud = np.repeat(np.array(voice, bool), FRAME)
    # Two frames of voice behind a cut may be taken for a click.
    assert (covered[loud] == 0).sum() <= 2 * FRAME * len(found)
    assert LEAD == RATE
