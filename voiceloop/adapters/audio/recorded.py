"""The microphone of a recorded session, frame by frame at the recorded moments, and a loudspeaker that nobody hears."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence

from voiceloop.adapters.audio.outlet import Outlet
from voiceloop.adapters.audio.playback import Playback
from voiceloop.core.audio import FRAME, RATE, Pcm, silence
from voiceloop.ports import Capture

_LONGEST_S = 120
"""How long silence goes on after the recording, should the session find no end."""


class RecordedPort(Outlet):
    """An `AudioPort` for a session on virtual time.

    frames: pairs of (tick of the session's clock, samples), in order; silence follows. lag: ticks from the moment a
    sample is handed to the loudspeaker until it is heard.
    """

    stepped = False
    xruns = (0, 0)

    def __init__(self, frames: Sequence[tuple[int, Pcm]], out_rate: int, *, lag: int = 0) -> None:
        super().__init__(Playback(out_rate))
        self._frames = frames
        self._lag = lag
        self._exhausted = False

    @property
    def exhausted(self) -> bool:
        """True once the last recorded frame has been given."""
        return self._exhausted

    async def open(self) -> None:
        """There is nothing to open."""

    async def frames(self) -> AsyncGenerator[Capture, None]:
        """The recorded frames, each at its moment, then silence for at most two minutes."""
        loop = asyncio.get_running_loop()
        start, now, out_rate = loop.time(), 0, self.out_rate
        last = self._frames[-1][0] if self._frames else 0
        quiet = [(last + n * FRAME, silence(FRAME)) for n in range(1, _LONGEST_S * RATE // FRAME)]
        self._exhausted = not self._frames
        for number, (due, mic) in enumerate([*self._frames, *quiet], 1):
            now = max(now, due)
            await asyncio.sleep(max(0.0, start + now / RATE - loop.time()))
            self._playback.pull(max(0, now * out_rate // RATE - self._playback.pulled))
            heard = max(0, (now - self._lag) * out_rate // RATE)
            self._exhausted = number >= len(self._frames)
            yield Capture(mic, None, self._playback.news(heard))

    def gain(self, factor: float) -> None:
        """Nobody hears it."""

    async def close(self) -> None:
        """Lets writers go. Twice is legal."""
        self._playback.close()
