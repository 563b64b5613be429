"""Over real sockets: bodies that stop, clients that leave, that read slowly, that send too much."""

import asyncio
import json
import logging
import ssl
import subprocess
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
from starlette.types import ASGIApp

from tests.server.serving import HELLO, Script, app_of, bench, until, uploads
from tests.server.test_transcriptions import HEARD, MODEL, PATH, SPEECH, UPLOAD, form, large, part
from voiceloop.config import Config, override
from voiceloop.core.audio import Pcm
from voiceloop.errors import ConfigError
from voiceloop.ports import Manner
from voiceloop.sections import ServeSection
from voiceloop.server import running
from voiceloop.server.keys import KeyFile
from voiceloop.server.orders import News, Order, Sound
from voiceloop.server.uploads import MAX_FILE
from voiceloop.testing import FakeSynthesizer, FakeTranscriber, tone
from voiceloop.wire.speech_errors import Refusal

FREE = override(Config(), {"serve.port": 0})
KIND = "multipart/form-data; boundary=x"


@asynccontextmanager
async def served(app: ASGIApp, config: Config = FREE) -> AsyncGenerator[tuple[str, int], None]:
    """The app on uvicorn, as the command runs it."""
    with running.listening(config) as listener:
        async with asyncio.TaskGroup() as group:
            server = group.create_task(running.run(config, app, listener))
            yield listener.getsockname()[:2]
            server.cancel()


def request(body: bytes, path: str = PATH, kind: str = KIND, **headers: str) -> bytes:
    more = {name.replace("_", "-"): value for name, value in headers.items()}
    named = {"Host": "localhost", "Content-Type": kind, "Content-Length": str(len(body)), **more}
    lines = [f"POST {path} HTTP/1.1", *(f"{name}: {value}" for name, value in named.items() if value)]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def speech(**fields: object) -> bytes:
    return request(json.dumps({**HELLO, **fields}).encode(), "/v1/audio/speech", "application/json")


async def answer(reader: asyncio.StreamReader) -> tuple[int, dict[str, object]]:
    head = (await reader.readuntil(b"\r\n\r\n")).decode().splitlines()
    headers = dict(line.lower().split(": ", 1) for line in head[1:] if line)
    return int(head[0].split()[1]), json.loads(await reader.readexactly(int(headers["content-length"])))


class Endless(FakeSynthesizer):
    """Speaks until nobody listens."""

    def __init__(self) -> None:
        super().__init__()
        self.made = 0
        self.ended = 0

    async def speak(self, text: str, manner: Manner | None = None) -> AsyncGenerator[Pcm, None]:
        try:
            while True:
                self.made += 1
                yield tone(1.0, rate=24_000)
                await asyncio.sleep(0)
        finally:
            self.ended += 1


class Held(Script):
    """Goes on when it is let."""

    def __init__(self, *news: News | Exception) -> None:
        super().__init__(*news)
        self.go = asyncio.Event()

    async def run(self, order: Order) -> AsyncGenerator[News, None]:
        self.orders.append(order)
        try:
            for piece in self._news:
                if isinstance(piece, Exception):
                    raise piece
                yield piece
                await self.go.wait()
        finally:
            self.ended += 1


@pytest.fixture(autouse=True)
def no_traceback(caplog: pytest.LogCaptureFixture):
    yield
    assert [record for record in caplog.records if record.exc_info] == []


async def test_first_bytes_leave_before_the_work_is_done(tmp_path: Path) -> None:
    work = Held(Sound(b"first"), Sound(b"second"))
    async with (
        served(app_of(work, tmp_path)) as (host, port),
        httpx.AsyncClient(base_url=f"http://{host}:{port}") as http,
        http.stream("POST", "/v1/audio/speech", json=HELLO) as got,
    ):
        chunks = got.aiter_raw()
        assert await anext(chunks) == b"first"
        assert work.ended == 0
        work.go.set()
        assert await anext(chunks) == b"second"


@pytest.mark.parametrize("sent", [0, 20, 120])
async def test_a_body_that_stops_half_way(tmp_path: Path, caplog: pytest.LogCaptureFixture, sent: int) -> None:
    caplog.set_level(logging.INFO)
    work = Script(*HEARD)
    data = request(form(MODEL, UPLOAD))
    head = data.index(b"\r\n\r\n") + 4
    async with served(app_of(work, tmp_path)) as (host, port):
        reader, writer = await asyncio.open_connection(host, port)
        writer.write(data[: head + sent])
        await writer.drain()
        if sent:
            await until(lambda: uploads(tmp_path) != [])
        writer.close()
        await until(lambda: "hung up" in caplog.text)
        await until(lambda: uploads(tmp_path) == [])
        assert not work.orders
        assert await reader.read() == b""


async def test_a_body_that_stands_still(tmp_path: Path) -> None:
    app = app_of(Script(*HEARD), tmp_path, settings=ServeSection(idle_s=0.1))
    async with served(app) as (host, port):
        reader, writer = await asyncio.open_connection(host, port)
        writer.write(request(form(MODEL, UPLOAD))[:-10])
        status, body = await answer(reader)
        assert (status, body["error"]["code"]) == (408, "timeout")
        assert await reader.read() == b""
        writer.close()
    assert uploads(tmp_path) == []


async def test_who_hangs_up_stops_the_speech(tmp_path: Path) -> None:
    engine = Endless()
    async with served(app_of(bench(synthesizer=engine), tmp_path)) as (host, port):
        reader, writer = await asyncio.open_connection(host, port)
        writer.write(speech())
        await reader.readuntil(b"\r\n\r\n")
        writer.close()
        await until(lambda: engine.ended == 1)


async def test_who_hangs_up_stops_the_transcription(tmp_path: Path) -> None:
    engine = FakeTranscriber(delay_s=600.0)
    work = bench(engine)
    async with served(app_of(work, tmp_path)) as (host, port):
        _, writer = await asyncio.open_connection(host, port)
        writer.write(request(form(MODEL, (part("file"), SPEECH))))
        await until(lambda: engine.heard != [])
        writer.close()
        await until(lambda: uploads(tmp_path) == [])


async def test_who_hangs_up_in_the_queue_is_forgotten(tmp_path: Path) -> None:
    work = Held(Sound(b"x"))
    app = app_of(work, tmp_path, settings=ServeSection(at_once=1, queue=1))
    async with served(app) as (host, port), httpx.AsyncClient(base_url=f"http://{host}:{port}") as http:
        async with http.stream("POST", "/v1/audio/speech", json=HELLO):
            _, writer = await asyncio.open_connection(host, port)
            writer.write(speech(input="Nobody."))
            while (await http.get("/health")).json()["requests"] < 2:
                pass
            assert (await http.post("/v1/audio/speech", json=HELLO)).status_code == 429
            writer.close()
            while (await http.get("/health")).json()["requests"] > 1:
                pass
            work.go.set()
        assert (await http.post("/v1/audio/speech", json=HELLO)).status_code == 200
    assert [order.text for order in work.orders] == ["Hello there."] * 2


async def test_who_reads_nothing_slows_the_work(tmp_path: Path) -> None:
    engine = Endless()
    async with served(app_of(bench(synthesizer=engine), tmp_path)) as (host, port):
        reader, writer = await asyncio.open_connection(host, port, limit=1024)
        writer.write(speech(response_format="pcm"))
        seen = -1
        while engine.made != seen:  # the buffers on the way are full when no more is made
            seen = engine.made
            await asyncio.sleep(0.3)
        assert 0 < engine.made < 300  # 48 kB each: what the system's sockets hold, some MB
        for _ in range(400):
            await reader.readexactly(48_000)
        assert engine.made > seen
        writer.close()
        await until(lambda: engine.ended == 1)


async def test_who_reads_nothing_for_too_long_is_given_up(tmp_path: Path) -> None:
    engine = Endless()
    app = app_of(bench(synthesizer=engine), tmp_path, settings=ServeSection(idle_s=0.2))
    async with served(app) as (host, port):
        _, writer = await asyncio.open_connection(host, port, limit=1024)
        writer.write(speech(response_format="pcm"))
        await until(lambda: engine.ended == 1)
        writer.close()


async def test_what_breaks_off_shows(tmp_path: Path) -> None:
    work = Script(Sound(b"one"), Refusal(503, "Gone."))
    async with served(app_of(work, tmp_path)) as (host, port), httpx.AsyncClient() as http:
        with pytest.raises(httpx.RemoteProtocolError):
            await http.post(f"http://{host}:{port}/v1/audio/speech", json=HELLO)


async def test_two_requests_on_one_connection(tmp_path: Path) -> None:
    async with served(app_of(Script(*HEARD), tmp_path)) as (host, port):
        reader, writer = await asyncio.open_connection(host, port)
        for data in (request(b"{", kind="application/json"), request(form(UPLOAD, MODEL)), request(form(MODEL))):
            writer.write(data)
            status, _ = await answer(reader)
            assert status in (415, 200, 400)
        writer.close()


# --- too much ---


@pytest.mark.parametrize("chunked", [False, True])
async def test_a_large_upload_is_refused_and_the_answer_arrives(tmp_path: Path, chunked: bool) -> None:
    body = form(*large(MAX_FILE + 2**20))

    async def pieces() -> AsyncGenerator[bytes, None]:
        for at in range(0, len(body), 2**16):
            yield body[at : at + 2**16]

    async with served(app_of(Script(*HEARD), tmp_path)) as (host, port), httpx.AsyncClient(timeout=30) as http:
        content = pieces() if chunked else body
        got = await http.post(f"http://{host}:{port}{PATH}", content=content, headers={"content-type": KIND})
        assert (got.status_code, got.json()["error"]["param"]) == (413, "file")
        assert got.headers["connection"] == "close"
    assert uploads(tmp_path) == []


async def test_an_upload_without_end_is_cut_off(tmp_path: Path) -> None:
    async with served(app_of(Script(*HEARD), tmp_path)) as (host, port):
        _, writer = await asyncio.open_connection(host, port)
        writer.write(request(b"", Content_Length="", Transfer_Encoding="chunked"))
        head = form((part("file"), b""))[: -len(b"\r\n--x--\r\n")]
        writer.write(b"%x\r\n%b\r\n" % (len(head), head))
        sent = 0
        piece = b"10000\r\n" + bytes(0x10000) + b"\r\n"
        try:
            while sent < 2**30:
                writer.write(piece)
                await writer.drain()
                sent += 0x10000
        except ConnectionError:
            pass
        assert MAX_FILE < sent < 4 * MAX_FILE
    assert uploads(tmp_path) == []


async def test_who_asks_before_sending_is_told_at_once(tmp_path: Path) -> None:
    async with served(app_of(Script(*HEARD), tmp_path)) as (host, port):
        reader, writer = await asyncio.open_connection(host, port)
        writer.write(request(b"", Content_Length="30000000", Expect="100-continue"))
        status, _ = await answer(reader)
        assert status == 413
        assert await reader.read() == b""
        writer.close()


# --- where it listens ---


def test_a_port_in_use() -> None:
    with running.listening(FREE) as listener:
        taken = override(FREE, {"serve.port": listener.getsockname()[1]})
        with pytest.raises(ConfigError, match="is in use"), running.listening(taken):
            pass


@pytest.mark.parametrize("host", ["no.such.host.invalid", "203.0.113.1"])
def test_a_host_that_is_not_here(host: str) -> None:
    with pytest.raises(ConfigError, match=host), running.listening(override(FREE, {"serve.host": host})):
        pass


def test_beyond_loopback_only_with_a_key(tmp_path: Path) -> None:
    keys = KeyFile(tmp_path / "keys")
    beyond = override(FREE, {"serve.host": "0.0.0.0"})
    with pytest.raises(ConfigError, match="voiceloop keys add NAME"):
        running.check(beyond, keys)
    running.check(FREE, keys)
    keys.add("ann")
    running.check(beyond, keys)


def test_tls_needs_both_files(tmp_path: Path) -> None:
    (tmp_path / "x.pem").write_text("rubbish")
    path = str(tmp_path / "x.pem")
    keys = KeyFile(tmp_path / "keys")
    with pytest.raises(ConfigError, match="belong together"):
        running.check(override(FREE, {"serve.tls_cert": path}), keys)
    with pytest.raises(ConfigError, match="cannot be used"):
        running.check(override(FREE, {"serve.tls_cert": path, "serve.tls_key": path}), keys)


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    try:
        subprocess.run([*command, *names, "-keyout", key, "-out", cert], check=True, capture_output=True)
    except FileNotFoundError:
        pytest.skip("there is no openssl to make a certificate with")
    return cert, key


async def test_tls(tmp_path: Path, certificate: tuple[Path, Path]) -> None:
    cert, key = certificate
    config = override(FREE, {"serve.tls_cert": str(cert), "serve.tls_key": str(key)})
    running.check(config, KeyFile(tmp_path / "keys"))
    trust = ssl.create_default_context(cafile=cert)
    async with served(app_of(Script(), tmp_path), config) as (_, port), httpx.AsyncClient(verify=trust) as http:
        assert (await http.get(f"https://localhost:{port}/health")).status_code == 200


async def begun_and_ended(folder: Path) -> None:
    """A server that ends with connections that are idle, in the middle of a request, and of an answer."""
    work = Held(Sound(b"first"), Sound(b"second"))
    async with served(app_of(work, folder)) as (host, port):
        async with httpx.AsyncClient(base_url=f"http://{host}:{port}", timeout=5) as http:
            assert (await http.get("/health")).status_code == 200
        idle, first = await asyncio.open_connection(host, port)
        asking, second = await asyncio.open_connection(host, port)
        second.write(request(form(MODEL, UPLOAD))[:-10])
        hearing, third = await asyncio.open_connection(host, port)
        third.write(speech())
        await hearing.readuntil(b"first")
    assert await idle.read() == b""
    assert b"second" not in await hearing.read()
    await asking.read()
    await until(lambda: work.ended == 1)
    assert uploads(folder) == []
    for writer in (first, second, third):
        writer.close()
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection(host, port)


async def test_one_server_after_the_other_in_one_loop(tmp_path: Path) -> None:
    async with asyncio.timeout(20):
        for _ in range(3):
            await begun_and_ended(tmp_path)


async def test_two_servers_side_by_side(tmp_path: Path) -> None:
    async with served(app_of(Script(Sound(b"one")), tmp_path)) as (host, one):
        async with served(app_of(Script(Sound(b"two")), tmp_path)) as (_, two), httpx.AsyncClient(timeout=5) as http:
            for port, word in ((one, b"one"), (two, b"two"), (one, b"one")):
                assert (await http.post(f"http://{host}:{port}/v1/audio/speech", json=HELLO)).content == word
        async with httpx.AsyncClient(timeout=5) as http:
            assert (await http.post(f"http://{host}:{one}/v1/audio/speech", json=HELLO)).content == b"one"
