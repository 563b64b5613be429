"""The bench with the configured engines."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from voiceloop import build, jobs
from voiceloop.config import restored
from voiceloop.server.bench import Bench, Engines, Media
from voiceloop.session.workers import Workers

REMOTE = 16
"""Pieces at once where a service does the work; else as many as there are threads for models."""


@asynccontextmanager
async def bench(values: Mapping[str, Any]) -> AsyncGenerator[Bench, None]:
    """Warm engines as configured. Raises ConfigError, ProviderError."""
    config = restored(values, "configuration")
    async with AsyncExitStack() as closing:
        transcriber = await closing.enter_async_context(build.transcriber(config))
        synthesizer = await closing.enter_async_context(build.synthesizer(config))
        readers = Workers(2, name="voiceloop-reader")
        closing.callback(readers.close)
        names = {"stt": build.choose(config, "stt"), "tts": build.choose(config, "tts")}
        yield Bench(
            Engines(transcriber, synthesizer, names),
            _media(),
            readers,
            at_once=_at_once(names),
            max_s=config.serve.max_hours * 3600,
        )


def _at_once(names: Mapping[str, str]) -> int:
    remote = build.is_remote("stt", names["stt"]) and build.is_remote("tts", names["tts"])
    return REMOTE if remote else min(2, os.cpu_count() or 1)


def _media() -> Media:
    return Media(build.recording, build.encoder, lambda engine, text, manner: jobs.speech(engine, text))
