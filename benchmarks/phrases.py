"""What brief sounds are taken for: "mm-hm", "stop", a cough, one word out of a sentence; a table for each kind.

    python benchmarks/phrases.py DIRECTORY [--speakers report]     (a directory with the recordings of words.tsv)

Each sound stands in quiet room tone, 0.3 s before it and 0.15 s behind, as the session hands it over. `lists`: what the
word lists make of the plain transcript; `odds`: what is told when it is also held against phrases (core/choosing.py).
Synthetic words and noises are those of sounds.py, made anew with another seed than the scoreboard's; human words are
cut out of sentences, which nobody speaks alone: they show what becomes of words that are on no list.
"""

from __future__ import annotations

import argparse
import asyncio
import csv
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from engines import Inline
from material import half
from score import share
from sounds import Sound, louder, noises, spoken

from voiceloop import build, lexicons
from voiceloop.adapters.stt.moonshine import Moonshine
from voiceloop.core.audio import RATE, Pcm, ticks
from voiceloop.core.events import Sense, Transcribe
from voiceloop.session.judgement import Language, judged

HERE = Path(__file__).parent
SHORTEST_MS, LONGER_MS, LONGEST_MS = 250, 400, 700
"""Human words: shorter ones are "the" and "of"; the middle parts the table."""

GOES_ON = ("backchannel", "none", "invented")
"""Kinds after which a reply goes on."""


def words(directory: Path, wanted: str, rng: np.random.Generator) -> Iterator[Sound]:
    """Single words of the recordings."""
    recordings: dict[str, Pcm] = {}
    with (HERE / "words.tsv").open(encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file, delimiter="\t") if half(row["file"]) == wanted]
    for row in rows:
        name, start, end = row["file"], int(row["start_ms"]), int(row["end_ms"])
        if name not in recordings:
            recordings[name] = np.concatenate(list(build.recording(directory / name)))
        if SHORTEST_MS <= end - start <= LONGEST_MS:
            kind = "word to 0.4 s" if end - start < LONGER_MS else "word from 0.4 s"
            pcm = recordings[name][start * RATE // 1000 : end * RATE // 1000]
            yield Sound(row["word"], kind, louder(pcm, float(rng.uniform(-28, -18))))


def heard(sound: Pcm, rng: np.random.Generator) -> Pcm:
    """As a segment of the session."""

    def room(n: int) -> Pcm:
        return np.rint(rng.normal(0, 26, n)).astype(np.int16)  # -62 dBFS

    return np.concatenate((room(ticks(0.3)), sound, room(ticks(0.15))))


async def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--speakers", choices=("tune", "report"), default="report")
    parser.add_argument("--each", type=int, default=24, help="so often each synthetic word and noise")
    parser.add_argument("--seed", type=int, default=5)
    args = parser.parse_args()
    rng = np.random.default_rng(args.seed)
    sounds = [*spoken(args.speakers, args.each, rng), *noises(args.each, rng)]
    sounds += words(args.directory, args.speakers, rng)
    engine, english = Moonshine(Inline()), Language(lexicons.lexicon("en"), None, lexicons.choices("en"))
    await engine.warm_up()
    before: dict[str, list[bool]] = defaultdict(list)
    after: dict[str, list[bool]] = defaultdict(list)
    costs: list[float] = []
    for sound in sounds:
        pcm = heard(sound.pcm, rng)
        order = Transcribe(1, 1, 0, 0, 0, pcm.size, over=True)
        clock = [time.process_time()]
        plain = await engine.transcribe(pcm)
        clock.append(time.process_time())
        held, odds = await engine.choose(pcm, english.choices.phrases)
        clock.append(time.process_time())
        costs.append(1000 * (clock[2] - 2 * clock[1] + clock[0]))
        word = sound.name.split("/")[0] if sound.kind in ("backchannel", "command") else sound.kind
        for names, kind in (
            (before, judged(english, order, plain.text, plain, pcm).sense),
            (after, judged(english, order, held.text, held, pcm, odds).sense),
        ):
            for name in dict.fromkeys((sound.kind, word)):
                names[name].append(goes_on(kind))
    print(f"phrases.py, {args.speakers}, seed {args.seed}: the reply goes on, %")
    for name, hits in before.items():
        print(f"  {name:20} lists {share(hits)}   odds {share(after[name])}")
    middle, high = np.percentile(costs, (50, 95))
    print(f"the odds cost CPU ms: median {middle:.0f}, p95 {high:.0f}")


def goes_on(kind: Sense) -> bool:
    """Whether a reply goes on after that."""
    return kind in GOES_ON


if __name__ == "__main__":
    asyncio.run(main())
