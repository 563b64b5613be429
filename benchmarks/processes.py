"""The server and the fake services as processes, each on its core."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from latency import ROOT, privileged

ELSEWHERE = {"VOICELOOP_STT_FALLBACK": "[]", "VOICELOOP_TTS_FALLBACK": "[]"}
"""All services are another process: an embedded recognizer, also as a fallback, would be asked what a voice is."""

_TICKS = os.sysconf("SC_CLK_TCK")


@contextmanager
def services() -> Generator[str, None, None]:
    """The URL of the fake services, on the generator's core and before it: by what they are late, answers are later."""
    command = [sys.executable, str(ROOT / "benchmarks" / "fake_services.py")]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, preexec_fn=lambda: privileged(1, 4))
    try:
        assert child.stdout is not None
        yield f"http://127.0.0.1:{json.loads(child.stdout.readline())['port']}"
    finally:
        child.terminate()
        child.wait()


@dataclass(frozen=True, slots=True)
class Server:
    """A process, and where its `/ws` is."""

    pid: int
    url: str

    def cpu_s(self) -> float:
        """Spent so far, by all its threads; not by its worker process, which only serves the speech API."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS

    def memory_mb(self) -> float:
        """Resident."""
        lines = Path(f"/proc/{self.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024


@contextmanager
def server(
    base_url: str, command: Sequence[str] = (sys.executable, "-m", "voiceloop")
) -> Generator[Server, None, None]:
    """`voiceloop serve` on core 0."""
    with tempfile.TemporaryDirectory() as home:
        env = {**os.environ, **ELSEWHERE, "OPENAI_BASE_URL": base_url, "XDG_STATE_HOME": home, "PYTHONPATH": str(ROOT)}
        config = str(ROOT / "configs" / "openai.toml")
        child = subprocess.Popen(
            [*command, "serve", "--json", "--port", "0", "--config", config],
            stdout=subprocess.PIPE,
            text=True,
            env=env,
            cwd=ROOT,
            preexec_fn=lambda: privileged(0, 2),
        )
        try:
            assert child.stdout is not None
            url = json.loads(child.stdout.readline())["url"]
            yield Server(child.pid, url.replace("http", "ws", 1) + "/ws")
        finally:
            child.terminate()
            child.wait()
