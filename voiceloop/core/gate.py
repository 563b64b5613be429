"""Speech probability of frames -> voiced or unvoiced, without flicker."""

from __future__ import annotations


class Gate:
    """Hysteresis in probability and in time. Positions are those of the microphone clock.

    Opens after `onset` ticks of speech (a frame below the threshold takes back as much as one above it gave), closes
    after `hangover` ticks without any.
    """

    def __init__(self, *, on: float, off: float, onset: int, hangover: int) -> None:
        self.tune(on=on, off=off, onset=onset, hangover=hangover)
        self._run = 0
        self.voiced = False
        self.since = 0
        """Where the voiced stretch began; meaningful while `voiced`."""
        self.last = 0
        """End of the last frame that sounded like speech while `voiced`."""
        self.doubt = -1
        """End of the last frame at or above the onset threshold, voiced or not; -1 if there was none."""

    def tune(self, *, on: float, off: float, onset: int, hangover: int) -> None:
        """Other thresholds from the next frame on; what was heard stays heard."""
        self._on, self._off = on, off
        self._onset, self._hangover = onset, hangover

    def step(self, at: int, n: int, p: float, *, background: bool = False) -> None:
        """One frame of n samples that ends at position `at`. background: it is too quiet to be the one who speaks."""
        if p >= self._on:
            self.doubt = at
        if background:
            p = 0.0
        if self.voiced:
            if p >= self._off:
                self.last = at
            elif at - self.last >= self._hangover:
                self.voiced, self._run = False, 0
        elif p >= self._on:
            if self._run == 0:
                self.since = at - n
            self._run += n
            if self._run >= self._onset:
                self.voiced, self.last = True, at
        else:
            self._run = max(0, self._run - n)

    def end(self, at: int) -> None:
        """What was heard since that position was no speech."""
        self.voiced, self._run = False, 0
        self.last, self.doubt = min(self.last, at), min(self.doubt, at)

    def reset(self) -> None:
        """As if nothing had been heard."""
        self.voiced, self._run = False, 0
