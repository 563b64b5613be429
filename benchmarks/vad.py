"""Voice activity detectors on real speech in noise: onsets, time on, and how much of the time the model must run.

    python benchmarks/vad.py DIRECTORY         (a directory of recordings with manifest.tsv)

Each recording stands between one second of noise and one second of noise. An onset is when the loop's gate opens,
relative to when plain Silero opens it on the clean recording. Missed: not within 0.5 s of that; early: opened before it
(a false start). The offset is the end of the last frame that the gate took for speech, relative to the end of speech
(material.py); `open`: the gate was still open a second behind it. Three kinds of noise: white, pink, and a synthetic
music of chords and beats. `gated` is what the engine "silero" is: webrtcvad in mode 0 decides when the model runs.
"""

from __future__ import annotations

import argparse
import csv
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from material import likelihood, trim
from numpy.typing import NDArray

from voiceloop import build
from voiceloop.adapters.vad.gated import GatedVad
from voiceloop.adapters.vad.silero import SileroVad
from voiceloop.adapters.vad.webrtc import WebrtcVad
from voiceloop.core.audio import FRAME, RATE, Pcm, to_pcm
from voiceloop.core.gate import Gate
from voiceloop.core.policy import Policy
from voiceloop.ports import Vad

Signal = NDArray[np.float64]


class Counted:
    """A detector that counts its calls."""

    def __init__(self, vad: Vad) -> None:
        self._vad = vad
        self.calls = 0

    def probability(self, frame: Pcm) -> float:
        """Counts."""
        self.calls += 1
        return self._vad.probability(frame)

    def reset(self) -> None:
        """Passes on."""
        self._vad.reset()


def white(n: int, rng: np.random.Generator) -> Signal:
    """White noise."""
    return rng.normal(0, 1, n)


def pink(n: int, rng: np.random.Generator) -> Signal:
    """Noise that falls by 3 dB an octave."""
    spectrum = np.fft.rfft(rng.normal(0, 1, n))
    return np.fft.irfft(spectrum / np.sqrt(np.maximum(np.arange(spectrum.size), 20)), n)


def music(n: int, rng: np.random.Generator) -> Signal:
    """Chords of six harmonics that change twice a second, with a beat."""
    t = np.arange(n) / RATE
    out = np.zeros(n)
    half = RATE // 2
    for at in range(0, n, half):
        part = slice(at, min(n, at + half))
        for note in rng.choice([0, 3, 4, 5, 7, 9, 12], 3, replace=False):
            hz = 196 * 2 ** (note / 12)
            for k in range(1, 7):
                out[part] += np.sin(2 * np.pi * hz * k * t[part]) / k
        out[part] += 3 * rng.normal(0, 1, out[part].size) * np.exp(-np.arange(out[part].size) / 800)
    return out


def opens(vad: Vad, pcm: Pcm) -> tuple[list[float], float, float | None]:
    """Seconds at which the gate opens, the share of frames in which it is open, and the end of the last speech in it;
    None if it never opened or is open at the end."""
    policy = Policy()
    gate = Gate(on=policy.on, off=policy.off, onset=policy.onset, hangover=policy.pause)
    found: list[float] = []
    voiced = False
    n_on = 0
    for end in range(FRAME, pcm.size + 1, FRAME):
        gate.step(end, FRAME, vad.probability(pcm[end - FRAME : end]))
        if gate.voiced and not voiced:
            found.append(end / RATE)
        voiced = gate.voiced
        n_on += voiced
    return found, n_on * FRAME / pcm.size, None if voiced or not found else gate.last / RATE


def mixed(speech: Pcm, noise: Signal, snr_db: float) -> Pcm:
    """Speech with a second of noise around it; the noise is snr_db below the speech."""
    padded = np.concatenate((np.zeros(RATE), speech / 32768, np.zeros(RATE)))
    level = np.sqrt(np.mean((speech / 32768.0) ** 2)) * 10 ** (-snr_db / 20)
    return to_pcm(padded + noise[: padded.size] / np.std(noise[: padded.size]) * level)


def rows(directory: Path) -> list[Pcm]:
    """The recordings."""
    with (directory / "manifest.tsv").open(encoding="utf-8") as file:
        names = [row[0] for row in csv.reader(file, delimiter="\t")][1:]
    return [np.concatenate(list(build.recording(directory / name))) for name in names]


def spread(delays_s: list[float]) -> str:
    """Median and 95th percentile in ms."""
    if not delays_s:
        return "    -     -"
    return f"{statistics.median(delays_s) * 1000:+5.0f} {np.percentile(delays_s, 95) * 1000:+5.0f}"


def measure(
    make: Callable[[], tuple[Vad, Counted | None]], clips: list[Pcm], truth: list[float], ends: list[float]
) -> str:
    """One line of the table. truth, ends: seconds of the onset and of the end of speech in each clip."""
    delays: list[float] = []
    offsets: list[float] = []
    missed = early = 0
    on: list[float] = []
    calls = frames = 0
    start = time.process_time()
    for clip, first, end in zip(clips, truth, ends, strict=True):
        vad, counted = make()
        found, share, last = opens(vad, clip)
        if last is not None:
            offsets.append(last - end)
        on.append(share)
        near = [s for s in found if s > first - 0.25]
        early += len(found) - len(near)
        if not near or near[0] > first + 0.5:
            missed += 1
        else:
            delays.append(near[0] - first)
        frames += clip.size // FRAME
        calls += counted.calls if counted else 0
    cpu = (time.process_time() - start) * 1000 / (frames * FRAME / RATE)
    rest = f"{100 * statistics.mean(on):5.1f} {100 * calls / frames:7.1f} {cpu:8.1f}"
    n_open = len(clips) - len(offsets)
    return f"{missed:6} {early:6}   {spread(delays)}   {spread(offsets)} {n_open:6}   {rest}"


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--every", type=int, default=1, help="use every n-th recording")
    args = parser.parse_args()
    speech = rows(args.directory)[:: args.every]

    def silero() -> tuple[Vad, Counted | None]:
        model = Counted(SileroVad())
        return model, model

    def gated() -> tuple[Vad, Counted | None]:
        model = Counted(SileroVad())
        return GatedVad(WebrtcVad(0), model), model

    def webrtc() -> tuple[Vad, Counted | None]:
        return WebrtcVad(3), None

    clean = [mixed(clip, white(clip.size + 2 * RATE, np.random.default_rng(0)), 60) for clip in speech]
    truth = [(opens(SileroVad(), clip)[0] or [1.0])[0] for clip in clean]
    ends = [1 + trim(clip, likelihood(clip))[1] / RATE for clip in speech]
    print(
        f"{len(speech)} recordings; onset delay in ms against Silero on the clean recording, offset against the level"
    )
    print("noise       dB  detector   missed  early   onset   p95   offset  p95   open   on %  model %  CPU ms/s")
    for name, noise in (("white", white), ("pink", pink), ("music", music)):
        for snr in (60, 20, 10, 5) if name == "white" else (10, 5):
            clips = [mixed(c, noise(c.size + 2 * RATE, np.random.default_rng(i)), snr) for i, c in enumerate(speech)]
            for label, make in (("silero", silero), ("gated", gated), ("webrtc 3", webrtc)):
                print(f"{name:8} {snr:5}  {label:9} {measure(make, clips, truth, ends)}", flush=True)
    print("noise alone, 20 s    starts   on %  model %")
    for name, noise in (("white", white), ("pink", pink), ("music", music)):
        alone = to_pcm(noise(20 * RATE, np.random.default_rng(9)) * 0.003)
        for label, make in (("silero", silero), ("gated", gated), ("webrtc 3", webrtc)):
            vad, counted = make()
            found, share, _ = opens(vad, alone)
            model = 100 * (counted.calls if counted else 0) * FRAME / alone.size
            print(f"{name:8}     {label:9} {len(found):6}  {100 * share:5.1f}  {model:7.1f}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
