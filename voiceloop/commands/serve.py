"""`voiceloop serve` and `voiceloop keys`."""

from __future__ import annotations

import argparse
import json
import socket
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from voiceloop import build
from voiceloop.commands.configured import configured
from voiceloop.config import Config, load_config, override
from voiceloop.errors import ConfigError
from voiceloop.process import wait_for

if TYPE_CHECKING:
    from voiceloop.server.keys import KeyFile

_NEEDS = ("starlette", "uvicorn", "python_multipart", "av", "prometheus_client")
_HELLO = '{"model":"tts-1","voice":"alloy","input":"Hello there!"}'


def serve(args: argparse.Namespace) -> int:
    """A page to talk to, and for other programs /ws, OpenAI Realtime and the speech API."""
    config = configured(args)
    flags = {"serve.host": args.host, "serve.port": args.port}
    config = override(config, {key: value for key, value in flags.items() if value is not None})
    return wait_for(_serve(config, args.json, talk=args.only is None))


def keys(args: argparse.Namespace) -> int:
    """Keys that open the server: add NAME (shows it once), list, remove NAME."""
    config = load_config(args.config)
    file = key_file(config)
    if args.action == "list":
        names = [key.name for key in file.read()]
        print(json.dumps({"keys": names}) if args.json else "\n".join(names) or "There are no keys.")
        return 0
    if not args.name:
        raise ConfigError(f"voiceloop keys {args.action} needs the name of a key.")
    if args.action == "remove":
        file.remove(args.name)
        print(json.dumps({"removed": args.name}) if args.json else f"The key {args.name} opens nothing any more.")
        return 0
    secret = file.add(args.name)
    print(json.dumps({"name": args.name, "key": secret}) if args.json else secret)
    return 0


def key_file(config: Config) -> KeyFile:
    """Where the hashes of keys are kept."""
    from voiceloop.server.keys import KeyFile

    return KeyFile(Path(config.serve.keys).expanduser() if config.serve.keys else build.state_folder() / "keys")


async def _serve(config: Config, as_json: bool, *, talk: bool) -> None:
    missing = [name for name in _NEEDS if find_spec(name) is None]
    if missing:
        raise ConfigError(f"voiceloop serve needs {', '.join(missing)}: pip install 'voiceloop[serve]'.")
    from voiceloop.server import running

    file = key_file(config)
    running.check(config, file)
    with running.listening(config) as listener, tempfile.TemporaryDirectory(prefix="voiceloop-") as folder:
        async with running.app(config, file, Path(folder), talk=talk) as app:
            print(_ready(config, app.names, listener, keyed=bool(file.read()), page=talk, as_json=as_json), flush=True)
            await running.run(config, app.app, listener)


def _ready(
    config: Config, names: dict[str, str], listener: socket.socket, *, keyed: bool, page: bool, as_json: bool
) -> str:
    """One line: where it is, with what, and how to try it."""
    settings = config.serve
    host, port = str(listener.getsockname()[0]), int(listener.getsockname()[1])
    name = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    url = f"{'https' if settings.tls_cert else 'http'}://{f'[{name}]' if ':' in name else name}:{port}"
    if as_json:
        return json.dumps({"url": url, "engines": names, "key": keyed})
    header = ' -H "Authorization: Bearer $KEY"' if keyed else ""
    needs = "with a key" if keyed else "no key needed"
    talk = f"Talk at {url}. " if page else ""
    return (
        f"{talk}Ready at {url}/v1 (stt {names['stt']}, tts {names['tts']}, {needs}). Try: "
        f"curl {url}/v1/audio/speech{header} -H 'Content-Type: application/json' -d '{_HELLO}' -o hello.mp3"
    )
