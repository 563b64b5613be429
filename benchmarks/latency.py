"""How long a spoken question waits for its answer, and how much of that is ours.

    python benchmarks/latency.py                   against fake services with fixed delays: what the loop adds
    python benchmarks/latency.py --embedded DIR    embedded engines, real recordings: where the time goes

`added` is the time from the moment when both the turn was decided and the service had sent the first byte of speech
to the first sample at the port. With run_ahead = none all services are called after the decision, and their own times
(from their log) are taken off. Services run in a process of their own on the other core; a run whose 20 ms ticks
came more than 10 ms late at the 99th percentile is thrown away, because then the machine was measured.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import statistics
import subprocess
import sys
import time
import urllib.request
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing, suppress
from pathlib import Path
from typing import Any

from voiceloop import build
from voiceloop.config import Config, load_config, override
from voiceloop.core import events as ev
from voiceloop.core.audio import FRAME, RATE, Pcm
from voiceloop.ports import AudioPort, Capture
from voiceloop.session.latency import Latency
from voiceloop.session.session import Session

ROOT = Path(__file__).resolve().parent.parent
DATA = ROOT / "tests" / "data"
SHORT = ("ps_card001.flac", "ps_goforward.flac", "sb_spk1_snt1.flac", "sb_spk1_snt5.flac", "lj_LJ001-0008.flac")


class Timed:
    """An AudioPort that notes when it began, when each reply first reached it, and how late its own ticks were."""

    def __init__(self, port: AudioPort) -> None:
        self._port = port
        self.began = 0.0
        self.first: dict[int, float] = {}
        self.late: list[float] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._port, name)

    async def frames(self) -> AsyncGenerator[Capture, None]:
        """Passes frames on."""
        self.began, n = time.monotonic(), 0
        async with aclosing(self._port.frames()) as frames:
            async for capture in frames:
                n += 1
                self.late.append(time.monotonic() - self.began - n * FRAME / RATE)
                yield capture

    async def write(self, reply: int, pcm: Pcm) -> None:
        """Notes the first."""
        self.first.setdefault(reply, time.monotonic())
        await self._port.write(reply, pcm)


class Turns:
    """An observer that notes when turns were decided and which reply belongs to which."""

    def __init__(self) -> None:
        self.decided: dict[int, float] = {}
        self.replies: dict[int, int] = {}
        self.latencies: list[Latency] = []

    def __call__(self, event: object) -> None:
        match event:
            case ev.Decided(turn=turn):
                self.decided[turn] = time.monotonic()
            case ev.ReplyStarted(reply=reply, turn=int(turn)):
                self.replies[turn] = reply
            case Latency():
                self.latencies.append(event)
            case _:
                pass


def row(name: str, values: Sequence[float]) -> str:
    """One line: number, median, 90th, 95th percentile and range, in ms."""
    if not values:
        return f"{name:34} no trial"
    ordered = sorted(values)

    def at(q: float) -> float:
        return ordered[min(len(ordered) - 1, round(q * (len(ordered) - 1)))]

    cells = (statistics.median(ordered), at(0.9), at(0.95), ordered[0], ordered[-1])
    return f"{name:34} {len(ordered):4}" + "".join(f"{cell:9.1f}" for cell in cells)


HEAD = f"{'ms':34} {'n':>4}" + "".join(f"{title:>9}" for title in ("median", "p90", "p95", "min", "max"))


async def converse(config: Config, files: Sequence[Path]) -> tuple[str, Turns, Timed]:
    """One session that hears the files in real time; its id, and what was noted."""
    turns = Turns()
    port = Timed(build.file_port(files, None, paced=True))
    async with build.assemble(config, port=port) as assembled:  # pyright: ignore[reportArgumentType]
        session = Session(assembled.parts, [turns])
        await session.run()
    return session.id, turns, port


def added_by_loop(records: list[dict[str, Any]], turns: Turns, port: Timed, *, ahead: bool) -> list[float]:
    """Milliseconds that the loop added to each turn."""
    found: list[float] = []
    for turn, decided in turns.decided.items():
        reply = turns.replies.get(turn)
        mine = [r for r in records if r["turn"] == str(turn) and not r["broken"] and r["answered"] is not None]
        steps = {kind: [r for r in mine if r["kind"] == kind] for kind in ("transcriptions", "completions", "speech")}
        if reply is None or reply not in port.first or not all(steps.values()):
            continue
        stt, chat, speech = (
            steps["transcriptions"][-1],
            steps["completions"][-1],
            steps["speech"][0 if not ahead else -1],
        )
        if ahead:
            found.append(port.first[reply] - max(decided, speech["answered"]))
        else:
            served = stt["answered"] - stt["arrived"] + chat["finished"] - chat["arrived"]
            found.append(port.first[reply] - decided - served - (speech["answered"] - speech["arrived"]))
    return [1000 * seconds for seconds in found]


def get(url: str) -> Any:
    """JSON from the fake services."""
    with urllib.request.urlopen(url) as answer:
        return json.load(answer)


async def against_services(url: str, turns: int, run_ahead: str) -> tuple[list[float], float]:
    """Added ms of each turn, and the 99th percentile of the ticks' lateness in ms."""
    changes = {"service.base_url": url + "/v1", "turn.run_ahead": run_ahead}
    config = override(load_config(ROOT / "configs" / "openai.toml", {}), changes)
    files = [DATA / SHORT[i % len(SHORT)] for i in range(turns)]
    session, noted, port = await converse(config, files)
    records = get(url + "/stats")["sessions"][session]
    late = sorted(port.late)[round(0.99 * (len(port.late) - 1))] * 1000
    return added_by_loop(records, noted, port, ahead=run_ahead == "speech"), late


def services(trials: int, turns: int) -> int:
    """The first table."""
    privileged(core=0, priority=2)
    command = [sys.executable, str(ROOT / "benchmarks" / "fake_services.py"), "--chat-text", "Paris."]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, preexec_fn=lambda: privileged(1, 1))
    try:
        assert child.stdout is not None
        url = f"http://127.0.0.1:{json.loads(child.stdout.readline())['port']}"
        print(f"{platform.machine()}, Python {platform.python_version()}, STT 200, LLM 200 + 10 a token, TTS 100 ms")
        print(HEAD)
        for run_ahead in ("speech", "none"):
            values: list[float] = []
            for _ in range(trials):
                found, late = asyncio.run(against_services(url, turns, run_ahead))
                if late > 10:
                    print(f"a run is thrown away: ticks were {late:.0f} ms late")
                    continue
                values += found
            print(row(f"added, run_ahead = {run_ahead}", values))
    finally:
        child.terminate()
        child.wait()
    return 0


def embedded(directory: Path, longest_s: float, wanted: Callable[[str], bool] = lambda name: True) -> int:
    """The second table. wanted: which files."""
    import soundfile

    privileged(core=None, priority=2)
    files = [f for f in sorted(directory.glob("*.flac")) if wanted(f.name)]
    files = [f for f in files if soundfile.info(str(f)).duration <= longest_s]
    config = override(load_config(environ={}), {"offline": True, "handler.name": "echo"})
    _, noted, port = asyncio.run(converse(config, files))
    late = sorted(port.late)[round(0.99 * (len(port.late) - 1))] * 1000
    found = noted.latencies
    print(
        f"{platform.machine()}, Python {platform.python_version()}, {len(files)} recordings up to {longest_s:g} s;",
        end=" ",
    )
    print(f"ticks late: p99 {late:.1f} ms. From the last speech sample:")
    print(HEAD)
    for name in ("words_ms", "text_ms", "ready_ms", "decided_ms", "released_ms", "heard_ms"):
        print(row(name.removesuffix("_ms"), [getattr(latency, name) for latency in found]))
    return 0


def privileged(core: int | None, priority: int) -> None:
    """Real-time priority and a core of its own, where the machine allows it."""
    with suppress(OSError, AttributeError):
        if core is not None and (os.cpu_count() or 1) > 1:
            os.sched_setaffinity(0, {core})
    with suppress(OSError, AttributeError):
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(priority))


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=3)
    parser.add_argument("--turns", type=int, default=20, help="in each trial")
    parser.add_argument("--embedded", type=Path, metavar="DIR")
    parser.add_argument("--longest", type=float, default=5.0, help="seconds; longer recordings are left out")
    args = parser.parse_args()
    return embedded(args.embedded, args.longest) if args.embedded else services(args.trials, args.turns)


if __name__ == "__main__":
    sys.exit(main())
