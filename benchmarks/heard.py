"""How well the ledger knows which words were heard of a clause that was cut off.

    python benchmarks/heard.py            (the texts marked `test` in heard_texts.tsv; about a minute)

Each clause is spoken by each engine that is installed, its words are placed by what the engine itself knows
(placed.py), and it is cut at random samples. A word counts as heard when half of it was. `linear` is the map that the
ledger had before, words by their letters; `pauses` what the ledger could do if it were told where the true pauses
inside a clause are (it is not told: there is next to nothing to gain). Columns: cuts with the exact words, with at
most one word more or less, mean error in words, and how far a cut is from where its words would be right, in ms.
Intervals of 95 % by resampling clauses. The map was fitted on the texts marked `tune` with hibari and espeak-ng en and
de; the other voices and languages had no part in it.
"""

from __future__ import annotations

import argparse
import csv
import platform
import random
import sys
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).parent))

from placed import EspeakWords, FliteWords, HibariWords, Speech, Unplaced

from voiceloop.core.clauses import Clauses
from voiceloop.core.ledger import Ledger
from voiceloop.core.pace import words

HERE = Path(__file__).parent
MARKS = HERE.parent / "tests" / "data" / "heard_marks.tsv"
CUTS = 40

Count = Callable[[Speech, int], int]
Numbers = NDArray[np.float64]


def by_ledger(speech: Speech, cut: int) -> int:
    """Words heard of a clause of which `cut` samples were played."""
    ledger = Ledger()
    ledger.add(speech.text)
    ledger.size(0, speech.pcm.size, final=True)
    return len(ledger.heard(cut, 0).split())


def by_letters(speech: Speech, cut: int) -> int:
    """The same by the map that the ledger had before."""
    limit, at, n = cut / speech.pcm.size * len(speech.text), 0, 0
    for word in speech.text.split():
        if at + len(word) / 2 > limit:
            break
        n, at = n + 1, at + len(word) + 1
    return n


def by_pauses(speech: Speech, cut: int) -> int:
    """The ledger's map, stretched so that the pauses inside a clause are where they truly are: what it would gain."""
    placed = words(speech.text)
    ends = [i for i, (a, b) in enumerate(pairwise(placed)) if b.start > a.stop]
    guessed = [0.0, *((placed[i].stop + placed[i + 1].start) / 2 for i in ends), placed[-1].stop]
    true = [0.0, *((speech.words[i][1] + speech.words[i + 1][0]) / 2 for i in ends), float(speech.pcm.size)]
    at = float(np.interp(cut, true, guessed))
    return sum((word.start + word.stop) / 2 <= at for word in placed)


def errors(speech: Speech, count: Count, rng: random.Random) -> Numbers:
    """(cuts, 2): for random cuts of a clause the error in words, signed, and in ms."""
    middles = [0.0, *((a + b) / 2 for a, b in speech.words), float(speech.pcm.size)]
    found: list[tuple[float, float]] = []
    for _ in range(CUTS):
        cut = rng.randrange(speech.pcm.size)
        heard = count(speech, cut)
        true = sum(middle <= cut for middle in middles[1:-1])
        away = max(middles[heard] - cut, cut - middles[heard + 1], 0.0)
        found.append((heard - true, 1000 * away / speech.rate))
    return np.array(found)


def row(speeches: list[Speech], count: Count) -> str:
    """One line of the table. Clauses weigh as long as they are: a cut falls anywhere."""
    rng = random.Random(7)
    tables = [errors(speech, count, rng) for speech in speeches]
    weights = np.array([speech.pcm.size / speech.rate for speech in speeches])
    measured = np.array(
        [
            [np.mean(t[:, 0] == 0), np.mean(np.abs(t[:, 0]) <= 1), np.mean(np.abs(t[:, 0])), np.mean(t[:, 1])]
            for t in tables
        ]
    )
    picks = np.random.default_rng(1).integers(0, len(tables), (2000, len(tables)))
    drawn = np.array([np.average(measured[pick], axis=0, weights=weights[pick]) for pick in picks])
    exact, within, off, ms = np.average(measured, axis=0, weights=weights)
    low, high = np.quantile(drawn, (0.025, 0.975), axis=0)
    return (
        f"{100 * exact:5.1f} [{100 * low[0]:4.1f}, {100 * high[0]:5.1f}]"
        f" {100 * within:6.1f} [{100 * low[1]:4.1f}, {100 * high[1]:5.1f}]"
        f" {off:6.2f} [{low[2]:.2f}, {high[2]:.2f}] {ms:5.0f} [{low[3]:3.0f}, {high[3]:3.0f}]"
    )


def clauses(which: str) -> Iterator[tuple[str, str]]:
    """(language, clause) of the texts of a set, cut as the loop cuts them."""
    with (HERE / "heard_texts.tsv").open(encoding="utf-8") as file:
        for line in csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE):
            if line["set"] == which:
                cutter = Clauses()
                for clause in [*cutter.feed(line["text"]), *cutter.flush()]:
                    yield line["language"], clause


def engines() -> Iterator[tuple[str, str, Callable[[str], Speech]]]:
    """(name, language, speak) of all that are installed."""
    makers: list[tuple[str, str, Callable[[], HibariWords | EspeakWords | FliteWords]]] = [
        ("hibari", "en", HibariWords),
        ("espeak-ng en", "en", lambda: EspeakWords("en")),
        ("espeak-ng en-us+f3", "en", lambda: EspeakWords("en-us+f3")),
        *((f"espeak-ng {v}", v, lambda v=v: EspeakWords(v)) for v in ("de", "es", "fr", "it", "nl", "pl")),
        *((f"flite {v}", "en", lambda v=v: FliteWords(v)) for v in ("slt", "rms", "awb", "kal16")),
    ]
    for name, language, make in makers:
        try:
            engine = make()
        except (OSError, ImportError) as exc:
            print(f"{name:20} left out: {exc}")
            continue
        yield name, language, engine.speak


def spoken(texts: list[str], speak: Callable[[str], Speech]) -> list[Speech]:
    """What could be placed; what could not is counted by the caller."""
    found: list[Speech] = []
    for text in texts:
        try:
            found.append(speak(text))
        except Unplaced as exc:
            print(f"left out: {exc}")
    return found


def eye(speeches: list[Speech]) -> str:
    """How far the words of hibari, as placed by its durations, end from where they were marked by eye."""
    known = {speech.text: speech for speech in speeches}
    with MARKS.open(encoding="utf-8") as file:
        marks = [line for line in csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE) if line["text"] in known]
    away = np.array([known[m["text"]].words[int(m["word"])][1] - int(m["end"]) for m in marks]) / 24
    if not away.size:
        return "no clause of it was marked by eye"
    return (
        f"{away.size} word ends marked by eye in pictures of {len({m['text'] for m in marks})} clauses of hibari: "
        f"placed {away.mean():+.0f} ms from them in the mean, {np.median(np.abs(away)):.0f} ms in the median, "
        f"90 % within {np.quantile(np.abs(away), 0.9):.0f} ms, all within {np.abs(away).max():.0f} ms"
    )


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--set", choices=("test", "tune"), default="test", help="which texts (default test)")
    args = parser.parse_args()
    texts = list(clauses(args.set))
    checked = ""
    print(f"{platform.machine()}, Python {platform.python_version()}; {CUTS} cuts of each clause, texts `{args.set}`")
    print(f"{'':20} {'clauses':>7} {'map':6} exact, %            within one word, %    error, words       error, ms")
    for name, language, speak in engines():
        speeches = spoken([text for own, text in texts if own == language], speak)
        if not speeches:
            continue
        print(f"{name:20} {len(speeches):7} linear {row(speeches, by_letters)}")
        print(f"{'':28} ledger {row(speeches, by_ledger)}")
        print(f"{'':28} pauses {row(speeches, by_pauses)}", flush=True)
        if name == "hibari":
            checked = eye(speeches)
    print(checked)
    return 0


if __name__ == "__main__":
    sys.exit(main())
