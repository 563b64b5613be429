"""The command line as a user types it: what it prints, how it ends, and one sentence for each mistake."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import termios
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests.program import DATA, LOCAL, distribution, environment, events, hiding, misheard, recording, voiceloop
from voiceloop.core.audio import RATE, silence

GO = DATA / "ps_goforward.flac"
SUNDAY = DATA / "sb_spk1_snt5.flac"
WAIT_S = 30.0
"""Nothing here takes that long; what does has hung."""

no_hardware = pytest.mark.skipif(Path("/proc/asound/cards").exists(), reason="there may be a real sound card")
posix = pytest.mark.skipif(os.name != "posix", reason="signals and terminals as POSIX has them")


@pytest.fixture(autouse=True, scope="module")
def _local() -> None:
    pytest.importorskip("moonshine_voice")
    pytest.importorskip("hibari")


SHORT = ("--json", "--handler", "echo", "--input", str(DATA / "ps_card001.flac"), str(DATA / "lj_LJ002-0020.flac"))


class Meanwhile:
    """Commands that take their real time, started at once and looked at by the last tests."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self._processes = {"demo": self._start("--handler", "echo"), "paced": self._start(*SHORT, "--paced")}

    def _start(self, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "voiceloop", "run", *arguments], cwd=self.home, env=environment(self.home),
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    def done(self, name: str) -> subprocess.CompletedProcess[str]:
        """One of them at its end."""
        process = self._processes[name]
        out, errors = process.communicate(timeout=60)
        return subprocess.CompletedProcess(process.args, process.returncode, out, errors)

    def close(self) -> None:
        for process in self._processes.values():
            with process:
                process.kill()


@pytest.fixture(scope="module", autouse=True)
def meanwhile(_local: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Meanwhile]:
    found = Meanwhile(tmp_path_factory.mktemp("meanwhile"))
    yield found
    found.close()


def refused(*arguments: str | Path, home: Path, env: dict[str, str] | None = None) -> str:
    """What a command that cannot work says: one sentence, exit code 1, at most the names of the engines before it."""
    done = voiceloop(*arguments, home=home, env=env)
    assert done.returncode == 1
    assert re.fullmatch(r"(ears .*\n)?", done.stdout)
    assert done.stderr.count("\n") == 1
    assert done.stderr.endswith(".\n")
    return done.stderr.rstrip("\n")


# --- run, on files ---


def test_a_conversation_with_the_offline_handler(tmp_path: Path) -> None:
    done = voiceloop("run", "--input", GO, "--output", "out.wav", home=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    first, second, you, it, last = done.stdout.splitlines()
    assert first == "ears moonshine, voice hibari, vad silero, handler offline"
    assert second == "Listening."
    assert you == "      you  Go forward ten meters."
    assert it == (
        "voiceloop  I heard: Go forward ten meters. That is beyond me, but you can ask me something like twelve "
        "times seven."
    )
    assert last == "What it said is in out.wav."
    done = voiceloop("transcribe", "out.wav", home=tmp_path)
    assert misheard(it.removeprefix("voiceloop"), done.stdout) <= 0.15, done.stdout


def test_a_conversation_with_echo(tmp_path: Path) -> None:
    done = voiceloop("run", "--handler", "echo", "--vad", "webrtc", "--input", GO, SUNDAY, home=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    lines = [line for line in done.stdout.splitlines() if line.startswith(("      you", "voiceloop"))]
    assert lines == [
        "      you  Go forward ten meters.",
        "voiceloop  Go forward ten meters.",
        "      you  Sunday is the best part of the week.",
        "voiceloop  Sunday is the best part of the week.",
    ]


def test_json_lines(tmp_path: Path) -> None:
    done = voiceloop("run", "--json", "--handler", "echo", "--input", GO, home=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    found = events(done.stdout)
    (heard,) = [event for event in found if event["event"] == "Heard"]
    (ended,) = [event for event in found if event["event"] == "ReplyEnded"]
    assert heard == {"event": "Heard", "turn": 1, "rev": heard["rev"], "text": "Go forward ten meters."}
    assert (ended["ending"], ended["turn"], ended["heard"]) == ("completed", 1, "Go forward ten meters.")
    assert {"Ready", "SpeechStarted", "StateChanged", "Level", "Latency", "ReplySaid"} <= {e["event"] for e in found}


def story(output: str) -> list[object]:
    """The turns and texts of `run --json`, without measurements."""
    kept = {"Heard": ["turn", "text"], "ReplySaid": ["reply", "clause", "text"],
            "ReplyEnded": ["reply", "turn", "ending", "said", "heard"], "TurnDropped": ["turn", "reason"]}  # fmt: skip
    return [[e["event"], *(e[name] for name in kept[e["event"]])] for e in events(output, *kept)]


def test_a_handler_of_ones_own(tmp_path: Path) -> None:
    (tmp_path / "my_bot.py").write_text("def answer(text):\n    return f'Indeed, {len(text.split())} words.'\n")
    done = voiceloop("run", "--handler", "my_bot:answer", "--input", GO, home=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert "voiceloop  Indeed, 4 words." in done.stdout


def test_a_handler_that_waits_until_the_turn_is_sure(tmp_path: Path) -> None:
    """A file's time passes only while nothing is under way: it used to wait for ever."""
    (tmp_path / "my_bot.py").write_text(
        "async def answer(text, turn):\n    await turn.sure()\n    return 'Done.'\nanswer.early = True\n"
    )
    done = voiceloop("run", "--handler", "my_bot:answer", "--input", GO, home=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert "voiceloop  Done." in done.stdout


def test_a_handler_that_raises_is_said_and_the_next_turn_is_answered(tmp_path: Path) -> None:
    (tmp_path / "my_bot.py").write_text(
        "def answer(text):\n    if 'forward' in text:\n        raise ValueError(text)\n    return 'Fine.'\n"
    )
    done = voiceloop("run", "--handler", "my_bot:answer", "--input", GO, SUNDAY, home=tmp_path)
    assert done.returncode == 0
    assert "The handler 'answer' raised ValueError in my_bot.py, line 3." in done.stdout
    assert "voiceloop  Sorry, something went wrong with my answer." in done.stdout
    assert "voiceloop  Fine." in done.stdout
    assert "Traceback" not in done.stdout + done.stderr


def test_handlers_that_hang_or_have_nothing_to_say(tmp_path: Path) -> None:
    (tmp_path / "my_bot.py").write_text(
        "import time\n"
        "def answer(text):\n"
        "    if 'forward' in text:\n        time.sleep(2)\n"
        "    return 'Fine.' if 'unday' in text else None\n"
    )
    env = environment(tmp_path, VOICELOOP_HANDLER_TIMEOUT_S="0.3")
    card = DATA / "ps_card001.flac"
    done = voiceloop("run", "--handler", "my_bot:answer", "--input", GO, card, SUNDAY, home=tmp_path, env=env)
    assert (done.returncode, done.stderr) == (0, "")
    hung, nothing, fine = done.stdout.split("      you  ")[1:]
    assert re.search(r"The handler.* gave nothing (within|for) 0\.3 s", hung)
    assert "voiceloop  Sorry, something went wrong with my answer." in hung
    assert "The handler gave no answer." in nothing
    assert "voiceloop  Fine." in fine


@pytest.mark.parametrize("kind", ["stereo", "8 bit", "44.1 kHz", "cut off"])
def test_files_of_every_kind(tmp_path: Path, kind: str) -> None:
    pcm = np.concatenate([recording(GO.name), silence(RATE)])
    path = tmp_path / "in.wav"
    match kind:
        case "stereo":
            soundfile.write(path, np.stack([pcm, pcm], axis=1), RATE)
        case "8 bit":
            soundfile.write(path, pcm, RATE, subtype="PCM_U8")
        case "44.1 kHz":
            at = np.arange(round(pcm.size * 44_100 / RATE)) * RATE / 44_100
            soundfile.write(path, np.interp(at, np.arange(pcm.size), pcm).astype(np.int16), 44_100)
        case _:
            soundfile.write(path, pcm, RATE)
            path.write_bytes(path.read_bytes()[: -RATE * 2])
    done = voiceloop("run", "--handler", "echo", "--input", path, home=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert misheard("go forward ten meters", done.stdout.partition("      you")[2].partition("\n")[0]) <= 0.25


# --- mistakes ---


def bad_files(folder: Path) -> dict[str, str]:
    """Names of files that hold no audio, and what is said of them."""
    (folder / "empty.wav").write_bytes(b"")
    (folder / "text.wav").write_text("This is no sound at all.")
    soundfile.write(folder / "none.wav", silence(0), RATE)
    (folder / "head.wav").write_bytes((folder / "none.wav").read_bytes()[:20])
    return {
        "gone.wav": "gone.wav does not exist: check the name.",
        "empty.wav": "empty.wav is empty: record it again or choose another file.",
        "none.wav": "none.wav holds no audio: record it again or choose another file.",
        "text.wav": "text.wav cannot be read as audio (",
        "head.wav": "head.wav cannot be read as audio (",
    }


def quick(home: Path, site: Path) -> dict[str, str]:
    """The environment with the fake engines, which need no loading."""
    fakes = {f"VOICELOOP_{port}_ENGINE": "fake" for port in ("VAD", "STT", "TTS")}
    return environment(home, PYTHONPATH=str(site), **fakes)


def test_files_without_audio(tmp_path: Path, site: Path) -> None:
    for name, said in bad_files(tmp_path).items():
        assert refused("run", "--input", name, home=tmp_path, env=quick(tmp_path, site)).startswith(said)


def test_mistakes_get_one_sentence(tmp_path: Path, site: Path) -> None:
    (tmp_path / "bad.toml").write_text("[turn]\nwait = 1\n")
    (tmp_path / "broken.py").write_text("import no_such_module\n")
    cases: dict[tuple[str, ...], str] = {
        ("--config", "gone.toml"): "gone.toml: there is no such file.",
        ("--config", "bad.toml"): "bad.toml: turn.wait: there is no such key. Known here: mode, preset, wait_s, ",
        ("--stt", "nonsense"): "stt: there is no engine named 'nonsense'. Known: auto, moonshine, ",
        ("--handler", "nonsense"): "handler: there is no engine named 'nonsense'. Known: offline, ",
        ("--handler", "broken:answer"): "The handler module 'broken' needs 'no_such_module': install that.",
        ("--tts", "openai", "--offline"): "tts.engine is openai, which needs a service, but offline is set.",
        ("--stt", "openai"): "No service is configured: set service.base_url or OPENAI_BASE_URL, or OPENAI_API_KEY.",
        ("--output", "desk"): "--input names a file, so --output must name a WAV file too, or be left out.",
        ("--output", str(GO)): f"{GO} is an input too: choose another name for the output.",
        ("--output", "no/such/out.wav"): "no/such/out.wav cannot be written: ",
    }
    for arguments, said in cases.items():
        assert refused("run", "--input", GO, *arguments, home=tmp_path, env=quick(tmp_path, site)).startswith(said)


def test_mistakes_with_devices(tmp_path: Path) -> None:
    assert refused("run", "--output", "out.wav", home=tmp_path) == (
        "--output names a file, so --input must name one too; or leave both out to talk."
    )
    assert refused("run", "--input", str(GO), "desk", home=tmp_path) == (
        "--input names both files and 'desk': give sound files only, or one device."
    )
    assert refused("run", "--input", "one", "two", home=tmp_path) == (
        "--input takes one microphone, or sound files; these are none: one, two."
    )


def test_an_error_as_json(tmp_path: Path) -> None:
    done = voiceloop("run", "--json", "--input", "gone.wav", home=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert json.loads(done.stderr) == {"error": "gone.wav does not exist: check the name."}


def test_the_environment_is_named(tmp_path: Path) -> None:
    env = environment(tmp_path, VOICELOOP_TURN_WAIT_S="long")
    assert refused("run", "--input", GO, home=tmp_path, env=env) == "VOICELOOP_TURN_WAIT_S: expected a number."
    env = environment(tmp_path, VOICELOOP_CONFIG="mine.toml")
    assert refused("run", "--input", GO, home=tmp_path, env=env) == "mine.toml: there is no such file."


def test_a_base_install_says_what_to_add(tmp_path: Path) -> None:
    env = environment(tmp_path, **hiding(tmp_path / "site", *LOCAL))
    assert refused("run", "--input", GO, home=tmp_path, env=env) == (
        "There is no engine for speech recognition: pip install 'voiceloop[local]' for the embedded ones, "
        "or set OPENAI_BASE_URL or OPENAI_API_KEY to use a service."
    )
    assert refused("run", "--input", GO, "--vad", "silero", "--stt", "moonshine", home=tmp_path, env=env) == (
        "Moonshine is not installed: pip install 'voiceloop[local]'."
    )


@no_hardware
def test_no_sound_device(tmp_path: Path) -> None:
    none = "No microphone or loudspeaker was found: connect one, or start the sound server"
    assert refused("devices", home=tmp_path) == none + "."
    assert refused("say", "hello", home=tmp_path) == none + ", and try again."
    assert refused("run", "--input", "desk", home=tmp_path) == none + ", and try again."
    done = voiceloop("devices", "--json", home=tmp_path)
    assert (done.returncode, done.stdout) == (0, "[]\n")


def test_wrong_usage(tmp_path: Path) -> None:
    for arguments in ([], ["sing"], ["say"], ["run", "--nonsense"]):
        done = voiceloop(*arguments, home=tmp_path)
        assert done.returncode == 2
        assert done.stderr.startswith("usage: voiceloop")
    assert voiceloop("--version", home=tmp_path).stdout == "voiceloop 0.1.0\n"
    assert "transcribe" in voiceloop("--help", home=tmp_path).stdout


# --- transcribe and say ---


def test_transcribe_one(tmp_path: Path) -> None:
    done = voiceloop("transcribe", SUNDAY, home=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "Sunday is the best part of the week.\n", "")


def test_transcribe_several_of_which_some_are_bad(tmp_path: Path) -> None:
    bad = bad_files(tmp_path)
    done = voiceloop("transcribe", SUNDAY, *bad, GO, home=tmp_path)
    assert done.returncode == 1
    assert done.stdout.splitlines() == [
        f"{SUNDAY}: Sunday is the best part of the week.",
        f"{GO}: Go forward ten meters.",
    ]
    for line, said in zip(done.stderr.splitlines(), bad.values(), strict=True):
        assert line.startswith(said)


def test_transcribe_as_json(tmp_path: Path) -> None:
    done = voiceloop("transcribe", "--json", GO, "gone.wav", home=tmp_path)
    assert done.returncode == 1
    assert json.loads(done.stdout) == {"file": str(GO), "seconds": 2.79, "text": "Go forward ten meters."}
    assert json.loads(done.stderr) == {"error": "gone.wav does not exist: check the name."}


def test_say_into_a_file(tmp_path: Path) -> None:
    text = "The quick brown fox jumps over the lazy dog."
    done = voiceloop("say", text, "-o", "out.wav", home=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert re.fullmatch(r"out\.wav: \d\.\d s\n", done.stdout)
    assert misheard(text, voiceloop("transcribe", "out.wav", home=tmp_path).stdout) <= 0.12


def test_say_what_comes_in(tmp_path: Path) -> None:
    done = voiceloop("say", "-", "--json", "-o", "out.wav", home=tmp_path, text="Sunday is the best part.\n")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["file"] == "out.wav"
    assert found["seconds"] == round(soundfile.info(tmp_path / "out.wav").duration, 2)
    done = voiceloop("say", "-", "-o", "out.wav", home=tmp_path, text=" \n")
    assert (done.returncode, done.stderr) == (
        1,
        "There is nothing to say: give a text, or - to read it from standard input.\n",
    )


@pytest.fixture(scope="module")
def spoken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One sentence in a file of each format, two of them in a folder below."""
    pytest.importorskip("av")
    home = tmp_path_factory.mktemp("spoken")
    (home / "deep" / "er").mkdir(parents=True)
    (home / "text.txt").write_text(SENTENCE, encoding="utf-8-sig")
    for name in ("a.mp3", "b.opus", "c.aac", "d.m4a", "deep/e.flac", "deep/er/f.wav"):
        done = voiceloop("say", "-f", "text.txt", "-o", name, home=home)
        assert (done.returncode, done.stderr) == (0, ""), name
    return home


SENTENCE = "The quick brown fox jumps over the lazy dog."


def test_a_folder_is_transcribed_to_its_bottom(spoken: Path, tmp_path: Path) -> None:
    (spoken / "deep" / "bad.mp3").write_text("no sound at all")
    done = voiceloop("transcribe", spoken, "-o", tmp_path / "out", "--format", "srt", home=tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith(f"{spoken}/deep/bad.mp3 cannot be read as audio")
    assert done.stdout == ""
    names = ["a.srt", "b.srt", "c.srt", "d.srt", "deep/e.srt", "deep/er/f.srt"]
    assert sorted(str(p.relative_to(tmp_path / "out")) for p in (tmp_path / "out").rglob("*.srt")) == names
    for name in names:
        number, times, *words = (tmp_path / "out" / name).read_text().split("\n")
        assert number == "1"
        assert re.fullmatch(r"00:00:0\d,\d{3} --> 00:00:0\d,\d{3}", times)
        assert misheard(SENTENCE, " ".join(words)) <= 0.12, name


def test_verbose_json_with_words(spoken: Path) -> None:
    done = voiceloop("transcribe", "a.mp3", "--format", "verbose_json", "--words", home=spoken)
    assert (done.returncode, done.stderr) == (0, "")
    found = json.loads(done.stdout)
    assert misheard(SENTENCE, found["text"]) <= 0.12
    assert " ".join(word["word"] for word in found["words"]) == found["text"]
    assert found["words"][-1]["end"] <= found["duration"] + 0.01
    assert [segment["text"] for segment in found["segments"]] == [found["text"]]


def test_say_and_transcribe_are_refused(tmp_path: Path, spoken: Path) -> None:
    def say(*arguments: str) -> str:
        return refused("say", "Hello.", *arguments, home=tmp_path)

    assert say("-o", "x.gif") == (
        "x.gif: the name must end in .mp3, .opus, .ogg, .oga, .aac, .m4a, .flac, .wav, .pcm, .raw, or say how with "
        "--format."
    )
    assert say("--format", "mp3") == "--format says how a file is written: name one with -o."
    assert say("-o", "x.wav", "--voice", "nobody") == "Hibari has no voice 'nobody': it has heart."
    assert say("-o", "x.wav", "--speed", "9").startswith("Command line: tts.speed: ")
    assert say("-o", "no/x.mp3").startswith("no/x.mp3 cannot be written")
    assert refused("say", "-f", "gone.txt", home=tmp_path).startswith("gone.txt: it cannot be read")
    assert refused("transcribe", tmp_path, home=tmp_path) == f"{tmp_path}: there is no recording in this folder."
    several = refused("transcribe", spoken, "--format", "vtt", home=tmp_path)
    assert several == "Subtitles of several recordings need a folder: name it with -o."
    assert voiceloop("say", "a", "-f", "b", home=tmp_path).returncode == 2


def test_flags_override_the_configuration(tmp_path: Path) -> None:
    lengths = {}
    for speed in ("1", "2"):
        done = voiceloop("say", SENTENCE, "-o", "x.wav", "--speed", speed, "--voice", "heart", "--json", home=tmp_path)
        lengths[speed] = json.loads(done.stdout)["seconds"]
    assert lengths["1"] / lengths["2"] == pytest.approx(2, rel=0.15)


def test_a_recording_that_was_cut_off_is_given_with_a_note(tmp_path: Path) -> None:
    (tmp_path / "x.wav").write_bytes(GO.read_bytes())
    soundfile.write(tmp_path / "x.wav", np.concatenate([recording(GO.name), recording(GO.name)]), RATE)
    (tmp_path / "x.wav").write_bytes((tmp_path / "x.wav").read_bytes()[: GO.stat().st_size + RATE * 2])
    done = voiceloop("transcribe", "x.wav", home=tmp_path)
    assert done.returncode == 0
    assert done.stdout.startswith("Go forward")
    assert done.stderr == "x.wav ends early or is damaged: this is what could be read.\n"


def test_without_the_extra_what_can_be_read_still_is(tmp_path: Path) -> None:
    env = environment(tmp_path, **hiding(tmp_path / "site", "av", "pocketsphinx"))
    done = voiceloop("transcribe", SUNDAY, "--format", "vtt", home=tmp_path, env=env)
    assert done.returncode == 0, done.stderr
    assert "Sunday is the best part of the week." in done.stdout
    assert voiceloop("say", "Hello.", "-o", "x.wav", home=tmp_path, env=env).returncode == 0
    assert "pip install 'voiceloop[media]'" in refused("say", "Hello.", "-o", "x.mp3", home=tmp_path, env=env)
    (tmp_path / "x.mp4").write_bytes(b"\0\0\0\x20ftypisom" + b"\0" * 100)
    assert "pip install 'voiceloop[media]'" in refused("transcribe", "x.mp4", home=tmp_path, env=env)


# --- how it ends ---

ENGINES = """
import asyncio, sys, time
from voiceloop.testing import FakeSynthesizer, FakeTranscriber, FakeVad

class Loading(FakeTranscriber):
    async def warm_up(self):
        print("at work", file=sys.stderr, flush=True)
        await asyncio.Event().wait()

class Stuck(FakeTranscriber):
    def __init__(self, tools):
        super().__init__()
        self.runner = tools.runner
    async def transcribe(self, pcm, **_):
        print("at work", file=sys.stderr, flush=True)
        await self.runner.call(lambda: time.sleep(300))

def vad(config): return FakeVad()
def stt(tools): return FakeTranscriber(["hello"], delay_s=0.01)
def tts(tools): return FakeSynthesizer(delay_s=0.01, letter_s=0.02)
def loading(tools): return Loading()
def stuck(tools): return Stuck(tools)
"""

ENTRIES = """
[voiceloop.vad]
fake = cli_fakes:vad
[voiceloop.stt]
fake = cli_fakes:stt
loading = cli_fakes:loading
stuck = cli_fakes:stuck
[voiceloop.tts]
fake = cli_fakes:tts
"""

BOT = """
import hashlib, sys, time

def work():
    print("at work", file=sys.stderr, flush=True)

def blocks(text):
    work()
    time.sleep(300)

async def blocks_the_loop(text):
    work()
    time.sleep(300)

async def blocks_python(text):
    work()
    hashlib.pbkdf2_hmac("sha256", b"a", b"b", 1_000_000_000)  # one call of minutes; lets other threads run
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    site = distribution(tmp_path_factory.mktemp("fakes") / "site", "cli_fakes", ENGINES, ENTRIES)
    (site / "cli_bot.py").write_text(BOT)
    return site


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """With a recording of a word and a minute of silence."""
    soundfile.write(tmp_path / "in.wav", np.concatenate([recording("ps_card001.flac"), silence(60 * RATE)]), RATE)
    return tmp_path


def command(*arguments: str) -> list[str]:
    fakes = ["--vad", "fake", "--stt", "fake", "--tts", "fake"]
    return [sys.executable, "-m", "voiceloop", "run", "--input", "in.wav", *fakes, *arguments]


@contextmanager
def running(home: Path, site: Path, *arguments: str, **options: int) -> Iterator[subprocess.Popen[str]]:
    """`voiceloop run` on the recording; killed if it is still there at the end."""
    with subprocess.Popen(
        command(*arguments), cwd=home, env=environment(home, PYTHONPATH=str(site)), text=True,
        **{"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options},
    ) as process:  # fmt: skip
        try:
            yield process
        finally:
            process.kill()


@posix
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize(
    "arguments",
    [
        ["--stt", "loading"],
        ["--stt", "stuck"],
        ["--handler", "cli_bot:blocks"],
        ["--handler", "cli_bot:blocks_the_loop"],
        ["--handler", "cli_bot:blocks_python"],
    ],
    ids=lambda arguments: arguments[1],
)
def test_a_signal_ends_it_whatever_is_at_work(
    home: Path, site: Path, arguments: list[str], number: signal.Signals
) -> None:
    with running(home, site, *arguments) as process:
        assert process.stderr
        assert process.stderr.readline() == "at work\n"
        process.send_signal(number)
        _, errors = process.communicate(timeout=WAIT_S)
        assert (process.returncode, errors) == (128 + number, "")


@posix
@pytest.mark.parametrize("twice", [False, True])
def test_ctrl_c_while_it_listens(home: Path, site: Path, twice: bool) -> None:
    with running(home, site, "--paced", "--handler", "echo") as process:
        assert process.stdout
        while "voiceloop  hello" not in process.stdout.readline():
            pass
        process.send_signal(signal.SIGINT)
        if twice:
            process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=WAIT_S)
        assert (process.returncode, errors) == (130, "")


@posix
@pytest.mark.parametrize("arguments", [["--json"], []])
def test_a_reader_that_goes_away_ends_it(home: Path, site: Path, arguments: list[str]) -> None:
    with running(home, site, "--paced", "--handler", "echo", *arguments) as process:
        assert process.stdout
        assert process.stdout.readline()
        process.stdout.close()
        assert process.stderr
        assert process.stderr.read() == ""
        assert process.wait(WAIT_S) == 0


# --- in a terminal ---


class Screen:
    """What a terminal shows: text, carriage return, line feed, cursor up, erase line, cursor on and off."""

    def __init__(self, columns: int) -> None:
        self.columns = columns
        self.rows = [""]
        self.row, self.column = 0, 0
        self.cursor = True

    def feed(self, output: str) -> None:
        for token in re.findall(r"\x1b\[[?\d;]*[A-Za-z]|[\s\S]", output):
            if token == "\n":
                self._down()
            elif token == "\r":
                self.column = 0
            elif token.startswith("\x1b["):
                self._control(token[2:-1], token[-1])
            else:
                self._put(token)

    def _down(self) -> None:
        self.row, self.column = self.row + 1, 0
        while self.row >= len(self.rows):
            self.rows.append("")

    def _control(self, argument: str, kind: str) -> None:
        match kind:
            case "A":
                self.row = max(0, self.row - int(argument or 1))
            case "K":
                self.rows[self.row] = "" if argument == "2" else self.rows[self.row][: self.column]
            case "h" | "l" if argument == "?25":
                self.cursor = kind == "h"
            case "m":
                pass
            case _:
                raise AssertionError(f"unexpected: ESC [{argument}{kind}")

    def _put(self, character: str) -> None:
        if self.column == self.columns:
            self._down()
        line = self.rows[self.row].ljust(self.column)
        self.rows[self.row] = line[: self.column] + character + line[self.column + 1 :]
        self.column += 1


@contextmanager
def terminal(
    home: Path, site: Path, *arguments: str, columns: int, **options: int
) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """`voiceloop run` in a terminal: the process and our end of the line."""
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, columns))
    try:
        with running(home, site, *arguments, stdin=theirs, stdout=theirs, stderr=theirs, **options) as process:
            os.close(theirs)
            yield process, ours
    finally:
        os.close(ours)


def plain(shown: str) -> str:
    """Without colours."""
    return re.sub(r"\x1b\[[\d;]*m", "", shown)


def output(ours: int, until: str | None = None) -> str:
    """What comes from the terminal up to these words, or to the end."""
    found = b""
    while until is None or until not in plain(found.decode(errors="replace")):
        assert select.select([ours], [], [], WAIT_S)[0], found.decode(errors="replace")
        try:
            piece = os.read(ours, 65_536)
        except OSError:  # Linux: nobody holds the other end any more
            break
        if not piece:
            break
        found += piece
    return found.decode(errors="replace")


@posix
@pytest.mark.e2e
@pytest.mark.parametrize("columns", [80, 30])
def test_the_terminal(home: Path, site: Path, columns: int) -> None:
    with terminal(home, site, "--paced", "--handler", "echo", columns=columns) as (process, ours):
        shown = output(ours, "voiceloop ")
        shown += output(ours, "▯  listening")
        process.send_signal(signal.SIGINT)
        shown += output(ours)
        assert process.wait(WAIT_S) == 130
    assert "▮" in shown
    for state in ("hearing you", "speaking", "listening"):
        assert f"  {state[:8]}" in plain(shown)
    assert "\x1b[?25l" in shown
    screen = Screen(columns)
    screen.feed(shown)
    assert screen.cursor
    text = "\n".join(line.rstrip() for line in screen.rows)
    assert "      you  hello\n" in text
    assert "voiceloop  hello" in text
    assert "▯" not in text, text
    assert "▮" not in text, text


@posix
def test_the_cursor_comes_back_when_the_loop_is_blocked(home: Path, site: Path) -> None:
    with terminal(home, site, "--handler", "cli_bot:blocks_the_loop", columns=80) as (process, ours):
        shown = output(ours, "at work")
        process.send_signal(signal.SIGINT)
        shown += output(ours)
        assert process.wait(WAIT_S) == 130
    screen = Screen(80)
    screen.feed(shown)
    assert screen.cursor
    assert "Traceback" not in shown


@posix
def test_ctrl_c_typed_in_a_terminal(home: Path, site: Path) -> None:
    """The whole process group gets the signal, as from a keyboard."""
    with terminal(home, site, "--stt", "stuck", columns=80, start_new_session=True) as (process, ours):
        output(ours, "at work")
        os.killpg(process.pid, signal.SIGINT)
        shown = output(ours)
        assert process.wait(WAIT_S) == 130
    assert "Traceback" not in shown


# --- in real time ---


@no_hardware
@pytest.mark.e2e
def test_the_demo(meanwhile: Meanwhile) -> None:
    done = meanwhile.done("demo")
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[1:3] == [
        "No microphone or loudspeaker was found: connect one, or start the sound server, and try again.",
        "Meanwhile three recordings of real people, through the same loop:",
    ]
    assert lines[-1] == "What it said is in voiceloop-replies.wav."
    waterfalls = [line for line in lines if line.startswith(" " * 11)]
    assert len(waterfalls) == 3
    steps = r" {11}after your last sound: words \d+ ms, .*turn decided \d{3,4} ms, (speech ready \d+ ms, )?heard \d+ ms"
    for line in waterfalls:
        assert re.fullmatch(steps, line), "on a busy machine the speech may be ready after the decision"
    heard = [line.removeprefix("      you") for line in lines if line.startswith("      you")]
    said = [line.removeprefix("voiceloop") for line in lines if line.startswith("voiceloop")]
    assert heard == said
    spoken = "go forward ten meters mend the coat before you go out sunday is the best part of the week"
    assert misheard(spoken, " ".join(heard)) <= 0.1
    done = voiceloop("transcribe", "voiceloop-replies.wav", home=meanwhile.home)
    assert misheard(" ".join(said), done.stdout) <= 0.2, done.stdout


@pytest.mark.e2e
def test_paced_gives_the_same_as_stepped(meanwhile: Meanwhile) -> None:
    stepped = voiceloop("run", *SHORT, home=meanwhile.home)
    paced = meanwhile.done("paced")
    assert (stepped.returncode, paced.returncode) == (0, 0), paced.stderr
    assert len(story(stepped.stdout)) >= 6
    assert story(paced.stdout) == story(stepped.stdout)
