"""What ffmpeg and our own recognizer make of a sound file."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

from tests.program import ROOT, environment, voiceloop


@dataclass(frozen=True)
class Sound:
    """Of a file, by ffprobe; n and rms (of int16) by decoding it whole."""

    codec: str
    container: str
    rate: int
    channels: int
    n: int
    rms: float

    @property
    def seconds(self) -> float:
        """How long it plays."""
        return self.n / self.rate


RAW = ["-f", "s16le", "-ar", "24000", "-ac", "1"]
"""What `pcm` means; nothing in the file says so."""


def decoded(path: Path) -> Sound:
    """Decodes strictly: any error of ffmpeg is one of ours."""
    given = [*(RAW if path.suffix == ".pcm" else []), "-i", str(path)]
    probe = ["ffprobe", "-v", "error", "-of", "json", "-show_format", "-show_streams"]
    if path.suffix == ".pcm":  # ffprobe 5 knows -ac, later ones only -ch_layout
        stream = {"codec_name": "pcm_s16le", "sample_rate": "24000", "channels": 1}
        container = "s16le"
    else:
        found = json.loads(subprocess.run([*probe, *given], capture_output=True, text=True, check=True).stdout)
        (stream,) = found["streams"]
        container = found["format"]["format_name"]
    # A WAV that was streamed says nothing of its length, and ffmpeg takes what it read last for a packet cut short.
    strict = [] if path.suffix == ".wav" else ["-xerror"]
    command = ["ffmpeg", "-v", "error", *strict, *given, "-f", "s16le", "-"]
    done = subprocess.run(command, capture_output=True, check=True)
    assert not done.stderr, done.stderr.decode()
    pcm = np.frombuffer(done.stdout, np.int16).astype(np.float64)
    rate, channels = int(stream["sample_rate"]), int(stream["channels"])
    rms = float(np.sqrt(np.mean(pcm**2))) if pcm.size else 0.0
    return Sound(stream["codec_name"], container, rate, channels, pcm.size // channels, rms)


def words_of(paths: list[Path], home: Path) -> dict[str, str]:
    """The text in each file, by the embedded engine: ffmpeg decodes, so that our own decoder has no part in it."""
    home.mkdir(exist_ok=True)
    plain: list[Path] = []
    for path in paths:
        given = [*(RAW if path.suffix == ".pcm" else []), "-i", str(path)]
        plain.append(home / f"{path.name}.wav")
        subprocess.run(["ffmpeg", "-v", "error", "-y", *given, "-ar", "16000", "-ac", "1", str(plain[-1])], check=True)
        assert soundfile.info(plain[-1]).frames
    env = environment(home, PYTHONPATH=str(ROOT))
    done = voiceloop("transcribe", "--offline", "--json", *plain, home=home, env=env, timeout_s=120)
    assert done.returncode == 0, done.stderr
    texts = [json.loads(line)["text"] for line in done.stdout.splitlines()]
    assert len(texts) == len(paths)
    return {path.name: text for path, text in zip(paths, texts, strict=True)}
