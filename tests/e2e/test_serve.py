"""`voiceloop serve` and `voiceloop keys` as a user starts them, and one conversation with the real engines."""

import asyncio
import json
import os
import re
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import numpy as np
import pytest
import soundfile

from tests.program import DATA, ROOT, environment, hiding, misheard, voiceloop
from tests.server.engines import FakeEngines
from tests.server.test_transcriptions import wav
from voiceloop.testing import script

pytestmark = pytest.mark.e2e

FAKE = ("--stt", "fake", "--tts", "fake")
SPEECH = "/v1/audio/speech"
TEXT = "/v1/audio/transcriptions"


@pytest.fixture
def engines(tmp_path: Path) -> FakeEngines:
    return FakeEngines(tmp_path)


@contextmanager
def serving(home: Path, env: dict[str, str], *arguments: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The command without conversations, and the first line that it prints."""
    with subprocess.Popen(
        [sys.executable, "-m", "voiceloop", "serve", "--only", "speech-api", "--port", "0", *arguments],
        cwd=home, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        try:
            assert process.stdout
            assert process.stderr
            ready, _, _ = select.select([process.stdout, process.stderr], [], [], 60)
            line = process.stdout.readline() if process.stdout in ready else process.stderr.read()
            yield process, line
        finally:
            if process.poll() is None:
                process.kill()


def url(line: str) -> str:
    found = re.search(r"https?://[\d.]+:\d+", line)
    assert found, line
    return found[0]


def ended(process: subprocess.Popen[str], number: int = signal.SIGINT) -> tuple[int, str]:
    process.send_signal(number)
    _, err = process.communicate(timeout=20)
    return process.returncode, err


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_the_line_that_it_prints_works(engines: FakeEngines, tmp_path: Path) -> None:
    with serving(tmp_path, engines.env, *FAKE, "--only", "speech-api") as (process, line):
        assert "stt fake, tts fake, no key needed" in line
        command = line.partition("Try: ")[2]
        subprocess.run(["sh", "-c", command], cwd=tmp_path, check=True, capture_output=True, timeout=30)
        assert (tmp_path / "hello.mp3").stat().st_size > 1000
        [worker] = children(process.pid)
        assert ended(process)[0] == 130
        deadline = time.monotonic() + 10
        while alive(worker) and time.monotonic() < deadline:
            time.sleep(0.01)
        assert not alive(worker)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_ends_with_clients_connected(engines: FakeEngines, tmp_path: Path, number: int) -> None:
    engines.env["TMPDIR"] = str(tmp_path)
    with serving(tmp_path, engines.env, *FAKE, "--json") as (process, line):
        base = json.loads(line)["url"]
        with (
            httpx.Client(base_url=base) as http,
            http.stream("POST", SPEECH, json={"model": "x", "voice": "alloy", "input": "endless"}) as answer,
        ):
            next(answer.iter_raw())
            assert list(tmp_path.glob("voiceloop-*"))
            code, err = ended(process, number)
        assert (code, err) == (128 + number, "")
    assert not list(tmp_path.glob("voiceloop-*"))


def test_a_port_in_use(engines: FakeEngines, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        done = voiceloop("serve", "--port", port, *FAKE, home=tmp_path, env=engines.env)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"Port {port} is in use: choose another with --port, or end what uses it.\n"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--host", "0.0.0.0", *FAKE), "there is no key: make one with voiceloop keys add NAME"),
        (("--stt", "nothing"), "no engine named 'nothing'"),
    ],
)
def test_what_cannot_be_served(engines: FakeEngines, tmp_path: Path, arguments: tuple[str, ...], said: str) -> None:
    done = voiceloop("serve", "--port", "0", *arguments, home=tmp_path, env=engines.env)
    assert (done.returncode, done.stdout) == (1, "")
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_what_is_not_installed(tmp_path: Path) -> None:
    env = environment(tmp_path, **hiding(tmp_path / "site", "starlette", "python_multipart"))
    env["PYTHONPATH"] += f":{ROOT}"
    done = voiceloop("serve", home=tmp_path, env=env)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == ("Voiceloop serve needs starlette, python_multipart: pip install 'voiceloop[serve]'.\n")


def test_keys(engines: FakeEngines, tmp_path: Path) -> None:
    def keys(*arguments: str) -> subprocess.CompletedProcess[str]:
        return voiceloop("keys", *arguments, home=tmp_path, env=engines.env)

    assert keys("list").stdout == "There are no keys.\n"
    secret = keys("add", "kiosk").stdout.strip()
    assert secret.startswith("vl-")
    assert keys("list").stdout == "kiosk\n"
    assert json.loads(keys("list", "--json").stdout) == {"keys": ["kiosk"]}
    assert "already" in keys("add", "kiosk").stderr
    assert "needs the name" in keys("remove").stderr
    with serving(tmp_path, engines.env, *FAKE) as (_, line):
        assert "with a key" in line
        assert "Authorization: Bearer $KEY" in line
        with httpx.Client(base_url=url(line)) as http:
            assert http.get("/v1/models").status_code == 401
            bearer = {"authorization": f"Bearer {secret}"}
            assert http.get("/v1/models", headers=bearer).status_code == 200
            assert keys("remove", "kiosk").returncode == 0
            keys("add", "other")
            assert http.get("/v1/models", headers=bearer).status_code == 401


def test_a_worker_that_is_killed(engines: FakeEngines, tmp_path: Path) -> None:
    hello = {"model": "x", "voice": "alloy", "input": "hello"}
    with serving(tmp_path, engines.env, *FAKE) as (process, line), httpx.Client(base_url=url(line), timeout=30) as http:
        os.kill(children(process.pid)[0], signal.SIGKILL)
        while http.get("/health").status_code == 200 and engines.count("warm") < 2:
            pass
        assert http.post(SPEECH, json=hello).status_code == 200
        code, err = ended(process)
        assert (code, len(err.splitlines())) == (130, 1)
        assert "it is started again" in err


def resident_mb(pid: int) -> float:
    """Most memory that a process has held, MB."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found
    return int(found[1]) / 1024


async def test_two_hundred_at_once_take_little_memory(engines: FakeEngines, tmp_path: Path) -> None:
    upload = wav(script(*[9.0, -1.0] * 4))
    with serving(tmp_path, engines.env, *FAKE) as (process, line):
        pids = [process.pid, *children(process.pid)]
        before = sum(map(resident_mb, pids))
        limits = httpx.Limits(max_connections=None)
        async with httpx.AsyncClient(base_url=url(line), timeout=120, limits=limits) as http:

            async def ask(n: int) -> int:
                if n % 2:
                    fields = {"model": "x", "voice": "alloy", "input": "word " * 8}
                    return (await http.post(SPEECH, json=fields)).status_code
                return (await http.post(TEXT, data={"model": "x"}, files={"file": ("x", upload)})).status_code

            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(ask(n)) for n in range(200)]
        statuses = [task.result() for task in tasks]
        assert set(statuses) <= {200, 429}
        assert statuses.count(200) >= 4
        assert sum(map(resident_mb, pids)) - before < 300


# --- the real engines ---


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("serve")


@pytest.fixture(scope="module")
def real(home: Path) -> Iterator[httpx.Client]:
    env = environment(home, PYTHONPATH=str(ROOT), VOICELOOP_SERVE_MAX_HOURS="0.1")
    with serving(home, env, "--offline") as (_, line), httpx.Client(base_url=url(line), timeout=60) as http:
        yield http


SAID = "And so my fellow Americans ask not what your country can do for you ask what you can do for your country"


def test_words_of_a_president(real: httpx.Client) -> None:
    fields = {"model": "whisper-1", "response_format": "verbose_json", "timestamp_granularities[]": ["word", "segment"]}
    answer = real.post(TEXT, data=fields, files={"file": (DATA / "jfk.flac").read_bytes()}).json()
    assert misheard(SAID, answer["text"]) <= 0.1
    assert answer["duration"] == pytest.approx(11.0, abs=0.1)
    words = answer["words"]
    assert len(words) == len(answer["text"].split())
    starts = [word["start"] for word in words]
    assert starts == sorted(starts)
    assert words[0]["start"] < 1.0
    assert 9.0 < words[-1]["end"] <= 11.0


@pytest.mark.parametrize("form", ["srt", "vtt"])
def test_subtitles(real: httpx.Client, form: str) -> None:
    data = {"model": "whisper-1", "response_format": form}
    text = real.post(TEXT, data=data, files={"file": (DATA / "jfk.flac").read_bytes()}).text
    assert text.startswith("WEBVTT\n\n" if form == "vtt" else "1\n00:00:00,")
    assert len(re.findall(r"\d\d:\d\d:\d\d[,.]\d{3} --> ", text)) >= 2


@pytest.mark.parametrize("form", ["mp3", "opus", "aac", "flac", "wav"])
def test_what_it_says_it_understands(real: httpx.Client, form: str) -> None:
    text = "The quick brown fox jumps over the lazy dog."
    spoken = real.post(SPEECH, json={"model": "tts-1", "voice": "nova", "input": text, "response_format": form})
    assert spoken.status_code == 200
    heard = real.post(TEXT, data={"model": "whisper-1"}, files={"file": ("upload", spoken.content)}).json()
    assert misheard(text, heard["text"]) == 0


def test_speed(real: httpx.Client) -> None:
    def length(speed: float) -> int:
        fields = {"model": "tts-1", "voice": "alloy", "input": "One, two, three.", "response_format": "pcm"}
        return len(real.post(SPEECH, json={**fields, "speed": speed}).content)

    assert length(2.0) < 0.7 * length(1.0)


def test_emoji_alone(real: httpx.Client) -> None:
    fields = {"model": "tts-1", "voice": "alloy", "input": "\N{GRINNING FACE}" * 4096, "response_format": "pcm"}
    answer = real.post(SPEECH, json=fields)
    assert answer.status_code == 200
    assert len(answer.content) < 24_000 * 2


def test_a_long_silence_in_a_small_file(real: httpx.Client, home: Path) -> None:
    soundfile.write(home / "silence.flac", np.zeros(1000 * 16_000, np.int16), 16_000)
    answer = real.post(TEXT, data={"model": "whisper-1"}, files={"file": (home / "silence.flac").read_bytes()})
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "file_too_long")
