"""How well the words alone tell an end (evidence.wording), on exact words: the marked recordings and made-up requests.

    python benchmarks/wording.py

After every word of a text it is asked whether the text could be complete. Recordings: the marks of words.tsv, as in
fit_turns.py, without regard to pauses; TUNE and REPORT as there. Requests: benchmarks/requests.txt, written for this,
learned from by nothing. Their marks: . at the end; / where it could be
complete, but goes on; | where a speaker might pause though it cannot be complete; none inside a phrase. Columns: AUC of
the true ends against each of these with 95 % intervals, and the share of each that is at least as sure as nine of ten
ends.

On 22 November 2026 (x86_64, Python 3.11.7):

                ends  goes on AUC            sure    pause AUC            sure   inside AUC            sure
    TUNE          31       90 .66 [.54-.76]  0.62                                   330 .87 [.82-.92]  0.26
    REPORT        18       67 .69 [.55-.82]  0.61                                   274 .86 [.80-.92]  0.28
    requests     107      100 .66 [.59-.74]  0.73      143 .95 [.93-.98]  0.10      399 .91 [.88-.93]  0.23

A recurrent network of 440 kB, trained on such text as the table and averaged with the table, reached .66/.90,
.78/.92 and .80/.95, but with the recognizer's doubt and the sound beside it nothing of that was left on TUNE
(.70/.89, one speaker left out), so it was not kept.
"""

from __future__ import annotations

import itertools
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from fit_turns import REPORT, TUNE, interval, words_table

from voiceloop import lexicons
from voiceloop.core import evidence

MARKS = {"/": "goes on", "|": "pause", "": "inside"}


def requests() -> Iterator[tuple[str, str]]:
    """The words so far, and the mark behind them."""
    for line in (Path(__file__).parent / "requests.txt").read_text(encoding="utf-8").splitlines():
        tokens, said = line.split(), list[str]()
        for token, after in itertools.pairwise([*tokens, ""]):
            if token not in MARKS and token != ".":
                said.append(token)
                yield " ".join(said), after if after in MARKS or after == "." else ""


def recordings(speakers: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    """The same of the recordings of some speakers. | is left out: a sentence ended."""
    for name, rows in words_table().items():
        if name.startswith(speakers):
            said = list[str]()
            for row in rows:
                said.append(row["word"])
                if row["mark"] in (".", "/", ""):
                    yield " ".join(said), row["mark"]


def main() -> int:
    """Prints the table."""
    weights = lexicons.weights("en")
    print(f"{'':10} {'ends':>5}" + "".join(f"{name:>9} {'AUC':14} sure" for name in MARKS.values()))
    for name, texts in (("TUNE", recordings(TUNE)), ("REPORT", recordings(REPORT)), ("requests", requests())):
        scores = defaultdict[str, list[float]](list)
        for text, mark in texts:
            scores[mark].append(evidence.wording(weights, text))
        found = {mark: np.array(values) for mark, values in scores.items()}
        line, sure = f"{name:10} {found['.'].size:5}", np.percentile(found["."], 10)
        for mark in MARKS:
            if mark in found:
                line += (
                    f"{found[mark].size:9} {interval(found['.'], found[mark]):14} {(found[mark] >= sure).mean():4.2f}"
                )
            else:
                line += " " * 29
        print(line)
    forty, began = " ".join(["what's the weather like"] * 10), time.perf_counter()
    for _ in range(200):
        evidence.wording(weights, forty)
    print(f"{(time.perf_counter() - began) * 5:.2f} ms for 40 words")
    return 0


if __name__ == "__main__":
    sys.exit(main())
