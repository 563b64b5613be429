"""Makers of the built-in engines, named in registry.py: each takes `Tools` (a VAD: the config) and gives the engine.

Adapters are imported when their maker is called, so that nothing is loaded that is not used.
"""

from __future__ import annotations

import importlib
import json
import os
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from datetime import datetime
from importlib.util import find_spec
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING

from voiceloop.config import Config
from voiceloop.errors import ConfigError
from voiceloop.media import resampler, tempo
from voiceloop.peers import Peer
from voiceloop.ports import (
    Aligner,
    EchoCanceller,
    EndOfTurn,
    Handler,
    OtherSound,
    Runner,
    Synthesizer,
    Transcriber,
    Vad,
)
from voiceloop.tally import Tally

if TYPE_CHECKING:
    from voiceloop.adapters.http import Service
    from voiceloop.adapters.tts.body import Decoder
    from voiceloop.adapters.vad.together import Together
    from voiceloop.adapters.websocket import WebSocket

_OPENAI = "https://api.openai.com/v1"


@dataclass(slots=True)
class Tools:
    """What a maker of engines may use. at: the service it is for, "" is [service]. clients: those made so far.
    tally: is to be told of each call."""

    config: Config
    runner: Runner
    closing: AsyncExitStack
    at: str = ""
    tally: Tally | None = None
    clients: dict[str, Service] = field(default_factory=lambda: dict[str, "Service"]())

    def service(self) -> Service:
        """The one client of the service, made when first asked for.

        Raises ConfigError when there is neither a base URL nor a key, or when the loop is to stay offline."""
        if self.at not in self.clients:
            self.clients[self.at] = client = service(self.config, self.at)
            self.closing.push_async_callback(client.aclose)
        return self.clients[self.at]


def service(config: Config, name: str = "") -> Service:
    """The client of a configured service, "" is [service]; closed by who asks for it. Raises ConfigError, as
    `Tools.service`."""
    from voiceloop.adapters.http import Service

    settings = config.services[name] if name else config.service
    key = os.environ.get(settings.api_key_env) or None
    if config.offline:
        raise ConfigError("offline is set, but an engine or handler is configured that needs a service.")
    if name and not settings.base_url:
        raise ConfigError(f"services.{name}.base_url: say where that service is, as https://host/v1.")
    if not settings.base_url and not key:
        raise ConfigError(
            f"no service is configured: set service.base_url or OPENAI_BASE_URL, or {settings.api_key_env}."
        )
    return Service(
        settings.base_url or _OPENAI,
        key,
        connect_s=settings.connect_s,
        first_byte_s=settings.first_byte_s,
        chunk_s=settings.chunk_s,
        retries=settings.retries,
        errand_headers=settings.headers,
    )


def echo_canceller(config: Config) -> tuple[EchoCanceller | None, bool, tuple[str, ...]]:
    """The canceller, whether barge-in by voice is possible, and what to say about it."""
    audio = config.audio
    noise = None if audio.noise_suppression == "off" else audio.noise_suppression
    cancels = audio.echo != "off"
    if not cancels and not noise and not audio.gain_control:
        return None, True, ()
    from voiceloop.adapters.echo.aec3 import Aec3
    from voiceloop.adapters.echo.cleaning import Cleaning

    try:
        echo = Aec3() if cancels else None
        cleaned = Cleaning(echo, noise=noise, gain=audio.gain_control) if noise or audio.gain_control else echo
        return cleaned, True, ()
    except (ConfigError, ImportError) as exc:  # a library may be there and still not load on this system
        reason = str(exc).rstrip(".")
        if not cancels:
            return None, True, (f"Noise suppression and gain control cannot be used: {reason}.",)
        return None, False, (f"Echo cancellation cannot be used, so barge-in by voice is off: {reason}.",)


def other_sound(config: Config, folder: Path) -> tuple[OtherSound | None, tuple[str, ...]]:
    """What lowers other programs, if that is wanted, and what to say about it. folder: for what survives a crash."""
    from voiceloop.adapters.audio import others

    if config.audio.duck_others == 1.0 and not others.unrepaired(folder):
        return None, ()
    if not others.available():
        what = "audio.duck_others needs pactl (PulseAudio or PipeWire), which is not here"
        return None, (f"Other programs stay as loud as they are: {what}.",)
    return others.PulseOthers(config.audio.duck_others, folder), ()


async def knock(config: Config, name: str = "") -> tuple[list[float], int, list[str]]:
    """Two requests for the models of a configured service, "" is [service].

    Their round trips in seconds (the first one opens the connection), the status, and the models it names. Raises
    ConfigError, ProviderError.
    """
    client = service(config, name)
    trips: list[float] = []
    status, body = 0, b""
    try:
        for _ in range(2):
            began = perf_counter()
            status, body = await client.ask("models")
            trips.append(perf_counter() - began)
    finally:
        await client.aclose()
    with suppress(ValueError, TypeError, LookupError):
        return trips, status, [str(model["id"]) for model in json.loads(body)["data"]]
    return trips, status, []


def server_at(text: str, key: str) -> Callable[[], Awaitable[WebSocket]]:
    """What makes connections to a voiceloop server. text: its address, or that of its page. key: if it asks for one.
    Raises ConfigError."""
    from voiceloop.adapters import websocket

    url = websocket.address(text)
    if key and not (key.isascii() and key.isprintable()):
        raise ConfigError("That is no key: on the server, voiceloop keys add NAME makes one.")
    return lambda: websocket.dial(url, key)


class Ports:
    """Makes the ports of all who talk with one server; they are heard in turn."""

    def __init__(self) -> None:
        from voiceloop.adapters.audio.turnstile import Turnstile

        self._turnstile = Turnstile()

    def peer(self, *, mic_hz: int, out_hz: int, reports: bool) -> Peer:
        """One far away. mic_hz, out_hz: its rates. reports: it says what it played."""
        from voiceloop.adapters.audio.peer import PeerPort

        return PeerPort(resampler, mic_hz=mic_hz, out_hz=out_hz, reports=reports, turnstile=self._turnstile)

    def distant(self, out_hz: int) -> Peer:
        """A peer that plays on whatever it was sent, as clients of OpenAI's Realtime do."""
        from voiceloop.adapters.audio.distant import DistantPort
        from voiceloop.adapters.resample.stream import StreamResampler

        return DistantPort(StreamResampler, out_hz=out_hz, turnstile=self._turnstile)


def together() -> Together:
    """What the Silero models of several sessions share."""
    from voiceloop.adapters.vad.together import Together

    return Together()


def silero(config: Config, together: Together | None = None) -> Vad:
    """The Silero model, woken by webrtcvad."""
    from voiceloop.adapters.vad.gated import GatedVad
    from voiceloop.adapters.vad.silero import SileroVad
    from voiceloop.adapters.vad.together import SharingSilero
    from voiceloop.adapters.vad.webrtc import WebrtcVad

    return GatedVad(WebrtcVad(0), SharingSilero(together) if together else SileroVad())


def webrtc(config: Config) -> Vad:
    """webrtcvad in the configured mode."""
    from voiceloop.adapters.vad.webrtc import WebrtcVad

    return WebrtcVad(config.vad.mode)


def moonshine(tools: Tools) -> Transcriber:
    """Moonshine tiny-en."""
    from voiceloop.adapters.stt.moonshine import Moonshine

    return Moonshine(tools.runner)


def sherpa(tools: Tools) -> Transcriber:
    """The model directory stt.model_dir."""
    from voiceloop.adapters.stt.sherpa import Sherpa

    if not tools.config.stt.model_dir:
        raise ConfigError("stt.engine is sherpa, but stt.model_dir names no model directory.")
    return Sherpa(tools.runner, tools.config.stt.model_dir)


def openai_stt(tools: Tools) -> Transcriber:
    """`/v1/audio/transcriptions` of the service."""
    from voiceloop.adapters.stt.openai import OpenAiTranscriber, Wishes

    stt = tools.config.stt
    wishes = Wishes(
        language=stt.language or None,
        prompt=stt.prompt or None,
        response_format=stt.response_format,
        temperature=stt.temperature,
        stream=stt.stream,
        upload=stt.upload,
        options=stt.options,
    )
    return OpenAiTranscriber(tools.service(), stt.model, wishes, runner=tools.runner)


def aligner(tools: Tools) -> Aligner:
    """pocketsphinx where it is installed and the language may be English, else the letters."""
    from voiceloop.adapters.align.letters import Letters
    from voiceloop.adapters.align.sphinx import Sphinx

    english = tools.config.stt.language in ("", "en")
    return Sphinx(tools.runner) if english and find_spec("pocketsphinx") else Letters()


def smart_turn(tools: Tools) -> EndOfTurn:
    """The end-of-turn model in turn.model_path, or that of an installed pipecat-ai."""
    from voiceloop.adapters.endofturn.smart_turn import SmartTurn

    path = tools.config.turn.model_path
    return SmartTurn(tools.runner, Path(path) if path else None)


def hibari(tools: Tools) -> Synthesizer:
    """The embedded voice."""
    from voiceloop.adapters.tts.hibari import Hibari

    tts = tools.config.tts
    # As the fallback of a service, it has not the service's voices.
    voice = tts.voice if tts.engine in ("hibari", "auto") else ""
    return Hibari(tools.runner, voice=voice, speed=tts.speed, stretch=tempo)


def espeak(tools: Tools) -> Synthesizer:
    """espeak-ng as a program."""
    from voiceloop.adapters.tts.espeak import Espeak

    tts = tools.config.tts
    voice = tts.voice if tts.engine in ("espeak", "auto") else ""
    return Espeak(voice or "en", speed=tts.speed, stretch=tempo)


def openai_tts(tools: Tools) -> Synthesizer:
    """`/v1/audio/speech` of the service."""
    from voiceloop.adapters.tts.body import Means
    from voiceloop.adapters.tts.openai import OpenAiSynthesizer

    tts = tools.config.tts
    if tts.response_format not in ("pcm", "wav"):
        _decoder(24_000)  # says what is not installed
    return OpenAiSynthesizer(
        tools.service(),
        tts.model,
        tts.voice or "alloy",
        tts.speed,
        tts.instructions or None,
        response_format=tts.response_format,
        stream_format=tts.stream_format,
        options=tts.options,
        means=Means(resampler, _decoder),
    )


def _decoder(rate: int) -> Decoder:
    """Raises ConfigError without PyAV."""
    # This module says what to install, the other one only that there is no av.
    importlib.import_module("voiceloop.adapters.media.sound")
    from voiceloop.adapters.media.decode import Decoder

    return Decoder(rate)


def offline_handler(tools: Tools) -> Handler:
    """The built-in assistant."""
    from voiceloop.adapters.handlers.offline import OfflineHandler

    return OfflineHandler(lambda: datetime.now().astimezone())


def echo_handler(tools: Tools) -> Handler:
    """Says what it heard."""
    from voiceloop.adapters.handlers.echo import EchoHandler

    return EchoHandler()


def chat_handler(tools: Tools) -> Handler:
    """`/v1/chat/completions` of the service."""
    from voiceloop.adapters.handlers.chat import ChatHandler

    handler = tools.config.handler
    return ChatHandler(tools.service(), handler.model, handler.system_prompt)
