"""How many people one core serves over `/ws`, and how much later than the local loop it answers.

    python benchmarks/bridge.py DIRECTORY                     a directory of recordings of people
    python benchmarks/bridge.py DIRECTORY --sessions 100      only so many at once

The server (`voiceloop serve`, configs/openai.toml without the embedded fallbacks) has a core of its own. On another one
are the services (fake, with fixed delays) and everybody who talks: real WebSockets, a frame of 20 ms each 20 ms,
`played` as a page reports it. A microphone gives recordings of people, without the silence around them, and a hiss of
-60 dBFS in between.

First one person is alone, and asks the same of the local loop (the paced file port) at the same time. Then there are
more and more; each speaks a quarter of the time, and over every third answer.

  voice to voice   from the last sample of speech to the first of the answer at the client; the local loop: at its port
  added            the same, less what the same recording took alone in this run
  clear            from the first sample of speech over an answer until `clear` came
  ping             round trip of a WebSocket ping: how long the server's event loop is busy with something else
  behind           frames that were sent and not counted, when the server says what it has

An answer that began before the end of the speech is a cut-off and no latency. Refused is a stage in which the
generator itself, or the services, were more than 10 ms late at the 99th percentile.

Measured 2026-11-23 on a virtual machine with two cores (Xeon, 2 MB of L2 each; Python 3.11.7 built without profile-
guided optimization, asyncio's own loop), load average 1.2 to 2.3 with its own share, `--sessions 50 75 100
--questions 8 --seconds 40`:

  sessions                      1       50       75      100
  core, %                               53       76       91
  CPU a session-second, ms            10.6     10.1      9.1
  added, ms: median                    1.5      5.1     10.5
             p95                      10.0     15.4     68.1
             p99                      10.9     19.5     93.2
  ping, ms: p95                        1.4      2.2      4.9
  clear, ms: median           102       93      101      106
             p90              135      112      176      167
             p95              150      131      185      182
  a session, MB                       1.09     1.10     1.09

Voice to voice 818 ms over `/ws`, 817 by the local loop; the same question takes 1.2 ms longer [1.1, 1.7] (n = 8).
Before windows were judged together (together.py) and microphones heard in turn (turnstile.py), 100 sessions added 289
to 680 ms at p95; with the first of the two 68 to 197, with both 33 to 68 (four runs each).
"""

from __future__ import annotations

import argparse
import asyncio
import os
import platform
import random
import resource
import statistics
import sys
import tempfile
import time
import wave
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from crowd import Microphone, Noted, Person, Said, Utterance, asking, chatting, first_after, utterances
from latency import ROOT, Timed, get, privileged
from processes import ELSEWHERE, Server, server, services
from score import bootstrap, percentile

from voiceloop import build
from voiceloop.config import load_config, override
from voiceloop.core.audio import FRAME, RATE
from voiceloop.session.session import Session

PATIENCE_S = 5.0
"""An answer that has not begun by then is missed."""

LATE_MS = 10.0
SETTLE_S = 15.0
"""From the last connection of a stage until it counts: by then everybody has begun to talk."""

DELAYS_S = {"transcriptions": 0.2, "completions": 0.2, "speech": 0.1}


# --- one person alone, and the local loop ---


async def local(base_url: str, known: Sequence[Utterance], folder: Path) -> tuple[float, list[float]]:
    """The same questions to a loop in this process: when it began, and when each reply reached its port."""
    track = folder / "track.wav"
    with wave.open(str(track), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes(b"".join(Microphone(asking(known)).frames()))
    config = override(load_config(ROOT / "configs" / "openai.toml", ELSEWHERE), {"service.base_url": base_url})
    port = Timed(build.file_port([track], None, paced=True))
    async with build.assemble(config, port=port) as assembled:  # pyright: ignore[reportArgumentType]
        await Session(assembled.parts).run()
    return port.began, sorted(port.first.values())


@dataclass(slots=True)
class Alone:
    """Voice to voice in ms of each question by name: of the bridge, and of the local loop. clears: as in `Stage`."""

    bridge: dict[str, float]
    local: dict[str, float]
    clears: list[float | None]


async def alone(base_url: str, at: Server, known: Sequence[Utterance]) -> Alone:
    """One session over `/ws`, and one in this process."""
    person = Person(at.url, Microphone(asking(known)))
    with tempfile.TemporaryDirectory() as folder:
        async with asyncio.TaskGroup() as group:
            group.create_task(person.talk())
            desk = group.create_task(local(base_url, known, Path(folder)))
    began, replies = desk.result()
    said = person.microphone.said
    noted = person.noted
    found = {
        which: {s.name: ms for s in said if not s.over and (ms := answered(s, start, times)) is not None and ms > 0}
        for which, start, times in (("bridge", noted.began, noted.replies), ("local", began, replies))
    }
    return Alone(found["bridge"], found["local"], cleared(said, noted))


def answered(said: Said, began: float, replies: Sequence[float]) -> float | None:
    """Milliseconds until the answer; negative: it began before the speech had ended. None: there was none."""
    end = began + said.end / RATE
    reply = first_after(replies, began + said.start / RATE, end + PATIENCE_S)
    return None if reply is None else 1000 * (reply - end)


def cleared(said: Sequence[Said], noted: Noted, begin: float = 0.0, end: float = float("inf")) -> list[float | None]:
    """Milliseconds from each voice over an answer that is heard until `clear` came; None: it did not."""
    found: list[float | None] = []
    for what, busy in zip(said, noted.busy, strict=False):
        start = noted.began + what.start / RATE
        if what.over and busy and begin <= start and noted.began + what.end / RATE + 1 < end:
            stop = first_after(noted.clears, start, noted.began + what.end / RATE + 1)
            found.append(None if stop is None else 1000 * (stop - start))
    return found


# --- many ---


@dataclass(slots=True)
class Stage:
    """What was measured with n people; times in ms. load: of the machine (1 minute), own shares included.

    core, others: shares of a core that the server, and that the generator with the services took. talking: share of
    the time in which somebody spoke. late: of the generator's frames; services: of their answers.
    """

    n: int
    window: tuple[float, float]
    core: float
    others: float
    memory_mb: float
    load: float
    talking: float = 0.0
    added: list[float] = field(default_factory=list[float])
    clears: list[float | None] = field(default_factory=list[float | None])
    cut: int = 0
    missed: int = 0
    pings: list[float] = field(default_factory=list[float])
    late: list[float] = field(default_factory=list[float])
    services: list[float] = field(default_factory=list[float])
    behind: list[float] = field(default_factory=list[float])
    underruns: int = 0
    troubles: list[str] = field(default_factory=list[str])

    @property
    def refused(self) -> str:
        """Why it does not count, or ""."""
        for name, values in (("generator", self.late), ("services", self.services)):
            if values and percentile(values, 99) > LATE_MS:
                return f"the {name} {'was' if name == 'generator' else 'were'} {percentile(values, 99):.0f} ms late"
        return ""


async def measured(people: Sequence[Person], at: Server, seconds: float) -> Stage:
    """What can be read off processes meanwhile."""
    loop = asyncio.get_running_loop()
    began, cpu, own = loop.time(), at.cpu_s(), time.process_time()
    underruns = sum(p.speaker.underruns for p in people)
    await asyncio.sleep(seconds)
    end = loop.time()
    taken = end - began
    stage = Stage(
        n=len(people),
        window=(began, end),
        core=(at.cpu_s() - cpu) / taken,
        others=(time.process_time() - own) / taken,
        memory_mb=at.memory_mb(),
        load=os.getloadavg()[0],
    )
    stage.underruns = sum(p.speaker.underruns for p in people) - underruns
    return stage


def evaluate(stage: Stage, people: Sequence[Person], baseline: Mapping[str, float]) -> None:
    """What the people of a stage saw; after the last answer."""
    begin, end = stage.window
    spoken = 0.0
    for person in people:
        noted, said = person.noted, person.microphone.said
        for what, busy in zip(said, noted.busy, strict=False):
            first, last = noted.began + what.start / RATE, noted.began + what.end / RATE
            spoken += max(0.0, min(last, end) - max(first, begin))
            if what.over or busy or what.name not in baseline or not begin <= last < end - PATIENCE_S:
                continue
            ms = answered(what, noted.began, noted.replies)
            stage.missed += ms is None
            stage.cut += ms is not None and ms <= 0
            if ms is not None and ms > 0:
                stage.added.append(ms - baseline[what.name])
        stage.clears += cleared(said, noted, begin, end)
        stage.pings += [1000 * value for at, value in noted.pings if begin <= at < end]
        stage.late += [1000 * value for at, value in noted.late if begin <= at < end]
        stage.behind += [value / FRAME for at, value in noted.behind if begin <= at < end]
        stage.troubles += noted.troubles
    stage.talking = spoken / (end - begin) / len(people)


async def grow(
    at: Server, known: Sequence[Utterance], sizes: Sequence[int], seconds: float, baseline: Mapping[str, float]
) -> list[Stage]:
    """More and more people, each stage measured for so many seconds."""
    people: list[Person] = []
    stages: list[Stage] = []
    async with asyncio.TaskGroup() as group:
        tasks: list[asyncio.Task[None]] = []
        for size in sizes:
            while len(people) < size:
                seed = len(people)
                person = Person(at.url, Microphone(chatting(known, random.Random(seed)), 7 * seed))
                people.append(person)
                tasks.append(group.create_task(person.talk()))
                await asyncio.sleep(0.05 + 0.0007 * (seed % 29))  # so that frames do not come all at once
            await asyncio.sleep(min(SETTLE_S, seconds))
            stages.append(await measured(people, at, seconds))
        for task in tasks:
            task.cancel()
    for stage in stages:
        evaluate(stage, people[: stage.n], baseline)
    return stages


def lateness(records: Mapping[str, Sequence[Mapping[str, Any]]], stage: Stage) -> list[float]:
    """By how many ms the services answered later than they were to."""
    begin, end = stage.window
    every = (record for some in records.values() for record in some)
    return [
        1000 * (r["answered"] - r["arrived"] - DELAYS_S[r["kind"]])
        for r in every
        if r["answered"] is not None and begin <= r["arrived"] < end
    ]


# --- tables ---


def cells(values: Sequence[float | None], *quantiles: float) -> str:
    """n and the quantiles."""
    found = [value for value in values if value is not None]
    return f"{len(found):5}" + "".join(f"{percentile(found, q) if found else float('nan'):9.1f}" for q in quantiles)


def compared(found: Alone) -> str:
    """Bridge and local loop."""
    both = sorted(found.bridge.keys() & found.local.keys())
    lines = [f"{'one session, ms':44}{'n':>5}{'median':>9}{'p90':>9}{'p95':>9}"]
    lines.append(f"{'voice to voice over /ws':44}{cells([found.bridge[name] for name in both], 50, 90, 95)}")
    lines.append(f"{'voice to voice, local loop':44}{cells([found.local[name] for name in both], 50, 90, 95)}")
    differences = [found.bridge[name] - found.local[name] for name in both]
    if differences:
        low, high = bootstrap(differences, statistics.median)  # pyright: ignore[reportArgumentType]
        lines.append(
            f"{'difference of the same question':44}{cells(differences, 50, 90, 95)}   median [{low:.1f}, {high:.1f}]"
        )
    held = sum(value is not None for value in found.clears)
    lines.append(
        f"{'voice over the answer -> clear':44}{cells(found.clears, 50, 90, 95)}   {held} of {len(found.clears)}"
    )
    return "\n".join(lines)


def row(stage: Stage, before: Stage | None, empty_mb: float) -> str:
    """One stage."""
    fewer, less_mb = (before.n, before.memory_mb) if before else (0, empty_mb)
    each_mb = (stage.memory_mb - less_mb) / max(1, stage.n - fewer)
    lines = [
        f"{stage.n} sessions, {100 * stage.talking:.0f} % talking; load average {stage.load:.1f}"
        + (f"; REFUSED: {stage.refused}" if stage.refused else ""),
        f"  server: {100 * stage.core:.0f} % of a core, {1000 * stage.core / stage.n:.2f} ms of CPU a session-second,"
        f" {stage.memory_mb:.0f} MB, {(stage.memory_mb - empty_mb) / stage.n:.2f} a session, {each_mb:.2f} a new one",
        f"  {'ms':24}{'n':>5}{'median':>9}{'p95':>9}{'p99':>9}",
        f"  {'added':24}{cells(stage.added, 50, 95, 99)}   cut off {stage.cut}, missed {stage.missed}",
        f"  {'ping':24}{cells(stage.pings, 50, 95, 99)}",
        f"  {'clear (median, p90, p95)':24}{cells(stage.clears, 50, 90, 95)}   of {len(stage.clears)}",
        f"  {'behind, frames':24}{cells(stage.behind, 50, 95, 99)}   underruns {stage.underruns}",
        f"  {'generator late':24}{cells(stage.late, 50, 95, 99)}   {100 * stage.others:.0f} % of the other core",
        f"  {'services late':24}{cells(stage.services, 50, 95, 99)}",
    ]
    lines += [f"  {n} x {text}" for text, n in counted(stage.troubles)]
    return "\n".join(lines)


def counted(texts: Sequence[str]) -> list[tuple[str, int]]:
    """Each text, and how often."""
    return sorted({text: texts.count(text) for text in texts}.items())[:5]


def run(known: Sequence[Utterance], sizes: Sequence[int], seconds: float, questions: int) -> int:
    """All of it; 1 if a stage was refused."""
    with services() as url, server(url + "/v1") as at:
        print(f"{platform.machine()}, Python {platform.python_version()}, STT 200, LLM 200 + 10 a token, TTS 100 ms")
        found = asyncio.run(alone(url + "/v1", at, known[:questions]))
        print(compared(found), flush=True)
        empty_mb = at.memory_mb()
        stages = asyncio.run(grow(at, known[:questions], sizes, seconds, found.bridge))
        records = get(url + "/stats")["sessions"]
        before = None
        for stage in stages:
            stage.services = lateness(records, stage)
            print(row(stage, before, empty_mb), flush=True)
            before = stage
        return int(any(stage.refused for stage in stages))


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--sessions", type=int, nargs="+", default=[25, 50, 100], help="at once, in stages")
    parser.add_argument("--seconds", type=float, default=60.0, help="for each stage")
    parser.add_argument("--questions", type=int, default=12, help="recordings that are used")
    parser.add_argument("--longest", type=float, default=5.0, help="seconds; longer recordings are left out")
    args = parser.parse_args()
    known = utterances(args.directory, 1.5, args.longest)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(4096, hard) if soft < 4096 else soft, hard))
    privileged(core=1, priority=3)
    return run(known, args.sessions, args.seconds, args.questions)


if __name__ == "__main__":
    sys.exit(main())
