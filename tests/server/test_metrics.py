"""The numbers for Prometheus, read as Prometheus reads them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import httpx
import pytest
import websockets
from prometheus_client.parser import text_string_to_metric_families

from tests.server.serving import HELLO, Clock, Script, app_of, bench, client, until
from tests.server.test_connections import served
from tests.server.test_conversation import House, Page, connected
from voiceloop.adapters.counted import CountedEars, CountedVoice
from voiceloop.build import Assembled, resampler
from voiceloop.core.audio import FRAME, RATE
from voiceloop.errors import ProviderError
from voiceloop.ports import AudioPort
from voiceloop.sections import ServeSection
from voiceloop.server.access import Sockets, doors
from voiceloop.server.app import make_app
from voiceloop.server.bridge import Conversations, Limits, bridge_routes, conversations
from voiceloop.server.endpoint import Desk
from voiceloop.server.keys import KeyFile
from voiceloop.server.limits import Line, Rates
from voiceloop.server.metrics import LAG_S, Metrics
from voiceloop.server.realtime import Realtime
from voiceloop.server.realtime_talk import Setting
from voiceloop.session.fair import Load
from voiceloop.session.session import Parts
from voiceloop.tally import Call
from voiceloop.testing import FakeHandler, FakeResampler, FakeSynthesizer, FakeTranscriber, FakeVad, script
from voiceloop.wire import bridge

Numbers = dict[tuple[str, frozenset[tuple[str, str]]], float]


def numbers(text: str) -> Numbers:
    """Every sample; each family has what Prometheus wants of it."""
    found: Numbers = {}
    for family in text_string_to_metric_families(text):
        assert family.documentation, family.name
        assert family.type in ("counter", "gauge", "histogram"), family.name
        for sample in family.samples:
            key = sample.name, frozenset(sample.labels.items())
            assert key not in found, key
            found[key] = sample.value
    return found


def of(found: Numbers, name: str, **labels: str) -> float:
    return found.get((f"voiceloop_{name}", frozenset(labels.items())), 0.0)


async def read(metrics: Metrics) -> Numbers:
    return numbers((await metrics.text()).decode())


@dataclass
class Place:
    """A server with fake engines on a real port."""

    port: int
    known: Conversations
    key: str = ""

    async def get(self, path: str = "/metrics", **headers: str) -> httpx.Response:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{self.port}") as http:
            return await http.get(path, headers=headers)

    async def numbers(self) -> Numbers:
        return numbers((await self.get()).text)

    async def ask(self, name: str = "") -> None:
        """A spoken question, and its answer to the end."""
        async with websockets.connect(f"ws://127.0.0.1:{self.port}/ws") as socket:
            await socket.send(json.dumps({"type": "start", "name": name}))
            pcm = script(-0.3, 1.0, -2.0)
            for at in range(0, pcm.size, FRAME):
                await socket.send(pcm[at : at + FRAME].astype("<i2").tobytes())
            async with asyncio.timeout(20):
                while True:
                    frame = await socket.recv()
                    if isinstance(frame, str) and json.loads(frame)["type"] == "audio_end":
                        break
            await socket.send(json.dumps({"type": "end"}))
            async for _ in socket:  # to the end
                pass


@asynccontextmanager
async def place(folder: Path, *, keyed: bool = False, limits: Limits | None = None) -> AsyncGenerator[Place, None]:
    metrics = Metrics()

    @asynccontextmanager
    async def assemble(port: AudioPort) -> AsyncGenerator[Assembled, None]:
        ears = CountedEars(FakeTranscriber(delay_s=0), "ears", metrics.count)
        voice = CountedVoice(FakeSynthesizer(rate=24_000, delay_s=0, letter_s=0.002), "voice", metrics.count)
        yield Assembled(Parts(port, FakeVad(), ears, FakeHandler(delay_s=0, word_s=0), voice, FakeResampler), {}, ())

    keys, clock = KeyFile(folder / "keys"), asyncio.get_running_loop().time
    key = keys.add("anna") if keyed else ""
    desk = Desk(ServeSection(), Script(), Line(1, 1, 0, 1.0, clock), Rates(0, clock), folder)
    async with conversations(metrics.door("ws", assemble), limits or Limits()) as known, metrics.watching():
        sockets, limits = Sockets(keys, needed=False), limits or Limits()
        setting = Setting(metrics.door("realtime", assemble), known.ports.distant, resampler, {})
        realtime = Realtime(setting, sockets, limits, known.places)
        routes = [*bridge_routes(known, sockets), *realtime.routes()]
        app = make_app(
            desk, keys, doors([], [], beyond=False), key_needed=False, more_routes=routes, metrics=metrics
        )  # fmt: skip
        async with served(app) as (_, port):
            yield Place(port, known, key)


async def test_a_conversation_in_numbers(tmp_path: Path) -> None:
    async with place(tmp_path) as here:
        before = await here.numbers()
        assert of(before, "sessions_begun_total", door="ws") == 0
        await here.ask()
        found = await here.numbers()
        ws = {"door": "ws"}
        assert of(found, "sessions_begun_total", **ws) == 1
        assert of(found, "sessions_ended_total", **ws, reason="ended") == 1
        assert of(found, "sessions_open", **ws) == 0
        assert of(found, "turns_total", **ws, what="decided") == 1
        assert of(found, "replies_total", **ws, ending="completed") == 1
        for name in ("words", "decided", "first_sound", "added"):
            assert of(found, f"turn_{name}_seconds_count", **ws) == 1
        assert of(found, "turn_decided_seconds_sum", **ws) > 0.1
        assert 1.3 <= of(found, "sound_seconds_total", **ws, direction="in") <= 3.3 + 1e-6
        assert of(found, "sound_seconds_total", **ws, direction="out") > 0.02
        assert of(found, "socket_bytes_total", **ws, direction="in") >= 3.3 * RATE * 2
        assert of(found, "socket_bytes_total", **ws, direction="out") > 1000
        assert of(found, "sockets_closed_total", **ws, reason="ended") == 1
        assert of(found, "sockets_open", **ws) == 0
        assert of(found, "engine_calls_total", port="stt", engine="ears", outcome="ok") >= 1
        assert of(found, "engine_calls_total", port="tts", engine="voice", outcome="ok") >= 1
        assert of(found, "engine_sound_seconds_total", port="stt", engine="ears") >= 1.0
        assert of(found, "http_requests_total", endpoint="/metrics", status="200") == 1
        assert found["process_resident_memory_bytes", frozenset()] > 1e6


async def test_a_client_of_realtime(tmp_path: Path) -> None:
    async with place(tmp_path) as here:
        async with websockets.connect(f"ws://127.0.0.1:{here.port}/v1/realtime") as socket:
            item = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "hello"}]}
            await socket.send(json.dumps({"type": "conversation.item.create", "item": item}))
            await socket.send(json.dumps({"type": "response.create"}))
            async with asyncio.timeout(20):
                while json.loads(await socket.recv())["type"] != "response.done":
                    pass
            found = await here.numbers()
            assert of(found, "sessions_open", door="realtime") == of(found, "sockets_open", door="realtime") == 1
        await until(lambda: here.known.places.n == 0)
        found = await here.numbers()
    assert of(found, "sessions_open", door="realtime") == of(found, "sessions_open", door="ws") == 0
    assert of(found, "sessions_ended_total", door="realtime", reason="client") == 1
    assert of(found, "sockets_closed_total", door="realtime", reason="client") == 1
    assert of(found, "engine_calls_total", port="tts", engine="voice", outcome="ok") == 1


async def test_nothing_grows_with_how_many_there_were(tmp_path: Path) -> None:
    async with place(tmp_path) as here:

        async def once(n: int) -> None:
            await here.ask(f"visitor {n}")
            await here.get(f"/nothing/{n}")
            await here.get(f"/v1/models/model-{n}")
            async with websockets.connect(f"ws://127.0.0.1:{here.port}/ws") as socket:
                await socket.send(json.dumps({"type": "resume", "token": f"{n}", "mic": 0}))
                with pytest.raises(websockets.ConnectionClosed):
                    await socket.recv()

        await once(0)
        first = await here.numbers()
        first |= await here.numbers()  # the first look is itself a request
        for n in range(1, 13):
            await once(n)
        last = await here.numbers()
        assert last.keys() == first.keys()
        assert of(last, "sessions_begun_total", door="ws") == 13
        assert of(last, "refusals_total", endpoint="ws", reason="no_session") == 13
        assert of(last, "refusals_total", endpoint="other", reason="not_found") == 13
        assert not any("visitor" in value or "127.0.0.1" in value for _, labels in last for _, value in labels)


async def test_who_may_see_them(tmp_path: Path) -> None:
    async with place(tmp_path, keyed=True) as here:
        assert (await here.get()).status_code == 401
        assert (await here.get(authorization="Bearer wrong")).status_code == 401
        answer = await here.get(authorization=f"Bearer {here.key}")
        assert answer.status_code == 200
        assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
        found = numbers(answer.text)
        assert of(found, "refusals_total", endpoint="/metrics", reason="missing_api_key") == 1
        assert of(found, "refusals_total", endpoint="/metrics", reason="invalid_api_key") == 1
        assert here.key not in answer.text
        assert "anna" not in answer.text
        assert (await here.get(host="evil.example")).status_code == 421
        async with websockets.connect(f"ws://127.0.0.1:{here.port}/ws") as socket:
            with pytest.raises(websockets.ConnectionClosed):
                await socket.recv()
        found = numbers((await here.get(authorization=f"Bearer {here.key}")).text)
        assert of(found, "refusals_total", endpoint="ws", reason="no_key") == 1


async def test_a_place_that_is_taken(tmp_path: Path) -> None:
    async with place(tmp_path, limits=Limits(sessions=1)) as here:
        address = f"ws://127.0.0.1:{here.port}/ws"
        async with websockets.connect(address) as one, websockets.connect(address) as two:
            await one.send('{"type": "start"}')
            while json.loads(await one.recv())["type"] != "ready":
                pass
            await two.send('{"type": "start"}')
            with pytest.raises(websockets.ConnectionClosed):
                await two.recv()
            found = await here.numbers()
            assert of(found, "sessions_open", door="ws") == of(found, "sockets_open", door="ws") == 1
            assert of(found, "refusals_total", endpoint="ws", reason="full") == 1


async def test_requests_of_the_speech_api(tmp_path: Path) -> None:
    async with client(app_of(bench(), tmp_path)) as http:
        assert (await http.post("/v1/audio/speech", json=HELLO)).status_code == 200
        assert (await http.post("/v1/audio/speech", json={**HELLO, "voice": "nobody"})).status_code == 400
        found = numbers((await http.get("/metrics")).text)
    endpoint = {"endpoint": "/v1/audio/speech"}
    assert of(found, "http_requests_total", **endpoint, status="200") == 1
    assert of(found, "http_requests_total", **endpoint, status="400") == 1
    assert of(found, "http_request_seconds_count", **endpoint) == 2
    assert of(found, "refusals_total", **endpoint, reason="voice_not_found") == 1
    assert of(found, "queue_served_total", queue="speech_api") == 1


async def test_a_line_in_which_some_wait() -> None:
    clock = Clock()
    line = Line(1, 5, 0, 0.01, clock)
    async with line.join("a") as first, line.join("b") as second, asyncio.TaskGroup() as group:
        await first.turn()
        waiting = group.create_task(second.turn())
        await asyncio.sleep(0)
        clock.now = 3.0
        assert line.load == Load(waiting=1, oldest_s=3.0, served=1)
        first.leave()
        await waiting
        assert line.load == Load(served=2, waited_s=3.0)
        async with line.join("c") as third:
            with pytest.raises(Exception, match="no place within"):
                await third.turn()
        assert line.load == Load(served=2, waited_s=3.0, expired=1)
        line.free(0.0)


@pytest.mark.virtual
@pytest.mark.parametrize(
    ("limits", "reason"), [({"keep_s": 5.0}, "lost"), ({"idle_s": 3.0}, "idle"), ({"longest_s": 4.0}, "too_long")]
)
async def test_why_a_session_ended(limits: dict[str, float], reason: str) -> None:
    metrics, page = Metrics(), Page()
    async with conversations(metrics.door("ws", House().assemble), Limits(**limits)) as known:
        found = known.begin(bridge.Start(reports=True), "me")
        if reason == "lost":
            async with connected(found, page):
                await page.until("ready")
            await asyncio.sleep(8)
        else:
            async with connected(found, page):
                await asyncio.sleep(8)
        seen = await read(metrics)
    assert of(seen, "sessions_ended_total", door="ws", reason=reason) == 1
    assert of(seen, "sessions_open", door="ws") == 0


@pytest.mark.virtual
async def test_a_server_that_stops() -> None:
    metrics, page = Metrics(), Page()
    async with (
        conversations(metrics.door("ws", House().assemble), Limits()) as known,
        connected(known.begin(bridge.Start(), "me"), page),
    ):
        await page.until("ready")
        known.stop()
        await asyncio.sleep(1)
    assert of(await read(metrics), "sessions_ended_total", door="ws", reason="server_stops") == 1


@pytest.mark.virtual
async def test_a_session_that_fails() -> None:
    metrics, house = Metrics(), House()

    class Deaf(FakeTranscriber):
        async def warm_up(self) -> None:
            raise ProviderError("The model is gone.", stage="stt")

    @asynccontextmanager
    async def assemble(port: AudioPort) -> AsyncGenerator[Assembled, None]:
        async with house.assemble(port) as assembled:
            yield replace(assembled, parts=replace(assembled.parts, transcriber=Deaf()))

    async with conversations(metrics.door("ws", assemble), Limits()) as known:
        known.begin(bridge.Start(), "me")
        await asyncio.sleep(1)
    assert of(await read(metrics), "sessions_ended_total", door="ws", reason="failed") == 1


@pytest.mark.virtual
async def test_an_interruption_and_underruns() -> None:
    metrics, page = Metrics(), Page()
    async with conversations(metrics.door("ws", House().assemble), Limits()) as known:
        found = known.begin(bridge.Start(reports=True), "me")
        async with connected(found, page):
            await page.until("ready")
            await page.speak(-0.3, 1.0, -2.0)
            await page.until("audio")
            page.tell("played", reply=99, samples=0, underruns=3)
            await page.speak(-0.5, 2.0, -3.0)
            await page.until("audio_end", ending="interrupted")
    seen = await read(metrics)
    counted = {
        dict(labels)["what"]: value for (name, labels), value in seen.items() if name == "voiceloop_barge_ins_total"
    }
    assert counted["paused"] == counted["stopped"] == 1
    assert of(seen, "replies_total", door="ws", ending="interrupted") == 1
    assert of(seen, "underruns_total", door="ws") == 3


@pytest.mark.virtual
async def test_a_loop_that_is_late() -> None:
    metrics = Metrics()
    async with metrics.watching():
        await asyncio.sleep(LAG_S * 4.5)
    seen = await read(metrics)
    assert of(seen, "event_loop_lag_seconds_count") == 4


async def test_two_servers_in_one_process() -> None:
    one, two = Metrics(), Metrics()
    one.count(Call("stt", "ears", "failed", None, 2.0))
    one.queue("engines", lambda: Load(2, 1.5, 7, 3.0, 1))
    assert of(await read(one), "engine_calls_total", port="stt", engine="ears", outcome="failed") == 1
    assert of(await read(one), "queue_oldest_seconds", queue="engines") == 1.5
    assert of(await read(two), "engine_calls_total", port="stt", engine="ears", outcome="failed") == 0


async def test_the_worker_process() -> None:
    metrics, pid = Metrics(), list[int]()
    metrics.worker(lambda: pid[0] if pid else None, lambda: 3)
    assert of(await read(metrics), "worker_starts") == 3
    assert ("voiceloop_worker_process_cpu_seconds_total", frozenset()) not in await read(metrics)
    pid.append(1)
    assert of(await read(metrics), "worker_process_cpu_seconds_total") > 0
