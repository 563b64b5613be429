"""CPU of listening while nobody speaks: seconds of CPU for each minute of one session.

    python benchmarks/idle.py              in process: paced port, room noise, no device, no socket
    python benchmarks/idle.py --device     PortAudio on a private virtual sound server, echo cancellation on
    python benchmarks/idle.py --import     CPU of `import voiceloop`

The CPU time of the process from the moment it listens; loading the engines is not counted.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path

import numpy as np

from voiceloop import build
from voiceloop.config import load_config, override
from voiceloop.core.audio import FRAME, RATE, Pcm
from voiceloop.ports import Capture
from voiceloop.session.observe import Ready
from voiceloop.session.session import Session

NOISE_DB = -55.0
ROOT = Path(__file__).resolve().parent.parent


class Room:
    """A paced port in a quiet room: noise comes in, nothing is played."""

    out_rate = 24_000
    stepped = False
    exhausted = False
    xruns = (0, 0)

    def __init__(self) -> None:
        rng = np.random.default_rng(1)
        level = 32768 * 10 ** (NOISE_DB / 20)
        self._noise = rng.normal(0, level, RATE * 10).astype(np.int16)

    async def open(self) -> None:
        """Nothing to open."""

    async def frames(self) -> AsyncGenerator[Capture, None]:
        """50 a second."""
        loop = asyncio.get_running_loop()
        start, n = loop.time(), 0
        while True:
            n += 1
            due = loop.create_future()
            loop.call_at(start + n * FRAME / RATE, due.set_result, None)
            await due
            at = n * FRAME % (self._noise.size - FRAME)
            yield Capture(self._noise[at : at + FRAME])

    async def write(self, reply: int, pcm: Pcm) -> None:
        """Nobody speaks."""

    def hold(self, reply: int) -> int:
        """Nothing plays."""
        return 0

    def resume(self, reply: int) -> None:
        """Nothing plays."""

    def flush(self, reply: int) -> int:
        """Nothing plays."""
        return 0

    def gain(self, factor: float) -> None:
        """Nothing plays."""

    async def close(self) -> None:
        """Nothing to close."""


async def listen(seconds: float, *, device: bool, vad: str) -> tuple[float, str]:
    """CPU seconds for each minute from when the session listens until it is closed, and which VAD it was."""
    config = override(load_config(), {"vad.engine": vad})
    spent: list[float] = []
    async with build.assemble(config, port=None if device else Room()) as assembled:
        loop = asyncio.get_running_loop()

        def finish(cpu: float, wall: float) -> None:
            spent.append((time.process_time() - cpu) * 60 / (loop.time() - wall))
            session.close()

        def ready(event: object) -> None:
            if isinstance(event, Ready):
                loop.call_later(seconds, finish, time.process_time(), loop.time())

        session = Session(assembled.parts, [ready])
        await session.run()
        return spent[0], assembled.names["vad"]


async def bare(seconds: float) -> float:
    """CPU seconds for each minute of the in-process port alone: what 50 wake-ups a second cost on this machine."""
    loop = asyncio.get_running_loop()
    cpu, wall = time.process_time(), loop.time()
    async with aclosing(Room().frames()) as frames:
        async for _ in frames:
            if loop.time() - wall >= seconds:
                break
    return (time.process_time() - cpu) * 60 / (loop.time() - wall)


def imports(trials: int) -> list[float]:
    """CPU seconds of `import voiceloop` beyond those of starting Python."""
    code = "import time; a = time.process_time(); import voiceloop; print(time.process_time() - a)"
    return [float(subprocess.check_output([sys.executable, "-c", code], cwd=ROOT)) for _ in range(trials)]


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--trials", type=int, default=3)
    parser.add_argument("--vad", default="auto")
    parser.add_argument("--device", action="store_true")
    parser.add_argument("--import", dest="imports", action="store_true")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.imports:
        found = imports(args.trials)
        spread = f"{min(found):.3f}-{max(found):.3f}, {args.trials} trials"
        print(f"import voiceloop: {statistics.median(found):.3f} CPU s ({spread})")
        return 0
    if args.device and not args.inside:
        return on_sound_server()
    found: list[float] = []
    ticks: list[float] = []
    for _ in range(args.trials):
        if not args.device:
            ticks.append(asyncio.run(bare(args.seconds / 4)))
        per_minute, vad = asyncio.run(listen(args.seconds, device=args.device, vad=args.vad))
        found.append(per_minute)
    where = "PortAudio with echo cancellation" if args.device else "in process"
    print(f"{platform.machine()}, Python {platform.python_version()}, {args.trials} x {args.seconds:g} s")
    print(f"{where}, {vad}: {statistics.median(found):.2f} CPU s a minute ({min(found):.2f}-{max(found):.2f})")
    if ticks:
        spread = f"{min(ticks):.2f}-{max(ticks):.2f}"
        print(f"of which the bare port, 50 wake-ups a second: {statistics.median(ticks):.2f} ({spread})")
    return 0


def on_sound_server() -> int:
    """The same command inside the environment of a private sound server."""
    sys.path.insert(0, str(ROOT / "tests" / "e2e"))
    from soundserver import sound_server

    with sound_server() as server:
        env = {**server.env, "HOME": os.environ.get("HOME", "")}
        return subprocess.call([sys.executable, *sys.argv, "--inside"], env=env)


if __name__ == "__main__":
    sys.exit(main())
