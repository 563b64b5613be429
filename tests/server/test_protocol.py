"""The page about the bridge protocol: it names all there is, and its client works as it stands there."""

from __future__ import annotations

import asyncio
import json
import re
import sys
from asyncio.subprocess import PIPE
from pathlib import Path
from typing import get_args

import numpy as np
import websockets

import voiceloop.server.page as page
from tests.server.test_metrics import place
from tests.server.test_page import asking
from voiceloop.testing import script
from voiceloop.wire import bridge

TEXT = (Path(page.__file__).parent / "static" / "protocol.md").read_text(encoding="utf-8")
CLIENT = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)[0]


def rows(heading: str) -> dict[str, list[str]]:
    """The first column of the table under a heading, and what the others have in code marks."""
    section = TEXT.partition(f"## {heading}\n")[2].partition("\n## ")[0]
    lines = [line.split("|") for line in section.splitlines() if line.startswith("| ")]
    return {line[1].strip().strip("`"): re.findall(r"`(\w+)`", line[2]) for line in lines}


async def client(url: str, folder: Path, pcm: bytes) -> tuple[bytes, str]:
    """What the client plays, and what it writes about it."""
    (folder / "client.py").write_text(CLIENT, encoding="utf-8")
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-W", "error", str(folder / "client.py"), url, stdin=PIPE, stdout=PIPE, stderr=PIPE
    )
    try:
        async with asyncio.timeout(30):
            sound, said = await process.communicate(pcm)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return sound, said.decode()


async def test_it_is_served_to_be_read() -> None:
    async with asking() as http:
        answer = await http.get("/protocol")
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert answer.text == TEXT


def test_it_names_every_message_with_its_fields() -> None:
    for heading, kinds in (("Up", bridge.FromPeer), ("Down", bridge.ToPeer)):
        named = rows(heading)
        del named["type"]
        assert named == {
            str(kind.__struct_config__.tag): list(kind.__struct_encode_fields__) for kind in get_args(kinds)
        }


def test_it_names_every_close_code() -> None:
    named = {int(code) for row in rows("The end") for code in re.findall(r"\d{4}", row)}
    ours = {value for name, value in vars(bridge).items() if name.isupper() and isinstance(value, int)}
    assert {code for code in ours if 1000 <= code < 5000} | {1011, 1012} == named


def test_the_client_has_40_lines() -> None:
    assert len(CLIENT.splitlines()) <= 40
    assert all(len(line) <= 120 for line in CLIENT.splitlines())


async def test_the_client_talks(tmp_path: Path) -> None:
    async with place(tmp_path) as here:
        pcm = script(-0.3, 1.0, -0.3).astype("<i2").tobytes()
        sound, said = await client(f"ws://127.0.0.1:{here.port}/ws", tmp_path, pcm)
    assert "user: words" in said
    assert "assistant: You said words." in said
    assert np.abs(np.frombuffer(sound, "<i2")).max() > 100


async def test_the_client_obeys_and_reports(tmp_path: Path) -> None:
    told: list[dict[str, object]] = []

    async def serve(socket: websockets.ServerConnection) -> None:
        assert socket.request
        assert socket.request.path == "/ws?reports=true"
        await socket.send(json.dumps({"type": "audio", "reply": 7, "from": 480}))
        for _ in range(100):
            await socket.send(bytes(1920))  # 40 ms each
        await socket.send(json.dumps({"type": "clear"}))
        await socket.send(json.dumps({"type": "audio", "reply": 8, "from": 0}))
        await socket.send(b"\x01\x00" * 960)
        async for frame in socket:
            if isinstance(frame, str):
                told.append(json.loads(frame))
                if told[-1] == {"type": "played", "reply": 8, "samples": 960}:
                    return

    async with websockets.serve(serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        sound, _ = await client(f"ws://127.0.0.1:{port}/ws", tmp_path, b"")
    assert sound.endswith(b"\x01\x00" * 960)
    assert len(sound) <= 51 * 1920  # at least half of the 4 s were dropped
    assert [m["reply"] for m in told if m["type"] == "played"][-2:] == [7, 8]
