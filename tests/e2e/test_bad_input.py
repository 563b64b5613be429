"""Services that misbehave, and sound that is no question: a sentence for the user, and the session goes on."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from tests.adapters.service import (
    Request,
    Script,
    Service,
    Wire,
    answer,
    chunked,
    dribble,
    error,
    half,
    headers_only,
    html,
    json_answer,
    never,
    resets,
    slams,
    sse,
)
from tests.program import environment, events, misheard, recording, voiceloop
from voiceloop import build
from voiceloop.config import Config, override
from voiceloop.core.audio import FRAME, RATE, Pcm, level_db, silence
from voiceloop.core.events import Heard, Notice, ReplyEnded, TurnDropped
from voiceloop.session.mind import Deadlines
from voiceloop.session.session import Parts, Session
from voiceloop.testing import FakePort, FakeResampler, FakeVad, Recorder, script, tone

Sound = NDArray[np.float64]

STT, CHAT, TTS = "audio/transcriptions", "chat/completions", "audio/speech"
STAGE = {STT: "stt", CHAT: "handler", TTS: "tts"}
BAD_TURN = "2"
THREE_QUESTIONS = script(-0.4, 0.5, -4.0, 0.5, -4.0, 0.5, -0.5)


def spoken(turn: str) -> str:
    return f"question {turn}"


def replied(turn: str) -> str:
    return f"This is answer {turn}."


def good(request: Request) -> Script:
    """What the three endpoints say when all is well."""
    turn = request.headers.get("x-voiceloop-turn", "0")
    if request.path.endswith(STT):
        return json_answer({"text": spoken(turn)})
    if request.path.endswith(CHAT):
        deltas = [{"choices": [{"delta": {"content": word + " "}}]} for word in replied(turn).split()]
        stop = {"choices": [{"delta": {}, "finish_reason": "stop"}]}
        return answer(sse(*deltas, stop), "text/event-stream")
    return chunked([tone(0.5, rate=24_000).tobytes()])


def bad_in_one_turn(endpoint: str, bad: Script) -> Script:
    """All is well but for one endpoint in one turn."""

    async def serve(request: Request, wire: Wire) -> None:
        broken = request.path.endswith(endpoint) and request.headers.get("x-voiceloop-turn") == BAD_TURN
        await (bad if broken else good(request))(request, wire)

    return serve


@dataclass
class Told:
    """What a session told, and what its service was asked."""

    recorder: Recorder
    requests: list[Request] = field(default_factory=list)

    @property
    def heard(self) -> list[str]:
        return [e.text for e in self.recorder.of(Heard)]

    @property
    def notices(self) -> list[Notice]:
        return list(self.recorder.of(Notice))

    @property
    def replies(self) -> dict[object, ReplyEnded]:
        """By turn, those of None left out."""
        return {e.turn: e for e in self.recorder.of(ReplyEnded) if e.turn is not None}

    def messages(self, turn: str) -> list[tuple[str, str]]:
        """What the language model was told in a turn, at last."""
        asked = [r for r in self.requests if r.path.endswith(CHAT) and r.headers.get("x-voiceloop-turn") == turn]
        return [(m["role"], m["content"]) for m in json.loads(asked[-1].body)["messages"][1:]]


def remote(url: str, **changes: object) -> Config:
    return override(
        Config(),
        {
            "stt.engine": "openai", "tts.engine": "openai", "handler.name": "chat", "service.base_url": url,
            "service.retries": 0, "service.connect_s": 0.6, "service.first_byte_s": 0.6, "service.chunk_s": 0.6,
            "stt.timeout_s": 1.0, "handler.timeout_s": 1.0, "tts.timeout_s": 1.0,
            "stt.fallback": [], "tts.fallback": [], **changes,
        },
    )  # fmt: skip


async def converse(config: Config) -> Recorder:
    """Three questions, as fast as they are answered."""
    recorder = Recorder()
    async with build.engines(config) as engines:
        deadlines = Deadlines(config.stt.timeout_s, config.handler.timeout_s, config.tts.timeout_s)
        parts = Parts(
            FakePort(THREE_QUESTIONS, stepped=True), FakeVad(), engines.transcriber, engines.handler,
            engines.synthesizer, FakeResampler, policy=build.policy(config), deadlines=deadlines,
        )  # fmt: skip
        await Session(parts, [recorder], strict=True).run()
    return recorder


@pytest.mark.e2e
async def test_all_is_well() -> None:
    async with Service(bad_in_one_turn("nowhere", never)) as service:
        told = Told(await converse(remote(service.url)), service.requests)
    assert told.heard == ["question 1", "question 2", "question 3"]
    assert told.notices == []
    assert {turn: e.heard for turn, e in told.replies.items()} == {n: replied(str(n)) for n in (1, 2, 3)}
    assert told.messages("3") == [
        ("user", "question 1"), ("assistant", "This is answer 1."),
        ("user", "question 2"), ("assistant", "This is answer 2."),
        ("user", "question 3"),
    ]  # fmt: skip


FAILURES: dict[str, dict[str, Script]] = {
    "closes": dict.fromkeys((STT, CHAT, TTS), slams),
    "resets": dict.fromkeys((STT, CHAT, TTS), resets),
    "times out": dict.fromkeys((STT, CHAT, TTS), never),
    "401": dict.fromkeys((STT, CHAT, TTS), error("Incorrect API key provided.", 401)),
    "429": dict.fromkeys((STT, CHAT, TTS), error("Rate limit reached.", 429)),
    "500": dict.fromkeys((STT, CHAT, TTS), error("The server had an error.", 500)),
    "HTML": dict.fromkeys((STT, CHAT, TTS), html(502)),
    "HTML as success": dict.fromkeys((STT, CHAT, TTS), html(200, "Welcome")),
    "no body": dict.fromkeys((STT, CHAT, TTS), headers_only),
    "half a body": {
        STT: half(b'{"text": "ques', 100, "application/json"),
        CHAT: chunked(
            [sse({"choices": [{"delta": {"content": "This"}}]}, done=False)], "text/event-stream", ends=False
        ),
        TTS: half(tone(0.2, rate=24_000).tobytes()[:-1], 48_000),
    },
    "never ends": {
        STT: dribble(b" ", kind="application/json"),
        CHAT: dribble(b": still here\n\n", kind="text/event-stream"),
        TTS: chunked([tone(0.2, rate=24_000).tobytes()], then=never),
    },
}


@pytest.mark.e2e
@pytest.mark.parametrize("endpoint", [STT, CHAT, TTS], ids=STAGE.get)
@pytest.mark.parametrize("failure", FAILURES)
async def test_a_failing_service_costs_its_turn_only(failure: str, endpoint: str) -> None:
    async with Service(bad_in_one_turn(endpoint, FAILURES[failure][endpoint])) as service:
        told = Told(await converse(remote(service.url)), service.requests)
    for notice in told.notices:
        print(f"{failure} {endpoint}: {notice.stage}: {notice.text}")
    assert {notice.stage for notice in told.notices} == {STAGE[endpoint]}
    for notice in told.notices:
        assert re.fullmatch(r"[A-Z][^\n]{10,300}[.]", notice.text), notice.text
    heard = ["question 1", "question 3"] if endpoint == STT else ["question 1", "question 2", "question 3"]
    assert told.heard == heard
    assert told.replies[3].ending == "completed"
    assert told.replies[3].heard == replied("3")
    messages = told.messages("3")
    assert messages[:2] == [("user", "question 1"), ("assistant", replied("1"))]
    assert messages[-1][1].endswith("question 3")
    assert ("question 2" in str(messages)) == (endpoint != STT)
    if endpoint == STT:
        assert [e.reason for e in told.recorder.of(TurnDropped)] == ["failed"]
    else:
        assert told.replies[2].ending == "failed"


@pytest.mark.e2e
async def test_nobody_is_there() -> None:
    """Everything refuses connections: each question gets its sentence, and the session comes to its end."""
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        told = Told(await converse(remote(f"http://127.0.0.1:{nobody.getsockname()[1]}/v1")))
    assert told.heard == []
    assert [e.reason for e in told.recorder.of(TurnDropped)] == ["failed"] * 3
    stt = [notice.text for notice in told.notices if notice.stage == "stt"]
    assert len(stt) == 3
    assert all(re.search(r"^The transcription service at 127\.0\.0\.1:\d+ .*refuse", text) for text in stt), stt


# --- sound that is no question ---


def strike(midi: int, n: int, decay_s: float, overtones: int) -> Sound:
    """A plucked note of n samples."""
    t = np.arange(n) / RATE
    hz = 440 * 2 ** ((midi - 69) / 12)
    wave = sum(np.sin(2 * np.pi * hz * k * t) / k for k in range(1, overtones + 1))
    return wave * np.exp(-t / decay_s) * np.minimum(1, t / 0.01)


def bar(rng: np.random.Generator, chord: tuple[int, ...]) -> Sound:
    """Four beats, two seconds: chord, bass, drums, and a melody by chance."""
    beat = RATE // 2
    t = np.arange(beat) / RATE
    sound = sum(strike(midi, 4 * beat, 2.0, 6) for midi in chord) * 0.12
    for n in range(4):
        part = sound[n * beat : (n + 1) * beat]
        part += strike(chord[0] - 24, beat, 0.3, 4) * 0.3
        kick = np.sin(2 * np.pi * 60 * np.exp(-8 * t) * t) * np.exp(-t / 0.08)
        part += kick * 0.8 if n % 2 == 0 else rng.standard_normal(beat) * np.exp(-t / 0.05) * 0.25
        part += np.diff(rng.standard_normal(beat) * np.exp(-t / 0.015), prepend=0) * 0.08
        if rng.random() < 0.8:
            part += strike(int(rng.choice([69, 71, 72, 74, 76, 79, 81])), beat, 0.25, 10) * 0.15
    return sound


def music(n_s: int) -> Pcm:
    """A band that plays four chords over and over, the melody anew for two minutes."""
    rng = np.random.default_rng(0)
    chords = [(57, 60, 64), (53, 57, 60), (48, 52, 55), (55, 59, 62)] * 15
    sound = np.concatenate([bar(rng, chord) for chord in chords])
    return np.resize((sound / np.abs(sound).max() * 0.6 * 32767).astype(np.int16), n_s * RATE)


def noise(n_s: int) -> Pcm:
    """White, at -30 dBFS."""
    return (np.random.default_rng(0).standard_normal(n_s * RATE) * 1000).astype(np.int16)


# Not the child's ru_maxrss: that begins with the memory of the process that started it.
MEASURED = """
import pathlib, sys
from voiceloop.cli import main
code = main(sys.argv[1:])
status = pathlib.Path("/proc/self/status").read_text()
pathlib.Path("peak.txt").write_text(status.split("VmHWM:")[1].split()[0])
sys.exit(code)
"""


def listen(home: Path, sound: Pcm, vad: str) -> tuple[list[dict[str, Any]], int]:
    """The events of `voiceloop run` on a sound, and the most memory it took, MB."""
    soundfile.write(home / "in.wav", sound, RATE)
    with (home / "out.json").open("w") as out, (home / "err.txt").open("w") as err:
        process = subprocess.run(
            [sys.executable, "-c", MEASURED, "run", "--json", "--handler", "echo", "--vad", vad, "--input", "in.wav"],
            cwd=home, env=environment(home), stdin=subprocess.DEVNULL, stdout=out, stderr=err, check=False,
        )  # fmt: skip
    assert (process.returncode, (home / "err.txt").read_text()) == (0, "")
    return events((home / "out.json").read_text()), int((home / "peak.txt").read_text()) // 1024


@pytest.mark.e2e
@pytest.mark.usefixtures("embedded")
@pytest.mark.skipif(sys.platform != "linux", reason="counts memory as Linux does")
@pytest.mark.parametrize(
    ("make", "minutes", "vad", "most"),
    [(music, 20, "silero", 2), (noise, 4, "silero", 2), (music, 2, "webrtc", 6), (noise, 4, "webrtc", 2)],
)
def test_long_sound_that_is_no_speech(
    tmp_path: Path, make: Callable[[int], Pcm], minutes: int, vad: str, most: int
) -> None:
    """Measured over 20 minutes each: silero no turns; webrtc 21 turns of music, one of them with a word, none of noise.

    No more than that in the others: a test that is run often should not take a minute.
    """
    found, memory = listen(tmp_path, make(60 * minutes), vad)
    names = [event["event"] for event in found]
    words_heard = [event["text"] for event in found if event["event"] == "Heard"]
    what = f"{names.count('Decided')} turns, {names.count('ReplyStarted')} replies to {words_heard}, {memory} MB"
    assert names.count("Level") >= 600 * minutes, what
    assert names.count("Decided") <= most, what
    assert names.count("ReplyStarted") <= 1, what
    assert names.count("Notice") == 0, what
    assert memory <= 500, what


@pytest.mark.e2e
@pytest.mark.usefixtures("embedded")
@pytest.mark.parametrize("level", [0, 2])
def test_silence_only(tmp_path: Path, level: int) -> None:
    """Digital silence, and that of a quiet room."""
    room = np.random.default_rng(0).normal(0, level, 30 * RATE).astype(np.int16)
    found, _ = listen(tmp_path, room, "silero")
    assert {event["event"] for event in found} == {"Ready", "Level"}


@pytest.mark.e2e
@pytest.mark.usefixtures("embedded")
def test_nothing_is_lost_of_speech_longer_than_the_maximum(tmp_path: Path) -> None:
    said = {
        "sb_spk1_snt5": "sunday is the best part of the week",
        "sb_spk2_snt2": "what joy there is in living",
        "sb_spk1_snt1": "the child almost hurt the small dog",
        "lj_LJ001-0008": "has never been surpassed",
        "ps_goforward": "go forward ten meters",
        "ps_card001": "ten of clubs",
    }
    pieces = [silence(RATE // 2)]
    for name in said:
        pcm = recording(f"{name}.flac")
        loud = [at for at in range(0, pcm.size - FRAME, FRAME) if level_db(pcm[at : at + FRAME]) > -42]
        pieces.append(pcm[max(0, loud[0] - 800) : loud[-1] + 1600])
    soundfile.write(tmp_path / "in.wav", np.concatenate([*pieces, silence(RATE)]), RATE)
    done = voiceloop(
        "run", "--json", "--handler", "echo", "--input", "in.wav",
        home=tmp_path, env=environment(tmp_path, VOICELOOP_TURN_MAX_S="5", VOICELOOP_TURN_WAIT_S="0.6"),
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    stops = events(done.stdout, "SpeechStopped")
    assert [stop["cause"] for stop in stops] == ["cap", "cap", "silence"]
    starts = events(done.stdout, "SpeechStarted")
    assert [start["start"] for start in starts[1:]] == [stop["end"] for stop in stops[:-1]]
    heard = " ".join(event["text"] for event in events(done.stdout, "Heard"))
    assert misheard(" ".join(said.values()), heard) <= 0.15, heard
    assert events(done.stdout, "ReplyEnded")[-1]["ending"] == "completed"
