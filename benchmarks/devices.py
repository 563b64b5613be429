"""Devices that are lost and come back: does the session live, how soon is there sound, and what is left behind.

    python benchmarks/devices.py                 100 losses: the sound server killed and started, cables out and in
    python benchmarks/devices.py --no-losses     the same questions without any loss, to compare the memory with

A session on the real port (PortAudio, ALSA, a private PulseAudio) with fake engines, in a process of its own. Each
time the devices are lost, come back after 0.5 to 3.5 s, and then a question is asked: 0.6 s of tone into the virtual
microphone, answered by a tone. The time is that from the moment the sound server lists the microphone again to the
first frame of it; threads, handles and memory are those of the session's process.

x86_64, 2 shared cores, Python 3.11, PulseAudio 16.1, PortAudio 19.6.0, one run of 100 losses:

    server killed and started   back after 0.56 s (median), 1.57 s (longest)
    cables out and in           back after 0.60 s (median), 2.46 s (longest)
    questions answered          100 of 100, history complete; threads 3, handles 22, before and after
    memory                      72.1 MB after the first, 80.2 after the last; without losses 71.9 and 77.7

That is 25 kB more for each loss. PortAudio loses 12.5 kB each time its list of devices is read (measured alone); before
that was avoided where it can be, it was 83 kB for each loss, and would have been gigabytes in a week without a device.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import platform
import queue
import random
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import soundfile

from voiceloop import build
from voiceloop.config import load_config, override
from voiceloop.core import events as ev
from voiceloop.core.audio import RATE
from voiceloop.session.observe import Ready
from voiceloop.session.session import Parts, Session
from voiceloop.testing import FakeHandler, FakeSynthesizer, FakeTranscriber, FakeVad, tone

ROOT = Path(__file__).resolve().parent.parent
GOAL_S = 3.0
WAIT_S = 60.0


# --- the session's process ---


def state() -> str:
    """Threads, handles, kB of memory."""
    status = Path("/proc/self/status").read_text()
    rss = next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS"))
    return f"{threading.active_count()} {len(os.listdir('/proc/self/fd'))} {rss}"


async def talk() -> None:
    """A session until its standard input ends; tells what happens, and when."""
    config = override(load_config(), {"audio.dead_s": 0.0})
    kinds = (Ready, ev.DeviceLost, ev.DeviceBack, ev.Heard, ev.ReplyEnded, ev.Notice)

    def tell(event: object) -> None:
        if isinstance(event, kinds):
            said = f" {event.text}" if isinstance(event, ev.Notice) else ""
            print(type(event).__name__, time.monotonic(), state(), said, flush=True)

    made = Parts(
        build.audio_port(config), FakeVad(), FakeTranscriber(), FakeHandler(), FakeSynthesizer(letter_s=0.03),
        build.resampler,
    )  # fmt: skip
    session = Session(made, [tell])
    loop = asyncio.get_running_loop()
    threading.Thread(target=lambda: (sys.stdin.read(), loop.call_soon_threadsafe(session.close)), daemon=True).start()
    await session.run()
    history = len(session._turns.history.view())
    print("Closed", time.monotonic(), state(), history, flush=True)


class Child:
    """The session, as seen from outside."""

    def __init__(self, env: dict[str, str]) -> None:
        self.process = subprocess.Popen(
            [sys.executable, __file__, "--inside"],
            env={**env, "PYTHONPATH": str(ROOT)}, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        self._lines: queue.Queue[str] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.process.stdout
        for line in self.process.stdout:
            self._lines.put(line)

    def until(self, name: str) -> tuple[float, tuple[int, int, int], str]:
        """The next event of that name: when, threads, handles and kB then, and what more it says."""
        deadline = time.monotonic() + WAIT_S
        while True:
            kind, when, threads, handles, rss, *more = self._lines.get(timeout=deadline - time.monotonic()).split()
            if kind == name:
                return float(when), (int(threads), int(handles), int(rss)), " ".join(more)


# --- the cables ---


def lose(server, how: str) -> None:
    """The devices are gone."""
    if how == "server":
        server.stop()
        return
    for module in ("module-remap-source", "module-null-sink"):
        server.pactl("unload-module", module)


def find(server, how: str) -> None:
    """The devices are back."""
    if how == "server":
        server.start()
        return
    from soundserver import MICBUS, MICROPHONE, SPEAKER

    for name in (SPEAKER, MICBUS):
        server.pactl("load-module", "module-null-sink", f"sink_name={name}", "rate=48000", "channels=2", "norewinds=1")
    server.pactl("load-module", "module-remap-source", f"master={MICBUS}.monitor", f"source_name={MICROPHONE}")
    server.pactl("set-default-sink", SPEAKER)
    server.pactl("set-default-source", MICROPHONE)


def run(times: int, *, losses: bool) -> int:
    """All losses; 0 if the session lived through each. losses: False: only the questions."""
    sys.path.insert(0, str(ROOT / "tests" / "e2e"))
    from soundserver import sound_server

    rng = random.Random(1)
    took: dict[str, list[float]] = {"server": [], "cables": []}
    states: list[tuple[int, int, int]] = []
    answered = 0
    with sound_server() as server, tempfile.TemporaryDirectory() as folder:
        question = Path(folder) / "question.wav"
        soundfile.write(question, tone(0.6), RATE)
        child = Child(server.env)
        child.until("Ready")
        for i in range(times):
            how = ("server", "cables")[i % 2]
            if losses:
                lose(server, how)
                child.until("DeviceLost")
                time.sleep(rng.uniform(0.5, 3.5))
                find(server, how)
                since = time.monotonic()
                back, _, _ = child.until("DeviceBack")
                took[how].append(max(0.0, back - since))
                time.sleep(0.3)
            server.speak(question)
            child.until("Heard")
            states.append(child.until("ReplyEnded")[1])
            answered += 1
            print(f"{i + 1:4} {how:7} {took[how][-1:]} {states[-1]}", file=sys.stderr, flush=True)
        assert child.process.stdin
        child.process.stdin.close()
        _, last, history = child.until("Closed")
        child.process.wait()
    print(f"{platform.machine()}, Python {platform.python_version()}, {os.cpu_count()} cores, {times} questions")
    for how, each in took.items() if losses else ():
        each.sort()
        late, middle = sum(s > GOAL_S for s in each), each[len(each) // 2]
        print(f"{how:7} back after {middle:.2f} s (median), {each[-1]:.2f} s (longest); {late} over {GOAL_S:g} s")
    print(f"questions answered: {answered} of {times}; history at the end: {history} items")
    for name, values in zip(("threads", "handles", "memory, kB"), zip(*states, strict=True), strict=True):
        marks = ", ".join(f"{values[i]} ({i + 1})" for i in sorted({0, times // 4, times // 2, times - 1}))
        print(f"{name} after a number of questions: {marks}")
    print(f"after close: {last[0]} threads, {last[1]} handles")
    return 0


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=100)
    parser.add_argument("--no-losses", action="store_true")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.inside:
        asyncio.run(talk())
        return 0
    return run(args.times, losses=not args.no_losses)


if __name__ == "__main__":
    sys.exit(main())
