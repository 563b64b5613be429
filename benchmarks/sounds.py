"""Synthetic interruptions: short words in several voices, and the noises of bodies, keys and doors.

Words come from espeak-ng, flite and hibari, as far as these are there, at random pitch and rate, with other voices for
tuning than for reports. Coughs, laughs, keys, doors and breath are bursts of filtered noise; none of it is a recording.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from material import Signal, trim
from numpy.typing import NDArray

from voiceloop import build
from voiceloop.core.audio import RATE, Pcm, to_pcm

BACKCHANNELS = ("mm-hm", "uh-huh", "yeah", "okay", "right")
COMMANDS = ("stop", "wait", "no", "hold on")

ESPEAK = {"tune": ("en-us", "en-us+f3", "en-gb-x-rp+m5"), "report": ("en-gb", "en-us+f2", "en-gb-scotland+m3")}
_PHONES = {"mm-hm": "[[mh'm]]", "uh-huh": "[[VhV]]"}
"""For espeak-ng, which spells these out, or reads "other"; flite takes other phones, hibari none."""

FLITE = {"tune": ("kal16", "rms"), "report": ("awb", "slt")}


@dataclass(frozen=True, slots=True)
class Sound:
    """Something over a reply. kind: `backchannel`, `command`, `cough`, ... pcm: from its first audible sample."""

    name: str
    kind: str
    pcm: Pcm


def spoken(half: str, each: int, rng: np.random.Generator) -> Iterator[Sound]:
    """Every word so many times, in voices that take turns."""
    voices = _voices(half)
    for kind, said in (("backchannel", BACKCHANNELS), ("command", COMMANDS)):
        for n, word in enumerate(said):
            for i in range(each if voices else 0):
                name, speak = voices[(i + n) % len(voices)]
                if word == "mm-hm" and speak is _say_hibari:
                    name, speak = voices[0]
                pcm = speak(word, rng)
                start, end = trim(pcm)
                label = f"{word.replace(' ', '-')}/{name}/{i}"
                yield Sound(label, kind, louder(pcm[start:end], float(rng.uniform(-30, -20))))


def noises(each: int, rng: np.random.Generator) -> Iterator[Sound]:
    """Every noise so many times."""
    for kind, (make, low, high) in _NOISES.items():
        for i in range(each):
            pcm = to_pcm(make(rng) * 0.2)
            yield Sound(f"{kind}/{i}", kind, louder(pcm, float(rng.uniform(low, high))))


def louder(pcm: Pcm, db: float) -> Pcm:
    """At so many dBFS, measured over the loudest 50 ms."""
    x = pcm.astype(np.float64) / 32768
    n = min(x.size, RATE // 20)
    power = np.convolve(np.square(x), np.ones(n) / n, mode="valid").max()
    return to_pcm(x * 10 ** (db / 20) / max(np.sqrt(power), 1e-6))


# --- voices ---

Speak = Callable[[str, np.random.Generator], Pcm]


def _voices(half: str) -> list[tuple[str, Speak]]:
    espeak = ESPEAK[half] if shutil.which("espeak-ng") else ()
    flite = FLITE[half] if shutil.which("flite") else ()
    found: list[tuple[str, Speak]] = [(name, _espeak(name)) for name in espeak]
    found += [(name, _flite(name)) for name in flite]
    if _hibari() is not None:
        found.append(("hibari", _say_hibari))
    return found


def missing() -> list[str]:
    """Voices that are not installed."""
    programs = [name for name in ("espeak-ng", "flite") if not shutil.which(name)]
    return programs if _hibari() is not None else [*programs, "hibari"]


def _espeak(name: str) -> Speak:
    def speak(word: str, rng: np.random.Generator) -> Pcm:
        pitch, rate = int(rng.integers(25, 75)), int(rng.integers(120, 200))
        return _by_program(
            ["espeak-ng", "-v", name, "-p", str(pitch), "-s", str(rate), "-w", "{}", _PHONES.get(word, word)]
        )

    return speak


def _flite(name: str) -> Speak:
    def speak(word: str, rng: np.random.Generator) -> Pcm:
        stretch, pitch = f"{rng.uniform(0.85, 1.25):.2f}", f"{rng.uniform(90, 210):.0f}"
        what = ["-t", word]
        if word == "mm-hm":
            what, stretch = ["-p", "m hh m"], "1.5"
        settings = ["--setf", f"duration_stretch={stretch}", "--setf", f"int_f0_target_mean={pitch}"]
        return _by_program(["flite", "-voice", name, *settings, *what, "-o", "{}"])

    return speak


def _by_program(command: list[str]) -> Pcm:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "word.wav"
        filled = [str(path) if part == "{}" else part for part in command]
        subprocess.run(filled, check=True, stdin=subprocess.DEVNULL, capture_output=True)
        return np.concatenate(list(build.recording(path)))


@cache
def _hibari() -> Any:
    try:
        from hibari import Hibari
    except ImportError:
        return None
    return Hibari()


def _say_hibari(word: str, rng: np.random.Generator) -> Pcm:
    """Played up to a tenth faster or slower, which moves its pitch as well."""
    x = np.concatenate(list(_hibari().stream(word + "."))).astype(np.float64)
    step = 24_000 / RATE * rng.uniform(0.9, 1.1)
    at = np.arange(0, x.size - 1, step)
    smooth = np.convolve(x, np.hanning(5) / np.hanning(5).sum(), mode="same")
    return to_pcm(np.interp(at, np.arange(x.size), smooth))


# --- noises ---


def _band(x: Signal, low: float, high: float) -> Signal:
    spectrum = np.fft.rfft(x)
    hz = np.fft.rfftfreq(x.size, 1 / RATE)
    slope = 1 / (1 + (low / np.maximum(hz, 1)) ** 4) / (1 + (hz / high) ** 4)
    return np.fft.irfft(spectrum * slope, x.size)


def _rise_fall(n: int, rise_s: float, fall_s: float) -> Signal:
    t = np.arange(n) / RATE
    return np.minimum(t / rise_s, 1) * np.exp(-np.maximum(t - rise_s, 0) / fall_s)


def _row(bursts: list[Signal], pauses_s: list[float]) -> Signal:
    parts: list[NDArray[Any]] = []
    for burst, pause in zip(bursts, pauses_s, strict=True):
        parts += [burst, np.zeros(round(pause * RATE))]
    return np.concatenate(parts[:-1])


def _voiced(n: int, hz: Signal, rng: np.random.Generator, formants: tuple[float, ...]) -> Signal:
    phase = 2 * np.pi * np.cumsum(hz) / RATE
    buzz = sum((np.sin(k * phase) / k for k in range(1, 20)), np.zeros(n))
    return sum((_band(buzz, f * 0.8, f * 1.25) for f in formants), np.zeros(n)) + 0.2 * _band(
        rng.normal(0, 1, n), 500, 4000
    )


def cough(rng: np.random.Generator) -> Signal:
    """One to three: an explosion of wide noise, then a shorter voiced end."""
    bursts: list[Signal] = []
    for _ in range(int(rng.integers(1, 4))):
        n = round(rng.uniform(0.18, 0.35) * RATE)
        blast = _band(rng.normal(0, 1, n), rng.uniform(200, 500), rng.uniform(2500, 5000))
        tail = _voiced(n, np.linspace(rng.uniform(180, 320), 110, n), rng, (500, 1300)) * 0.25
        bursts.append(blast * _rise_fall(n, 0.006, rng.uniform(0.04, 0.09)) + tail * _rise_fall(n, 0.08, 0.06))
    return _row(bursts, [float(rng.uniform(0.08, 0.3)) for _ in bursts])


def laugh(rng: np.random.Generator) -> Signal:
    """Four to eight voiced puffs, about five a second, falling in pitch and level."""
    n_puffs = int(rng.integers(4, 9))
    top = rng.uniform(180, 380)
    bursts: list[Signal] = []
    for i in range(n_puffs):
        n = round(rng.uniform(0.09, 0.13) * RATE)
        hz = np.linspace(1.0, 0.88, n) * top * (1 - 0.04 * i)
        puff = _voiced(n, hz, rng, (750, 1250, 2600)) * np.hanning(n)
        breath = _band(rng.normal(0, 0.15, n), 800, 5000) * np.hanning(n)
        bursts.append((puff + breath) * (1 - 0.08 * i))
    return _row(bursts, [float(rng.uniform(0.07, 0.12)) for _ in bursts])


def keys(rng: np.random.Generator) -> Signal:
    """Five to fifteen clicks of a keyboard."""
    bursts = []
    for _ in range(int(rng.integers(5, 16))):
        n = round(0.03 * RATE)
        click = _band(rng.normal(0, 1, n), 1500, 6500) * _rise_fall(n, 0.0005, 0.003)
        bursts.append(click + _band(rng.normal(0, 1, n), 150, 600) * _rise_fall(n, 0.001, 0.006) * 0.5)
    return _row(bursts, [float(rng.uniform(0.06, 0.25)) for _ in bursts])


def door(rng: np.random.Generator) -> Signal:
    """One thud, deep, with a click before."""
    n = round(0.5 * RATE)
    t = np.arange(n) / RATE
    boom = np.sin(2 * np.pi * rng.uniform(60, 120) * t) * _rise_fall(n, 0.003, rng.uniform(0.05, 0.12))
    return boom + _band(rng.normal(0, 1, n), 80, 900) * _rise_fall(n, 0.002, 0.04)


def breath(rng: np.random.Generator) -> Signal:
    """A sigh of half a second to a second."""
    n = round(rng.uniform(0.5, 1.0) * RATE)
    return _band(rng.normal(0, 1, n), 400, 3500) * np.hanning(n)


_NOISES: dict[str, tuple[Callable[[np.random.Generator], Signal], float, float]] = {
    "cough": (cough, -26, -16),
    "laugh": (laugh, -30, -20),
    "keys": (keys, -40, -28),
    "door": (door, -32, -20),
    "breath": (breath, -46, -36),
}
