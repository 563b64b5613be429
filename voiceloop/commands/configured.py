"""The configuration that a command runs with."""

from __future__ import annotations

import argparse
import os

from voiceloop import build
from voiceloop.config import Config, load_config, override
from voiceloop.errors import ConfigError


def configured(args: argparse.Namespace) -> Config:
    """The file, the environment, then the flags."""
    config = load_config(args.config or os.environ.get("VOICELOOP_CONFIG") or None)
    flags = {
        "stt.engine": getattr(args, "stt", None),
        "tts.engine": getattr(args, "tts", None),
        "vad.engine": getattr(args, "vad", None),
        "handler.name": getattr(args, "handler", None),
        "offline": getattr(args, "offline", None) or None,
        # say and transcribe put the keys of their flags there.
        **getattr(args, "keys", {}),
    }
    changes = {key: value for key, value in flags.items() if value is not None}
    devices: dict[str, list[str]] = {
        "audio.input": getattr(args, "input", []),
        "audio.output": [getattr(args, "output", None) or ""],
    }
    for key, names in devices.items():
        if len(names) > 1 and not any(map(build.is_sound_file, names)):
            raise ConfigError(f"--input takes one microphone, or sound files; these are none: {', '.join(names)}.")
        if names and names[0] and not build.is_sound_file(names[0]):
            changes[key] = int(names[0]) if names[0].isdecimal() else names[0]
    return override(config, changes)
