"""Word error rate of recordings: each file transcribed whole, and heard by the whole loop, in the same run.

    python benchmarks/wer.py DIRECTORY          (a directory with manifest.tsv: file, seconds, transcript, ...)

The loop hears each file as a microphone would (stepped: as fast as possible, same result), cuts it into turns, and the
words of its turns are joined. What its segmentation costs is the difference of the two columns.
"""

from __future__ import annotations

import argparse
import asyncio
import csv
import platform
import random
import re
import sys
from collections.abc import AsyncGenerator
from pathlib import Path

from voiceloop import build, jobs
from voiceloop.config import Config, load_config
from voiceloop.core.events import Heard
from voiceloop.ports import TurnView
from voiceloop.session.session import Session

_DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_SAME = {"fellow-americans": "fellow americans", "mister": "mr", **{str(n): word for n, word in enumerate(_DIGITS)}}


class Quiet:
    """A handler that has nothing to say, so that no reply is talked over."""

    early = True

    async def reply(self, turn: TurnView) -> AsyncGenerator[str, None]:
        """Nothing."""
        for word in ():
            yield word


def words(text: str) -> list[str]:
    """Lower case, no punctuation, small numbers as words, rows of figures digit by digit."""
    plain = re.sub(r"[^a-z0-9' -]", " ", text.lower().replace("\u2019", "'")).replace("-", " ")
    plain = re.sub(r"\b(0\d+|\d{5,})\b", lambda row: " ".join(row[0]), plain)
    return [_SAME.get(word.strip("'"), word.strip("'")) for word in plain.split()]


def errors(said: list[str], heard: list[str]) -> int:
    """Word edit distance."""
    row = list(range(len(heard) + 1))
    for i, a in enumerate(said, 1):
        last, row[0] = row[0], i
        for j, b in enumerate(heard, 1):
            last, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, last + (a != b))
    return row[-1]


async def by_loop(config: Config, path: Path) -> tuple[list[str], int]:
    """The words that the loop heard in a file, and in how many turns."""
    heard: list[str] = []
    port = build.file_port([path], None, paced=False)
    async with build.assemble(config, port=port, handler=Quiet()) as assembled:
        observer = lambda event: heard.append(event.text) if isinstance(event, Heard) else None  # noqa: E731
        await Session(assembled.parts, [observer], strict=True).run()
    return words(" ".join(heard)), len(heard)


def interval(pairs: list[tuple[int, int]], other: list[tuple[int, int]]) -> tuple[float, float]:
    """95 % interval of the difference of two error rates, by resampling files."""
    rng = random.Random(1)
    n = len(pairs)
    found: list[float] = []
    for _ in range(2000):
        pick = [rng.randrange(n) for _ in range(n)]
        total = sum(pairs[i][1] for i in pick)
        found.append(100 * (sum(pairs[i][0] for i in pick) - sum(other[i][0] for i in pick)) / total)
    found.sort()
    return found[50], found[1949]


async def measure(directory: Path, config: Config, show: bool) -> None:
    """Prints the table."""
    with (directory / "manifest.tsv").open(encoding="utf-8") as file:
        rows = [row for row in csv.reader(file, delimiter="\t")][1:]
    whole: list[tuple[int, int]] = []
    loop: list[tuple[int, int]] = []
    turns = 0
    async with build.transcriber(config) as engine:
        for name, _, transcript, *_ in rows:
            said = words(transcript)
            text = words((await jobs.transcribe(engine, directory / name)).text)
            heard, n = await by_loop(config, directory / name)
            whole.append((errors(said, text), len(said)))
            loop.append((errors(said, heard), len(said)))
            turns += n
            if show:
                print(f"{name:32} {whole[-1][0]:3} {loop[-1][0]:3} of {len(said):3}  {n} turns  {' '.join(heard)}")
    total = sum(n for _, n in whole)
    low, high = interval(loop, whole)
    a, b = (100 * sum(e for e, _ in column) / total for column in (whole, loop))
    print(f"{len(rows)} recordings, {total} words; {platform.machine()}, Python {platform.python_version()}")
    print(f"whole file      WER {a:5.2f} %")
    print(f"whole loop      WER {b:5.2f} %   in {turns} turns")
    print(f"segmentation    {b - a:+5.2f} points  [{low:+.2f}, {high:+.2f}] 95 %")


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--config")
    parser.add_argument("--show", action="store_true", help="each file: errors whole, errors by the loop, words")
    args = parser.parse_args()
    asyncio.run(measure(args.directory, load_config(args.config), args.show))
    return 0


if __name__ == "__main__":
    sys.exit(main())
