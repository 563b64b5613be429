"""Whole conversations with fakes on virtual time, in a line."""

from __future__ import annotations

import asyncio

import numpy as np

from voiceloop.core.audio import Pcm
from voiceloop.session.session import Parts, Session
from voiceloop.testing import (
    FakeHandler,
    FakePort,
    FakeResampler,
    FakeSynthesizer,
    FakeTranscriber,
    FakeVad,
    VirtualLoop,
    script,
)

INTERRUPTED = (-0.5, 1.0, -1.6, 1.5, -8.0)
"""A question, and a voice over its answer."""


class HearingVad(FakeVad):
    """Keeps every frame that it is asked about."""

    def __init__(self) -> None:
        super().__init__()
        self.frames: list[Pcm] = []

    def probability(self, frame: Pcm) -> float:
        self.frames.append(frame.copy())
        return super().probability(frame)


def noisy(*parts: float) -> Pcm:
    """A script with a hiss, so that no two frames are alike."""
    clean = script(*parts)
    return (clean + np.random.default_rng(1).integers(-30, 30, clean.size)).astype(np.int16)


def parts(mic: Pcm, *taps, stepped: bool = False, vad: FakeVad | None = None) -> Parts:
    return Parts(
        FakePort(mic, stepped=stepped), vad or FakeVad(), FakeTranscriber(["what time is it", "stop it now"]),
        FakeHandler(word_s=0.05), FakeSynthesizer(), FakeResampler, taps=taps,
    )  # fmt: skip


def talk(made: Parts, *observers, host=()) -> None:
    """A session on virtual time, strict. host: moments and inputs."""

    async def live() -> None:
        session = Session(made, observers, strict=True)
        loop = asyncio.get_running_loop()
        timers = [loop.call_later(when, session.feed, what) for when, what in host]
        await session.run()
        for timer in timers:
            timer.cancel()

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(live())
