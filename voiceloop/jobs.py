"""Work beside the loop: a file to text, a text to a file or to the loudspeaker."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass
from os import PathLike

import numpy as np

from voiceloop import build
from voiceloop.config import Config
from voiceloop.core.audio import RATE, Pcm, seconds, silence, split
from voiceloop.core.clauses import Clauses
from voiceloop.core.events import PortLost
from voiceloop.errors import DeviceError
from voiceloop.ports import AudioPort, Capture, Synthesizer, Transcriber

_REPLY = 1
_PIECE_S = 20


@dataclass(frozen=True, slots=True)
class Text:
    """What was said in a file, and how long it is."""

    file: str
    seconds: float
    text: str


async def transcribe(engine: Transcriber, path: str | PathLike[str], progress: Callable[[float], object]) -> Text:
    """The words of a sound file. progress: called with the seconds done. Raises MediaError, ProviderError."""
    pieces: list[str] = []
    rest, done = silence(0), 0
    longest = engine.longest or _PIECE_S * RATE
    for block in build.recording(path):
        rest = np.concatenate((rest, block))
        if rest.size > longest:
            *whole, rest = split(rest, longest, longest // 2)
            for piece in whole:
                pieces.append((await engine.transcribe(piece)).text)
                done += piece.size
                progress(seconds(done))
        await asyncio.sleep(0)
    pieces.append((await engine.transcribe(rest)).text)
    done += rest.size
    progress(seconds(done))
    return Text(str(path), round(seconds(done), 2), " ".join(text for text in pieces if text))


async def speech(engine: Synthesizer, text: str) -> AsyncGenerator[Pcm, None]:
    """A text of any length as speech at engine.rate, clause by clause."""
    cutter = Clauses()
    for clause in [*cutter.feed(text), *cutter.flush()]:
        async with aclosing(engine.speak(clause)) as chunks:
            async for chunk in chunks:
                yield chunk


async def say(config: Config, text: str) -> float:
    """Speaks a text on the configured loudspeaker; the seconds it took. Raises DeviceError, ProviderError."""
    async with build.synthesizer(config) as engine:
        port = build.audio_port(config)
        await port.open()
        try:
            port.gain(config.audio.volume)
            return await _play(engine, port, text)
        except ExceptionGroup as several:
            raise several.exceptions[0] from None
        finally:
            await port.close()


async def save(config: Config, text: str, path: str | PathLike[str]) -> float:
    """Speaks a text into a WAV; its seconds. Raises MediaError, ProviderError."""
    async with build.synthesizer(config) as engine:
        n = 0
        with build.sound_file(path, "wav", engine.rate) as write:
            async with aclosing(speech(engine, text)) as chunks:
                async for chunk in chunks:
                    write(chunk)
                    n += chunk.size
        return n / engine.rate


async def _play(engine: Synthesizer, port: AudioPort, text: str) -> float:
    written: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    async with asyncio.TaskGroup() as group:
        writer = group.create_task(_write(engine, port, text, written))
        async with aclosing(port.frames()) as frames:
            async for capture in frames:
                if isinstance(capture, PortLost):
                    raise DeviceError(capture.reason)
                if not isinstance(capture, Capture):
                    continue
                played = max((p.n for p in capture.played), default=-1)
                if written.done() and (written.result() == 0 or played >= written.result()):
                    break
        writer.cancel()
    return written.result() / port.out_rate


async def _write(engine: Synthesizer, port: AudioPort, text: str, written: asyncio.Future[int]) -> None:
    n = 0
    resampler = build.resampler(engine.rate, port.out_rate)
    async with aclosing(speech(engine, text)) as chunks:
        async for chunk in chunks:
            pcm = resampler.process(chunk)
            n += pcm.size
            await port.write(_REPLY, pcm)
    rest = resampler.flush()
    await port.write(_REPLY, rest)
    written.set_result(n + rest.size)
