"""`voiceloop serve` as a user starts it, and foreign clients as theirs do: processes of their own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.program import ROOT, environment, voiceloop

HERE = Path(__file__).parent
CLIENTS = ROOT / ".clients"


@dataclass(frozen=True)
class Server:
    """A running one. key: that it wants. log: its standard error."""

    root: str
    key: str
    pid: int
    log: Path

    @property
    def base_url(self) -> str:
        """What a client is configured with."""
        return self.root + "/v1"

    @property
    def variables(self) -> dict[str, str]:
        """What OpenAI's SDKs read."""
        return {"OPENAI_BASE_URL": self.base_url, "OPENAI_API_KEY": self.key}


@contextmanager
def serving(home: Path, settings: str = "", *, talk: bool = False) -> Iterator[Server]:
    """A server on a free port, with a key of its own. settings: more of `[serve]`. talk: conversations too."""
    home.mkdir(parents=True, exist_ok=True)
    config, log = home / "serve.toml", home / "serve.log"
    config.write_text(f"[serve]\nkeys = {json.dumps(str(home / 'keys'))}\n{settings}")
    env = environment(home, PYTHONPATH=os.pathsep.join((str(ROOT), str(HERE / "house"))))
    key = _key(config, home, env)
    command = [
        sys.executable,
        "-m",
        "voiceloop",
        "serve",
        *([] if talk else ["--only", "speech-api"]),
        "--port",
        "0",
        "--json",
    ]
    with log.open("wb") as errors:
        process = subprocess.Popen(
            [*command, "--config", str(config)],
            cwd=home, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors, text=True,
        )  # fmt: skip
        try:
            assert process.stdout is not None
            ready = process.stdout.readline()
            assert ready, f"the server did not start:\n{log.read_text()}"
            yield Server(json.loads(ready)["url"], key, process.pid, log)
            assert process.poll() is None, f"the server is gone:\n{log.read_text()}"
        finally:
            process.send_signal(signal.SIGINT)
            try:
                process.communicate(timeout=30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.communicate()
                raise


def _key(config: Path, home: Path, env: dict[str, str]) -> str:
    added = voiceloop("keys", "add", "tests", "--config", config, "--json", home=home, env=env)
    assert added.returncode == 0, added.stderr
    return str(json.loads(added.stdout)["key"])


def python(client: str) -> Path:
    """The interpreter of a client's environment."""
    return _installed(CLIENTS / client / "bin" / "python")


def node() -> Path:
    """The folder that holds the packages of node."""
    return _installed(CLIENTS / "node")


def _installed(path: Path) -> Path:
    if not path.exists():
        pytest.skip(f"{path} is missing: make test-clients installs it")
    return path


def run(
    *command: str | Path, folder: Path, env: Mapping[str, str], text: str | None = None, timeout_s: float = 240
) -> str:
    """Standard output of a client. It finds neither our modules nor our settings."""
    keep = ("PATH", "HOME", "LANG", "TMPDIR")
    clean = {name: os.environ[name] for name in keep if name in os.environ}
    done = subprocess.run(
        list(map(str, command)), cwd=folder, env={**clean, **env}, capture_output=True, text=True, input=text,
        stdin=subprocess.DEVNULL if text is None else None, timeout=timeout_s, check=False,
    )  # fmt: skip
    assert done.returncode == 0, f"{command}\n{done.stdout[-4000:]}\n{done.stderr[-8000:]}"
    return done.stdout


def told(output: str) -> Any:
    """The last line as JSON: frameworks greet on standard output."""
    return json.loads(output.splitlines()[-1])
