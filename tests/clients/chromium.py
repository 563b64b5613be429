"""Debian's browser, with people in front of its microphone."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from tests.program import recording
from voiceloop.core.audio import RATE, silence

CHROMIUM = shutil.which("chromium")


def launched(driver: Any, microphone: Path | None = None, *, granted: bool = False) -> Any:
    """A browser. microphone: a file, which begins anew for each page; None: beeps. granted: whoever asks for it gets
    it."""
    flags = [
        "--no-sandbox",
        "--use-fake-device-for-media-stream",
        "--autoplay-policy=no-user-gesture-required",
        *(["--use-fake-ui-for-media-stream"] if granted else []),
        *([f"--use-file-for-fake-audio-capture={microphone}%noloop"] if microphone else []),
    ]
    return driver.chromium.launch(executable_path=CHROMIUM, args=flags)


def people(folder: Path) -> Path:
    """What a microphone hears: a command, a question over the story that answers it, and a long sentence after that."""
    path = folder / "people.wav"
    parts = [recording("ps_goforward.flac"), silence(6 * RATE), recording("sb_spk1_snt5.flac"), silence(12 * RATE)]
    soundfile.write(path, np.concatenate([silence(RATE), *parts, recording("jfk.flac"), silence(60 * RATE)]), RATE)
    return path
