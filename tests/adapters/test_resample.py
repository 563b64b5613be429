"""One contract for every Resampler."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from voiceloop.adapters.resample.stream import StreamResampler
from voiceloop.core.audio import Pcm, silence
from voiceloop.ports import Resampler

RESAMPLERS: dict[str, Callable[[int, int], Resampler]] = {"stream": StreamResampler}
PAIRS = [(48000, 16000), (16000, 48000), (24000, 48000), (22050, 16000), (44100, 16000), (16000, 44100), (8000, 16000)]
PAIRS += [(24000, 16000), (48000, 44100), (16000, 8000)]

both = pytest.mark.parametrize("make", RESAMPLERS.values(), ids=RESAMPLERS)
pairs = pytest.mark.parametrize(("source", "target"), PAIRS)


def tone(rate: int, n: int, hz: float = 440.0) -> Pcm:
    return np.rint(12000 * np.sin(2 * np.pi * hz * np.arange(n) / rate)).astype(np.int16)


def run(resampler: Resampler, pcm: Pcm, sizes: list[int]) -> Pcm:
    out, at, i = list[Pcm](), 0, 0
    while at < pcm.size:
        out.append(resampler.process(pcm[at : at + sizes[i % len(sizes)]]))
        at += sizes[i % len(sizes)]
        i += 1
    return np.concatenate([*out, resampler.flush()])


def rounded(n: int, source: int, target: int) -> set[int]:
    exact = n * target / source
    return {int(np.floor(exact + 0.5)), round(exact)}


@both
@pairs
def test_a_tone_stays_the_tone(make: Callable[[int, int], Resampler], source: int, target: int) -> None:
    out = run(make(source, target), tone(source, source // 2), [source // 50])
    expected = tone(target, out.size)
    inner = slice(target // 100, -target // 100)
    assert out.dtype == np.int16
    assert np.abs(out.astype(int) - expected)[inner].max() < 150


@both
@pairs
@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_chunk_sizes_do_not_matter(
    make: Callable[[int, int], Resampler], source: int, target: int, data: st.DataObject
) -> None:
    n = data.draw(st.integers(0, 3000), label="samples")
    pcm = np.random.default_rng(n).integers(-20000, 20000, n).astype(np.int16)
    sizes = data.draw(st.lists(st.integers(0, 700), min_size=1, max_size=6).filter(any), label="sizes")
    whole = run(make(source, target), pcm, [max(1, n)])
    out = run(make(source, target), pcm, sizes)
    assert out.size in rounded(n, source, target)
    assert out.size == whole.size
    assert np.abs(out.astype(int) - whole).max(initial=0) <= 1


@both
@pairs
@pytest.mark.parametrize("n", [0, 1, 2, 3, 159])
def test_the_shortest_streams(make: Callable[[int, int], Resampler], source: int, target: int, n: int) -> None:
    assert run(make(source, target), tone(source, n), [1]).size in rounded(n, source, target)


@both
def test_little_is_held_back(make: Callable[[int, int], Resampler]) -> None:
    resampler = make(48000, 16000)
    given_back = sum(resampler.process(tone(48000, 960)).size for _ in range(50))
    assert 16000 - given_back <= 16000 * 0.003


@both
def test_flush_starts_anew(make: Callable[[int, int], Resampler]) -> None:
    resampler, pcm = make(24000, 16000), tone(24000, 5000)
    first = run(resampler, pcm, [480])
    assert resampler.flush().size == 0
    assert np.array_equal(run(resampler, pcm, [480]), first)


@both
def test_equal_rates_change_nothing(make: Callable[[int, int], Resampler]) -> None:
    pcm = tone(16000, 1000)
    assert np.array_equal(run(make(16000, 16000), pcm, [1, 0, 320]), pcm)


@both
def test_loud_sound_is_clipped_and_does_not_wrap(make: Callable[[int, int], Resampler]) -> None:
    square = np.where(np.arange(4800) // 60 % 2, 32767, -32768).astype(np.int16)
    out = run(make(48000, 16000), square, [960]).astype(int)
    middle = out[400:1200].reshape(-1, 20)[:, 8:12]
    assert (np.abs(middle) > 20000).all()


@both
@pytest.mark.parametrize("bad", [silence(4).reshape(2, 2), np.zeros(4, np.float32), np.zeros((), np.int16)])
@pytest.mark.parametrize("rates", [(16000, 48000), (16000, 16000)])
def test_wrong_shapes_raise(make: Callable[[int, int], Resampler], bad: Pcm, rates: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="int16"):
        make(*rates).process(bad)


@both
@pytest.mark.parametrize("rates", [(0, 16000), (16000, 0), (-1, 1)])
def test_impossible_rates_raise(make: Callable[[int, int], Resampler], rates: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="positive"):
        make(*rates)
