"""Checks of engines and services: what is installed, whether it loads, how long that and its work take."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine
from contextlib import aclosing, suppress
from time import perf_counter
from typing import Any, TypeVar

import numpy as np

from voiceloop import build, lineup, makers
from voiceloop.build import Assembled
from voiceloop.config import Config
from voiceloop.core.audio import FRAME, Pcm
from voiceloop.doctor.finding import Finding, Value, advice
from voiceloop.errors import ConfigError, ProviderError, VoiceloopError
from voiceloop.ports import Synthesizer, Transcriber, Vad
from voiceloop.registry import Port, known

T = TypeVar("T")

_SAID = "Please count from one to ten."
_MOST_S = 120.0
"""How long one engine may take to load or to answer."""
_SLOW_VAD_MS = 2.0
"""Nothing in the loop may take longer (shared/CONVENTIONS.md)."""
_FAR_S = 0.5

_SPEECH: tuple[lineup.Speech, ...] = ("stt", "tts")

Knock = Callable[[Config, str], Awaitable[tuple[list[float], int, list[str]]]]
Progress = Callable[[str], object]


def installed() -> Finding:
    """The engines that there are, by port."""
    ports: tuple[Port, ...] = ("vad", "stt", "tts", "handler")
    found = {port: [name for name, spec in known(port).items() if spec.available] for port in ports}
    text = "; ".join(f"{port} {', '.join(names) or 'none'}" for port, names in found.items())
    return Finding("installed", "ok", text, data=dict(found))


def voice_activity(vad: Vad, name: str) -> Finding:
    """What one frame costs."""
    noise = np.random.default_rng(1).normal(0, 3000, FRAME)  # a gate in front of a model lets it through
    frame = noise.astype(np.int16)
    try:
        for _ in range(10):
            vad.probability(frame)
        began = perf_counter()
        for _ in range(100):
            vad.probability(frame)
    except VoiceloopError as exc:
        return Finding("vad", "bad", f"{name}: {exc}", data={"engine": name})
    vad.reset()
    ms = (perf_counter() - began) * 10
    data: dict[str, Value] = {"engine": name, "frame_ms": round(ms, 3)}
    if ms > _SLOW_VAD_MS:
        return Finding("vad", "warn", f"{name} needs {ms:.1f} ms a frame", "Set vad.engine to webrtc.", data)
    return Finding("vad", "ok", f"{name}, {ms:.2f} ms for a frame of 20 ms", data=data)


async def load(assembled: Assembled, progress: Progress) -> AsyncGenerator[Finding, None]:
    """Each engine of the session: loaded, and the voice heard by the ears."""
    parts, names = assembled.parts, assembled.names
    yield voice_activity(parts.vad, names["vad"])
    progress(f"loading {names['tts']}")
    voice, loaded = await _loaded("tts", names["tts"], parts.synthesizer.warm_up())
    if voice:
        yield voice
    progress(f"loading {names['stt']}")
    ears, loaded_stt = await _loaded("stt", names["stt"], parts.transcriber.warm_up())
    if ears:
        yield ears
    said: Pcm | None = None
    if not voice:
        progress("speaking")
        spoken, said = await _speak(parts.synthesizer, names["tts"], loaded)
        yield spoken
    if not ears:
        progress("recognizing")
        yield await _hear(parts.transcriber, parts.synthesizer, names["stt"], loaded_stt, said)
    progress(f"loading {names['handler']}")
    handler, loaded = await _loaded("handler", names["handler"], parts.handler.warm_up())
    yield handler or Finding(
        "handler",
        "ok",
        f"{names['handler']}, ready in {_s(loaded)}",
        data={"engine": names["handler"], "load_s": loaded},
    )
    if parts.end_of_turn is not None:
        progress("loading the end-of-turn model")
        model, loaded = await _loaded("end of turn", "model", parts.end_of_turn.warm_up())
        yield model or Finding("end of turn", "ok", f"loaded in {_s(loaded)}", data={"load_s": loaded})


def stand_ins(config: Config) -> Finding | None:
    """Who takes over when an engine fails, where that is anybody. Raises ConfigError."""
    rows = {port: lineup.links(config, port)[1:] for port in _SPEECH}
    if not any(rows.values()):
        return None
    text = "; ".join(f"{port} {', '.join(names) or 'none'}" for port, names in rows.items())
    return Finding("fallback", "ok", text, data=dict(rows))


async def services(config: Config, progress: Progress, knock: Knock = makers.knock) -> AsyncGenerator[Finding, None]:
    """[service], and each of [services]."""
    for name in ("", *config.services):
        yield await service(config, progress, knock, name)


async def service(config: Config, progress: Progress, knock: Knock = makers.knock, name: str = "") -> Finding:
    """Whether a configured service is there, and how far away. Not whether it can do what it is asked for.

    knock: asks it; see makers.knock. name: "" is [service].
    """
    called, needed = f"service {name}".strip(), name in _favourites(config)
    worst = "bad" if needed else "warn"
    progress(f"asking {called}")
    try:
        trips, status, models = await knock(config, name)
    except ConfigError as exc:
        if needed:
            return Finding(called, "bad", str(exc))
        if name:
            return Finding(called, "warn", str(exc))
        return Finding(called, "ok", "none is configured, and none is needed")
    except ProviderError as exc:
        what, todo = advice(str(exc))
        return Finding(called, worst, what, todo)
    data: dict[str, Value] = {"first_s": round(trips[0], 3), "again_s": round(trips[-1], 3), "status": status}
    text = f"answers in {_ms(trips[-1])} ({_ms(trips[0])} with a new connection)"
    if status in (401, 403):
        settings = config.services[name] if name else config.service
        todo = f"Put the right key into {settings.api_key_env}."
        return Finding(called, worst, f"refuses the key (status {status})", todo, data)
    if status >= 500:
        return Finding(called, worst, f"is there, but broken (status {status})", "Look at its log.", data)
    if models:
        data["models"] = models[:50]
        wanted = [config.handler.model] if config.handler.name == "chat" and not name else []
        missing = [model for model in wanted if model not in models]
        if missing:
            return Finding(called, "warn", f"{text}; it knows no model {missing[0]}", "Set handler.model.", data)
        text += f", {len(models)} models"
    elif status >= 400:
        text += f"; it lists no models (status {status})"
    if trips[-1] > _FAR_S:
        return Finding(called, "warn", text, "Each turn waits for that: choose a nearer one.", data)
    return Finding(called, "ok", text, data=data)


def _favourites(config: Config) -> set[str]:
    """The services that are asked first; "" is [service]. Those that only stand in for others are not among them."""
    used: list[tuple[Port, str]] = []
    for port in _SPEECH:
        with suppress(ConfigError):
            used.append((port, build.choose(config, port)))
    if ":" not in config.handler.name:  # a function of the user's is his own affair
        used.append(("handler", config.handler.name))
    return {name.partition("@")[2] for port, name in used if build.is_remote(port, name)}


async def _loaded(what: str, name: str, work: Coroutine[Any, Any, None]) -> tuple[Finding | None, float]:
    """What is wrong, or nothing and the seconds that it took."""
    result = await _tried(work)
    if isinstance(result, str):
        return Finding(what, "bad", f"{name}: {result}", data={"engine": name}), 0.0
    return None, round(result[1], 2)


async def _speak(engine: Synthesizer, name: str, load_s: float) -> tuple[Finding, Pcm | None]:
    chunks: list[Pcm] = []
    times: list[float] = []

    async def work() -> None:
        began = perf_counter()
        async with aclosing(engine.speak(_SAID)) as speech:
            async for chunk in speech:
                chunks.append(chunk)
                times.append(perf_counter() - began)

    result = await _tried(work())
    if isinstance(result, str):
        return Finding("tts", "bad", f"{name}: {result}", data={"engine": name}), None
    if not chunks:
        return Finding("tts", "bad", f"{name} made no sound", "Choose another voice.", {"engine": name}), None
    said = np.concatenate(chunks)
    data: dict[str, Value] = {
        "engine": name,
        "load_s": load_s,
        "first_s": round(times[0], 3),
        "seconds": round(said.size / engine.rate, 2),
        "rate_hz": engine.rate,
    }
    return Finding("tts", "ok", f"{name}, loaded in {_s(load_s)}, first sound after {_ms(times[0])}", data=data), said


async def _hear(engine: Transcriber, voice: Synthesizer, name: str, load_s: float, said: Pcm | None) -> Finding:
    if said is None:
        return Finding("stt", "ok", f"{name}, loaded in {_s(load_s)}; there is no voice to test it with")
    to_16k = build.resampler(voice.rate, 16_000)
    heard = np.concatenate((to_16k.process(said), to_16k.flush()))
    result = await _tried(engine.transcribe(heard))
    if isinstance(result, str):
        return Finding("stt", "bad", f"{name}: {result}", data={"engine": name})
    transcript, took = result
    seconds = heard.size / 16_000
    data: dict[str, Value] = {"engine": name, "load_s": load_s, "took_s": round(took, 3), "seconds": round(seconds, 2)}
    data["text"] = transcript.text
    text = f"{name}, loaded in {_s(load_s)}, {_ms(took)} for {seconds:.1f} s of our own voice"
    if not transcript.text:
        return Finding(
            "stt", "warn", f"{text}, of which it understood nothing", "Check stt.language and the model.", data
        )
    if took > seconds:
        return Finding("stt", "warn", text, "That is slower than speech: use a smaller model.", data)
    return Finding("stt", "ok", f'{text} ("{transcript.text}")', data=data)


async def _tried(work: Coroutine[Any, Any, T]) -> tuple[T, float] | str:
    """What it gives and the seconds it took, or a sentence about why it does not."""
    began = perf_counter()
    try:
        async with asyncio.timeout(_MOST_S):
            return await work, perf_counter() - began
    except TimeoutError:
        return f"was not done within {_MOST_S:g} s"
    except VoiceloopError as exc:
        return str(exc).rstrip(".")


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms"


def _s(seconds: float) -> str:
    return f"{seconds:.1f} s"
