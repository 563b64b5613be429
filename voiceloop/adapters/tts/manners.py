"""How the embedded voices obey a `Manner`: what they reach by themselves, and what is stretched afterwards."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Protocol

from voiceloop.core.audio import Pcm
from voiceloop.errors import ConfigError

SPEEDS = (0.25, 4.0)


class Tempo(Protocol):
    """Makes speech faster with its pitch kept (adapters/media/tempo.py)."""

    def feed(self, pcm: Pcm) -> Pcm: ...
    def flush(self) -> Pcm: ...


Stretch = Callable[[int, float], Tempo]
"""(rate, how many times as fast) to what does it."""


def no_stretch(rate: int, factor: float) -> Tempo:
    """For who has none. Raises ConfigError."""
    raise ConfigError(f"this voice cannot speak {factor:.2g} times as fast by itself: choose a speed nearer to 1.")


def shares(speed: float, slowest: float, fastest: float) -> tuple[float, float]:
    """The speed for the engine and what is left for the stretching, exactly 1.0 if nothing is. Raises ConfigError."""
    if not SPEEDS[0] <= speed <= SPEEDS[1]:
        raise ConfigError(f"the speed of speech is {SPEEDS[0]} to {SPEEDS[1]}, not {speed}.")
    own = min(max(speed, slowest), fastest)
    return own, 1.0 if own == speed else speed / own


async def stretched(
    chunks: AsyncGenerator[Pcm, None], rate: int, factor: float, stretch: Stretch
) -> AsyncGenerator[Pcm, None]:
    """The chunks, `factor` times as fast."""
    tempo = stretch(rate, factor) if factor != 1.0 else None
    async with aclosing(chunks):
        async for chunk in chunks:
            pcm = tempo.feed(chunk) if tempo else chunk
            if pcm.size:
                yield pcm
    if tempo and (pcm := tempo.flush()).size:
        yield pcm
