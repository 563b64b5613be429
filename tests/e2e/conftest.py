"""What tests at the real edges share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests.program import recording
from voiceloop.core.audio import RATE, silence

from .soundserver import SoundServer, available, sound_server


@pytest.fixture(scope="session")
def embedded() -> None:
    """Needs the engines of voiceloop[local]."""
    pytest.importorskip("moonshine_voice")
    pytest.importorskip("hibari")


@pytest.fixture
def server() -> Iterator[SoundServer]:
    """A sound server of its own."""
    if not available():
        pytest.skip("needs pulseaudio, pulseaudio-utils and libasound2-plugins")
    with sound_server() as server:
        yield server


@pytest.fixture
def spoken(tmp_path: Path) -> dict[str, Path]:
    """Recordings with a little silence before and after."""
    paths = {}
    for name in ("ps_goforward", "sb_spk1_snt5"):
        paths[name] = tmp_path / f"{name}.wav"
        pcm = np.concatenate([silence(RATE // 5), recording(f"{name}.flac"), silence(RATE)])
        soundfile.write(paths[name], pcm, RATE)
    return paths
