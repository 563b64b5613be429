"""The HTTP client against a real server that misbehaves as scripted."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import AsyncGenerator
from contextlib import aclosing, asynccontextmanager

import pytest

from voiceloop.adapters.http import Client
from voiceloop.adapters.http import Service as Http
from voiceloop.adapters.http_errors import base, retry_after
from voiceloop.errors import ConfigError, ProviderError, ProviderRefused, ProviderTimeout
from voiceloop.ports import ERRAND, Errand

from .service import (
    Script,
    Service,
    answer,
    chunked,
    dribble,
    error,
    half,
    headers_only,
    html,
    json_answer,
    never,
    resets,
    slams,
)

OK = json_answer({"text": "hello"})
KEY = "sk-secret-key-0123456789"


@asynccontextmanager
async def client(url: str, **options: object) -> AsyncGenerator[Client]:
    """A client whose deadlines never strike unless a test makes them small."""
    patient: dict[str, object] = {"connect_s": 20, "first_byte_s": 20, "chunk_s": 20, "backoff_s": 0.001}
    service = Http(url, KEY, **{**patient, **options})  # pyright: ignore[reportArgumentType]
    held = service.client("tts")
    try:
        yield held
    finally:
        await held.aclose()


async def ask(held: Client, **options: object) -> bytes:
    async with held.open("audio/speech", json={"input": "x"}, **options) as reply:  # pyright: ignore[reportArgumentType]
        return await reply.read()


async def fails(*scripts: Script, **options: object) -> tuple[ProviderError, int]:
    """The error of one request, and how many requests it made."""
    async with Service(*scripts) as service, client(service.url, **options) as held:
        with pytest.raises(ProviderError) as caught:
            await ask(held)
        message = str(caught.value)
        assert "127.0.0.1" in message
        assert KEY not in message
        assert message[0].isupper()
        assert message[-1] == "."
        assert caught.value.stage == "tts"
        return caught.value, len(service.requests)


@pytest.mark.parametrize(
    ("given", "path"),
    [
        ("https://api.openai.com", "/v1"),
        ("https://api.openai.com/", "/v1"),
        ("https://api.openai.com/v1", "/v1"),
        ("https://api.openai.com/v1/", "/v1"),
        ("https://api.openai.com/v1/audio/speech", "/v1"),
        ("https://api.openai.com/v1/chat/completions/", "/v1"),
        ("https://api.groq.com/openai", "/openai/v1"),
        ("https://api.groq.com/openai/v1", "/openai/v1"),
        ("https://generativelanguage.googleapis.com/v1beta/openai/", "/v1beta/openai"),
        (" http://[::1]:8000 ", "/v1"),
    ],
)
def test_base_url_in_all_its_forms(given: str, path: str) -> None:
    assert base(given).path == path


@pytest.mark.parametrize("given", ["", "localhost:8000", "ftp://x", "http://", "http://host:port", "http://[::1"])
def test_base_url_that_is_none(given: str) -> None:
    with pytest.raises(ConfigError, match="base URL"):
        base(given)


def test_password_in_a_wrong_base_url_is_not_shown() -> None:
    with pytest.raises(ConfigError) as caught:
        base("user:hunter2@localhost")
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("key", ["two words", "schl\u00fcssel", "line\nend"])
def test_key_that_is_none_is_not_shown(key: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Http("http://127.0.0.1", key)
    assert key not in str(caught.value)


@pytest.mark.parametrize(
    ("headers", "wait_s"),
    [
        ({}, None),
        ({"retry-after": "2"}, 2.0),
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after": "7", "retry-after-ms": "40"}, 0.04),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "-1"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "Sun, 22 Nov 2026 10:00:09 GMT", "date": "Sun, 22 Nov 2026 10:00:00 GMT"}, 9.0),
        ({"retry-after": "Sun, 22 Nov 2026 10:00:09 GMT"}, None),
    ],
)
def test_retry_after(headers: dict[str, str], wait_s: float | None) -> None:
    assert retry_after(headers) == wait_s


async def test_request_carries_key_errand_and_json() -> None:
    async with Service(OK) as service, client(service.url) as held:
        token = ERRAND.set(Errand("s\u00e9ssion 7", 3))
        try:
            assert await ask(held) == b'{"text": "hello"}'
        finally:
            ERRAND.reset(token)
        await ask(held)
        first, second = service.requests
        assert first.path == "/v1/audio/speech"
        assert first.headers["authorization"] == f"Bearer {KEY}"
        assert first.headers["x-voiceloop-session"] == "s?ssion 7"
        assert first.headers["x-voiceloop-turn"] == "3"
        assert first.body == b'{"input":"x"}'
        assert "x-voiceloop-session" not in second.headers


async def test_errand_headers_can_be_switched_off_and_the_key_left_out() -> None:
    async with Service(OK) as service:
        http = Http(service.url, errand_headers=False)
        held = http.client("stt")
        token = ERRAND.set(Errand("a", None))
        try:
            await ask(held)
        finally:
            ERRAND.reset(token)
        await held.aclose()
        assert not {"x-voiceloop-session", "x-voiceloop-turn", "authorization"} & service.requests[0].headers.keys()


async def test_one_connection_is_used_again_and_again() -> None:
    async with Service(OK) as service, client(service.url) as held:
        for _ in range(3):
            await ask(held)
        assert service.n_connections == 1


async def test_warm_up_opens_connections_that_requests_use() -> None:
    async with Service(OK) as service, client(service.url) as held:
        await held.warm_up()
        await held.warm_up()
        assert len(service.heads) == 2
        await ask(held)
        assert service.n_connections == 2


async def test_warm_up_of_a_dead_service_only_logs(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "voiceloop.http"):
        async with client(f"http://127.0.0.1:{_free_port()}") as held:
            await held.warm_up()
    assert "refuses connections" in caplog.text


async def test_last_client_closes_the_connections() -> None:
    async with Service(OK) as service:
        http = Http(service.url)
        first, second = http.client("stt"), http.client("tts")
        await first.aclose()
        await first.aclose()
        assert await ask(second) == b'{"text": "hello"}'
        await second.aclose()
        await asyncio.wait_for(service.settled(), 20)


@pytest.mark.parametrize("status", [408, 409, 429, 500, 502, 503, 529])
async def test_retries_then_succeeds(status: int) -> None:
    async with Service(error("no", status), OK) as service, client(service.url) as held:
        assert await ask(held) == b'{"text": "hello"}'
        assert len(service.requests) == 2


@pytest.mark.parametrize("broken", [slams, resets])
async def test_broken_connection_is_tried_again(broken: Script) -> None:
    async with Service(broken, broken, OK) as service, client(service.url) as held:
        assert await ask(held) == b'{"text": "hello"}'
        assert len(service.requests) == 3


async def test_connection_closed_while_idle_is_replaced() -> None:
    async with Service(OK, slams, OK) as service, client(service.url, retries=1) as held:
        await ask(held)
        await ask(held)
        assert [r.connection for r in service.requests] == [0, 0, 1]


async def test_gives_up_after_its_retries() -> None:
    failure, n = await fails(error("overloaded", 503), retries=2)
    assert isinstance(failure, ProviderRefused)
    assert failure.retryable
    assert "503 (overloaded)" in str(failure)
    assert n == 3


async def test_broken_connections_to_the_end() -> None:
    failure, n = await fails(slams, retries=1)
    assert "broke the connection before it answered" in str(failure)
    assert failure.retryable
    assert n == 2


@pytest.mark.parametrize(
    ("script", "words", "retryable"),
    [
        (error("Incorrect API key provided: sk-secr*****6789.", 401), ("401", "[key]", "check the API key"), False),
        (error(f"Bad key {KEY}", 401), ("401", "[key]"), False),
        (error("Not for you", 403), ("403 (Not for you)", "allowed"), False),
        (error("The model `tts-9` does not exist", 404), ("404 (The model `tts-9`", "base URL and the model"), False),
        (json_answer({"detail": "Not Found"}, 404), ("404 (Not Found)",), False),
        (
            json_answer({"detail": [{"loc": ["body", "voice"], "msg": "Field required", "input": "xyzzy"}]}, 422),
            ("422 (body.voice: Field required)",),
            False,
        ),
        (json_answer({"error": "model not loaded"}, 400), ("400 (model not loaded)",), False),
        (json_answer({"message": "quota"}, 402), ("402 (quota)",), False),
        (json_answer([1, 2], 400), ("400:",), False),
        (answer(b"", status=400), ("400:",), False),
        (answer(b"no such route", "text/plain", 404), ("404 (no such route)",), False),
        (answer(b"\xff\xfe\x00", "application/octet-stream", 500), ("500",), True),
        (html(502), ("502 (a web page: Bad Gateway)", "broken or overloaded"), True),
        (answer(b"", status=413), ("413", "too long"), False),
        (answer(b"", status=405), ("405", "base URL"), False),
        (answer(b"", status=301, headers={"location": "https://new.example/v1"}), ("moved to new.example",), False),
        (error("Rate limit", 429, {"retry-after": "3600"}), ("429 (Rate limit) and asks to wait 3600 s",), True),
    ],
)
async def test_refusals_in_one_sentence(script: Script, words: tuple[str, ...], retryable: bool) -> None:
    failure, n = await fails(script, retries=0)
    assert isinstance(failure, ProviderRefused)
    assert failure.retryable is retryable
    assert n == 1
    for word in words:
        assert word in str(failure)
    assert "secr" not in str(failure)


async def test_a_missing_key_is_asked_for() -> None:
    async with Service(error("Unauthorized", 401)) as service:
        held = Http(service.url).client("stt")
        with pytest.raises(ProviderRefused, match="wants an API key"):
            await ask(held)
        await held.aclose()


async def test_words_that_were_said_are_not_repeated() -> None:
    script = error("Cannot say 'my pin is four two' with this voice", 400)
    async with Service(script) as service, client(service.url) as held:
        with pytest.raises(ProviderRefused) as caught:
            await ask(held, private=["Well, my PIN is four two."])
        assert "pin" not in str(caught.value)
        with pytest.raises(ProviderRefused, match="with this voice"):
            await ask(held, private=["nothing of the kind", ""])


async def test_obeys_retry_after_and_not_beyond_its_patience() -> None:
    async with (
        Service(error("slow down", 429, {"retry-after-ms": "1", "retry-after": "3600"}), OK) as service,
        client(service.url) as held,
    ):
        assert await ask(held) == b'{"text": "hello"}'
    failure, n = await fails(error("slow down", 429, {"retry-after": "60"}), OK)
    assert "asks to wait 60 s" in str(failure)
    assert n == 1


async def test_connection_refused() -> None:
    async with client(f"http://127.0.0.1:{_free_port()}", retries=1) as held:
        with pytest.raises(ProviderError, match=r"refuses connections: start it") as caught:
            await ask(held)
    assert caught.value.retryable


async def test_name_that_does_not_exist() -> None:
    async with client("http://nowhere.invalid", retries=0) as held:
        with pytest.raises(ProviderError, match=r"nowhere\.invalid has a name that cannot be looked up"):
            await ask(held)


async def test_tls_to_a_server_without() -> None:
    service = await asyncio.start_server(_plain_only, "127.0.0.1", 0)
    port = service.sockets[0].getsockname()[1]
    async with service, client(f"https://127.0.0.1:{port}") as held:
        with pytest.raises(ProviderError, match="does not speak TLS"):
            await ask(held)


async def test_tls_that_never_answers_is_given_up_and_closed() -> None:
    async with Service(OK) as service:
        async with client(service.url.replace("http:", "https:"), connect_s=0.3) as held:
            with pytest.raises(ProviderTimeout, match="could not be reached"):
                await ask(held)
        await asyncio.wait_for(service.settled(), 20)


async def test_connect_deadline() -> None:
    """A full backlog: the kernel leaves our SYN unanswered."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        others = [socket.socket() for _ in range(4)]
        for other in others:
            other.setblocking(False)
            other.connect_ex(listener.getsockname())
        async with client(f"http://127.0.0.1:{listener.getsockname()[1]}", connect_s=0.05, retries=3) as held:
            with pytest.raises(ProviderTimeout, match=r"could not be reached within 0\.05 s"):
                await ask(held)
        for other in others:
            other.close()


async def test_deadline_before_an_answer() -> None:
    failure, n = await fails(never, first_byte_s=0.05)
    assert isinstance(failure, ProviderTimeout)
    assert "did not answer within 0.05 s" in str(failure)
    assert n == 1


async def test_deadline_before_the_first_byte_of_the_body() -> None:
    failure, _ = await fails(headers_only, first_byte_s=0.05)
    assert isinstance(failure, ProviderTimeout)
    assert "sent nothing within 0.05 s" in str(failure)


async def test_deadline_between_chunks() -> None:
    failure, _ = await fails(chunked([b"some"], then=never), chunk_s=0.05)
    assert isinstance(failure, ProviderTimeout)
    assert "paused for 0.05 s" in str(failure)


async def test_body_that_never_ends() -> None:
    failure, _ = await fails(dribble(b"x"), total_s=0.1)
    assert isinstance(failure, ProviderTimeout)
    assert "did not end its answer within 0.1 s" in str(failure)
    failure, _ = await fails(dribble(b"x" * 1000, every_s=0), total_bytes=50_000)
    assert "more than 50000 bytes" in str(failure)


async def test_a_slow_consumer_is_not_a_slow_service() -> None:
    async with Service(chunked([b"a", b"b", b"c"])) as service:
        async with client(service.url, total_s=0.4) as held, held.open("audio/speech", json={}) as reply:
            got: list[bytes] = []
            async with aclosing(reply.chunks()) as chunks:
                async for piece in chunks:
                    got.append(piece)
                    await asyncio.sleep(0.2)
        assert b"".join(got) == b"abc"


@pytest.mark.parametrize("script", [half(b"four", 9), chunked([b"four"], ends=False)])
async def test_half_a_body(script: Script) -> None:
    failure, n = await fails(script)
    assert "broke off its answer after 4 bytes" in str(failure)
    assert failure.retryable
    assert n == 1, "never retried once the answer has begun"


async def test_error_without_an_end_is_still_explained() -> None:
    failure, _ = await fails(half(b"upstr", 99, "text/plain", status=500), retries=0)
    assert "answered 500" in str(failure)


async def test_cancelled_consumer_closes_the_connection() -> None:
    async with Service(chunked([b"some"], then=never)) as service, client(service.url) as held:
        begun = asyncio.Event()

        async def consume() -> None:
            async with held.open("audio/speech", json={}) as reply, aclosing(reply.chunks()) as chunks:
                async for _ in chunks:
                    begun.set()

        async with asyncio.TaskGroup() as group:
            task = group.create_task(consume())
            await begun.wait()
            task.cancel()
        await asyncio.wait_for(service.cancelled.wait(), 20)


async def test_cancelled_while_waiting_closes_the_connection() -> None:
    async with Service(never) as service, client(service.url) as held:
        async with asyncio.TaskGroup() as group:
            task = group.create_task(ask(held))
            await service.asked.wait()
            task.cancel()
        await asyncio.wait_for(service.cancelled.wait(), 20)


async def _plain_only(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(1)
    writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    writer.close()


async def test_cancelled_at_any_moment_nothing_stays_open() -> None:
    """httpcore's own pool would leak: see http_lanes.py. The moments are counted in turns of the loop, not in time."""
    async with Service(OK) as service, client(service.url) as held:
        for n_turns in range(120):
            async with asyncio.TaskGroup() as group:
                task = group.create_task(ask(held))
                for _ in range(n_turns % 40):
                    await asyncio.sleep(0)
                task.cancel()
                await asyncio.sleep(0)
                task.cancel()
        assert await ask(held) == b'{"text": "hello"}'
        await asyncio.wait_for(service.settled(1), 20)


async def test_a_closed_service_is_not_used() -> None:
    async with Service(OK) as service:
        async with client(service.url) as held:
            pass
        with pytest.raises(RuntimeError, match="has been closed"):
            await ask(held)


def _free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])
