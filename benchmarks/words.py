"""How far the times of words are from where the words really are, in ms, and what they cost.

    python benchmarks/words.py            (the texts marked `test` in heard_texts.tsv; about a minute)

Each clause is spoken by each engine that is installed, which knows itself where its words lie (placed.py: durations
of hibari's own network, word events of espeak-ng, segments of flite). No hand has marked words in recordings of
people, so there are none here: these voices are clear and steady, people are harder. `marks` are the word ends in
hibari's speech that were marked by eye (tests/data/heard_marks.tsv). letters: spread over the whole clause by their
letters; pauses: the same between pauses that are heard (align/letters.py); aligner: pocketsphinx (align/sphinx.py).
Intervals of 95 % of the medians by resampling clauses. The texts and voices had no part in making the aligners.
"""

from __future__ import annotations

import asyncio
import csv
import platform
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))

from heard import MARKS, clauses, engines, spoken
from placed import HibariWords, Speech

from voiceloop.adapters.align.letters import Letters
from voiceloop.adapters.align.sphinx import Sphinx
from voiceloop.core.audio import RATE, Pcm
from voiceloop.core.transcript import Word
from voiceloop.core.words import spread
from voiceloop.media import resampler
from voiceloop.session.workers import Workers

Align = Callable[[Pcm, str], Awaitable[tuple[Word, ...]]]


def at_16k(speech: Speech) -> Pcm:
    """As recognition hears it."""
    found = resampler(speech.rate, RATE)
    return np.concatenate((found.process(speech.pcm), found.flush()))


async def by_letters(pcm: Pcm, text: str) -> tuple[Word, ...]:
    """The baseline."""
    return spread(text, 0.0, pcm.size / RATE)


def table(rows: list[tuple[list[float], list[float]]]) -> str:
    """Median with its interval and 90th percentile, of starts and of ends; rows: the errors of each clause."""
    cells: list[str] = []
    rng = np.random.default_rng(1)
    for side in (0, 1):
        errors = [np.abs(row[side]) for row in rows if row[side]]
        if not errors:
            cells.append(f"{'-':>24}")
            continue
        whole = np.concatenate(errors)
        picks = (np.concatenate([errors[i] for i in rng.integers(0, len(errors), len(errors))]) for _ in range(500))
        low, high = np.quantile([np.median(pick) for pick in picks], (0.025, 0.975))
        cells.append(f"{np.median(whole):5.0f} [{low:4.0f}, {high:4.0f}] {np.quantile(whole, 0.9):6.0f}")
    return "  ".join(cells)


async def measure(name: str, speeches: list[Speech], methods: dict[str, Align]) -> None:
    """The rows of one voice."""
    total = sum(speech.pcm.size / speech.rate for speech in speeches)
    for method, align in methods.items():
        rows: list[tuple[list[float], list[float]]] = []
        cost = 0.0
        for speech in speeches:
            pcm = at_16k(speech)
            began = time.process_time()
            words = await align(pcm, speech.text)
            cost += time.process_time() - began
            pairs = list(zip(words, speech.words, strict=True))
            rows.append(
                (
                    [1000 * (word.start_s - start / speech.rate) for word, (start, _) in pairs],
                    [1000 * (word.end_s - end / speech.rate) for word, (_, end) in pairs],
                )
            )
        n = sum(len(starts) for starts, _ in rows)
        print(f"{name:20} {method:8} {n:5}  {table(rows)}  {1000 * cost / total:6.1f}", flush=True)


async def marked(methods: dict[str, Align]) -> None:
    """The row of the marks by eye."""
    with MARKS.open(encoding="utf-8") as file:
        marks = [(row["text"], int(row["word"]), int(row["end"])) for row in csv.DictReader(file, delimiter="\t")]
    voice = HibariWords()
    speeches = {text: voice.speak(text) for text in dict.fromkeys(text for text, _, _ in marks)}
    for method, align in methods.items():
        rows: list[tuple[list[float], list[float]]] = []
        for text, speech in speeches.items():
            words = await align(at_16k(speech), text)
            ends = [1000 * (words[n].end_s - end / speech.rate) for t, n, end in marks if t == text]
            rows.append(([], ends))
        print(f"{'marks by eye':20} {method:8} {len(marks):5}  {table(rows)}", flush=True)


async def main() -> int:
    """Command line."""
    workers = Workers()
    sphinx = Sphinx(workers)
    await sphinx.warm_up()
    methods: dict[str, Align] = {"letters": by_letters, "pauses": Letters().align, "aligner": sphinx.align}
    texts = list(clauses("test"))
    print(f"{platform.machine()}, Python {platform.python_version()}")
    print(f"{'voice':20} {'method':8} words  {'starts: median, p90':>24}  {'ends: median, p90':>24}  CPU ms/s")
    await marked(methods)
    for name, language, speak in engines():
        speeches = spoken([text for spoken_in, text in texts if spoken_in == language], speak)
        # pocketsphinx knows English.
        fitting = {key: value for key, value in methods.items() if language == "en" or key != "aligner"}
        await measure(name, speeches, fitting)
    workers.close()
    return 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
