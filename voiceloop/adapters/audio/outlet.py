"""The loudspeaker's half of a port, which is a `Playback`; and one for a device that runs at another rate."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np

from voiceloop.adapters.audio.playback import Playback
from voiceloop.core.audio import Pcm, silence
from voiceloop.ports import Resampler


class Outlet:
    """What every `AudioPort` that plays through a `Playback` does alike."""

    _playback: Playback

    def __init__(self, playback: Playback) -> None:
        self._playback = playback

    @property
    def out_rate(self) -> int:
        """Rate of what `write` takes, Hz; 0 for a device that was never open."""
        return self._playback.rate

    async def write(self, reply: int, pcm: Pcm) -> None:
        """Queues samples of a reply at out_rate; waits above the high-water mark (2 s)."""
        await self._playback.write(reply, pcm)

    def hold(self, reply: int) -> int:
        """Stops with the block, or frame, that is being played and keeps the rest. Returns where, exactly."""
        return self._playback.hold(reply)

    def resume(self, reply: int) -> None:
        """Goes on from the sample at which `hold` stopped, faded in over 5 ms."""
        self._playback.resume(reply)

    def flush(self, reply: int) -> int:
        """As `hold`, but drops the rest. The count is exact already."""
        return self._playback.flush(reply)

    def gain(self, factor: float) -> None:
        """Volume of everything played, 0..1; the reference follows."""
        self._playback.gain(factor)


class LiveOutlet(Outlet):
    """The same for a port of devices, whose clock is their own."""

    @property
    def stepped(self) -> bool:
        """A device has its own clock."""
        return False

    @property
    def exhausted(self) -> bool:
        """A microphone never is."""
        return False


class Source(Protocol):
    """Where a device gets its samples. rate, pulled: in samples of what was written, whatever the device's rate is."""

    @property
    def rate(self) -> int: ...
    @property
    def pulled(self) -> int: ...
    def pull(self, n: int) -> Pcm: ...


class Rated:
    """A `Playback` for a device that runs at another rate: it counts in its own samples as before.

    So what is known of a reply stays true when one device is replaced by another in the middle of it.
    """

    def __init__(self, playback: Playback, rate: int, resampler: Callable[[int, int], Resampler]) -> None:
        self._playback = playback
        self._rate = rate
        self._resampler = resampler(playback.rate, rate)
        self._ready = silence(0)
        self._start = playback.pulled
        self._given = 0

    @property
    def rate(self) -> int:
        """That of the playback, Hz."""
        return self._playback.rate

    @property
    def pulled(self) -> int:
        """Position on the output, in samples of the playback; what the resampler holds back was not given yet."""
        return self._start + self._given * self._playback.rate // self._rate

    def pull(self, n: int) -> Pcm:
        """The next n samples at the device's rate."""
        while (missing := n - self._ready.size) > 0:
            wanted = -(-missing * self._playback.rate // self._rate)
            self._ready = np.concatenate((self._ready, self._resampler.process(self._playback.pull(wanted))))
        given, self._ready = self._ready[:n], self._ready[n:]
        self._given += n
        return given
