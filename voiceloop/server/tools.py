"""The bench with the configured engines."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from voiceloop import build
from voiceloop.config import restored
from voiceloop.core.audio import silence
from voiceloop.server.bench import Bench, Engines

REMOTE = 16
"""Pieces at once where a service does the work; else as many as there are threads for models."""


@asynccontextmanager
async def bench(values: Mapping[str, Any]) -> AsyncGenerator[Bench, None]:
    """Warm engines as configured. Raises ConfigError, ProviderError."""
    config = restored(values, "configuration")
    names = {"stt": build.choose(config, "stt"), "tts": build.choose(config, "tts")}
    async with AsyncExitStack() as closing:
        engines = Engines(
            await closing.enter_async_context(build.transcriber(config)),
            await closing.enter_async_context(build.synthesizer(config)),
            names,
            lambda: build.vad(config)[0],
            await closing.enter_async_context(build.aligner(config)),
            whole=build.is_remote("tts", names["tts"]),
        )
        build.encoder("mp3", engines.synthesizer.rate).feed(silence(1))  # loads the codecs before the first request
        engines.vad()
        yield Bench(engines, at_once=_at_once(names), max_s=config.serve.max_hours * 3600, piece_s=config.serve.piece_s)


def _at_once(names: Mapping[str, str]) -> int:
    remote = build.is_remote("stt", names["stt"]) and build.is_remote("tts", names["tts"])
    return REMOTE if remote else min(2, os.cpu_count() or 1)
