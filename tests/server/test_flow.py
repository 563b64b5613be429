"""WebSocket messages on their way to the app, over real sockets: their order, the short way, and who does not read."""

import asyncio
from collections.abc import Awaitable, Callable

from starlette.websockets import WebSocket
from websockets.asyncio.client import connect

from tests.server.serving import until
from tests.server.test_connections import served
from voiceloop.server.wires import Socket


def app(serve: Callable[[Socket], Awaitable[None]]):
    async def asgi(scope, receive, send) -> None:
        socket = WebSocket(scope, receive, send)
        await socket.accept()
        await serve(Socket(socket))

    return asgi


async def test_what_takes_the_short_way_keeps_its_place() -> None:
    found: list[str | bytes] = []
    short: list[bytes] = []

    def take(frame: bytes) -> bool:
        if frame == b"not this":
            return False
        short.append(frame)
        found.append(frame)
        return True

    async def serve(wire: Socket) -> None:
        wire.shortcut(take)
        while (frame := await wire.receive()) is not None:
            found.append(frame)

    sent = [b"one", "two", b"three", b"four", "five", b"not this", b"six", "seven"]
    async with served(app(serve)) as (host, port), connect(f"ws://{host}:{port}/", compression=None) as client:
        await client.send(b"first")
        await until(lambda: found == [b"first"])
        for frame in sent:
            await client.send(frame)
        await until(lambda: len(found) == 1 + len(sent))
        for number in range(50):
            await client.send(bytes([number]))
            await asyncio.sleep(0.001)
        await until(lambda: len(found) == 1 + len(sent) + 50)
    assert found == [b"first", *sent, *(bytes([number]) for number in range(50))]
    assert len(short) > 50
    assert b"not this" not in short


async def test_without_a_short_way_all_is_received() -> None:
    found: list[str | bytes] = []

    async def serve(wire: Socket) -> None:
        while (frame := await wire.receive()) is not None:
            found.append(frame)

    sent = [bytes([number]) * 640 for number in range(100)]
    async with served(app(serve)) as (host, port), connect(f"ws://{host}:{port}/", compression=None) as client:
        for frame in sent:
            await client.send(frame)
        await until(lambda: len(found) == len(sent))
    assert found == sent


async def test_an_app_that_takes_nothing_stops_the_client() -> None:
    going = asyncio.Event()
    found: list[str | bytes] = []

    async def serve(wire: Socket) -> None:
        await going.wait()
        while (frame := await wire.receive()) is not None:
            found.append(frame)

    async with served(app(serve)) as (host, port), connect(f"ws://{host}:{port}/", compression=None) as client:
        n = 0

        async def flood() -> None:
            nonlocal n
            while n < 2000:  # 32 MB, far more than sockets hold
                await client.send(bytes(16 * 1024))
                n += 1

        async with asyncio.TaskGroup() as group:
            group.create_task(flood())
            before = -1
            while n > before:  # until nothing moves any more
                before = n
                await asyncio.sleep(0.2)
            assert n < 2000
            going.set()
            await until(lambda: len(found) == 2000)
