"""What was heard, against where the words of the embedded voice really are.

tests/data/heard_marks.tsv: 50 clauses of an assistant, in each the ends of two words drawn by lot, in samples of what
the adapter gives (24 kHz, seed 0). They were marked by eye alone, in waveforms and spectrograms without any other
mark, before they were compared with anything; nobody listened.
"""

from __future__ import annotations

import csv
import random
from collections.abc import Iterator
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from benchmarks.placed import HibariWords, Speech
from voiceloop.adapters.tts.hibari import Hibari
from voiceloop.core.ledger import Ledger
from voiceloop.session.workers import Workers

MARKS = Path(__file__).parent / "data" / "heard_marks.tsv"


@dataclass
class Clip:
    """A clause as it is spoken. marks: (number of a word, sample at which it ends), by eye."""

    speech: Speech
    marks: list[tuple[int, int]] = field(default_factory=list)

    def heard(self, cut: int) -> str:
        ledger = Ledger()
        ledger.add(self.speech.text)
        ledger.size(0, self.speech.pcm.size, final=True)
        return ledger.heard(cut, 0)


@pytest.fixture(scope="module")
def clips() -> list[Clip]:
    voice = HibariWords()
    found: dict[str, Clip] = {}
    with MARKS.open(encoding="utf-8") as file:
        for line in csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE):
            text = line["text"]
            if text not in found:
                found[text] = Clip(voice.speak(text))
            found[text].marks.append((int(line["word"]), int(line["end"])))
    return list(found.values())


@pytest.fixture
def workers() -> Iterator[Workers]:
    workers = Workers()
    yield workers
    workers.close()


def test_a_random_cut_is_within_one_word_of_the_truth(clips: list[Clip]) -> None:
    rng = random.Random(4)
    off: list[int] = []
    for clip in clips:
        for cut in (rng.randrange(clip.speech.pcm.size) for _ in range(40)):
            true = sum((start + end) / 2 <= cut for start, end in clip.speech.words)
            off.append(abs(len(clip.heard(cut).split()) - true))
    assert len(off) == 2000
    assert np.mean(np.array(off) <= 1) >= 0.97  # the issue asks for 0.90; placing by letters alone gives 0.95
    assert np.mean(off) <= 0.3


def test_a_cut_is_within_one_word_of_the_marks_by_eye(clips: list[Clip]) -> None:
    """Between the ends of two marked words, and at them."""
    off: list[int] = []
    for clip in clips:
        for word, end in clip.marks:
            off.append(abs(len(clip.heard(end).split()) - (word + 1)))
    assert len(off) == 100
    assert np.mean(np.array(off) <= 1) >= 0.97


def test_the_computed_truth_agrees_with_the_marks_by_eye(clips: list[Clip]) -> None:
    away = np.array([clip.speech.words[word][1] - end for clip in clips for word, end in clip.marks])
    assert np.quantile(np.abs(away), 0.9) <= 0.06 * 24_000
    assert abs(np.mean(away)) <= 0.02 * 24_000


async def test_the_truth_is_of_the_samples_that_are_played(clips: list[Clip], workers: Workers) -> None:
    engine = Hibari(workers)
    for clip in clips[:3]:
        async with aclosing(engine.speak(clip.speech.text)) as chunks:
            played = [chunk async for chunk in chunks]
        assert np.array_equal(np.concatenate(played), clip.speech.pcm)
