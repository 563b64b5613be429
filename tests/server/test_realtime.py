"""The routes of Realtime on uvicorn, with a WebSocket client: who comes in, with what key, and what it then finds."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import websockets
from websockets.asyncio.client import ClientConnection
from websockets.typing import Subprotocol

from tests.server.serving import Script, error_of
from tests.server.test_connections import served
from tests.server.test_realtime_talk import Resampler, distant
from voiceloop.build import Assembled
from voiceloop.ports import AudioPort
from voiceloop.sections import ServeSection
from voiceloop.server.access import Sockets, doors
from voiceloop.server.app import make_app
from voiceloop.server.bridge import Limits
from voiceloop.server.endpoint import Desk
from voiceloop.server.ephemeral import Ephemerals
from voiceloop.server.keys import KeyFile
from voiceloop.server.limits import Line, Rates
from voiceloop.server.realtime import Realtime
from voiceloop.server.realtime_talk import Setting
from voiceloop.session.session import Parts
from voiceloop.testing import FakeHandler, FakeResampler, FakeSynthesizer, FakeTranscriber, FakeVad
from voiceloop.wire.realtime_session import RealtimeSession

Json = dict[str, Any]


@dataclass
class Place:
    """A running server."""

    port: int
    realtime: Realtime
    key: str

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.port}/v1/realtime?model=gpt-realtime"

    def connect(self, *protocols: str, **headers: str) -> websockets.connect:
        named = [Subprotocol(name) for name in protocols]
        return websockets.connect(self.url, subprotocols=named or None, additional_headers=headers, proxy=None)

    async def secret(self, body: object = None, **headers: str) -> httpx.Response:
        async with httpx.AsyncClient(trust_env=False) as http:
            url = f"http://127.0.0.1:{self.port}/v1/realtime/client_secrets"
            return await http.post(url, json={} if body is None else body, headers=headers)


@asynccontextmanager
async def place(folder: Path, *, keyed: bool = False, limits: Limits | None = None) -> AsyncGenerator[Place, None]:
    @asynccontextmanager
    async def assemble(port: AudioPort) -> AsyncGenerator[Assembled, None]:
        yield Assembled(
            Parts(
                port=port,
                vad=FakeVad(),
                transcriber=FakeTranscriber(delay_s=0),
                handler=FakeHandler(delay_s=0, word_s=0),
                synthesizer=FakeSynthesizer(rate=24_000, delay_s=0, letter_s=0.002),
                resampler=FakeResampler,
            ),
            {},
            (),
        )

    keys, settings, clock = KeyFile(folder / "keys"), ServeSection(), asyncio.get_running_loop().time
    key = keys.add("anna") if keyed else ""
    realtime = Realtime(Setting(assemble, distant, Resampler, {}), Sockets(keys, needed=False), limits or Limits())
    desk = Desk(settings, Script(), Line(1, 1, 0, 1.0, clock), Rates(0, clock), folder)
    app = make_app(desk, keys, doors([], [], beyond=False), key_needed=False, more_routes=realtime.routes())
    async with served(app) as (_, port):
        yield Place(port, realtime, key)


async def next_of(socket: ClientConnection, type: str) -> Json:
    async with asyncio.timeout(20):
        while True:
            event = json.loads(await socket.recv())
            if event["type"] == type:
                return event


async def refused(connecting: websockets.connect) -> tuple[int, str]:
    async with connecting as socket:
        with pytest.raises(websockets.ConnectionClosed) as closed:
            await socket.recv()
    assert closed.value.rcvd
    return closed.value.rcvd.code, closed.value.rcvd.reason


async def test_a_text_turn_and_bad_messages(tmp_path: Path) -> None:
    async with place(tmp_path) as here, here.connect() as socket:
        created = await next_of(socket, "session.created")
        assert created["session"]["model"] == "gpt-realtime"
        await socket.send("{")
        await socket.send(b"\x00\x01")
        await socket.send(json.dumps({"type": "input_audio_buffer.append", "audio": "???", "event_id": "mine"}))
        await next_of(socket, "error")
        await next_of(socket, "error")
        assert (await next_of(socket, "error"))["error"]["event_id"] == "mine"
        content = [{"type": "input_text", "text": "hello"}]
        item = {"type": "message", "role": "user", "content": content}
        await socket.send(json.dumps({"type": "conversation.item.create", "item": item}))
        await socket.send(json.dumps({"type": "response.create"}))
        done = await next_of(socket, "response.done")
        assert done["response"]["output"][0]["content"][0]["transcript"] == "You said hello."
        assert here.realtime.places.n == 1
    assert here.realtime.places.n == 0


async def test_a_message_as_large_as_may_be(tmp_path: Path) -> None:
    async with place(tmp_path) as here, here.connect() as socket:
        quiet = "A" * (15 * 1024 * 1024 // 3 * 4)
        detection = {"audio": {"input": {"turn_detection": None}}}
        await socket.send(json.dumps({"type": "session.update", "session": detection}))
        await socket.send(json.dumps({"type": "input_audio_buffer.append", "audio": quiet}))
        await socket.send(json.dumps({"type": "input_audio_buffer.append", "audio": quiet + "AAAA"}))
        assert (await next_of(socket, "error"))["error"]["code"] == "input_audio_buffer_full"
        await socket.send(json.dumps({"type": "input_audio_buffer.clear"}))
        await next_of(socket, "input_audio_buffer.cleared")


async def test_only_with_a_key(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with place(tmp_path, keyed=True) as here:
        assert (await refused(here.connect()))[0] == 1008
        assert (await refused(here.connect(Authorization="Bearer wrong")))[0] == 1008
        async with here.connect(Authorization=f"Bearer {here.key}") as socket:
            await next_of(socket, "session.created")
        async with here.connect("realtime", f"openai-insecure-api-key.{here.key}") as socket:
            assert socket.subprotocol == "realtime"
            await next_of(socket, "session.created")
        assert error_of(await here.secret())[0] == 401
    ours = [record for record in caplog.records if record.name.startswith("voiceloop")]
    assert not [record for record in ours if here.key in record.getMessage()]


async def test_a_client_secret(tmp_path: Path) -> None:
    async with place(tmp_path, keyed=True) as here:
        session = {
            "type": "realtime",
            "model": "mine",
            "instructions": "Be brief.",
            "audio": {"output": {"voice": "x"}},
        }
        body = {"session": session, "expires_after": {"anchor": "created_at", "seconds": 60}}
        made = (await here.secret(body, authorization=f"Bearer {here.key}")).json()
        assert made["value"].startswith("ek_")
        assert made["session"]["instructions"] == "Be brief."
        async with here.connect("realtime", f"openai-insecure-api-key.{made['value']}") as socket:
            shown = (await next_of(socket, "session.created"))["session"]
            assert (shown["instructions"], shown["audio"]["output"]["voice"]) == ("Be brief.", "x")
        async with here.connect(Authorization=f"Bearer {made['value']}") as socket:
            await next_of(socket, "session.created")
        assert await refused(here.connect(Authorization="Bearer ek_0")) == (
            1008,
            "This client secret is not valid any more.",
        )


async def test_a_client_secret_where_no_key_is_needed(tmp_path: Path) -> None:
    async with place(tmp_path) as here:
        made = (await here.secret()).json()
        async with here.connect(Authorization=f"Bearer {made['value']}") as socket:
            await next_of(socket, "session.created")


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"session": {"audio": 5}}, "session.audio"),
        ({"session": {"tools": [{"type": "mcp"}]}}, "session.tools[0].type"),
        ({"expires_after": {"seconds": 5}}, "expires_after.seconds"),
        ({"expires_after": {"seconds": 100_000}}, "expires_after.seconds"),
        ([], "body"),
    ],
)
async def test_client_secrets_that_are_none(tmp_path: Path, body: object, param: str) -> None:
    async with place(tmp_path) as here:
        assert error_of(await here.secret(body))[:2] == (400, param)


async def test_client_secrets_are_posted_as_json(tmp_path: Path) -> None:
    async with place(tmp_path) as here, httpx.AsyncClient(trust_env=False) as http:
        url = f"http://127.0.0.1:{here.port}/v1/realtime/client_secrets"
        assert error_of(await http.get(url))[0] == 405
        assert error_of(await http.post(url, content=b"{"))[:2] == (400, "body")
        assert error_of(await http.post(url, content=b"x" * 1_000_001))[0] == 413


def test_a_client_secret_ends() -> None:
    now = 0.0
    kept = Ephemerals(lambda: now)
    value = kept.make("anna", RealtimeSession(), 10)
    now = 9.9
    assert kept.get(value)
    now = 10.0
    assert kept.get(value) is None
    assert kept.get(value) is None


@pytest.mark.parametrize("limits", [Limits(sessions=2, per_peer=1), Limits(sessions=1)])
async def test_no_more_than_so_many(tmp_path: Path, limits: Limits) -> None:
    async with place(tmp_path, limits=limits) as here, here.connect() as socket:
        await next_of(socket, "session.created")
        assert (await refused(here.connect()))[0] == 1013


async def test_pages_of_others_stay_out(tmp_path: Path) -> None:
    async with place(tmp_path) as here:
        with pytest.raises(websockets.InvalidStatus):
            async with here.connect(Origin="https://evil.example"):
                pass


async def test_the_older_dialect(tmp_path: Path) -> None:
    async with place(tmp_path) as here:
        async with here.connect(**{"OpenAI-Beta": "realtime=v1"}) as socket:
            assert (await next_of(socket, "session.created"))["session"]["input_audio_format"] == "pcm16"
        async with here.connect("realtime", "openai-beta.realtime-v1") as socket:
            assert (await next_of(socket, "session.created"))["session"]["modalities"] == ["audio"]


async def test_many_come_and_go(tmp_path: Path) -> None:
    async with place(tmp_path) as here:
        for n in range(60):
            async with here.connect() as socket:
                if n % 3:
                    await next_of(socket, "session.created")
                if n % 3 == 2:
                    await socket.send(json.dumps({"type": "response.create"}))
        async with asyncio.timeout(10):
            while here.realtime.places.n:  # noqa: ASYNC110  it is the server's to count
                await asyncio.sleep(0.01)
        async with here.connect() as socket:
            await next_of(socket, "session.created")
