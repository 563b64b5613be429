"""Which engines a session uses, and which stand in for them: names in the configuration -> engines and chains of them.

A link is written `engine`, `engine@service` for one of [services.NAME], or `embedded`: the best one that is installed.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from typing import Any, Literal

from voiceloop.adapters.chain.hearing import HearingChain
from voiceloop.adapters.chain.links import Link
from voiceloop.adapters.chain.speaking import SpeakingChain
from voiceloop.adapters.counted import CountedEars, CountedVoice
from voiceloop.config import Config, override
from voiceloop.errors import ConfigError
from voiceloop.makers import Tools
from voiceloop.media import resampler
from voiceloop.ports import Synthesizer, Transcriber
from voiceloop.registry import Port, find, known

Speech = Literal["stt", "tts"]

EMBEDDED = "embedded"


def choose(config: Config, port: Port) -> str:
    """The name of the engine for a port: the configured one, or for `auto` the best that is installed.

    Embedded engines come before a service: no voice leaves the machine unless it is told to. Raises ConfigError.
    """
    name: str = {"vad": config.vad, "stt": config.stt, "tts": config.tts}[port].engine
    if name != "auto":
        if find(port, name.partition("@")[0]).remote and config.offline:
            raise ConfigError(f"{port}.engine is {name}, which needs a service, but offline is set.")
        return name
    if port == "vad":
        return "silero" if find("vad", "silero").available else "webrtc"
    local = {"stt": "moonshine", "tts": "hibari"}[port]
    if find(port, local).available:
        return local
    if not config.offline and (config.service.base_url or os.environ.get(config.service.api_key_env)):
        return "openai"
    if port == "tts" and shutil.which("espeak-ng"):
        return "espeak"
    what = {"stt": "speech recognition", "tts": "a voice"}[port]
    service = "" if config.offline else ", or set OPENAI_BASE_URL or OPENAI_API_KEY to use a service"
    raise ConfigError(f"there is no engine for {what}: pip install 'voiceloop[local]' for the embedded ones{service}.")


def is_remote(port: Port, name: str) -> bool:
    """Whether the engine of that name opens connections; an unknown one is taken for remote."""
    spec = known(port).get(name.partition("@")[0])
    return spec is None or spec.remote


def links(config: Config, port: Speech) -> list[str]:
    """The names of all engines for a port, the favourite first, each once; offline, those alone that need no service.

    Raises ConfigError, which names the key.
    """
    section = config.stt if port == "stt" else config.tts
    names = [choose(config, port)]
    for key, name in [(f"{port}.engine", names[0]), *((f"{port}.fallback", name) for name in section.fallback)]:
        resolved = _embedded(config, port) if name == EMBEDDED else _checked(config, port, key, name)
        if resolved and resolved not in names and not (config.offline and is_remote(port, resolved)):
            names.append(resolved)
    return names


def services(config: Config) -> list[str]:
    """The services that the chosen engines use: "" is [service]."""
    found: dict[str, None] = {}
    ports: tuple[Speech, ...] = ("stt", "tts")
    for port in ports:
        found |= {name.partition("@")[2]: None for name in links(config, port) if is_remote(port, name)}
    return list(found)


def transcriber(tools: Tools) -> Transcriber:
    """The configured one, with those that stand in for it. Raises ConfigError."""
    stt = tools.config.stt
    made: list[Link[Transcriber]] = [
        Link(name, engine, local=not is_remote("stt", name)) for name, engine in _made(tools, "stt")
    ]
    if len(made) == 1:
        return made[0].engine
    return HearingChain(made, late_s=min(stt.late_s, stt.timeout_s / len(made)), hedge=stt.hedge)


def synthesizer(tools: Tools) -> Synthesizer:
    """The configured one, with those that stand in for it. Raises ConfigError."""
    tts = tools.config.tts
    made: list[Link[Synthesizer]] = [
        Link(name, engine, local=not is_remote("tts", name)) for name, engine in _made(tools, "tts")
    ]
    if len(made) == 1:
        return made[0].engine
    return SpeakingChain(made, resampler, late_s=min(tts.late_s, tts.timeout_s / len(made)), hedge=tts.hedge)


def _made(tools: Tools, port: Speech) -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for number, name in enumerate(links(tools.config, port)):
        kind, _, service = name.partition("@")
        own = replace(tools, config=_fitted(tools.config, port, kind, service, favourite=number == 0), at=service)
        engine = find(port, kind).load()(own)
        tools.closing.push_async_callback(engine.aclose)
        if tools.tally:
            engine = (CountedEars if port == "stt" else CountedVoice)(engine, name, tools.tally)
        found.append((name, engine))
    return found


def _fitted(config: Config, port: Speech, kind: str, service: str, *, favourite: bool) -> Config:
    """The configuration as one link reads it."""
    changes: dict[str, Any] = {}
    if service:
        other = config.services[service]
        if port == "stt":
            changes = {"stt.model": other.stt_model}
        else:
            changes = {"tts.model": other.tts_model, "tts.voice": other.voice}
    elif port == "tts" and kind == "espeak" and not favourite:  # the voice is the favourite's
        changes = {"tts.voice": config.stt.language}
        return override(config, changes)
    return override(config, {key: value for key, value in changes.items() if value})


def _embedded(config: Config, port: Speech) -> str | None:
    """The best engine that is installed and speaks the language; None without any."""
    english = config.stt.language.lower() in ("", "en", "english") or config.stt.language.lower().startswith("en-")
    if port == "stt":
        return "moonshine" if english and find("stt", "moonshine").available else None
    if english and find("tts", "hibari").available:
        return "hibari"
    return "espeak" if shutil.which("espeak-ng") else None


def _checked(config: Config, port: Speech, key: str, name: str) -> str:
    kind, at, service = name.partition("@")
    try:
        spec = find(port, kind)
    except ConfigError as exc:
        raise ConfigError(f"{key}: {str(exc).partition(': ')[2]}") from None
    if at and not spec.remote:
        raise ConfigError(f"{key}: {kind} needs no service, so write it without {at}{service}.")
    if at and service not in config.services:
        there = ", ".join(config.services) or "none"
        raise ConfigError(f"{key}: there is no service named {service!r}. In [services] there is: {there}.")
    return name
