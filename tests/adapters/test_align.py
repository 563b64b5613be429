"""One contract for every Aligner: each word once, in order, inside the sound; and where the words really are."""

from __future__ import annotations

import csv
import sys
from collections.abc import Callable, Iterator
from contextlib import aclosing
from itertools import pairwise

import numpy as np
import pytest

from tests.program import DATA, recording
from voiceloop.adapters.align.letters import Letters, sounding
from voiceloop.adapters.align.sphinx import Sphinx
from voiceloop.adapters.resample.stream import StreamResampler
from voiceloop.adapters.tts.hibari import Hibari
from voiceloop.core.audio import RATE, Pcm, silence
from voiceloop.errors import ConfigError, ProviderError
from voiceloop.ports import Aligner
from voiceloop.session.workers import Workers


@pytest.fixture(scope="module")
def workers() -> Iterator[Workers]:
    workers = Workers()
    yield workers
    workers.close()


@pytest.fixture(scope="module", params=["sphinx", "letters"])
def aligner(request: pytest.FixtureRequest, workers: Workers) -> Aligner:
    if request.param == "sphinx":
        pytest.importorskip("pocketsphinx")
        return Sphinx(workers)
    return Letters()


JFK = "And so, my fellow Americans: ask not what your country can do for you, ask what you can do for your country."
TEXTS = [
    JFK,
    "",
    "   ",
    "one",
    "... - !",
    "Wir sprechen Deutsch, \N{LATIN SMALL LETTER U WITH DIAERESIS}brigens.",
    "日本語 です",
    "It costs $5.20, i.e. 10% of 1,234 well-known Zau-al-Makan's.",
    "word " * 200,
    "<s> [NOISE] (2) a(2)",
]


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("pcm", [recording("jfk.flac"), silence(RATE), silence(0), silence(50)])
async def test_each_word_once_in_order(aligner: Aligner, text: str, pcm: Pcm) -> None:
    await aligner.warm_up()
    words = await aligner.align(pcm, text)
    assert [word.text for word in words] == text.split()
    assert all(0 <= word.start_s <= word.end_s <= pcm.size / RATE + 1e-6 for word in words)
    assert all(one.start_s <= other.start_s + 1e-9 for one, other in pairwise(words))


async def test_words_lie_where_they_were_marked_by_eye(workers: Workers) -> None:
    """tests/data/heard_marks.tsv: word ends in the speech of the embedded voice."""
    pytest.importorskip("pocketsphinx")
    voice, sphinx = Hibari(workers), Sphinx(workers)
    errors: list[float] = []
    with (DATA / "heard_marks.tsv").open(encoding="utf-8") as file:
        marks = [(row["text"], int(row["word"]), int(row["end"])) for row in csv.DictReader(file, delimiter="\t")]
    for text in list(dict.fromkeys(text for text, _, _ in marks))[:12]:
        resampler = StreamResampler(voice.rate, RATE)
        async with aclosing(voice.speak(text)) as chunks:
            parts = [resampler.process(chunk) async for chunk in chunks]
        words = await sphinx.align(np.concatenate([*parts, resampler.flush()]), text)
        errors += [abs(words[n].end_s - end / voice.rate) for marked, n, end in marks if marked == text]
    assert len(errors) == 24
    assert np.median(errors) < 0.02
    assert np.quantile(errors, 0.9) < 0.06


async def test_letters_find_the_pauses(workers: Workers) -> None:
    """In this recording two pauses are plain to see, but not still."""
    words = await Letters().align(recording("jfk.flac"), JFK)
    parts = [(a / RATE, b / RATE) for a, b in sounding(recording("jfk.flac"))]
    assert len(parts) > 2
    assert any(words[0].start_s == start for start, _ in parts)
    assert any(words[-1].end_s == end for _, end in parts)


async def test_without_the_package(workers: Workers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pocketsphinx", None)
    with pytest.raises(ConfigError, match=r"pip install 'voiceloop\[align\]'"):
        await Sphinx(workers).warm_up()


async def test_without_hibari_a_figure_lies_between_its_neighbours(
    workers: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("pocketsphinx")
    pcm = recording("ps_goforward.flac")
    with_it = await Sphinx(workers).align(pcm, "go forward 10 meters")
    monkeypatch.setitem(sys.modules, "hibari.g2p", None)
    without = await Sphinx(workers).align(pcm, "go forward 10 meters")
    assert [word.text for word in without] == ["go", "forward", "10", "meters"]
    as_said = await Sphinx(workers).align(pcm, "go forward ten meters")
    assert [(a.start_s, a.end_s) for a in with_it] == [(b.start_s, b.end_s) for b in as_said]
    assert without[1].end_s <= without[2].start_s <= without[2].end_s <= without[3].start_s


async def test_no_worker(workers: Workers) -> None:
    class Full:
        async def call(self, fn: Callable[[], object], *, timeout_s: float | None = None) -> object:
            from voiceloop.errors import Busy

            raise Busy("the queue is full")

    with pytest.raises(ProviderError, match="pocketsphinx cannot work now") as caught:
        await Sphinx(Full()).align(silence(RATE), "hello")  # type: ignore[arg-type]
    assert caught.value.stage == "stt"


async def test_closed_and_used_again(workers: Workers) -> None:
    pytest.importorskip("pocketsphinx")
    sphinx = Sphinx(workers)
    for _ in range(2):
        assert len(await sphinx.align(recording("ps_card001.flac"), "ten of clubs")) == 3
        await sphinx.aclose()


def test_letters_share_the_parts_that_sound() -> None:
    tone = (8000 * np.sin(np.arange(RATE) / 5)).astype(np.int16)
    pcm = np.concatenate([silence(RATE), tone, silence(RATE), tone, tone])
    assert sounding(pcm) == [(RATE, 2 * RATE), (3 * RATE, 5 * RATE)]
