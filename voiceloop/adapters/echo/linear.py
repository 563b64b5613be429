"""The linear part of echo cancellation: what the loudspeaker's sound becomes on its way to the microphone, taken off.

A partitioned-block frequency-domain Kalman filter (Kuech, Mabande, Enzner: State-space architecture of the partitioned-
block-based acoustic echo controller, ICASSP 2014): it learns fast while only the echo is heard, and by itself stops
learning while somebody speaks. What it does to that person's voice is nothing.

The reference comes to it already delayed by what `DelayFinder` says, so that 0.28 s of filter are enough for delays of
0.3 s and a room behind them; it follows a clock that drifts with a fractional delay, and a jump at once.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from voiceloop.adapters.echo.delay import DelayFinder, Wave, jump
from voiceloop.core.audio import FRAME, RATE

Spectrum = NDArray[np.complex64]
Power = NDArray[np.float32]

PARTS = 14
"""Partitions of 20 ms."""

BINS = FRAME + 1
_SIZE = 2 * FRAME

_STAYS = 0.998
"""How much of the path stays what it is from frame to frame (the square of the state transition); 0.996 follows a moved
person a little sooner and gives 2 to 3 dB less, 0.999 loses them in a drift."""

_FRESH = 0.6
"""How much of the disturbance's spectrum is kept from frame to frame."""

_UNKNOWN, _FALL = 0.3, 0.2
"""Power that a path may have in its first partition before anything is known, and decades by which it falls with each
further one: a room of 0.3 to 0.6 s."""

_TURNS = 5
"""Frames until each partition has been constrained once: it is a third of the cost."""

_MARGIN = 96
"""Samples that the filter begins before the delay that was found: the first sound is not always the loudest."""

_FARTHEST = RATE * 6 // 10
"""The longest delay of the reference, samples."""

_KERNEL, _STEPS = 16, 256
"""Taps that read the reference between two samples, and places between two samples."""

_CREEP, _SLIP, _STEP = 0.06, 0.3, 0.5
"""Share of a lateness that is made good at once; of one that is more than so many samples: a reference that is brought
to another clock slips by a whole sample now and then."""

_HASTY, _STEADY = 1e-4, 6e-6
"""By how much the drift is corrected for a lateness of one sample: at first, and in the end."""

_FASTEST = 5e-4
"""Clocks differ by at most 300 ppm; what brings the reference to the microphone's clock hurries with up to 390."""

_DRIFTED = 3
"""Samples by which the delay that is found has to differ from the place before that is drift: it wavers by one."""

_PROVEN = 0.1
"""Rest against what was taken off from which the path counts as known: 10 dB."""

_OVERSHOT = 4.0
"""An echo taken off at the wrong place leaves twice its power; what leaves more has other reasons."""

_OFTEN = 5
"""So many frames of that are no accident."""

_ASTRAY = 0.45
"""Correlation of the rest with the expected echo from which it is at another place: .7 when it jumped, and less than .3
while somebody speaks over it."""

_DOUBTFUL = 4
"""Frames for which one frame astray counts: when the echo jumped, every second or third is."""

_MOVED = 16
"""Frames astray (0.3 s) within which a jump is found; what lasts longer is another path."""

_GIVEN_UP = 50
"""Frames astray (1 s) after which it is learned anew."""

_HEARD = 1e-6
"""Power of a frame from which an echo is one that counts, -60 dBFS."""


def _taps() -> Power:
    """For each place between two samples its windowed sinc."""
    off = np.arange(_STEPS + 1)[:, None] / _STEPS - np.arange(_KERNEL) + _KERNEL // 2 - 1
    taps = np.sinc(off) * np.cos(np.pi * off / (_KERNEL + 1)) ** 2
    return (taps / taps.sum(axis=1, keepdims=True)).astype(np.float32)


_TAPS = _taps()


class KalmanFilter:
    """Spectra of the reference, the path as far as it is known, and how well that is (per partition and bin)."""

    def __init__(self) -> None:
        self._x: Spectrum = np.zeros((PARTS, BINS), np.complex64)
        self._x2: Power = np.zeros((PARTS, BINS), np.float32)
        self._path: Spectrum = np.zeros((PARTS, BINS), np.complex64)
        self._doubt: Power = np.zeros((PARTS, BINS), np.float32)
        self.doubt_all(1.0)
        self._noise: Power | None = None
        self._error: Wave = np.zeros(_SIZE, np.float32)
        self._turn = 0

    def push(self, ref: Wave) -> None:
        """The last 40 ms of the reference; the older half was given before."""
        self._x[1:], self._x2[1:] = self._x[:-1], self._x2[:-1]
        self._x[0] = x = np.fft.rfft(ref)
        self._x2[0] = x.real**2 + x.imag**2

    def reload(self, ref: Wave) -> None:
        """All of the reference anew, (PARTS + 1) * 320 samples: it was moved."""
        windows = np.lib.stride_tricks.sliding_window_view(ref, _SIZE)[::FRAME][::-1]
        self._x[:] = np.fft.rfft(windows, axis=1)
        self._x2[:] = self._x.real**2 + self._x.imag**2

    def expect(self) -> tuple[Wave, Spectrum]:
        """The echo in this frame, and the spectrum of the last 40 ms of it."""
        spectrum = np.einsum("pk,pk->k", self._x, self._path)
        return np.fft.irfft(spectrum, _SIZE)[FRAME:].astype(np.float32), spectrum

    def spectrum(self, error: Wave) -> Spectrum:
        """Of what was left of one frame."""
        self._error[FRAME:] = error
        return np.fft.rfft(self._error).astype(np.complex64)

    def learn(self, e: Spectrum) -> None:
        """From the spectrum of what was left of this frame."""
        now: Power = e.real**2 + e.imag**2 + np.float32(1e-10)
        noise = now if self._noise is None else _FRESH * self._noise + (1 - _FRESH) * now
        self._noise = noise = np.asarray(noise, np.float32)
        gain = self._doubt / (0.5 * np.einsum("pk,pk->k", self._doubt, self._x2) + noise)
        self._path += np.conj(self._x) * (gain * e)
        turn = slice(self._turn % _TURNS, None, _TURNS)
        self._turn += 1
        taps = np.fft.irfft(self._path[turn], _SIZE, axis=1)
        taps[:, FRAME:] = 0
        self._path[turn] = np.fft.rfft(taps, axis=1)
        size = self._path.real**2 + self._path.imag**2
        self._doubt *= _STAYS * (1 - 0.5 * gain * self._x2)
        self._doubt += (1 - _STAYS) * size + np.float32(1e-12)

    def doubt_all(self, power: float) -> None:
        """Learns as fast as at the beginning. power: what the path may give of that of the reference."""
        fall = _UNKNOWN * power * 10 ** (-_FALL * np.arange(PARTS))
        self._doubt[:] = fall.astype(np.float32)[:, None]


@dataclass(slots=True)
class _Place:
    """Where the reference is read. delay: samples; None: not found yet. rate: samples by which it grows each sample.

    proven: with this delay the filter took off most of the echo, so that what does not fit any more has moved. looks:
    how often its lateness was measured. age: samples since the delay was set by the finder.
    """

    delay: float | None = None
    rate: float = 0.0
    age: int = 0
    proven: bool = False
    looks: int = 0
    history: Wave = field(default_factory=lambda: np.zeros(RATE, np.float32))

    def read(self, n: int) -> Wave:
        """The last n samples, delayed."""
        whole = int(self.delay or 0)
        part = (self.delay or 0) - whole
        end = self.history.size - whole
        if part < 1e-3:
            return self.history[end - n : end]
        piece = self.history[end - n - _KERNEL // 2 : end + _KERNEL // 2 - 1]
        return np.asarray(np.convolve(piece, _TAPS[round(part * _STEPS)], "valid"), np.float32)


@dataclass(slots=True)
class _Match:
    """How well the expected echo fits, of late: energies, what the rest has in common with it, and its lateness.

    off: frames for which it did not. good: frames in which it did, until it was proven. doubtful: frames
    for which it is not believed after one that did not fit by itself.
    """

    yy: float = 1e-9
    ee: float = 1e-9
    ey: float = 0.0
    cross: Spectrum = field(default_factory=lambda: np.zeros(BINS, np.complex64))
    off: int = 0
    good: int = 0
    doubtful: int = 0

    @property
    def likeness(self) -> float:
        """Correlation of what is left with the expected echo, 0..1: 0.7 if it is at another place, 0 if it fits."""
        return abs(self.ey) / (self.yy * self.ee) ** 0.5

    @property
    def astray(self) -> bool:
        """Whether taking it off does harm: it is at another place."""
        return 0.5 * self.yy < self.ee < _OVERSHOT * self.yy and self.likeness > _ASTRAY


class Linear:
    """A linear canceller that finds and follows the delay. Not thread-safe."""

    def __init__(self) -> None:
        self.match = _Match()
        self.taken: Spectrum = np.zeros(BINS, np.complex64)
        """Spectrum of the echo that was taken off, over the last 40 ms."""
        self.rest: Spectrum = np.zeros(BINS, np.complex64)
        """Spectrum of what was left of the last frame, 640 points."""
        self._filter = KalmanFilter()
        self._finder = DelayFinder()
        self._place = _Place()
        self._ref: Wave = np.zeros(_SIZE, np.float32)
        self._heard: Wave = np.zeros(8 * FRAME, np.float32)
        self._expected: Wave = np.zeros(8 * FRAME, np.float32)
        self._hann: Wave = np.hanning(_SIZE).astype(np.float32)
        self._frames = 0

    @property
    def delay(self) -> float | None:
        """Samples between reference and echo; None while it is not known."""
        return None if self._place.delay is None else self._place.delay + _MARGIN

    @property
    def drift_ppm(self) -> float:
        """How much faster than the reference's the microphone's clock was found to run."""
        return self._place.rate * 1e6

    @property
    def moved(self) -> bool:
        """Whether an echo that was known is at another place now."""
        return self._place.proven and self.match.off > 0

    @property
    def lost(self) -> bool:
        """Whether the echo is not where it is expected, or nothing is known of it yet."""
        return not self._place.proven or self.match.off > 0 or self.match.doubtful > 0

    def step(self, mic: Wave, ref: Wave, *, learn: bool = True) -> tuple[Wave, Wave]:
        """(what is left of mic, the echo taken off); frames of 320 samples, 1.0 is full scale."""
        place = self._place
        place.history[:-FRAME] = place.history[FRAME:]
        place.history[-FRAME:] = ref
        if (found := self._finder.step(mic, ref, look=self.lost)) is not None:
            self._found(max(_KERNEL, found - _MARGIN))
        if place.delay is None:
            return mic, np.zeros(FRAME, np.float32)
        place.age += FRAME
        if place.rate:
            place.delay = min(max(_KERNEL, place.delay + place.rate * FRAME), _FARTHEST)
        self._ref[:FRAME], self._ref[FRAME:] = self._ref[FRAME:], place.read(FRAME)
        self._filter.push(self._ref)
        expected, self.taken = self._filter.expect()
        rest = mic - expected
        for kept, new in ((self._heard, mic), (self._expected, expected)):
            kept[:-FRAME], kept[-FRAME:] = kept[FRAME:], new
        self.rest = self._filter.spectrum(rest)
        self._compare(rest, expected)
        if learn and not 0 < self.match.off < _MOVED:
            # A filter is not to be spoilt by what only moved.
            self._filter.learn(self.rest)
        return rest, expected

    def wake(self) -> None:
        """Nothing was played for a while: the path stays, what was played is over."""
        self._place.history[:] = 0
        self._ref[:] = 0
        self._heard[:] = 0
        self._expected[:] = 0
        self._filter.reload(np.zeros((PARTS + 1) * FRAME, np.float32))
        self._finder.forget()
        self.match = _Match()

    def _found(self, delay: int) -> None:
        """The finder's word counts where there is none better: at the beginning, and after a jump too far to see.

        A clock that drifts too fast for the filter to learn anything shows in it as well.
        """
        place, off = self._place, self.match.off
        if place.delay is None:
            self._filter.doubt_all(self._finder.gain)
            self._move(float(delay))
            return
        by = delay - place.delay
        if (off > 12 or not place.proven) and abs(by) > FRAME // 2:
            self._move(float(delay))
        elif not place.proven and _DRIFTED <= abs(by) <= 2 * _FASTEST * place.age:
            place.rate = min(max(place.rate + by / place.age, -_FASTEST), _FASTEST)
            self._move(float(delay))

    def _move(self, delay: float) -> None:
        self._place.delay, self._place.age = min(max(float(_KERNEL), delay), float(_FARTHEST)), 0
        ref = np.ascontiguousarray(self._place.read((PARTS + 1) * FRAME))
        self._filter.reload(ref)
        self._ref[:] = ref[-_SIZE:]
        self._heard[:] = 0
        self._expected[:] = 0
        self.match = _Match()

    def _compare(self, rest: Wave, expected: Wave) -> None:
        match, place = self.match, self._place
        sharp_e, sharp_y = rest[1:] - 0.9 * rest[:-1], expected[1:] - 0.9 * expected[:-1]
        yy = float(sharp_y @ sharp_y)
        ee, ey = float(sharp_e @ sharp_e), float(sharp_e @ sharp_y)
        match.yy = 0.8 * match.yy + 0.2 * yy
        match.ee = 0.8 * match.ee + 0.2 * ee
        match.ey = 0.8 * match.ey + 0.2 * ey
        if 0.5 * yy < ee < _OVERSHOT * yy and abs(ey) > _ASTRAY * (yy * ee) ** 0.5:
            match.doubtful = _DOUBTFUL
        elif match.doubtful:
            match.doubtful -= 1
        loud = float(expected @ expected) > _HEARD * FRAME
        if not place.proven:
            match.good = match.good + (loud and match.ee < _PROVEN * match.yy)
            place.proven = match.good >= _OFTEN
        elif loud:
            match.off = match.off + 1 if match.astray else max(0, match.off - 1)
            if match.off > _GIVEN_UP:  # it did not move, it is another path
                place.proven, match.off, match.good = False, 0, 0
                self._filter.doubt_all(1.0)
        if match.off >= 8 and match.off % 4 == 0:
            if by := jump(self._heard, self._expected):
                self._move((place.delay or 0) + by)
            return
        self._frames += 1
        if self._frames % 3 or not loud or match.off:
            return
        heard, wanted = self._heard[-_SIZE:] * self._hann, self._expected[-_SIZE:] * self._hann
        cross = 0.7 * match.cross + 0.3 * np.fft.rfft(heard) * np.conj(np.fft.rfft(wanted))
        match.cross = cross.astype(np.complex64)
        if match.ee < 1.5 * match.yy:
            self._follow(_lateness(match.cross))

    def _follow(self, late: float) -> None:
        """A loop of second order on how many samples the echo comes later than expected."""
        place, match = self._place, self.match
        if abs(late) < 2 and place.delay is not None:
            place.looks += 1
            haste = max(_STEADY, _HASTY / (1 + place.looks / 10))
            by = late * (_STEP if abs(late) > _SLIP else _CREEP)
            place.rate = min(max(place.rate + haste * min(max(late, -0.5), 0.5), -_FASTEST), _FASTEST)
            place.delay = max(float(_KERNEL), place.delay + by)
            match.cross[_LOW:_HIGH] *= np.exp(1j * _OMEGA * by)  # what was measured before has moved as well


_LOW, _HIGH = 12, 120
"""Bins of 300 Hz to 3 kHz, in which a lateness of a sample or two is seen."""
_OMEGA = np.arange(_LOW, _HIGH) * (2 * np.pi / _SIZE)


def _lateness(cross: Spectrum) -> float:
    """Samples, from the slope of the phase."""
    part = cross[_LOW:_HIGH]
    weight = np.abs(part)
    return -float((weight * _OMEGA * np.angle(part)).sum() / ((weight * _OMEGA * _OMEGA).sum() + 1e-12))
