"""Fits the evidence for the end of a turn on marked recordings, and reports on other speakers.

    python benchmarks/fit_turns.py DIRECTORY          (a directory with the recordings of benchmarks/words.tsv)
        --write         puts the weights into voiceloop/data/endofturn.json
        --keep FILE     keeps what the engines said, for the next run (4 minutes less)
        --model FILE    the Smart Turn model beside it, on the same samples

Samples are the recording from its beginning to a place where a voice activity detector would have found 200 ms (and
for the fit also 100 and 400 ms) of silence:
    end       the utterance is complete (mark . at the end); a few recordings end too soon, and are continued with
              noise of the level and spectrum of their quietest places
    pause     a pause of 200 ms or more of the speaker's own where the sentence is not over (no mark, /, ~ at the end)
    inside    a cut between two words inside a phrase (no mark, no pause); behind it such noise
    dip       a cut where the voice dips between two words (the gaps of material.py) of a sentence that is not over: it
              is there that people pause; behind it such noise
    sentence  a pause of 200 ms or more where a sentence ended and the speaker went on (|): counts as an end, because he
              might have finished; in no AUC
Word times are those of align_words.py. All features come from the product's code: the recognizer (its text, p_stop,
p_comma, logprob), `evidence.wording` of its text, `evidence.tail_db` and `evidence.end_st` of the sound.

A logistic with a ridge (RIDGE) on standardized numbers, weighted by SHARE, and by speaker. The decoder's two
probabilities go in as one, that of any sign after the last word ("sign"): on TUNE with one speaker left out that was
better than p_stop. Which of the signs it is adds nothing in one transcript (ratio, comma), but a comma that stays one
in the second does: in the scoreboard, on TUNE with one speaker left out, AUC .85 without it and .87 with it. The
shipped weights see the speakers of TUNE only. The columns are AUC of end against pause, inside and dip, with 95 %
intervals by resampling samples: on TUNE with one speaker left out at a time; and on the speakers of REPORT, whose
figures stood beside those of TUNE while variants were compared, but by which none was chosen. (What Smart Turn was
trained on is not known.) Tried and left out, because on TUNE with one speaker left out they helped nothing or one
column at the cost of the other: the number of words, the length in seconds, the level over 200 or 500 ms, the time
since the last peak, the decoder's end token, the log-probability of the last words, how far the spectrum and the
periodicity of the last 200 ms differ from the rest, the slope of the pitch, a third transcript, whether two transcripts
end in the same words, the words without the last one, a veto of dangling words.

"two transcripts" is what `evidence.confirmed` makes of the sound with 100 and with 400 ms of silence, and what
stands below it in the table is beside that; "joined" is what `evidence.joined` makes of it and of Smart Turn. In the
scoreboard (turns.py --model, REPORT, balanced) the ends come at 695 / 871 / 1009 ms with it and at 730 / 935 / 1057
without (median, p90, p95), and of the pauses 3 / 18 / 42 and 3 / 17 / 40 % are cut off: faster, and no more polite.

    23 November 2026, x86_64, Python 3.11.7
    samples of TUNE and REPORT: end 31 + 18, sentence 11 + 6, pause 43 + 21, inside 304 + 265, dip 129 + 120
                          TUNE, speaker left out                          REPORT
                          pause           inside          dip             pause           inside          dip
    p_stop                .57 [.43-.69]   .61 [.50-.71]   .63 [.52-.73]   .75 [.59-.89]   .78 [.65-.88]   .73 [.60-.83]
    ratio                 .52 [.38-.65]   .45 [.34-.55]   .52 [.41-.63]   .81 [.67-.93]   .65 [.56-.74]   .70 [.60-.79]
    sign                  .66 [.53-.78]   .83 [.75-.91]   .76 [.68-.85]   .67 [.49-.84]   .79 [.64-.90]   .71 [.56-.84]
    logprob               .68 [.55-.80]   .69 [.58-.78]   .59 [.47-.70]   .60 [.42-.79]   .70 [.57-.83]   .61 [.47-.74]
    comma                 .50 [.36-.64]   .43 [.32-.54]   .54 [.43-.66]   .80 [.66-.92]   .60 [.49-.70]   .66 [.54-.77]
    wording               .58 [.45-.69]   .84 [.78-.89]   .77 [.69-.84]   .66 [.47-.82]   .81 [.74-.88]   .72 [.60-.81]
    tail_db               .68 [.55-.80]   .75 [.66-.82]   .69 [.60-.79]   .73 [.56-.88]   .90 [.83-.96]   .89 [.82-.95]
    end_st                .74 [.63-.86]   .83 [.74-.90]   .80 [.70-.88]   .77 [.62-.90]   .88 [.77-.95]   .85 [.74-.93]
    the decoder's         .64 [.52-.77]   .80 [.72-.86]   .72 [.63-.80]   .71 [.53-.87]   .81 [.67-.91]   .73 [.59-.86]
    without the decoder's .74 [.62-.86]   .92 [.88-.96]   .85 [.78-.91]   .85 [.70-.96]   .97 [.94-.99]   .94 [.88-.97]
    all together          .77 [.66-.87]   .93 [.90-.97]   .86 [.80-.92]   .85 [.71-.96]   .98 [.96-.99]   .94 [.89-.98]
    two transcripts       .77 [.66-.88]   .95 [.91-.98]   .89 [.84-.95]   .84 [.69-.95]   .98 [.97-.99]   .94 [.90-.98]
    Smart Turn            .73 [.60-.84]   .79 [.69-.88]   .79 [.68-.88]   .90 [.78-.98]   .93 [.89-.96]   .93 [.87-.96]
    Smart Turn and all    .81 [.71-.92]   .96 [.93-.99]   .93 [.87-.97]   .89 [.77-.97]   .99 [.98-1.00]  .96 [.93-.99]
    joined                .80 [.69-.91]   .96 [.92-.99]   .92 [.86-.97]   .89 [.78-.98]   .99 [.98-1.00]  .97 [.94-.99]
    heard, on REPORT
    score at      10 %   median   90 %
    end           0.61     0.90   0.98   of 18
    sentence      0.78     0.95   0.97   of 6
    pause         0.06     0.43   0.86   of 21
    inside        0.02     0.09   0.49   of 265
    dip           0.02     0.16   0.71   of 120
    calibration   score from - to   samples   mean score   share of ends
                  0.0 - 0.2              269         0.07            0.00
                  0.2 - 0.4               58         0.30            0.00
                  0.4 - 0.6               37         0.51            0.55
                  0.6 - 0.8               30         0.74            0.65
                  0.8 - 1.0               36         0.93            0.87
"""

from __future__ import annotations

import argparse
import asyncio
import csv
import dataclasses
import itertools
import json
import platform
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
from engines import Recognizer
from material import gaps, load
from numpy.typing import NDArray

from voiceloop import build, lexicons
from voiceloop.config import Config
from voiceloop.core import evidence
from voiceloop.core.audio import RATE, Pcm

HERE = Path(__file__).resolve().parent
DATA = HERE.parent / "voiceloop" / "data" / "endofturn.json"

TUNE = ("libri_2033", "libri_2609", "libri_61", "sb_spk1", "ps_", "jfk")
REPORT = ("libri_2412", "libri_533", "lj_", "sb_spk2", "fw_", "vosk_")

PAUSE_MS = 200
TAILS_MS = (200, 100, 400)
ENDS = {"end": 0.8, "sentence": 0.2}
OTHERS = {"pause": 0.2, "inside": 0.1, "dip": 0.7}
SHARE = ENDS | OTHERS
"""Of the weight in a fit: as much on ends as on the rest. People pause at dips, so these count most."""

RIDGE = 5.0
"""Against 1: on TUNE with one speaker left out .01 more against pauses, .01 less against cuts; smaller weights."""

HEARD = ("sign", "logprob", "comma", "wording", "tail_db", "end_st")
UNHEARD = ("wording", "tail_db", "end_st")

Floats = NDArray[np.float64]


@dataclass(slots=True)
class Sample:
    """One place in one recording, and what is known there."""

    file: str
    kind: str
    tail_ms: int
    end_ms: int
    text: str = ""
    p_stop: float | None = None
    p_comma: float | None = None
    logprob: float | None = None
    tail_db: float = 0.0
    end_st: float = 0.0
    model: float | None = None

    @property
    def speaker(self) -> str:
        """The beginning of the file's name."""
        return next(s for s in TUNE + REPORT if self.file.startswith(s))


def words_table() -> dict[str, list[dict[str, str]]]:
    """The words of each recording: start_ms, end_ms, word, mark."""
    found: dict[str, list[dict[str, str]]] = defaultdict(list)
    with (HERE / "words.tsv").open(encoding="utf-8") as file:
        for row in csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE):
            found[row["file"]].append(row)
    return found


def places(words: list[dict[str, str]]) -> Iterator[tuple[str, int, int]]:
    """Kind, time in ms and length of the silence behind it, of each place that becomes a sample."""
    for row, after in itertools.pairwise(words):
        mark, end = row["mark"], int(row["end_ms"])
        gap = int(after["start_ms"]) - end
        if gap >= PAUSE_MS:
            yield ("sentence" if mark == "|" else "pause"), end, gap
        elif mark == "":
            yield "inside", end, 0
    if (mark := words[-1]["mark"]) in (".", "~"):
        yield ("end" if mark == "." else "pause"), int(words[-1]["end_ms"]), max(TAILS_MS)


def quiet(pcm: Pcm, n: int, rng: np.random.Generator) -> Pcm:
    """n samples of noise with level and spectrum of the quietest twentieth of a recording."""
    frames = pcm[: pcm.size // 320 * 320].reshape(-1, 320).astype(np.float64)
    order = np.argsort(np.square(frames).sum(axis=1))
    colour = np.sqrt(np.mean(np.abs(np.fft.rfft(frames[order[: max(3, len(order) // 20)]])) ** 2, axis=0) / 320)
    white = np.fft.rfft(rng.normal(size=n))
    shape = np.interp(np.linspace(0, 1, white.size), np.linspace(0, 1, colour.size), colour)
    return np.rint(np.fft.irfft(white * shape, n)).astype(np.int16)


def cut(pcm: Pcm, kind: str, end_ms: int, gap_ms: int, tail_ms: int, rng: np.random.Generator) -> Pcm:
    """What the recognizer would be given. gap_ms: silence in the recording; what it lacks is made like it."""
    end, tail = end_ms * 16, tail_ms * 16
    if kind in ("inside", "dip"):
        heard = pcm[:end].astype(np.float64)
        heard[-160:] *= np.linspace(1, 0, heard[-160:].size)
        return np.concatenate((np.rint(heard).astype(np.int16), quiet(pcm, tail, rng)))
    heard = pcm[: end + min(tail, gap_ms * 16)]
    missing = end + tail - heard.size
    return np.concatenate((heard, quiet(pcm, missing, rng))) if missing else heard


def dips(directory: Path, cache: Path) -> dict[str, list[tuple[str, int, int]]]:
    """The same of the dips within sentences, of each recording."""
    listen = Recognizer(cache).text
    return {
        r.name: [("dip", g.start // 16, 0) for g in gaps(r, listen) if g.mark != "|"] for r in load(directory, "all")
    }


def cuts(directory: Path, cache: Path) -> Iterator[tuple[Sample, Pcm]]:
    """All samples of all recordings and their sound, the same ones in each run."""
    rng, dipping = np.random.default_rng(1), dips(directory, cache)
    for name, words in words_table().items():
        pcm, _ = soundfile.read(directory / name, dtype="int16")
        for kind, end, gap in [*places(words), *dipping.get(name, ())]:
            for tail in TAILS_MS:
                heard = cut(pcm, kind, end, gap, tail, rng)
                if heard.size >= RATE // 5:
                    yield Sample(name, kind, tail, end, tail_db=evidence.tail_db(heard)), heard


async def collect(args: argparse.Namespace, score: Callable[[Pcm], float] | None) -> list[Sample]:
    """All samples with what the engines say of them."""
    out: list[Sample] = []
    async with build.transcriber(Config()) as engine:
        for sample, heard in cuts(args.directory, args.cache):
            found = await engine.transcribe(heard)
            sample.text, sample.logprob = found.text, found.logprob
            sample.end_st = evidence.end_st(found.text, heard)
            sample.p_stop, sample.p_comma = found.p_stop, found.p_comma
            sample.model = score(heard) if score is not None and sample.tail_ms == TAILS_MS[0] else None
            out.append(sample)
    return out


def numbers(weights: evidence.Weights, samples: Sequence[Sample]) -> dict[str, Floats]:
    """The six numbers as the product sees them, by name."""
    rows = [
        evidence.numbers(
            wording=evidence.wording(weights, s.text),
            tail_db=s.tail_db,
            end_st=s.end_st,
            p_stop=s.p_stop,
            p_comma=s.p_comma,
            logprob=s.logprob,
        )
        for s in samples
    ]
    return dict(zip(HEARD, np.array(rows, np.float64).T, strict=True))


def irls(x: Floats, y: Floats, weight: Floats, ridge: float) -> Floats:
    """Bias and weights of a logistic: Newton's method on the weighted likelihood less ridge / 2 * |weights|^2."""
    x = np.hstack((np.ones((len(x), 1)), x))
    penalty = np.diag([1e-6] + [ridge] * (x.shape[1] - 1))
    b = np.zeros(x.shape[1])
    for _ in range(50):
        p = 1 / (1 + np.exp(-np.clip(x @ b, -30, 30)))
        hessian = (x * (weight * p * (1 - p))[:, None]).T @ x + penalty
        step = np.linalg.solve(hessian, x.T @ (weight * (y - p)) - penalty @ b)
        b += step
        if np.abs(step).max() < 1e-9:
            break
    return b


def balance(samples: Sequence[Sample]) -> Floats:
    """Weights by SHARE; of a kind each speaker counts as the root of the number of his samples."""
    n = Counter((s.kind, s.speaker) for s in samples)
    total = {kind: sum(k**0.5 for (its, _), k in n.items() if its == kind) for kind in SHARE}
    ends = sum(s.kind == "end" for s in samples)
    return np.array([SHARE[s.kind] * ends * n[s.kind, s.speaker] ** -0.5 / total[s.kind] for s in samples])


def fit(samples: Sequence[Sample], columns: Floats, *, n_tails: int = len(TAILS_MS)) -> evidence.Logistic:
    """The logistic over these columns (n, k), in their own units. n_tails: how often each place is among them."""
    known = np.array([s.kind in SHARE for s in samples])
    rows, kept = columns[known], [s for s in samples if s.kind in SHARE]
    mean, spread = rows.mean(axis=0), rows.std(axis=0) + 1e-9
    # All tails of a place are one observation.
    weight = balance(kept) / n_tails
    b = irls((rows - mean) / spread, np.array([s.kind in ENDS for s in kept], float), weight, RIDGE / n_tails)
    slopes = b[1:] / spread
    return evidence.Logistic(round(float(b[0] - slopes @ mean), 4), tuple(round(float(s), 4) for s in slopes))


def odds(model: evidence.Logistic, columns: Floats) -> Floats:
    """Log-odds of each row."""
    return model.bias + columns @ np.array(model.weights)


def auc(positive: Floats, negative: Floats) -> float:
    """Probability that a positive is above a negative."""
    above = positive[:, None] - negative[None, :]
    return float((above > 0).mean() + (above == 0).mean() / 2)


def interval(positive: Floats, negative: Floats) -> str:
    """AUC with its 95 % interval."""
    rng = np.random.default_rng(3)
    found = [auc(rng.choice(positive, positive.size), rng.choice(negative, negative.size)) for _ in range(1000)]
    low, high = np.percentile(found, (2.5, 97.5))
    return f"{auc(positive, negative):.2f} [{low:.2f}-{high:.2f}]".replace("0.", ".")


def pair(samples: Sequence[Sample], scores: Floats) -> str:
    """The three AUCs, at the first tail only."""
    by = {k: scores[[s.kind == k and s.tail_ms == TAILS_MS[0] for s in samples]] for k in SHARE}
    return " ".join(f"{interval(by['end'], by[kind]):15}" for kind in OTHERS)


def row(name: str, keys: tuple[str, ...], samples: list[Sample], found: dict[str, Floats]) -> None:
    """Prints one line of the table."""
    columns = np.column_stack([found[key] for key in keys])
    tuned = np.array([s.speaker in TUNE for s in samples])
    tune, report = [s for s in samples if s.speaker in TUNE], [s for s in samples if s.speaker in REPORT]
    model, left = fit(tune, columns[tuned]), unseen(samples, columns)
    print(f"{name:26} {pair(tune, odds(model, columns[tuned]))}  {pair(tune, left[tuned])}  ", end="")
    print(pair(report, odds(model, columns[~tuned])))


def unseen(samples: list[Sample], columns: Floats, *, n_tails: int = len(TAILS_MS)) -> Floats:
    """Log-odds of each by a fit on TUNE that has not seen its speaker."""
    tuned, found = np.array([s.speaker in TUNE for s in samples]), np.zeros(len(samples))
    for speaker in (*TUNE, ""):
        own = np.array([s.speaker == speaker for s in samples]) if speaker else ~tuned
        rest = tuned & ~own
        model = fit([s for s, r in zip(samples, rest, strict=True) if r], columns[rest], n_tails=n_tails)
        found[own] = odds(model, columns[own])
    return found


def calibration(samples: list[Sample], scores: Floats) -> None:
    """Prints how often what scored so was an end, weighted as in the fit."""
    print("calibration   score from - to   samples   mean score   share of ends")
    kept = [i for i, s in enumerate(samples) if s.kind in SHARE and s.tail_ms == TAILS_MS[0]]
    weight, p = balance([samples[i] for i in kept]), scores[kept]
    y = np.array([samples[i].kind in ENDS for i in kept], float)
    for low, high in ((0, 0.2), (0.2, 0.4), (0.4, 0.6), (0.6, 0.8), (0.8, 1.01)):
        at = (p >= low) & (p < high)
        if at.any():
            mean, share = np.average(p[at], weights=weight[at]), np.average(y[at], weights=weight[at])
            print(f"              {low:.1f} - {min(high, 1):.1f} {at.sum():16} {mean:12.2f} {share:15.2f}")


def kinds(samples: list[Sample], scores: Floats) -> None:
    """Prints the spread of scores by kind."""
    print("score at      10 %   median   90 %")
    for kind in SHARE:
        at = [s.kind == kind and s.tail_ms == TAILS_MS[0] for s in samples]
        low, middle, high = np.percentile(scores[at], (10, 50, 90))
        print(f"{kind:12} {low:5.2f} {middle:8.2f} {high:6.2f}   of {sum(at)}")


def smart_turn(path: Path) -> Callable[[Pcm], float]:
    """The model's score of a sample."""
    from voiceloop.adapters.endofturn.smart_turn import Network

    return Network(path).score


def read(args: argparse.Namespace) -> list[Sample]:
    """The samples, kept or made."""
    if args.keep and args.keep.exists():
        kept = [Sample(**row) for row in json.loads(args.keep.read_text(encoding="utf-8"))]
        for sample, (again, heard) in zip(kept, cuts(args.directory, args.cache), strict=True):
            sample.tail_db, sample.end_st = again.tail_db, evidence.end_st(sample.text, heard)
        return kept
    samples = asyncio.run(collect(args, smart_turn(args.model) if args.model else None))
    if args.keep:
        args.keep.write_text(json.dumps([dataclasses.asdict(s) for s in samples]), encoding="utf-8")
    return samples


def twice(samples: list[Sample], found: dict[str, Floats]) -> tuple[list[Sample], dict[str, Floats]]:
    """The places with what `evidence.confirmed` makes of a first transcript (100 ms) and a second (400 ms)."""
    where = {(s.file, s.end_ms, s.tail_ms): i for i, s in enumerate(samples)}
    pairs = [
        (i, where.get((f, end, 400)), where.get((f, end, 200))) for (f, end, tail), i in where.items() if tail == 100
    ]
    whole = [(a, b, c) for a, b, c in pairs if b is not None and c is not None]
    first, second = np.array([a for a, _, _ in whole]), np.array([b for _, b, _ in whole])
    its = {key: (found[key][first] + found[key][second]) / 2 for key in ("sign", "logprob", "comma")}
    its["wording"] = np.minimum(found["wording"][first], found["wording"][second])
    its |= {key: found[key][first] for key in ("tail_db", "end_st")}
    return [samples[c] for _, _, c in whole], its


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--keep", type=Path)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--cache", type=Path, default=Path(tempfile.gettempdir()) / "voiceloop-turns")
    args = parser.parse_args()
    # Where it wrote nothing, there is no turn to end.
    samples = [s for s in read(args) if s.text]
    found = numbers(lexicons.weights("en"), samples)
    tuned = np.array([s.speaker in TUNE for s in samples])
    n = Counter((s.speaker in TUNE, s.kind) for s in samples if s.tail_ms == TAILS_MS[0])
    print(f"{platform.machine()}, Python {platform.python_version()}; samples of TUNE and REPORT: ", end="")
    print(", ".join(f"{k} {n[True, k]} + {n[False, k]}" for k in SHARE))
    print(f"{'':26} {'TUNE':49} {'TUNE, speaker left out':49} REPORT")
    print(f"{'':26} " + "  ".join([f"{'pause':15} {'inside':15} {'dip':15}"] * 3))
    found["p_stop"] = np.log([(p + 1e-4) / (1 - p + 1e-4) for p in (s.p_stop or 0.0 for s in samples)])
    found["ratio"] = np.log([((s.p_stop or 0.0) + 1e-4) / ((s.p_comma or 0.0) + 1e-4) for s in samples])
    for key in ("p_stop", "ratio", *HEARD):
        row(key, (key,), samples, found)
    row("the decoder's", HEARD[:3], samples, found)
    row("without the decoder's", UNHEARD, samples, found)
    row("all together", HEARD, samples, found)
    places, its = twice(samples, found)
    row("two transcripts", HEARD, places, its)
    if any(s.model is not None for s in samples):
        its["model"] = np.array([evidence.log_odds(s.model or 0.5) for s in places])
        row("Smart Turn", ("model",), places, its)
        row("Smart Turn and all", (*HEARD, "model"), places, its)
        tune, ours = [s for s in places if s.speaker in TUNE], np.array([s.speaker in TUNE for s in places])
        its["finished"] = unseen(places, np.column_stack([its[key] for key in HEARD]), n_tails=1)
        row("joined (evidence.JOINT)", ("finished", "model"), places, its)
        both = np.column_stack([its["finished"], its["model"]])
        print("JOINT:", fit(tune, both[ours], n_tails=1))
    tune = [s for s, t in zip(samples, tuned, strict=True) if t]
    models = {
        name: fit(tune, np.column_stack([found[key] for key in keys])[tuned])
        for name, keys in (("heard", HEARD), ("unheard", UNHEARD))
    }
    ours = np.array([s.speaker in TUNE for s in places])
    models["twice"] = fit(
        [s for s in places if s.speaker in TUNE], np.column_stack([its[key] for key in HEARD])[ours], n_tails=1
    )
    report = [s for s in samples if s.speaker in REPORT]
    for name, keys in (("heard", HEARD), ("unheard", UNHEARD)):
        columns = np.column_stack([found[key] for key in keys])
        scores = 1 / (1 + np.exp(-odds(models[name], columns[~tuned])))
        print(f"--- {name}: bias {models[name].bias}, weights {models[name].weights}; on REPORT:")
        kinds(report, scores)
        calibration(report, scores)
    if args.write:
        about = "Logistics over evidence.numbers; by benchmarks/fit_turns.py"
        data = {"about": about, "no_table": round(float(np.median(found["wording"][tuned])), 2)}
        data |= {name: {"bias": m.bias, "weights": m.weights} for name, m in models.items()}
        DATA.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
