"""Sums on samples."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from voiceloop.core.audio import (
    RATE,
    SILENCE_DB,
    Rechunker,
    Tape,
    fade,
    level_db,
    quietest,
    seconds,
    silence,
    split,
    ticks,
    to_float,
    to_pcm,
)

SETTINGS = settings(derandomize=True, database=None, deadline=None)


def ramp(n: int, start: int = 0) -> np.ndarray:
    return (np.arange(start, start + n) % 30_000).astype(np.int16)


def test_ticks_and_seconds() -> None:
    assert ticks(0.06) == 960
    assert seconds(960) == 0.06


def test_level() -> None:
    assert level_db(silence(0)) == SILENCE_DB
    assert level_db(silence(320)) == SILENCE_DB
    assert level_db(np.full(320, -32768, np.int16)) == 0.0
    assert level_db(np.full(320, 3277, np.int16)) == pytest.approx(-20, abs=0.01)
    assert level_db(np.eye(1, 320, dtype=np.int16)[0]) == SILENCE_DB


def test_floats_and_back() -> None:
    pcm = np.array([-32768, -1, 0, 1, 32767], np.int16)
    assert to_float(pcm).dtype == np.float32
    assert (to_pcm(to_float(pcm)) == pcm).all()
    assert to_pcm(np.array([2.0, -2.0])).tolist() == [32767, -32768]


def test_fades() -> None:
    pcm = np.full(10, 1000, np.int16)
    assert fade(pcm, 4).tolist() == [125, 375, 625, 875, *[1000] * 6]
    assert fade(pcm, 4, out=True).tolist() == [*[1000] * 6, 875, 625, 375, 125]
    assert fade(pcm, 0).tolist() == pcm.tolist()
    assert fade(pcm, 0) is not pcm
    assert fade(silence(0), 5).size == 0
    assert fade(pcm, 99).size == 10


@SETTINGS
@given(st.lists(st.integers(0, 50)), st.integers(1, 20))
def test_rechunked_audio_is_the_same_audio(sizes, size) -> None:
    chunker = Rechunker(size)
    whole = ramp(sum(sizes))
    cuts = np.split(whole, np.cumsum(sizes)[:-1]) if sizes else []
    pieces = [piece for cut in cuts for piece in chunker.feed(cut)]
    assert all(piece.shape == (size,) for piece in pieces)
    rest = chunker.flush()
    assert rest.size in (0, size)
    out = np.concatenate([silence(0), *pieces, rest])
    assert (out[: whole.size] == whole).all()
    assert not out[whole.size :].any()
    assert chunker.flush().size == 0


@SETTINGS
@given(st.lists(st.integers(0, 40)), st.integers(1, 30), st.integers(-5, 300), st.integers(-5, 300), st.integers(0, 60))
def test_a_tape_keeps_the_last_samples(sizes, capacity, start, end, larger) -> None:
    tape, at = Tape(capacity), 0
    for i, n in enumerate(sizes):
        if i == len(sizes) // 2:
            tape.grow(larger)
        tape.append(ramp(n, at))
        at += n
    assert tape.end == at
    assert tape.start >= at - max(capacity, larger) - max(sizes, default=0)
    assert at - tape.start >= min(at, capacity)
    want = ramp(max(0, min(end, at) - max(start, tape.start)), max(start, tape.start))
    assert tape.read(start, end).tolist() == want.tolist()


def test_a_tape_gives_copies() -> None:
    tape = Tape(10)
    tape.append(ramp(8))
    tape.read(0, 8)[:] = 99
    assert tape.read(0, 8).tolist() == ramp(8).tolist()


def test_a_tape_may_be_made_shorter() -> None:
    tape = Tape(100)
    for at in range(0, 90, 10):
        tape.append(ramp(10, at))
    tape.trim(25)
    assert (tape.start, tape.end) == (60, 90)
    assert tape.read(0, 90).tolist() == ramp(30, 60).tolist()
    tape.trim(0)
    assert tape.read(0, 90).size == 0
    tape.append(ramp(10, 90))
    assert tape.read(92, 95).tolist() == [92, 93, 94]


def test_the_quietest_place() -> None:
    pcm = np.full(RATE, 1000, np.int16)
    pcm[8000:9600] = 3
    assert quietest(pcm, 0, RATE) == 8800
    assert quietest(pcm, 2000, 12000) == 8800
    assert quietest(pcm, 0, 1000) == 500


@SETTINGS
@given(st.integers(0, 200_000), st.integers(0, 2**32 - 1))
def test_pieces_of_a_growing_recording_stay_the_same(n, seed) -> None:
    pcm = np.random.default_rng(seed).integers(-3000, 3000, n).astype(np.int16)
    pieces = list(split(pcm, 32_000, 16_000))
    assert (np.concatenate(pieces) == pcm).all()
    assert all(16_000 <= piece.size <= 32_000 for piece in pieces[:-1])
    assert pieces[-1].size <= 32_000
    shorter = list(split(pcm[: n // 2], 32_000, 16_000))
    assert [p.tolist() for p in shorter[:-1]] == [p.tolist() for p in pieces[: len(shorter) - 1]]
