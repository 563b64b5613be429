"""A satellite and a server that is only a script, over a real socket."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import numpy as np
from websockets.asyncio.server import ServerConnection, serve

from voiceloop.adapters.websocket import dial
from voiceloop.core import events as ev
from voiceloop.core.audio import silence
from voiceloop.satellite.news import ServerBack, ServerLost
from voiceloop.satellite.satellite import Satellite
from voiceloop.session.observe import Ready
from voiceloop.testing import FakePort, Recorder

READY = {"type": "ready", "session": "s", "token": "t", "sample_rate": 16_000, "agent_sample_rate": 24_000, "keep_s": 9}


class Scripted:
    """What satellites say, in order. connections: one script each."""

    def __init__(self) -> None:
        self.said: list[dict[str, Any]] = []
        self.sound = 0
        self.connections = 0

    async def hear(self, connection: ServerConnection, kind: str) -> dict[str, Any]:
        """The next message of that kind; sound is counted."""
        while True:
            frame = await connection.recv()
            if isinstance(frame, bytes):
                self.sound += len(frame) // 2
                if kind == "sound":
                    return {}
                continue
            self.said.append(json.loads(frame))
            if self.said[-1]["type"] == kind:
                return self.said[-1]

    async def __call__(self, connection: ServerConnection) -> None:
        async def tell(**message: Any) -> None:
            await connection.send(json.dumps(message))

        self.connections += 1
        if self.connections == 1:
            hello = await self.hear(connection, "start")
            assert hello == {
                "type": "start", "sample_rate": 16_000, "agent_sample_rate": 24_000, "reports": True, "name": "desk",
            }  # fmt: skip
            await tell(**READY)
            await tell(type="something of tomorrow", x=[1])
            await self.hear(connection, "sound")
            await tell(type="audio", reply=1, **{"from": 0})
            for _ in range(10):
                await connection.send(np.full(960, 7, "<i2").tobytes())
            await self.hear(connection, "played")
            await tell(type="clear")
            self.stopped = (await self.hear(connection, "played"))["samples"]
            connection.transport.abort()
        else:
            self.resumed = await self.hear(connection, "resume")
            await tell(type="resumed", mic=self.sound)
            await self.hear(connection, "sound")
            await connection.close(4004, "Nobody said anything.")


async def test_a_conversation_with_a_script() -> None:
    script, seen = Scripted(), Recorder()
    port = FakePort(silence(0))
    async with serve(script, "127.0.0.1", 0, compression=None) as server:
        url = f"ws://127.0.0.1:{next(iter(server.sockets)).getsockname()[1]}/ws"
        satellite = Satellite(port, lambda: dial(url), [seen], name="desk")
        async with asyncio.timeout(20):
            await satellite.run()
    played = sum(int((block == 7).sum()) for block in port.out)
    assert 0 < script.stopped == played < 9600, "not a sample after clear"
    assert script.resumed["token"] == "t"
    assert script.resumed["played"] == {"1": played}
    assert script.resumed["mic"] >= script.sound - 3200
    assert [type(event) for event in seen.of(Ready, ServerLost, ServerBack, ev.Notice)] == [
        Ready, ServerLost, ServerBack, ev.Notice,
    ]  # fmt: skip
    assert seen.of(ServerLost) == [ServerLost("The connection to the server was lost.", kept=True)]
    assert port.closed == 1


async def test_a_server_of_something_else() -> None:
    async def chat(connection: ServerConnection) -> None:
        await connection.send('{"hello":"I am a chat server"}')
        await connection.wait_closed()

    async with serve(chat, "127.0.0.1", 0, compression=None) as server:
        url = f"ws://127.0.0.1:{next(iter(server.sockets)).getsockname()[1]}/ws"
        satellite = Satellite(FakePort(silence(0)), lambda: dial(url))
        said = ""
        try:
            await satellite.run()
        except Exception as exc:  # noqa: BLE001  which one it is, is asserted
            said = f"{type(exc).__name__} {exc}"
    assert said.startswith("LineError What answers there is no server of voiceloop, or one of another version: ")
