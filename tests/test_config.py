"""Configuration: the shipped files, what is wrong in a file or a variable, and the sentences about it."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from voiceloop.config import Config, load_config, override
from voiceloop.errors import ConfigError

CONFIGS = Path(__file__).resolve().parent.parent / "configs"
DEFAULT = CONFIGS / "default.toml"


def leaves(values: dict[str, object], path: str = "") -> Iterator[tuple[str, object]]:
    """Key paths and values; an empty table is a value."""
    for name, value in values.items():
        if isinstance(value, dict) and value:
            yield from leaves(value, f"{path}{name}.")
        else:
            yield path + name, value


def file(folder: Path, text: str | bytes) -> Path:
    path = folder / "mine.toml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def complaint(folder: Path, text: str | bytes = "", **environ: str) -> str:
    """The error about a file and an environment, the file's name in it replaced by FILE."""
    path = file(folder, text)
    with pytest.raises(ConfigError) as caught:
        load_config(path, environ)
    return str(caught.value).replace(str(path), "FILE")


# --- the shipped files ---


def test_default_toml_holds_every_key_with_its_default() -> None:
    written = dict(leaves(tomllib.loads(DEFAULT.read_text("utf-8"))))
    assert written == dict(leaves(msgspec.to_builtins(Config())))


def test_default_toml_explains_every_key() -> None:
    section_explained = False
    bare: list[str] = []
    for line in DEFAULT.read_text("utf-8").splitlines():
        explained = re.search(r"\s# ?\S", line) is not None
        if line.startswith("["):
            section_explained = explained
        elif "=" in line and not line.startswith("#") and not (explained or section_explained):
            bare.append(line)
    assert bare == []


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.toml")), ids=lambda path: path.name)
def test_every_shipped_file_loads(path: Path) -> None:
    load_config(path, {})


def test_no_file_gives_the_defaults() -> None:
    assert load_config(None, {}) == Config()


# --- files ---


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[turn]\nwait = 1", "FILE: turn.wait: there is no such key. Known here: mode, preset, wait_s, pause_s, "),
        ("[trun]\nwait_s = 1", "FILE: trun: there is no such key. Known here: offline, audio, vad, "),
        ("[turn]\nwait_s = 'long'", "FILE: turn.wait_s: expected a number, got text."),
        ("[turn]\ntries = 1.5", "FILE: turn.tries: expected a whole number, got a number."),
        ("offline = 'yes'", "FILE: offline: expected true or false, got text."),
        ("[audio]\ninput = true", "FILE: audio.input: expected a number or a name, got true or false."),
        ("turn = 3", "FILE: turn: expected a section, got a whole number."),
        ("[turn]\nwait_s = 99.0", "FILE: turn.wait_s: expected a number <= 10.0."),
        ("[turn]\nonset_s = 0", "FILE: turn.onset_s: expected a number >= 0.02."),
        ("[turn]\nwait_s = nan", "FILE: turn.wait_s: expected a number >= 0.0."),
        ("[turn]\nmax_s = inf", "FILE: turn.max_s: expected a number <= 600.0."),
        (
            "[turn]\nbarge_in = 'no'",
            "FILE: turn.barge_in: invalid enum value 'no'. "
            "Known: 'stop', 'pause', 'finish_sentence', 'finish_reply', 'ignore'.",
        ),
        ("[turn]\nwait_s = 0.2\npause_s = 0.3", "FILE: turn.pause_s must not be longer than turn.wait_s."),
        (
            "[turn]\npause_s = 0.6",
            "FILE: turn.pause_s must not be longer than 0.5, the shortest silence that ends a turn with the preset "
            "'balanced'.",
        ),
        (
            "[turn]\npreset = 'high'\npause_s = 0.36",
            "FILE: turn.pause_s must not be longer than 0.35, the shortest silence that ends a turn with the preset "
            "'high'.",
        ),
        ("[vad]\non = 0.2", "FILE: vad.off must not be above vad.on."),
        ("[turn\n", "FILE: it is not valid TOML: "),
        (b"\xff\xfe[\x00", "FILE: it is not UTF-8 text."),
    ],
)
def test_what_is_wrong_in_a_file(tmp_path: Path, text: str | bytes, said: str) -> None:
    found = complaint(tmp_path, text)
    assert found.startswith(said)
    assert found.endswith(".")


@pytest.mark.parametrize(
    "text",
    [
        "[service]\napi_key = 'sk-1234'",
        "[stt]\napi_key = 'sk-1234'",
        "openai_api_key = 'sk-1234'",
        "[service]\ntoken = 'sk-1234'",
        "[service]\napi_key_env = 'sk-1234'",
    ],
)
def test_secrets_are_refused_and_not_repeated(tmp_path: Path, text: str) -> None:
    found = complaint(tmp_path, text)
    assert "Secrets are not kept in files; set the variable that service.api_key_env names" in found
    assert "sk-1234" not in found


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"gone\.toml: there is no such file\."):
        load_config(tmp_path / "gone.toml", {})


def test_a_directory(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"it cannot be read \("):
        load_config(tmp_path, {})


def test_a_byte_order_mark_is_no_mistake(tmp_path: Path) -> None:
    assert load_config(file(tmp_path, "\ufeffoffline = true"), {}).offline


def test_a_device_is_a_number_or_a_name(tmp_path: Path) -> None:
    audio = load_config(file(tmp_path, "[audio]\ninput = 3\noutput = 'desk'"), {}).audio
    assert (audio.input, audio.output) == (3, "desk")


# --- environment ---


def test_the_environment_overrides_the_file(tmp_path: Path) -> None:
    path = file(tmp_path, "[turn]\nwait_s = 1.0\nmax_s = 9.0\n[tts]\nvoice = 'file'")
    environ = {
        "VOICELOOP_OFFLINE": "true",
        "VOICELOOP_AUDIO_INPUT": "3",
        "VOICELOOP_AUDIO_OUTPUT": "desk lamp",
        "VOICELOOP_TURN_WAIT_S": "0.8",
        "VOICELOOP_TURN_TRIES": "2",
        "VOICELOOP_TURN_BARGE_IN": "ignore",
        "VOICELOOP_SERVICE_API_KEY_ENV": "MY_KEY",
        "VOICELOOP_PHRASES_SORRY_STT": "",
        "VOICELOOP_STT_OPTIONS": '{"beam": 4}',
        "VOICELOOP_CONFIG": "elsewhere.toml",
        "VOICELOOP_KEY": "of voiceloop connect",
        "OTHER": "x",
    }
    config = load_config(path, environ)
    assert config.offline
    assert (config.audio.input, config.audio.output) == (3, "desk lamp")
    assert (config.turn.wait_s, config.turn.tries, config.turn.barge_in, config.turn.max_s) == (0.8, 2, "ignore", 9.0)
    assert config.service.api_key_env == "MY_KEY"
    assert config.phrases.sorry_stt == ""
    assert config.stt.options == {"beam": 4}
    assert config.tts.voice == "file"


def test_every_key_can_be_set_by_a_variable() -> None:
    for key, value in leaves(msgspec.to_builtins(Config())):
        text = msgspec.json.encode(value).decode() if isinstance(value, dict | bool) else str(value)
        assert load_config(None, {"VOICELOOP_" + key.replace(".", "_").upper(): text}) == Config(), key


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("TURN_WAIT_S", "abc", "expected a number."),
        ("TURN_WAIT_S", "99", "expected a number <= 10.0."),
        ("TURN_TRIES", "1.5", "expected a whole number."),
        ("OFFLINE", "perhaps", "expected true or false."),
        (
            "TURN_BARGE_IN",
            "no",
            "invalid enum value 'no'. Known: 'stop', 'pause', 'finish_sentence', 'finish_reply', 'ignore'.",
        ),
        ("STT_OPTIONS", "{", 'expected JSON, as in {"key": 1}.'),
        ("STT_OPTIONS", "[1]", "expected a section, got a list."),
        ("TURN", "1", "there is no such key. Variables are named VOICELOOP_<SECTION>_<KEY>."),
        ("TURN_WAIT", "1", "there is no such key. Variables are named VOICELOOP_<SECTION>_<KEY>."),
        ("SERVICE_API_KEY", "sk-1", "there is no such key. A key is read from the variable that service.api_key_env "),
    ],
)
def test_what_is_wrong_in_a_variable(tmp_path: Path, variable: str, value: str, said: str) -> None:
    found = complaint(tmp_path, "", **{f"VOICELOOP_{variable}": value})
    assert found.startswith(f"VOICELOOP_{variable}: {said}")
    assert "sk-1" not in found


def test_what_no_single_variable_shows(tmp_path: Path) -> None:
    assert complaint(tmp_path, "", VOICELOOP_TURN_WAIT_S="0.8", VOICELOOP_TURN_PAUSE_S="0.9") == (
        "environment: turn.pause_s must not be longer than turn.wait_s."
    )


def test_openai_base_url_fills_what_nothing_else_does(tmp_path: Path) -> None:
    environ = {"OPENAI_BASE_URL": "http://one/v1"}
    assert load_config(None, environ).service.base_url == "http://one/v1"
    named = file(tmp_path, "[service]\nbase_url = 'http://two/v1'")
    assert load_config(named, environ).service.base_url == "http://two/v1"
    both = environ | {"VOICELOOP_SERVICE_BASE_URL": "http://three/v1"}
    assert load_config(named, both).service.base_url == "http://three/v1"


# --- flags ---


def test_override() -> None:
    config = override(Config(), {"turn.wait_s": 1.0, "offline": True})
    assert (config.turn.wait_s, config.offline, config.turn.max_s) == (1.0, True, 60.0)
    assert override(Config(), {}) == Config()
    with pytest.raises(ConfigError, match=r"command line: turn\.wait_s: expected a number <= 10\.0\."):
        override(Config(), {"turn.wait_s": 11.0})


def test_a_shipped_configuration_by_its_bare_name(tmp_path: Path) -> None:
    assert load_config("openai", {}).handler.name == "chat"
    assert load_config("default", {}) == Config()
    with pytest.raises(ConfigError, match="nosuch: there is no such file"):
        load_config("nosuch", {})


@pytest.mark.parametrize("site", ["https://example.org", "http://localhost:3000", "https://*.example.org"])
def test_pages_that_may_show_ours(site: str) -> None:
    assert load_config(None, {"VOICELOOP_SERVE_EMBED": site}).serve.embed == [site]


@pytest.mark.parametrize(
    "site",
    ["example.org", "*", "https://example.org/page", "https://a b", "https://a; script-src *", "'self'", "https://"],
)
def test_what_is_no_origin_of_a_page(site: str) -> None:
    with pytest.raises(ConfigError, match=r"serve\.embed: .* is no origin: write it as https://example\.org"):
        override(Config(), {"serve.embed": [site]})
