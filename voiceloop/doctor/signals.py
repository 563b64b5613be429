"""Test sounds, and what a microphone makes of them: delay, loss, levels. Pure numpy, no devices.

A sweep is used and no noise: a loudspeaker bears it louder, its harmonics do not fall on the estimate (Farina, AES 108,
2000), and with 0.25 s over 5 kHz the correlation lifts it 31 dB out of the room's noise.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from voiceloop.core.audio import RATE, SILENCE_DB, Pcm, level_db, silence

Floats = NDArray[np.float64]

SWEEP_S = 0.25
GAP_S = 0.75
"""Silence after each sweep; longer delays than that are not found."""
_LOW_HZ, _HIGH_HZ = 300.0, 6_000.0
_CLEAR = 6.0
"""Peak against median of the correlation's envelope: noise alone gives 4 at most (1 of 10,000 windows)."""
_FIRST = 0.5
"""The direct sound may be weaker than a reflection, but not by more than 6 dB."""
_ROOM_S = 0.2
"""How long the echo of a sweep goes on after it."""
_FULL = 32_700


@dataclass(frozen=True, slots=True)
class Levels:
    """What a stretch of microphone sound is like. clipped: share of samples at full scale. dc: mean, share of full
    scale. dead: `zeros`, `dc` (a constant that is none), or nothing."""

    rms_db: float
    peak_db: float
    clipped: float
    dc: float
    dead: str


@dataclass(frozen=True, slots=True)
class Echo:
    """One sweep as it came back. delay: samples at 16 kHz. loss_db: how much weaker it is. clear: peak of the
    correlation against its median."""

    delay: int
    loss_db: float
    clear: float


@dataclass(frozen=True, slots=True)
class Echoes:
    """All sweeps together: medians, and how far apart the delays are. found: of `asked` sweeps."""

    delay_s: float
    spread_s: float
    loss_db: float
    found: int
    asked: int


def sweep(rate: int, *, seconds: float = SWEEP_S, peak_db: float = -15.0) -> Pcm:
    """A sine that rises from 300 to 6000 Hz (or what the rate allows), soft at both ends. int16 (n,)."""
    n = round(rate * seconds)
    low, high = _LOW_HZ, min(_HIGH_HZ, 0.42 * rate)
    t = np.arange(n) / rate
    ratio = np.log(high / low)
    phase = 2 * np.pi * low * seconds / ratio * (np.exp(t * ratio / seconds) - 1)
    edge = max(1, n // 16)
    soft = np.ones(n)
    soft[:edge] = 0.5 - 0.5 * np.cos(np.pi * np.arange(edge) / edge)
    soft[-edge:] = soft[:edge][::-1]
    return np.rint(np.sin(phase) * soft * 32767 * 10 ** (peak_db / 20)).astype(np.int16)


def sweeps(rate: int, n: int = 5) -> Pcm:
    """n sweeps, each with the silence that its echo needs."""
    one = np.concatenate((sweep(rate), silence(round(rate * GAP_S))))
    return np.tile(one, n)


def levels(pcm: Pcm) -> Levels:
    """Of int16 (n,), n > 0."""
    x = pcm.astype(np.float64)
    peak = float(np.max(np.abs(x)))
    mean, swing = float(x.mean()), float(x.std())
    dead = "zeros" if peak == 0 else "dc" if swing < 1.0 and abs(mean) >= 2.0 else ""
    return Levels(
        rms_db=round(level_db((x - mean).clip(-32768, 32767).astype(np.int16)), 1),
        peak_db=round(20 * np.log10(peak / 32768), 1) if peak else SILENCE_DB,
        clipped=float(np.mean(np.abs(x) >= _FULL)),
        dc=round(mean / 32768, 5),
        dead=dead,
    )


def bursts(pcm: Pcm, *, gap_s: float = 0.1, rate: int = RATE) -> list[tuple[int, int]]:
    """Where something is played: [start, end) of each stretch, those apart that `gap_s` of silence separates."""
    loud = np.flatnonzero(np.abs(pcm.astype(np.int32)) > 16)
    if not loud.size:
        return []
    breaks = np.flatnonzero(np.diff(loud) > gap_s * rate)
    starts = [loud[0], *loud[breaks + 1]]
    ends = [*loud[breaks], loud[-1]]
    return [(int(a), int(b) + 1) for a, b in zip(starts, ends, strict=True)]


def echo(mic: Pcm, ref: Pcm) -> Echo | None:
    """How one sweep came back; None if it cannot be told from noise.

    ref: the sweep as it was played. mic: from the sample on at which its first one was, and so long that the end of
    its echo is in it. Both int16, 16 kHz.
    """
    x, r = mic.astype(np.float64), ref.astype(np.float64)
    x -= x.mean()
    n_lags = x.size - r.size
    energy = float(r @ r)
    if n_lags < 2 or energy == 0:
        return None
    envelope = _envelope(x, r)[:n_lags]
    top = float(envelope.max())
    clear = top / max(float(np.median(envelope)), 1e-9)
    if top == 0 or clear < _CLEAR:
        return None
    first = int(np.argmax(envelope >= _FIRST * top))
    near = envelope[first : first + RATE // 500]
    delay = first + int(np.argmax(near))
    end = min(x.size, delay + r.size + round(_ROOM_S * RATE))
    begin = max(0, delay - RATE // 200)
    noise = np.concatenate((x[:begin], x[end:]))
    power = float(np.mean(noise**2)) if noise.size > RATE // 20 else 0.0
    came = float(np.sum(x[begin:end] ** 2)) - power * (end - begin)
    direct = (float(envelope[delay]) / energy) ** 2 * energy  # where the noise hides the rest
    return Echo(delay, round(10 * float(np.log10(energy / max(came, direct))), 1), round(clear, 1))


def echoes(mic: Pcm, ref: Pcm) -> Echoes | None:
    """The delay and loss of everything that was played, from a recording of both; None if nothing came back.

    mic, ref: int16, 16 kHz, of the same length and on the same clock; ref with silence between the sweeps.
    """
    played = bursts(ref)
    found: list[Echo] = []
    for i, (start, end) in enumerate(played):
        until = played[i + 1][0] if i + 1 < len(played) else mic.size
        one = echo(mic[start:until], ref[start:end])
        if one is not None:
            found.append(one)
    if not found or len(found) * 2 < len(played):
        return None
    delays = [each.delay / RATE for each in found]
    return Echoes(
        delay_s=round(float(np.median(delays)), 4),
        spread_s=round(max(delays) - min(delays), 4),
        loss_db=round(float(np.median([each.loss_db for each in found])), 1),
        found=len(found),
        asked=len(played),
    )


def lead_s(told: Iterable[tuple[int, int]], out_rate: int, start: int) -> float | None:
    """When the port said that the sample `start` of a reply was heard, in seconds of the microphone's clock.

    told: pairs of (microphone samples that had come, samples of the reply that had been heard). None if it said nothing
    while it played. A port tells once a block, so that each pair alone may be late by one.
    """
    rows = list(told)
    if len(rows) < 3:
        return None
    return float(np.median([at / RATE - n / out_rate for at, n in rows[1:-1]])) + start / out_rate


def _envelope(x: Floats, r: Floats) -> Floats:
    """Envelope of the cross-correlation, by lag."""
    size = 1 << int(np.ceil(np.log2(x.size + r.size)))
    spectrum = np.fft.fft(x, size) * np.conj(np.fft.fft(r, size))
    spectrum[size // 2 + 1 :] = 0  # the analytic signal
    spectrum[1 : size // 2] *= 2
    return np.abs(np.fft.ifft(spectrum))
