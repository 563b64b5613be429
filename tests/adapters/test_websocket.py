"""The client's socket against real servers: what goes through, and the sentence for each way in which none does."""

from __future__ import annotations

import asyncio
import http
import socket
import ssl
import subprocess
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from websockets.asyncio.server import ServerConnection, serve
from websockets.http11 import Request, Response

from voiceloop.adapters import websocket
from voiceloop.adapters.websocket import address, dial, shown
from voiceloop.errors import ConfigError, LineError

Answer = Callable[[ServerConnection], Awaitable[None]]


@asynccontextmanager
async def server(answer: Answer, **options) -> AsyncGenerator[str, None]:
    """A server on this machine; its address."""
    async with serve(answer, "127.0.0.1", 0, compression=None, **options) as running:
        port = next(iter(running.sockets)).getsockname()[1]
        yield f"{'wss' if 'ssl' in options else 'ws'}://127.0.0.1:{port}/ws"


async def echo(connection: ServerConnection) -> None:
    async for frame in connection:
        await connection.send(frame)


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("ws://h:1/ws", "ws://h:1/ws"),
        ("ws://h:1", "ws://h:1/ws"),
        ("wss://h/", "wss://h/ws"),
        ("http://localhost:8000", "ws://localhost:8000/ws"),
        ("http://localhost:8000/?kiosk", "ws://localhost:8000/ws"),
        ("https://voice.example.org/talk/#top", "wss://voice.example.org/talk/ws"),
        ("kitchen:8000", "ws://kitchen:8000/ws"),
        ("[::1]:8000", "ws://[::1]:8000/ws"),
    ],
)
def test_the_address_of_a_server_or_of_its_page(given: str, meant: str) -> None:
    assert address(given) == meant


@pytest.mark.parametrize("given", ["", "ftp://h", "ws://", "ws://h:port", "ws://h:99999", "ws://h:0", "http:///x"])
def test_what_is_none(given: str) -> None:
    with pytest.raises(ConfigError, match=r"is no address of a server: write ws://HOST:PORT, or that of its page\."):
        address(given)


def test_nothing_secret_is_shown() -> None:
    assert shown("ws://me:word@h:1/ws?token=x") == "h:1/ws"
    assert shown("ws://h:1/ws?token=x") == "ws://h:1/ws"


async def test_frames_go_both_ways_and_the_key_comes_along() -> None:
    keys = []

    async def answer(connection: ServerConnection) -> None:
        assert connection.request
        keys.append(connection.request.headers.get("Authorization"))
        assert "Origin" not in connection.request.headers
        await echo(connection)

    async with server(answer) as url:
        for key in ("", "vl_secret"):
            wire = await dial(url, key)
            for frame in ("text", b"\x01\x00", "", b""):
                await wire.send(frame)
                assert await wire.receive() == frame
            await wire.close()
            await wire.close()
            with pytest.raises(LineError):
                await wire.send("more")
    assert keys == [None, "Bearer vl_secret"]


async def test_how_it_was_closed_is_known() -> None:
    async def answer(connection: ServerConnection) -> None:
        await connection.close(4004, "Nobody said anything for 5 s.")

    async with server(answer) as url:
        wire = await dial(url)
        with pytest.raises(LineError, match="Nobody said anything for 5 s") as why:
            await wire.receive()
        assert (why.value.code, why.value.retryable) == (4004, True)


async def test_a_connection_that_breaks() -> None:
    async def answer(connection: ServerConnection) -> None:
        connection.transport.abort()

    async with server(answer) as url:
        wire = await dial(url)
        with pytest.raises(LineError) as why:
            await wire.receive()
        assert (why.value.code, str(why.value)) == (1006, "")
        await wire.close()


async def test_nobody_there() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        with pytest.raises(LineError) as why:
            await dial(f"ws://127.0.0.1:{port}/ws")
    said = f"There is no server at ws://127.0.0.1:{port}/ws (connection refused): is voiceloop serve running there?"
    assert (str(why.value), why.value.retryable) == (said, True)
    with pytest.raises(LineError, match=r"There is no server at ws://nobody\.invalid:1/ws \(nobody knows that name\)"):
        await dial("ws://nobody.invalid:1/ws")


@pytest.mark.parametrize(
    ("status", "body", "said", "retryable"),
    [
        (421, b'{"error":{"message":"It is not known as that."}}', "refuses: It is not known as that.", False),
        (404, b"no", "There is no conversation to be had at", False),
        (403, b'{"detail":"no"}', "refuses with status 403.", False),
        (502, b"<html>", "refuses with status 502.", True),
    ],
)
async def test_a_server_that_refuses(status: int, body: bytes, said: str, retryable: bool) -> None:
    def refuse(connection: ServerConnection, request: Request) -> Response:
        response = connection.respond(http.HTTPStatus(status), "")
        return Response(status, response.reason_phrase, response.headers, body) if not body else _with(response, body)

    def _with(response: Response, body: bytes) -> Response:
        del response.headers["Content-Length"]
        response.headers["Content-Length"] = str(len(body))
        response.body = body
        return response

    async with server(echo, process_request=refuse) as url:
        with pytest.raises(LineError) as why:
            await dial(url)
    assert said in str(why.value)
    assert why.value.retryable == retryable


async def test_what_is_no_web_server(monkeypatch: pytest.MonkeyPatch) -> None:
    async def mumble(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mail.example.org\r\n\r\n")
        writer.close()

    async def nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    for handler, said in ((mumble, "is no server of voiceloop."), (nothing, "does not answer.")):
        monkeypatch.setattr(websocket, "OPEN_S", 0.2 if handler is nothing else 5.0)
        listening = await asyncio.start_server(handler, "127.0.0.1", 0)
        async with listening:
            with pytest.raises(LineError, match=said) as why:
                await dial(f"ws://127.0.0.1:{listening.sockets[0].getsockname()[1]}/ws")
        assert why.value.retryable
        await asyncio.sleep(0.05)  # the server's side ends


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, ssl.SSLContext]:
    """One that nobody signed, and a server with it."""
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    names = ["-subj", "/CN=kitchen", "-addext", "subjectAltName=IP:127.0.0.1"]
    try:
        subprocess.run([*command, *names, "-keyout", key, "-out", cert], check=True, capture_output=True)
    except FileNotFoundError:
        pytest.skip("there is no openssl to make a certificate with")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    return cert, context


async def test_a_certificate_that_nobody_knows(
    certificate: tuple[Path, ssl.SSLContext], monkeypatch: pytest.MonkeyPatch
) -> None:
    cert, context = certificate
    async with server(echo, ssl=context) as url:
        with pytest.raises(LineError, match=r"cannot be trusted \(.+\): SSL_CERT_FILE may name") as why:
            await dial(url)
        assert not why.value.retryable
        monkeypatch.setenv("SSL_CERT_FILE", str(cert))
        wire = await dial(url)
        await wire.send("hello")
        assert await wire.receive() == "hello"
        await wire.close()
        await asyncio.sleep(0.1)  # the server's side of the first one ends


async def test_a_server_without_tls() -> None:
    async with server(echo) as url:
        with pytest.raises(LineError, match=r"There is no server at wss://\S+ \(it hung up\): "):
            await dial(url.replace("ws:", "wss:"))


async def test_a_server_that_reads_nothing_makes_the_sender_wait() -> None:
    """So that what it does not read stays where it can be sent again."""
    go = asyncio.Event()

    async def deaf(connection: ServerConnection) -> None:
        await go.wait()

    async with server(deaf, max_queue=1, close_timeout=0.1) as url:
        wire = await dial(url)
        sent = [0]

        async def send() -> None:
            async with asyncio.timeout(1.0):
                while sent[0] < 100_000:
                    await wire.send(bytes(3200))
                    sent[0] += 1

        with pytest.raises(TimeoutError):
            await send()
        try:
            async with asyncio.timeout(5.0):
                await wire.close()
        finally:
            go.set()
