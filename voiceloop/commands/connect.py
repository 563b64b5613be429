"""`voiceloop connect`."""

from __future__ import annotations

import argparse
import os
from contextlib import ExitStack

from voiceloop import build
from voiceloop.commands.configured import configured
from voiceloop.commands.shown import Shown
from voiceloop.commands.talk import keys_of
from voiceloop.config import Config
from voiceloop.errors import ConfigError
from voiceloop.process import wait_for


def connect(args: argparse.Namespace) -> int:
    """Microphone and loudspeaker of this machine for a voiceloop server on another one."""
    config = configured(args)
    if config.offline:
        raise ConfigError("offline is set, but voiceloop connect needs a server.")
    for name in (*args.input, args.output or ""):
        if name and build.is_sound_file(name):
            raise ConfigError(f"{name}: voiceloop connect takes a microphone and a loudspeaker, no files.")
    key = args.key or os.environ.get("VOICELOOP_KEY", "")
    return wait_for(_converse(config, args.server, key, as_json=args.json))


async def _converse(config: Config, server: str, key: str, *, as_json: bool) -> None:
    from voiceloop.screen import Screen

    with ExitStack() as stack:
        screen = None if as_json else stack.enter_context(Screen())
        shown = Shown(screen)
        satellite, notices = build.satellite(config, server, key, [shown])
        shown.end = satellite.close
        for notice in notices:
            shown.note(notice)
        if screen:
            stack.enter_context(keys_of(satellite, screen, talk=config.turn.mode == "push_to_talk"))
        await satellite.run()
    shown.check()
