"""From a configuration to the parts of a session: which engines, and the sentence when there are none."""

from __future__ import annotations

import json
import threading
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from tests.program import DATA, LOCAL, environment, hiding, python
from voiceloop import build
from voiceloop.adapters.audio import portaudio
from voiceloop.adapters.endofturn.smart_turn import SmartTurn
from voiceloop.config import Config, override
from voiceloop.core.audio import RATE, ticks
from voiceloop.core.policy import preset
from voiceloop.errors import ConfigError, DeviceError, MediaError
from voiceloop.makers import Tools
from voiceloop.session.workers import Workers
from voiceloop.testing import FakePort, script

NEITHER = "there is no engine for {}: pip install 'voiceloop[local]' for the embedded ones"
OR_SERVICE = NEITHER + ", or set OPENAI_BASE_URL or OPENAI_API_KEY to use a service."

CHOICES = """
import json, sys
from voiceloop.build import choose
from voiceloop.config import load_config, override
from voiceloop.errors import ConfigError
found = []
for port in ("vad", "stt", "tts"):
    try:
        found.append(choose(load_config(), port))
    except ConfigError as exc:
        found.append(str(exc))
print(json.dumps(found))
"""


def choices(tmp_path: Path, *hidden: str, **variables: str) -> list[str]:
    """What is chosen for vad, stt and tts where these modules are not installed."""
    site = hiding(tmp_path / "site", *hidden)
    done = python(CHOICES, home=tmp_path, env=environment(tmp_path, **site, **variables))
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def configured(**changes: object) -> Config:
    return override(Config(), {key.replace("__", "."): value for key, value in changes.items()})


# --- which engines ---


def test_embedded_engines_come_first(tmp_path: Path) -> None:
    pytest.importorskip("moonshine_voice")
    assert choices(tmp_path) == ["silero", "moonshine", "hibari"]
    assert choices(tmp_path, OPENAI_API_KEY="sk-1") == ["silero", "moonshine", "hibari"]


def test_a_base_install_without_a_service_says_what_to_add(tmp_path: Path) -> None:
    assert choices(tmp_path, *LOCAL, PATH="/nowhere") == [
        "webrtc",
        OR_SERVICE.format("speech recognition"),
        OR_SERVICE.format("a voice"),
    ]


def test_a_base_install_with_a_service_uses_it(tmp_path: Path) -> None:
    assert choices(tmp_path, *LOCAL, OPENAI_API_KEY="sk-1") == ["webrtc", "openai", "openai"]
    assert choices(tmp_path, *LOCAL, OPENAI_BASE_URL="http://here/v1") == ["webrtc", "openai", "openai"]
    other = {"VOICELOOP_SERVICE_API_KEY_ENV": "MY_KEY", "MY_KEY": "sk-1"}
    assert choices(tmp_path, *LOCAL, **other) == ["webrtc", "openai", "openai"]


def test_a_base_install_that_is_offline(tmp_path: Path) -> None:
    found = choices(tmp_path, *LOCAL, OPENAI_API_KEY="sk-1", VOICELOOP_OFFLINE="1", PATH="/nowhere")
    assert found == ["webrtc", NEITHER.format("speech recognition") + ".", NEITHER.format("a voice") + "."]


def test_espeak_speaks_where_nothing_else_does(tmp_path: Path) -> None:
    program = tmp_path / "bin" / "espeak-ng"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    assert choices(tmp_path, *LOCAL, PATH=str(program.parent))[2] == "espeak"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"stt__engine": "openai"}, "stt.engine is openai, which needs a service, but offline is set."),
        ({"tts__engine": "openai"}, "tts.engine is openai, which needs a service, but offline is set."),
        ({"handler__name": "chat"}, "handler.name is chat, which needs a service, but offline is set."),
    ],
)
async def test_offline_refuses_a_service(changes: dict[str, object], said: str) -> None:
    pytest.importorskip("moonshine_voice")
    with pytest.raises(ConfigError) as caught:
        async with build.engines(configured(offline=True, **changes)):
            pass
    assert str(caught.value) == said


def test_a_service_that_is_not_configured(tmp_path: Path) -> None:
    done = python(
        """
import asyncio
from voiceloop import build
from voiceloop.config import load_config
from voiceloop.errors import ConfigError
async def main():
    async with build.engines(load_config()): pass
try:
    asyncio.run(main())
except ConfigError as exc:
    print(exc)
""",
        home=tmp_path,
        env=environment(tmp_path, VOICELOOP_STT_ENGINE="openai"),
    )
    assert done.stdout == ("no service is configured: set service.base_url or OPENAI_BASE_URL, or OPENAI_API_KEY.\n"), (
        done.stderr
    )


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"stt__engine": "nonsense"}, "stt: there is no engine named 'nonsense'. Known: auto, moonshine, "),
        ({"tts__engine": "nonsense"}, "tts: there is no engine named 'nonsense'. Known: auto, hibari, "),
        ({"vad__engine": "nonsense"}, "vad: there is no engine named 'nonsense'. Known: auto, silero, "),
        ({"handler__name": "nonsense"}, "handler: there is no engine named 'nonsense'. Known: offline, "),
        ({"stt__engine": "sherpa"}, "stt.engine is sherpa, but stt.model_dir names no model directory."),
        ({"handler__name": "no_such_module:answer"}, "The handler module 'no_such_module' is not found here in "),
        ({"handler__name": "json:answer"}, "The handler module 'json' has nothing called 'answer'."),
        ({"handler__name": "json:"}, "The handler 'json:' must be written as module:function, "),
        ({"handler__name": "sys:path"}, "The handler 'sys:path' is list: it must be callable or have `reply`."),
        ({"handler__name": "os:getpid"}, "The handler 'getpid' must take (text) or (text, turn), not ()."),
    ],
)
async def test_what_cannot_be_built(changes: dict[str, object], said: str) -> None:
    pytest.importorskip("moonshine_voice")
    pytest.importorskip("sherpa_onnx")
    with pytest.raises(ConfigError) as caught:
        async with build.assemble(configured(**changes), port=FakePort(script(1.0))):
            pass
    assert str(caught.value).startswith(said)


async def test_a_handler_that_is_none() -> None:
    pytest.importorskip("moonshine_voice")
    with pytest.raises(ConfigError, match=r"^A handler must be a function or have a method `reply`; this is int\.$"):
        async with build.engines(Config(), handler=3):
            pass


async def test_the_names_of_what_was_chosen() -> None:
    pytest.importorskip("moonshine_voice")
    async with build.assemble(configured(vad__engine="webrtc"), port=FakePort(script(1.0))) as assembled:
        assert assembled.names == {"vad": "webrtc", "stt": "moonshine", "tts": "hibari", "handler": "offline"}
        assert assembled.notices == ()
        assert assembled.parts.echo is None


ECHO = """
import asyncio
from voiceloop import build
from voiceloop.config import load_config

async def main():
    async with build.assemble(load_config()) as assembled:
        print(assembled.parts.echo is not None, assembled.parts.policy.barge_in, *assembled.notices)

asyncio.run(main())
"""


def test_echo_cancellation(tmp_path: Path) -> None:
    """On for devices; where it cannot be used, barge-in by voice is off and one line says so."""
    pytest.importorskip("moonshine_voice")
    hidden = hiding(tmp_path / "site", "pywebrtc_audio")
    assert python(ECHO, home=tmp_path).stdout == "True pause\n"
    assert python(ECHO, home=tmp_path, env=environment(tmp_path, **hidden)).stdout == (
        "False ignore Echo cancellation cannot be used, so barge-in by voice is off: "
        "No module named 'pywebrtc_audio'.\n"
    )
    off = environment(tmp_path, VOICELOOP_AUDIO_ECHO="off", **hidden)
    assert python(ECHO, home=tmp_path, env=off).stdout == "False pause\n"


# --- the policy ---


def test_every_default_of_the_policy_is_that_of_the_configuration() -> None:
    assert build.policy(Config()) == build.policy(Config(), barge_in=True)
    policy = replace(preset("balanced"), reopen=ticks(1.0), still="Still working on it.")
    assert build.policy(Config()) == policy


def test_the_policy_follows_the_configuration() -> None:
    config = configured(turn__wait_s=1.0, turn__max_s=9.0, vad__on=0.7, phrases__moment="Wait.", turn__barge_in="stop")
    policy = build.policy(config)
    assert (policy.wait, policy.max_turn, policy.on, policy.moment) == (RATE, 9 * RATE, 0.7, "Wait.")
    assert (policy.barge_in, build.policy(config, barge_in=False).barge_in) == ("stop", "ignore")
    changed = build.policy(
        configured(turn__pause_s=0.2, turn__onset_s=0.1, turn__pre_roll_s=0.5, turn__min_speech_s=0.3)
    )
    assert (changed.pause, changed.onset, changed.pre_roll, changed.min_speech) == tuple(
        ticks(s) for s in (0.2, 0.1, 0.5, 0.3)
    )


def test_every_turn_key_reaches_the_policy() -> None:
    """A key that nobody reads would be a lie in configs/default.toml."""
    other = {
        "wait_s": 1.0, "pause_s": 0.2, "onset_s": 0.1, "pre_roll_s": 0.5, "min_speech_s": 0.3, "max_s": 9.0,
        "run_ahead": "none", "tries": 3, "barge_in": "ignore", "slow_after_s": 1.0, "preset": "quick", "reopen_s": 0.5,
        "max_stt_s": 9.0, "max_chars": 9, "barge_in_thinking": "stop", "barge_in_tool": "pause", "duck": 0.2,
        "still_after_s": 9.0, "reprompt_after_s": 9.0, "reprompts": 3, "end_after_s": 60.0,
        "mode": "push_to_talk",
    }  # fmt: skip
    assert set(other) == set(msgspec.to_builtins(Config().turn)) - {"model", "model_path"}
    for key, value in other.items():
        assert build.policy(override(Config(), {f"turn.{key}": value})) != build.policy(Config()), key


def test_the_language_is_that_of_the_recognizer() -> None:
    german = build.language(configured(stt__language="de"))
    assert (("hor", "auf") in german.lexicon.stop, ("hör", "auf") in german.lexicon.stop) == (False, True)
    assert german.weights != build.language(Config()).weights


async def test_the_end_of_turn_model_is_an_option() -> None:
    workers = Workers()
    async with AsyncExitStack() as closing:
        closing.callback(workers.close)
        tools = Tools(Config(), workers, closing)
        assert build.end_of_turn(tools) is None
        tools.config = configured(turn__model="smart_turn", turn__model_path="gone.onnx")
        assert isinstance(build.end_of_turn(tools), SmartTurn)
        tools.config = configured(turn__model="clever")
        with pytest.raises(
            ConfigError, match=r"^endofturn: there is no engine named 'clever'\. Known: none, smart_turn\.$"
        ):
            build.end_of_turn(tools)


# --- files ---


def test_the_shipped_recordings_are_there() -> None:
    assert [sum(pcm.size for pcm in build.recording(path)) > RATE for path in build.demo_recordings()] == [True] * 3


def test_what_is_a_sound_file(tmp_path: Path) -> None:
    assert build.is_sound_file("gone.wav")
    assert build.is_sound_file("GONE.FLAC")
    assert not build.is_sound_file("USB microphone")
    assert build.is_sound_file(str(tmp_path))  # it is a path, and the port will say what is wrong with it
    (tmp_path / "sound").write_bytes(b"x")
    assert build.is_sound_file(str(tmp_path / "sound"))


def test_a_recording_at_16_khz() -> None:
    assert abs(sum(pcm.size for pcm in build.recording(DATA / "ps_goforward.flac")) / RATE - 2.79) < 0.01
    with pytest.raises(MediaError, match="does not exist"):
        next(build.recording(DATA / "gone.wav"))


async def test_other_programs_are_lowered_only_where_it_is_wanted_and_can_be(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    async with build.assemble(configured()) as assembled:
        assert assembled.parts.others is None
    monkeypatch.setenv("PATH", str(tmp_path))
    async with build.assemble(configured(audio__duck_others=0.3)) as assembled:
        assert assembled.parts.others is None
        assert "Other programs stay as loud as they are: audio.duck_others needs pactl" in assembled.notices[-1]
    (tmp_path / "pactl").write_text("#!/bin/sh")
    (tmp_path / "pactl").chmod(0o755)
    async with build.assemble(configured(audio__duck_others=0.3)) as assembled:
        assert assembled.parts.others is not None


def test_a_sound_system_that_does_not_answer_is_one_sentence(monkeypatch) -> None:
    """On the main thread it could not even be ended by Ctrl-C."""
    let = threading.Event()

    def hang() -> object:
        let.wait(60)
        raise DeviceError("too late")

    monkeypatch.setattr(portaudio, "acquire", hang)
    monkeypatch.setattr(build, "_DEVICES_S", 0.01)
    try:
        assert str(build.missing_device()).startswith("The sound system does not answer")
        with pytest.raises(DeviceError, match="does not answer"):
            build.devices()
    finally:
        let.set()
