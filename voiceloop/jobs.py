"""Work beside the loop: a recording to text, a text to a file or to the loudspeaker."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from os import PathLike

import numpy as np

from voiceloop import build
from voiceloop.config import Config
from voiceloop.core.audio import Pcm, fade, silence
from voiceloop.core.clauses import Clauses
from voiceloop.core.events import PortLost
from voiceloop.core.transcript import Document
from voiceloop.core.words import CLOSERS, SENTENCE_END
from voiceloop.errors import DeviceError
from voiceloop.ports import Aligner, AudioPort, Capture, Manner, Synthesizer, Transcriber, Vad
from voiceloop.transcription import Transcription as Transcription
from voiceloop.transcription import Wanted as Wanted

_REPLY = 1

_PAUSE_S = 0.25
"""Put between two sentences, and less behind a comma: engines that trim their silence leave a tenth of a second."""

_COMMA_S = 0.05

_FADE_S = 0.005
"""At both ends of each clause: what is cut off may not click."""


async def transcribe(
    engine: Transcriber,
    path: str | PathLike[str],
    *,
    wanted: Wanted | None = None,
    aligner: Aligner | None = None,
    vad: Vad | None = None,
    progress: Callable[[float], object] = lambda s: None,
) -> Document:
    """The words of a recording of any format and length, with times.

    The arguments are those of `Transcription`, which also gives segments as they come. progress: is called with the
    seconds done. Raises ConfigError, MediaError, ProviderError.
    """
    return await Transcription(engine, path, wanted=wanted, aligner=aligner, vad=vad).document(progress)


async def speech(
    engine: Synthesizer,
    text: str,
    manner: Manner | None = None,
    *,
    whole: bool = False,
    progress: Callable[[int, int], object] = lambda done, all: None,
) -> AsyncGenerator[Pcm, None]:
    """A text of any length as speech at engine.rate, clause by clause, joined with short pauses and no click.

    Markdown is read as text. whole: the engine cuts the text itself, as services do. progress: is called with the
    clauses done and their number. Raises ProviderError.
    """
    cutter = Clauses()
    clauses = [*cutter.feed(text), *cutter.flush()]
    parts = [" ".join(clauses)] if whole else clauses
    faster = manner.speed if manner and manner.speed else 1.0
    pause = 0.0
    for n, clause in enumerate(parts):
        async with aclosing(_faded(engine.speak(clause, manner), round(engine.rate * _FADE_S))) as chunks:
            async for chunk in chunks:
                if pause:
                    yield silence(round(pause * engine.rate))
                    pause = 0.0
                yield chunk
        pause = (_PAUSE_S if clause.rstrip(CLOSERS).endswith(SENTENCE_END) else _COMMA_S) / faster
        progress(n + 1, len(parts))


async def _faded(chunks: AsyncGenerator[Pcm, None], n: int) -> AsyncGenerator[Pcm, None]:
    """The same with the first and last n samples faded; holds back n samples and no more."""
    held, begun = silence(0), False
    async with aclosing(chunks):
        async for chunk in chunks:
            held = np.concatenate((held, chunk))
            if held.size <= n:
                continue
            given, held = held[:-n], held[-n:]
            yield given if begun else fade(given, n)
            begun = True
    if held.size:
        yield fade(held, n, out=True)


async def say(config: Config, text: str, manner: Manner | None = None) -> float:
    """Speaks a text on the configured loudspeaker; the seconds it took. Raises DeviceError, ProviderError."""
    async with build.synthesizer(config) as engine:
        port = build.audio_port(config)
        await port.open()
        try:
            port.gain(config.audio.volume)
            return await _play(engine, port, text, manner)
        except ExceptionGroup as several:
            raise several.exceptions[0] from None
        finally:
            await port.close()


async def save(
    config: Config,
    text: str,
    path: str | PathLike[str],
    *,
    format: str = "wav",
    manner: Manner | None = None,
    progress: Callable[[int, int], object] = lambda done, all: None,
) -> float:
    """Speaks a text into a file; its seconds. format: mp3, opus, aac, m4a, flac, wav or pcm.

    progress: as with `speech`. Raises ConfigError, MediaError, ProviderError.
    """
    async with build.synthesizer(config) as engine:
        n = 0
        whole = build.is_remote("tts", build.choose(config, "tts"))
        with build.sound_file(path, format, engine.rate) as write:
            async with aclosing(speech(engine, text, manner, whole=whole, progress=progress)) as chunks:
                async for chunk in chunks:
                    write(chunk)
                    n += chunk.size
        return n / engine.rate


async def _play(engine: Synthesizer, port: AudioPort, text: str, manner: Manner | None) -> float:
    written: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    async with asyncio.TaskGroup() as group:
        writer = group.create_task(_write(engine, port, speech(engine, text, manner), written))
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


async def _write(
    engine: Synthesizer, port: AudioPort, spoken: AsyncGenerator[Pcm, None], written: asyncio.Future[int]
) -> None:
    n = 0
    resampler = build.resampler(engine.rate, port.out_rate)
    async with aclosing(spoken) as chunks:
        async for chunk in chunks:
            pcm = resampler.process(chunk)
            n += pcm.size
            await port.write(_REPLY, pcm)
    rest = resampler.flush()
    await port.write(_REPLY, rest)
    written.set_result(n + rest.size)
