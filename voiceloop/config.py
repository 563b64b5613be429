"""Typed configuration: TOML, then environment. Every key, its default and a comment stand in configs/default.toml.

Errors are ConfigError and name the file (or variable) and the key path. Secrets come from the environment only.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, cast, get_type_hints

import msgspec
from msgspec import Meta, Struct, field

from voiceloop.core.audio import seconds, ticks
from voiceloop.core.policy import preset
from voiceloop.errors import ConfigError
from voiceloop.keypaths import NO_SECRETS, SECRET, Names, Options, explain, is_section, kind_of, value_of
from voiceloop.sections import ServeSection

Seconds = Annotated[float, Meta(ge=0.0, le=3600.0)]
Share = Annotated[float, Meta(ge=0.0, le=1.0)]
Count = Annotated[int, Meta(ge=0, le=1_000_000)]
Phrase = Annotated[str, Meta(max_length=500)]

_PREFIX = "VOICELOOP_"
_NO_KEYS = {_PREFIX + "CONFIG", _PREFIX + "KEY"}
"""Variables that are none of the configuration: its file, and what opens another voiceloop's server."""
_SITE = re.compile(r"https?://(\*\.)?[A-Za-z0-9.-]+(:[0-9]+)?")


class Audio(Struct, frozen=True, forbid_unknown_fields=True):
    """Microphone and loudspeaker. A device is named by its number, its name, or a part of its name."""

    input: str | int = ""
    output: str | int = ""
    echo: Literal["auto", "off"] = "auto"
    noise_suppression: Literal["off", "low", "moderate", "high", "highest"] = "off"
    gain_control: bool = False
    volume: Share = 1.0
    wait: bool = False
    fallback: bool = False
    follow_default: bool = False
    dead_s: Seconds = 5.0
    primer_s: Annotated[float, Meta(ge=0.0, le=5.0)] = 0.0
    sleeps_after_s: Seconds = 10.0
    duck_others: Share = 1.0


class VadSection(Struct, frozen=True, forbid_unknown_fields=True):
    """Voice activity detection."""

    engine: str = "auto"
    mode: Annotated[int, Meta(ge=0, le=3)] = 3
    on: Share = 0.5
    off: Share = 0.35
    options: Options = {}


_BargeIn = Literal["stop", "pause", "finish_sentence", "finish_reply", "ignore"]


class TurnSection(Struct, frozen=True, forbid_unknown_fields=True):
    """Turn-taking."""

    mode: Literal["open", "push_to_talk"] = "open"
    preset: Literal["quick", "balanced", "patient", "low", "medium", "high", "auto"] = "balanced"
    wait_s: Annotated[float, Meta(ge=0.0, le=10.0)] = 0.0
    pause_s: Annotated[float, Meta(ge=0.02, le=2.0)] = 0.1
    onset_s: Annotated[float, Meta(ge=0.02, le=1.0)] = 0.06
    pre_roll_s: Annotated[float, Meta(ge=0.0, le=2.0)] = 0.3
    min_speech_s: Annotated[float, Meta(ge=0.0, le=2.0)] = 0.1
    max_s: Annotated[float, Meta(ge=2.0, le=600.0)] = 60.0
    reopen_s: Annotated[float, Meta(ge=0.0, le=10.0)] = 1.0
    run_ahead: Literal["none", "stt", "handler", "speech"] = "speech"
    tries: Count = 12
    max_stt_s: Seconds = 120.0
    max_chars: Count = 8_000
    barge_in: _BargeIn = "pause"
    barge_in_thinking: _BargeIn = "pause"
    barge_in_tool: _BargeIn = "finish_reply"
    duck: Share = 0.0
    slow_after_s: Seconds = 5.0
    still_after_s: Annotated[float, Meta(ge=1.0, le=3600.0)] = 15.0
    reprompt_after_s: Seconds = 0.0
    reprompts: Count = 1
    end_after_s: Seconds = 0.0
    model: str = "none"
    model_path: str = ""


class SttSection(Struct, frozen=True, forbid_unknown_fields=True):
    """Speech to text."""

    engine: str = "auto"
    model: str = "whisper-1"
    model_dir: str = ""
    language: str = ""
    prompt: str = ""
    response_format: Literal["", "json", "text", "srt", "verbose_json", "vtt"] = ""
    temperature: Share = 0.0
    stream: bool = False
    upload: Literal["auto", "wav", "flac"] = "auto"
    timeout_s: Annotated[float, Meta(gt=0.0, le=600.0)] = 30.0
    fallback: Names = field(default_factory=lambda: ["embedded"])
    late_s: Annotated[float, Meta(gt=0.0, le=600.0)] = 5.0
    hedge: bool = False
    options: Options = {}


class TtsSection(Struct, frozen=True, forbid_unknown_fields=True):
    """Text to speech."""

    engine: str = "auto"
    model: str = "tts-1"
    voice: str = ""
    speed: Annotated[float, Meta(ge=0.25, le=4.0)] = 1.0
    instructions: Annotated[str, Meta(max_length=4096)] = ""
    response_format: Literal["mp3", "opus", "aac", "flac", "wav", "pcm"] = "pcm"
    stream_format: Literal["audio", "sse"] = "audio"
    timeout_s: Annotated[float, Meta(gt=0.0, le=600.0)] = 30.0
    fallback: Names = field(default_factory=lambda: ["embedded"])
    late_s: Annotated[float, Meta(gt=0.0, le=600.0)] = 4.0
    hedge: bool = False
    options: Options = {}


class HandlerSection(Struct, frozen=True, forbid_unknown_fields=True):
    """What answers."""

    name: str = "offline"
    model: str = "gpt-4o-mini"
    system_prompt: str = (
        "You are a voice assistant. Answer in one to three short spoken sentences, without lists or markup."
    )
    timeout_s: Annotated[float, Meta(gt=0.0, le=600.0)] = 30.0
    options: Options = {}


class ServiceSection(Struct, frozen=True, forbid_unknown_fields=True):
    """Any OpenAI-compatible service, for the engines named `openai` and the handler `chat`."""

    base_url: str = ""
    api_key_env: str = "OPENAI_API_KEY"
    connect_s: Annotated[float, Meta(gt=0.0, le=120.0)] = 3.0
    first_byte_s: Annotated[float, Meta(gt=0.0, le=600.0)] = 10.0
    chunk_s: Annotated[float, Meta(gt=0.0, le=600.0)] = 10.0
    retries: Annotated[int, Meta(ge=0, le=10)] = 1
    headers: bool = True


class OtherService(ServiceSection, frozen=True, forbid_unknown_fields=True):
    """One more, for engines named `openai@NAME`. Its models and voice: "" is what the section of the engine says."""

    stt_model: str = ""
    tts_model: str = ""
    voice: str = ""


Services = dict[str, OtherService]


class PhraseSection(Struct, frozen=True, forbid_unknown_fields=True):
    """What the loop itself says. An empty text says nothing."""

    moment: Phrase = "One moment."
    still: Phrase = "Still working on it."
    reprompt: Phrase = "Are you still there?"
    sorry_stt: Phrase = "Sorry, I could not make out what you said."
    sorry_handler: Phrase = "Sorry, something went wrong with my answer."
    back: Phrase = "\N{BELL}"


class JournalSection(Struct, frozen=True, forbid_unknown_fields=True):
    """What is written down of a session without being asked for. A recording is: `voiceloop run --record FILE`."""

    trace: bool = True


class Config(Struct, frozen=True, forbid_unknown_fields=True):
    """The whole configuration."""

    offline: bool = False
    audio: Audio = Audio()
    vad: VadSection = VadSection()
    turn: TurnSection = TurnSection()
    stt: SttSection = SttSection()
    tts: TtsSection = TtsSection()
    handler: HandlerSection = HandlerSection()
    service: ServiceSection = ServiceSection()
    services: Services = {}
    phrases: PhraseSection = PhraseSection()
    journal: JournalSection = JournalSection()
    serve: ServeSection = ServeSection()


def load_config(path: str | os.PathLike[str] | None = None, environ: Mapping[str, str] | None = None) -> Config:
    """The configuration from a TOML file (none: the defaults), overridden by `VOICELOOP_<SECTION>_<KEY>`.

    path: a file, or the bare name of one that is shipped: "openai", "local", "kiosk". environ: os.environ if None.
    `OPENAI_BASE_URL` fills `service.base_url` where nothing else does.
    Raises ConfigError, with file or variable and key path.
    """
    environ = os.environ if environ is None else environ
    data: dict[str, Any] = _read(_shipped(Path(path))) if path is not None else {}
    where = str(path) if path is not None else "configuration"
    values = msgspec.to_builtins(_checked(_convert(data, where), where))
    for variable, value in sorted(environ.items()):
        if variable.startswith(_PREFIX) and variable not in _NO_KEYS:
            _override(values, variable, value)
    if not values["service"]["base_url"] and environ.get("OPENAI_BASE_URL"):
        values["service"]["base_url"] = environ["OPENAI_BASE_URL"]
    return _checked(_convert(values, "environment"), "environment")


def override(config: Config, changes: Mapping[str, Any]) -> Config:
    """A copy with some keys set, as by flags of the command line. Keys are paths: `"turn.wait_s"`."""
    values = msgspec.to_builtins(config)
    for key, value in changes.items():
        *sections, name = key.split(".")
        table = values
        for section in sections:
            table = table.setdefault(section, {})
        table[name] = value
    return _checked(_convert(values, "command line"), "command line")


def assign(config: Config, settings: Iterable[str]) -> Config:
    """A copy with some keys set, each written as `turn.wait_s=0.9`. Raises ConfigError."""
    changes: dict[str, Any] = {}
    for setting in settings:
        key, equals, value = setting.partition("=")
        kind = kind_of(Config, key)
        if not equals:
            raise ConfigError(f"{setting}: write a key, = and a value, as in turn.wait_s=0.9.")
        if kind is None or is_section(kind):
            raise ConfigError(f"{key}: there is no such key. configs/default.toml shows every one.")
        changes[key] = value_of(key, value, kind)
    return override(config, changes)


def shown(config: Config) -> dict[str, Any]:
    """The configuration as JSON, without what may be secret: for a file that is given away."""
    values = msgspec.to_builtins(config)
    for section in values.values():
        if isinstance(section, dict) and "options" in section:
            options = cast("dict[str, dict[str, Any]]", section)["options"]
            options.update({name: "" for name in options if SECRET.search(name)})
    for service in (values["service"], *values["services"].values()):
        service["base_url"] = re.sub(r"(?<=//)[^/@]*@", "", service["base_url"]).partition("?")[0]
    return values


def restored(values: Mapping[str, Any], where: str) -> Config:
    """What `shown` gave, as a configuration again. Raises ConfigError if this version knows other keys."""
    return _checked(_convert(dict(values), where), where)


def _shipped(path: Path) -> Path:
    """The file itself, or the shipped one of that bare name: beside this module in a wheel, else in the checkout."""
    if path.name != str(path) or path.suffix or path.exists():
        return path
    here = Path(__file__).parent
    places = (here / "configs", here.parent / "configs")
    return next((p for place in places if (p := place / f"{path}.toml").is_file()), path)


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))  # some editors begin UTF-8 with a mark
    except FileNotFoundError:
        raise ConfigError(f"{path}: there is no such file.") from None
    except OSError as exc:
        raise ConfigError(f"{path}: it cannot be read ({exc.strerror}).") from exc
    except UnicodeDecodeError as exc:
        raise ConfigError(f"{path}: it is not UTF-8 text.") from exc
    except tomllib.TOMLDecodeError as exc:
        raise ConfigError(f"{path}: it is not valid TOML: {exc}.") from exc


def _convert(data: dict[str, Any], where: str) -> Config:
    try:
        return msgspec.convert(data, Config)
    except msgspec.ValidationError as exc:
        raise ConfigError(f"{where}: {explain(str(exc), data, Config)}") from None


def _override(values: dict[str, Any], variable: str, value: str) -> None:
    name = variable.removeprefix(_PREFIX).lower()
    for section, kind in get_type_hints(Config, include_extras=True).items():
        if not is_section(kind):
            if section == name:
                values[section] = value_of(variable, value, kind)
                return
            continue
        key = name.removeprefix(section + "_")
        hints = get_type_hints(kind, include_extras=True)
        if key != name and key in hints:
            values[section][key] = value_of(variable, value, hints[key])
            return
    if SECRET.search(name):
        raise ConfigError(
            f"{variable}: there is no such key. A key is read from the variable that "
            "service.api_key_env names, as a rule OPENAI_API_KEY."
        )
    raise ConfigError(f"{variable}: there is no such key. Variables are named {_PREFIX}<SECTION>_<KEY>.")


def _checked(config: Config, where: str) -> Config:
    """What no single key can say."""
    turn = config.turn
    if 0 < turn.wait_s < turn.pause_s:
        raise ConfigError(f"{where}: turn.pause_s must not be longer than turn.wait_s.")
    usual = preset(turn.preset)
    shortest = min(usual.wait, *(wait for _, wait in usual.waits))
    if not turn.wait_s and ticks(turn.pause_s) > shortest:
        raise ConfigError(
            f"{where}: turn.pause_s must not be longer than {seconds(shortest):g}, "
            f"the shortest silence that ends a turn with the preset {turn.preset!r}."
        )
    if config.vad.off > config.vad.on:
        raise ConfigError(f"{where}: vad.off must not be above vad.on.")
    for site in config.serve.embed:
        if not _SITE.fullmatch(site):
            raise ConfigError(f"{where}: serve.embed: {site!r} is no origin: write it as https://example.org.")
    for path, service in (("service", config.service), *((f"services.{n}", s) for n, s in config.services.items())):
        if not service.api_key_env.isidentifier():
            # The value is not repeated: it may be the key.
            raise ConfigError(f"{where}: {path}.api_key_env is the name of a variable, not the key. {NO_SECRETS}")
    return config
