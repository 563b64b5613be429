"""Composition root: Config -> the parts of a session. The only module that knows adapters, session and config."""

from __future__ import annotations

import asyncio
import os
import platform
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from voiceloop import calibration, lexicons, lineup, makers
from voiceloop.config import Config, override, shown
from voiceloop.core.audio import Pcm, ticks
from voiceloop.core.policy import Policy, preset
from voiceloop.errors import ConfigError, DeviceError
from voiceloop.journal.trace import trace_folder
from voiceloop.journal.writer import SUFFIX, Journal
from voiceloop.lineup import choose as choose
from voiceloop.lineup import is_remote as is_remote
from voiceloop.makers import Ports as Ports
from voiceloop.makers import Tools, echo_canceller, other_sound, server_at
from voiceloop.media import Reel as Reel
from voiceloop.media import decoder as decoder
from voiceloop.media import encoder as encoder
from voiceloop.media import recording as recording
from voiceloop.media import resampler as resampler
from voiceloop.media import sound_file as sound_file
from voiceloop.ports import Aligner, AudioPort, EndOfTurn, Handler, Observer, Synthesizer, Transcriber, Vad
from voiceloop.registry import find
from voiceloop.session.fair import Load
from voiceloop.session.judgement import Language
from voiceloop.session.mind import Deadlines
from voiceloop.session.session import Parts
from voiceloop.session.workers import Workers
from voiceloop.tally import Tally

if TYPE_CHECKING:
    from voiceloop.adapters.audio.playback import Playback
    from voiceloop.adapters.audio.portaudio import DeviceInfo, Wish
    from voiceloop.adapters.audio.sounddevice import Settings, SoundDevicePort
    from voiceloop.adapters.vad.together import Together
    from voiceloop.satellite.satellite import Satellite

_DEVICES_S = 10.0
"""How long PortAudio may take to say which devices there are; three times that, with their rates."""
_GAP_S = 1.5
"""Silence between recordings, counted when nothing is said: longer than the end of a turn takes, answer included."""
_DISK_S = 60.0
"""How long a recorded session that runs as fast as it can waits for the disk."""
_BLOCKING = 8
"""Handlers that may block at the same time."""
_SOUND_FILES = (".wav", ".flac", ".ogg", ".aiff", ".aif")


@dataclass(frozen=True, slots=True)
class Engines:
    """The engines that sessions may share. names: which were chosen, by port. load: of the queue before the embedded
    ones. together: their voice activity detectors judge at the same time; None: each for itself."""

    transcriber: Transcriber
    synthesizer: Synthesizer
    handler: Handler
    end_of_turn: EndOfTurn | None
    names: dict[str, str]
    load: Callable[[], Load] = Load
    together: Together | None = None


@dataclass(frozen=True, slots=True)
class Assembled:
    """Everything for one session. notices: what is not as one would expect, a sentence each."""

    parts: Parts
    names: dict[str, str]
    notices: tuple[str, ...]


@asynccontextmanager
async def assemble(
    config: Config, *, handler: object | None = None, port: AudioPort | None = None, shared: Engines | None = None
) -> AsyncGenerator[Assembled, None]:
    """The parts of one session; closes its engines afterwards.

    handler: a function, or an object with `reply`, instead of the configured one. port: instead of the configured
    devices. shared: instead of engines of its own; they are not closed. Raises ConfigError. A session is to be made
    of the parts and run inside.
    """
    async with AsyncExitStack() as closing:
        together = shared.together if shared else None  # nobody to judge with else
        shared = shared or await closing.enter_async_context(engines(config, handler=handler))
        found, vad_name = vad(config, together)
        echo, barge_in, notices = echo_canceller(config) if port is None else (None, True, ())
        others, trouble = other_sound(config, state_folder()) if port is None else (None, ())
        parts = Parts(
            port=port or audio_port(config),
            vad=found,
            transcriber=shared.transcriber,
            handler=shared.handler,
            synthesizer=shared.synthesizer,
            resampler=resampler,
            echo=echo,
            policy=policy(config, barge_in=barge_in),
            deadlines=Deadlines(config.stt.timeout_s, config.handler.timeout_s, config.tts.timeout_s),
            volume=config.audio.volume,
            language=language(config),
            end_of_turn=shared.end_of_turn,
            others=others,
        )
        yield Assembled(parts, {**shared.names, "vad": vad_name}, (*notices, *trouble))


def satellite(
    config: Config, address: str, key: str, observers: Sequence[Observer]
) -> tuple[Satellite, tuple[str, ...]]:
    """The configured devices as those of a server elsewhere, and what to say about them. No engine is loaded.

    address: of the server, or of its page. key: if it asks for one. Raises ConfigError.
    """
    from voiceloop.satellite.satellite import Room, Satellite

    dial = server_at(address, key)
    echo, barge_in, notices = echo_canceller(config)
    others, trouble = other_sound(config, state_folder())
    keyed = config.turn.mode == "push_to_talk"
    room = Room(echo, open=barge_in, others=others, keyed=keyed, volume=config.audio.volume)
    return Satellite(audio_port(config), dial, observers, name=platform.node(), room=room), (*notices, *trouble)


@asynccontextmanager
async def engines(
    config: Config, *, handler: object | None = None, max_wait_s: float | None = None, tally: Tally | None = None
) -> AsyncGenerator[Engines, None]:
    """The configured engines; closed afterwards. max_wait_s: what waits longer for a thread fails. tally: is told of
    each call. Raises ConfigError."""
    workers = Workers(max_wait_s=max_wait_s)
    async with _tools(config, workers, tally) as tools:
        hearing, speaking, answering = (
            lineup.transcriber(tools),
            lineup.synthesizer(tools),
            _handler(tools, handler),
        )
        name = config.handler.name if handler is None else type(handler).__name__
        names = {"stt": choose(config, "stt"), "tts": choose(config, "tts"), "handler": name}
        yield Engines(hearing, speaking, answering, end_of_turn(tools), names, lambda: workers.load, makers.together())


async def warm(shared: Engines) -> None:
    """Loads what they need, before the first session asks. Raises ConfigError, ProviderError."""
    async with asyncio.TaskGroup() as group:
        for engine in (shared.transcriber, shared.synthesizer, shared.handler, shared.end_of_turn):
            if engine is not None:
                group.create_task(engine.warm_up())


@asynccontextmanager
async def transcriber(config: Config) -> AsyncGenerator[Transcriber, None]:
    """The configured transcriber alone, warmed up."""
    async with _tools(config) as tools:
        engine = lineup.transcriber(tools)
        await engine.warm_up()
        yield engine


@asynccontextmanager
async def embedded_transcriber(config: Config) -> AsyncGenerator[tuple[Transcriber | None, str], None]:
    """The configured transcriber if it needs no service, else an embedded one, and its name; (None, "") without any.

    Not warmed up.
    """
    remote = config.stt.engine != "auto" and is_remote("stt", config.stt.engine)
    local = override(config, {"offline": True, "stt.engine": "auto" if remote else config.stt.engine})
    async with AsyncExitStack() as closing:
        found: tuple[Transcriber | None, str] = None, ""
        with suppress(ConfigError):
            tools = await closing.enter_async_context(_tools(local))
            found = lineup.transcriber(tools), choose(local, "stt")
        yield found


@asynccontextmanager
async def synthesizer(config: Config) -> AsyncGenerator[Synthesizer, None]:
    """The configured synthesizer alone, warmed up."""
    async with _tools(config) as tools:
        engine = lineup.synthesizer(tools)
        await engine.warm_up()
        yield engine


@asynccontextmanager
async def aligner(config: Config) -> AsyncGenerator[Aligner, None]:
    """Finds when known words were said: by a model where one is installed and the language is English."""
    async with _tools(config) as tools:
        engine = makers.aligner(tools)
        tools.closing.push_async_callback(engine.aclose)
        await engine.warm_up()
        yield engine


def policy(config: Config, *, barge_in: bool = True) -> Policy:
    """The core's policy. barge_in: whether voice over a reply can be told from its echo."""
    turn, phrases = config.turn, config.phrases
    policy = replace(
        preset(turn.preset),
        push_to_talk=turn.mode == "push_to_talk",
        on=config.vad.on,
        off=config.vad.off,
        onset=ticks(turn.onset_s),
        pause=ticks(turn.pause_s),
        pre_roll=ticks(turn.pre_roll_s),
        max_turn=ticks(turn.max_s),
        min_speech=ticks(turn.min_speech_s),
        reopen=ticks(turn.reopen_s),
        run_ahead=turn.run_ahead,
        tries=turn.tries,
        max_stt=ticks(turn.max_stt_s),
        max_chars=turn.max_chars,
        barge_in=turn.barge_in if barge_in else "ignore",
        barge_in_thinking=turn.barge_in_thinking,
        barge_in_tool=turn.barge_in_tool if barge_in else "ignore",
        duck=turn.duck,
        slow_after=ticks(turn.slow_after_s),
        still_after=ticks(turn.still_after_s),
        reprompt_after=ticks(turn.reprompt_after_s),
        reprompts=turn.reprompts,
        end_after=ticks(turn.end_after_s),
        moment=phrases.moment,
        still=phrases.still,
        reprompt=phrases.reprompt,
        sorry_stt=phrases.sorry_stt,
        sorry_handler=phrases.sorry_handler,
        back=phrases.back,
    )
    # A silence of the user's own choice is that, whatever the words are.
    return replace(policy, wait=ticks(turn.wait_s), waits=(), late=0) if turn.wait_s else policy


def language(config: Config) -> Language:
    """The word lists and weights for the language that is spoken."""
    name = config.stt.language
    return Language(lexicons.lexicon(name), lexicons.weights(name), lexicons.choices(name))


def journal(config: Config, assembled: Assembled, path: str | os.PathLike[str]) -> Journal:
    """A tap that records the session made of these parts. Raises ConfigError, MediaError."""
    if not str(path).endswith(SUFFIX):
        raise ConfigError(f"{path}: the name of a recorded session ends in {SUFFIX}.")
    parts = assembled.parts
    facts = {
        "config": shown(config),
        "engines": assembled.names,
        "early": parts.handler.early,
        "stepped": parts.port.stepped,
    }
    return Journal(path, facts, wait_s=_DISK_S if parts.port.stepped else 0.0)


def audio_port(config: Config) -> AudioPort:
    """The configured devices, opened again when they are lost. Nothing is opened yet."""
    from voiceloop.adapters.audio.sounddevice import SoundDevicePort
    from voiceloop.adapters.audio.supervised import Care, SupervisedPort

    audio = config.audio
    settings = _device_settings(config, lambda pair: calibration.extra_s(state_folder(), pair))
    care = Care(wait=audio.wait, fallback=audio.fallback, follow=audio.follow_default, dead_s=audio.dead_s)

    def make(ear: Wish, mouth: Wish, playback: Playback | None) -> SoundDevicePort:
        return SoundDevicePort(ear, mouth, resampler, settings, playback=playback)

    return SupervisedPort(make, _device(audio.input), _device(audio.output), care)


def device_port(config: Config, extra_s: Callable[[str], float]) -> SoundDevicePort:
    """The same devices once, to look at them. extra_s: by how much later than PortAudio says a pair is heard."""
    from voiceloop.adapters.audio.sounddevice import SoundDevicePort

    audio = config.audio
    return SoundDevicePort(_device(audio.input), _device(audio.output), resampler, _device_settings(config, extra_s))


def _device_settings(config: Config, extra_s: Callable[[str], float]) -> Settings:
    from voiceloop.adapters.audio.sounddevice import Settings

    audio = config.audio
    return Settings(primer_s=audio.primer_s, sleeps_after_s=audio.sleeps_after_s, extra_s=extra_s)


def file_port(
    inputs: Sequence[str | os.PathLike[str]],
    output: str | os.PathLike[str] | None,
    *,
    paced: bool,
    replies_only: bool = False,
) -> AudioPort:
    """Recordings as the microphone, a WAV as the loudspeaker. Nothing is opened yet."""
    from voiceloop.adapters.audio.files import FilePort

    return FilePort(inputs, output, resampler, paced=paced, gap_s=_GAP_S, replies_only=replies_only)


def recorded_port(frames: Sequence[tuple[int, Pcm]], out_rate: int, *, lag: int) -> AudioPort:
    """The microphone of a recorded session, for a loop on virtual time."""
    from voiceloop.adapters.audio.recorded import RecordedPort

    return RecordedPort(frames, out_rate, lag=lag)


def devices() -> Sequence[DeviceInfo]:
    """What PortAudio offers. Raises DeviceError without PortAudio, or if it does not answer."""
    from voiceloop.adapters.audio.desk import in_time
    from voiceloop.adapters.audio.portaudio import list_devices

    return in_time(list_devices, 3 * _DEVICES_S)


def missing_device() -> str | None:
    """One sentence if there is no default microphone or loudspeaker to talk through, else None."""
    from voiceloop.adapters.audio import portaudio
    from voiceloop.adapters.audio.desk import in_time

    def look() -> None:
        with portaudio.library() as sd:
            portaudio.choose(portaudio.devices(sd), None, "input")
            portaudio.choose(portaudio.devices(sd), None, "output")

    try:
        in_time(look, _DEVICES_S)
    except DeviceError as exc:
        return str(exc)
    return None


def demo_recordings() -> list[Path]:
    """The recordings of real people that are shipped, in the order in which they are played."""
    here = Path(__file__).parent / "data"
    return [here / name for name in ("ps_goforward.flac", "sb_spk2_snt4.flac", "sb_spk1_snt5.flac")]


def is_sound_file(name: str) -> bool:
    """Whether `--input NAME` means a file rather than a device: it looks like one, or is there."""
    return name.lower().endswith(_SOUND_FILES) or os.sep in name or os.path.exists(name)


def _device(name: str | int) -> str | int | None:
    return None if name == "" else name


def vad(config: Config, together: Together | None = None) -> tuple[Vad, str]:
    """The configured voice activity detector, and its name. together: with whom it judges, if it can. Raises
    ConfigError."""
    name = choose(config, "vad")
    make: Callable[[Config], Vad] = find("vad", name).load()
    return makers.silero(config, together) if name == "silero" else make(config), name


@asynccontextmanager
async def _tools(
    config: Config, workers: Workers | None = None, tally: Tally | None = None
) -> AsyncGenerator[Tools, None]:
    workers = workers or Workers()
    async with AsyncExitStack() as closing:
        closing.callback(workers.close)
        yield Tools(config, workers, closing, tally=tally)


def end_of_turn(tools: Tools) -> EndOfTurn | None:
    """The configured end-of-turn model. Raises ConfigError."""
    name = tools.config.turn.model
    if name == "none":
        return None
    engine: EndOfTurn = find("endofturn", name).load()(tools)
    tools.closing.push_async_callback(engine.aclose)
    return engine


def state_folder() -> Path:
    """Where things are kept for this user that can be done without."""
    return trace_folder().parent


def _handler(tools: Tools, given: object | None) -> Handler:
    from voiceloop.adapters.handlers.function import handler_of, load

    name = tools.config.handler.name
    if given is None and ":" not in name:
        spec = find("handler", name)
        if spec.remote and tools.config.offline:
            raise ConfigError(f"handler.name is {name}, which needs a service, but offline is set.")
        engine: Handler = spec.load()(tools)
    else:
        thing = load(name) if given is None else given
        blocking = Workers(_BLOCKING, name="voiceloop-handler")  # a function may block: no engine is to wait for it
        tools.closing.callback(blocking.close)
        engine = handler_of(thing, blocking, tools.config.handler.timeout_s)
    tools.closing.push_async_callback(engine.aclose)
    return engine
