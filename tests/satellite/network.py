"""A server's conversations and satellites of it, joined by a network that can be cut, on virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

from tests.session.test_session import Numbers
from voiceloop.build import Assembled
from voiceloop.core import events as ev
from voiceloop.core.audio import Pcm
from voiceloop.core.policy import Policy
from voiceloop.errors import LineError
from voiceloop.ports import AudioPort
from voiceloop.satellite.satellite import Room, Satellite
from voiceloop.server.bridge import Conversations, Limits, conversations
from voiceloop.server.wires import Closing
from voiceloop.session.session import Parts
from voiceloop.testing import FakeHandler, FakeResampler, FakeTranscriber, FakeVad, Recorder
from voiceloop.wire import bridge

DELAY_S = 0.01
STORY = "There was a king, and he had three daughters, and the youngest of them was so fair that all wondered."


class Tap:
    """Keeps what a session is told of its peer's echo canceller. doubts: of each frame."""

    def __init__(self) -> None:
        self.doubts: list[float] = []

    def begin(self, session: str, policy: Policy, out_rate: int) -> None:
        pass

    def mic(self, pcm: Pcm) -> None:
        pass

    def out(self, reply: int, pcm: Pcm) -> None:
        pass

    def step(self, now: int, at: int, event: ev.Input, actions: Sequence[ev.Action]) -> None:
        if isinstance(event, ev.Voice):
            self.doubts.append(event.echo)


class House:
    """Engines that are quick, and speech whose samples say which they are. parts: of each session so far."""

    def __init__(self, listen: Callable[[Pcm], str] | None = None) -> None:
        self.transcriber = FakeTranscriber(["tell me a story", "what time is it", "and now"], listen=listen)
        self.parts: list[Parts] = []
        self.tap = Tap()

    @asynccontextmanager
    async def assemble(self, port: AudioPort) -> AsyncGenerator[Assembled, None]:
        handler = FakeHandler({"tell me a story": STORY})
        policy, taps = Policy(back=""), (self.tap,)
        parts = Parts(port, FakeVad(), self.transcriber, handler, Numbers(), FakeResampler, policy=policy, taps=taps)
        self.parts.append(parts)
        yield Assembled(parts, {}, ())


class Pipe:
    """One connection. up, down: frames on their way. still: what is sent vanishes, and nobody is told."""

    def __init__(self) -> None:
        self.up: asyncio.Queue[str | bytes | None] = asyncio.Queue()
        self.down: asyncio.Queue[str | bytes | LineError] = asyncio.Queue()
        self.still = False
        self.over: LineError | None = None

    def end(self, code: int, reason: str) -> None:
        """Both sides learn of it."""
        if self.over is None:
            self.over = LineError(reason, code=code)
            self.up.put_nowait(None)
            self.down.put_nowait(self.over)


class Near:
    """The satellite's end. sent: all that it sent."""

    def __init__(self, pipe: Pipe, sent: list[str | bytes]) -> None:
        self._pipe = pipe
        self._sent = sent

    async def receive(self) -> str | bytes:
        what = await self._pipe.down.get()
        if isinstance(what, LineError):
            raise what
        return what

    async def send(self, frame: str | bytes) -> None:
        await asyncio.sleep(0)
        if self._pipe.over:
            raise self._pipe.over
        self._sent.append(frame)
        if not self._pipe.still:
            self._pipe.up.put_nowait(frame)

    async def close(self) -> None:
        self._pipe.end(1006, "")


class Far:
    """The server's end: sound takes its short way, as on a real one."""

    def __init__(self, pipe: Pipe) -> None:
        self._pipe = pipe
        self._take: Callable[[bytes], bool] = lambda _: False

    async def receive(self) -> str | bytes | None:
        while True:
            frame = await self._pipe.up.get()
            if not isinstance(frame, bytes) or not self._take(frame):
                return frame

    def shortcut(self, take: Callable[[bytes], bool]) -> None:
        self._take = take

    async def send(self, frame: str | bytes) -> None:
        await asyncio.sleep(0)
        if self._pipe.over:
            raise ConnectionError
        if not self._pipe.still:
            self._pipe.down.put_nowait(frame)

    async def close(self, code: int, reason: str) -> None:
        await asyncio.sleep(0)
        self._pipe.end(code, reason)


class Network:
    """down: nothing goes through, and nobody is there. dialled: attempts so far. sent: what satellites sent."""

    def __init__(self, group: asyncio.TaskGroup, known: Conversations) -> None:
        self._group = group
        self.known = known
        self.down = False
        self.dialled = 0
        self.sent: list[str | bytes] = []
        self.pipes: list[Pipe] = []
        self.refusal: LineError | None = None

    async def dial(self) -> Near:
        """A connection. Raises LineError."""
        self.dialled += 1
        await asyncio.sleep(DELAY_S)
        if self.refusal or self.down:
            raise self.refusal or LineError("There is no server.")
        pipe = Pipe()
        self.pipes.append(pipe)
        self._group.create_task(self._serve(Far(pipe)))
        return Near(pipe, self.sent)

    def cut(self) -> None:
        """All connections are lost."""
        self.down = True
        for pipe in self.pipes:
            pipe.end(1006, "")

    async def _serve(self, wire: Far) -> None:
        try:
            frame = await wire.receive()
            hello = bridge.decode(frame) if isinstance(frame, str) else None
            if isinstance(hello, bridge.Resume):
                await self.known.again(hello.token, "me").attend(wire, hello)
            elif isinstance(hello, bridge.Start):
                await self.known.begin(hello, "me").attend(wire)
        except Closing as why:
            await wire.close(why.code, why.reason)


class Running(Recorder):
    """A satellite that runs: its events. failed: with what it ended."""

    def __init__(self, port: AudioPort) -> None:
        super().__init__()
        self.port = port
        self.satellite: Satellite
        self.failed: BaseException | None = None
        self.over = asyncio.Event()

    async def live(self) -> None:
        """To its end."""
        try:
            await self.satellite.run()
        except LineError as exc:
            self.failed = exc
        finally:
            self.over.set()

    async def until(self, *types: type, n: int = 1, **fields: Any) -> Any:
        """The nth event of these types with these fields."""
        for _ in range(12_000):
            found = [e for e in self.of(*types) if all(getattr(e, name) == value for name, value in fields.items())]
            if len(found) >= n:
                return found[n - 1]
            await asyncio.sleep(0.01)
        raise AssertionError(f"no {types} {fields} in {self.events}")


@asynccontextmanager
async def network(house: House | None = None, **limits: Any) -> AsyncGenerator[Network, None]:
    """A server and its network, until all connections have ended."""
    async with conversations((house or House()).assemble, Limits(**limits)) as known, asyncio.TaskGroup() as group:
        made = Network(group, known)
        yield made
        made.cut()


@asynccontextmanager
async def living(joined: Network, port: AudioPort, room: Room | None = None) -> AsyncGenerator[Running, None]:
    """A satellite, until it is closed here."""
    running = Running(port)
    running.satellite = Satellite(port, joined.dial, [running], name="desk", room=room)
    async with asyncio.TaskGroup() as group:
        group.create_task(running.live())
        yield running
        running.satellite.close()
        await running.over.wait()
