"""`voiceloop connect`."""

from __future__ import annotations

import argparse
import json
import os
from contextlib import ExitStack

from voiceloop import build
from voiceloop.commands.configured import configured
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
    from voiceloop.screen import JsonLines, Screen

    gone: list[BrokenPipeError] = []

    def observe(event: object) -> None:
        try:
            show(event)
        except BrokenPipeError as exc:
            gone.append(exc)
            satellite.close()

    satellite, notices = build.satellite(config, server, key, [observe])
    with ExitStack() as stack:
        screen = None if as_json else stack.enter_context(Screen())
        show = screen or JsonLines()
        for notice in notices:
            if screen:
                screen.note(notice, "yellow")
            else:
                print(json.dumps({"event": "Notice", "stage": "session", "text": notice}), flush=True)
        if screen:
            stack.enter_context(keys_of(satellite, screen, talk=config.turn.mode == "push_to_talk"))
        await satellite.run()
    if gone:
        raise gone[0]
