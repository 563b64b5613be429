"""Names of engines: the built-in ones, what they need, and plug-ins."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.program import DATA, LOCAL, distribution, environment, hiding, python, voiceloop
from voiceloop.config import Config
from voiceloop.errors import ConfigError
from voiceloop.registry import Port, Spec, find, known


@pytest.mark.parametrize(
    ("port", "names"),
    [
        ("vad", "auto, silero, webrtc"),
        ("stt", "auto, moonshine, sherpa, openai"),
        ("tts", "auto, hibari, espeak, openai"),
        ("handler", "offline, echo, chat, module:function"),
        ("endofturn", "none, smart_turn"),
    ],
)
def test_an_unknown_name_lists_the_known(port: Port, names: str) -> None:
    with pytest.raises(ConfigError) as caught:
        find(port, "nonsense")
    assert str(caught.value) == f"{port}: there is no engine named 'nonsense'. Known: {names}."


@pytest.mark.parametrize("port", ["vad", "stt", "tts", "handler", "endofturn"])
def test_every_built_in_maker_exists(port: Port) -> None:
    for name, spec in known(port).items():
        assert spec.name == name
        if spec.available:
            assert callable(spec.load())


def test_what_is_not_installed_names_the_extra() -> None:
    spec = Spec("dream", "voiceloop.makers:silero", ("no_such_module_here",), "local")
    assert not spec.available
    with pytest.raises(ConfigError, match=r"^dream is not installed: pip install 'voiceloop\[local\]'\.$"):
        spec.load()


@pytest.mark.parametrize("maker", ["no_such_module_here:make", "voiceloop.makers:no_such_maker", "voiceloop.makers:"])
def test_a_plug_in_that_cannot_be_loaded(maker: str) -> None:
    with pytest.raises(ConfigError, match=rf"^the plug-in mine \({maker}\) cannot be loaded: .+\.$"):
        Spec("mine", maker).load()


def test_a_maker_may_be_a_method() -> None:
    assert Spec("mine", "voiceloop.config:Config.__struct_fields__.index").load() == Config.__struct_fields__.index


def test_every_embedded_engine_names_its_extra_on_a_base_install(tmp_path: Path) -> None:
    done = python(
        """
from voiceloop.errors import ConfigError
from voiceloop.registry import find
for port, name in [("vad", "silero"), ("stt", "moonshine"), ("stt", "sherpa"), ("tts", "hibari")]:
    try:
        find(port, name).load()
    except ConfigError as exc:
        print(exc)
""",
        home=tmp_path,
        env=environment(tmp_path, **hiding(tmp_path / "site", *LOCAL, "sherpa_onnx")),
    )
    assert done.stdout.splitlines() == [
        "silero is not installed: pip install 'voiceloop[local]'.",
        "moonshine is not installed: pip install 'voiceloop[local]'.",
        "sherpa is not installed: pip install 'voiceloop[sherpa]'.",
        "hibari is not installed: pip install 'voiceloop[local]'.",
    ], done.stderr


PLUGIN = """
from voiceloop.ports import Transcript

class Parrot:
    longest = None
    def __init__(self, options): self.words = options.get("words", "none")
    async def warm_up(self): pass
    async def transcribe(self, pcm, *, language=None, prompt=None): return Transcript(self.words)
    async def aclose(self): print("closed")

def make(tools):
    return Parrot(tools.config.stt.options)
"""


def test_a_plug_in_is_an_engine_like_others(tmp_path: Path) -> None:
    site = distribution(tmp_path / "site", "parrot", PLUGIN, "[voiceloop.stt]\nparrot = parrot:make\n")
    config = tmp_path / "mine.toml"
    config.write_text('[stt]\nengine = "parrot"\noptions = { words = "pieces of eight" }\n')
    sound = DATA / "ps_goforward.flac"
    env = environment(tmp_path, PYTHONPATH=str(site))
    done = voiceloop("transcribe", "--config", config, sound, home=tmp_path, env=env)
    assert (done.returncode, done.stdout, done.stderr) == (0, "pieces of eight\nclosed\n", "")
    done = voiceloop("transcribe", "--stt", "polly", sound, home=tmp_path, env=env)
    assert done.returncode == 1
    assert done.stderr == ("stt: there is no engine named 'polly'. Known: auto, moonshine, sherpa, openai, parrot.\n")


def test_a_plug_in_cannot_take_the_name_of_ours(tmp_path: Path) -> None:
    site = distribution(
        tmp_path / "site", "parrot", PLUGIN, "[voiceloop.handler]\necho = parrot:make\nother = parrot:gone\n"
    )
    done = python(
        """
from voiceloop.errors import ConfigError
from voiceloop.registry import find
print(find("handler", "echo").maker)
try:
    find("handler", "other").load()
except ConfigError as exc:
    print(exc)
""",
        home=tmp_path,
        env=environment(tmp_path, PYTHONPATH=str(site)),
    )
    ours, theirs = done.stdout.splitlines()
    assert ours == "voiceloop.makers:echo_handler"
    assert theirs.startswith("the plug-in other (parrot:gone) cannot be loaded: ")
