"""The route `/ws`: who comes in, which conversation it is, and how many there may be."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import cast

from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket

from voiceloop import build
from voiceloop.build import Assembled
from voiceloop.errors import ProtocolError
from voiceloop.ports import AudioPort
from voiceloop.server.access import Sockets
from voiceloop.server.conversation import Conversation
from voiceloop.server.exchange import REFUSED, RESUMED
from voiceloop.server.wires import Closing, Places, Socket, word
from voiceloop.wire import bridge

HELLO_S = 1.0
"""Who says nothing for so long talks without `start`, and is sent `ready`."""

_LOOK_S = 1.0


@dataclass(frozen=True, slots=True)
class Limits:
    """How many, and how long. 0: any.

    sessions: at once. per_peer: of one key, or of one address. keep_s: without a connection. idle_s: without a word.
    longest_s: each.
    """

    sessions: int = 100
    per_peer: int = 0
    keep_s: float = 30.0
    idle_s: float = 0.0
    longest_s: float = 0.0


class Conversations:
    """All that go on. One per server; see `conversations`."""

    def __init__(
        self,
        group: asyncio.TaskGroup,
        assemble: Callable[[AudioPort], AbstractAsyncContextManager[Assembled]],
        limits: Limits,
    ) -> None:
        self._group = group
        self._assemble = assemble
        self._limits = limits
        self.places = Places(limits.sessions, limits.per_peer)
        self.ports = build.Ports()
        """Those of the whole server, both."""
        self._known: dict[str, tuple[Conversation, str]] = {}

    @property
    def n(self) -> int:
        """How many there are."""
        return len(self._known)

    def begin(self, hello: bridge.Start, peer: str) -> Conversation:
        """A new one. peer: whose it is, a key or an address. Raises Closing when there are too many."""
        limits = self._limits
        self.places.take(peer)
        port = self.ports.peer(mic_hz=hello.sample_rate, out_hz=hello.agent_sample_rate, reports=hello.reports)
        found = Conversation(hello, port, self._assemble, keep_s=limits.keep_s)
        self._known[found.token] = found, peer
        self._group.create_task(self._live(found))
        return found

    def again(self, token: str, peer: str) -> Conversation:
        """One that goes on. Raises Closing if there is none such, or it is another's."""
        found, whose = self._known.get(token, (None, ""))
        if found is None or whose != peer:
            raise Closing(bridge.POLICY, "There is no such session any more: begin anew.", "no_session")
        return found

    async def watch(self) -> None:
        """Ends what takes too long. For ever."""
        while True:
            await asyncio.sleep(_LOOK_S)
            for found, _ in list(self._known.values()):
                found.check(self._limits.idle_s, self._limits.longest_s)

    def stop(self) -> None:
        """Ends all of them soon."""
        for found, _ in list(self._known.values()):
            found.end(bridge.GOING, "The server stops.")

    async def _live(self, found: Conversation) -> None:
        try:
            await found.live()
        finally:
            _, peer = self._known.pop(found.token)
            self.places.leave(peer)


@asynccontextmanager
async def conversations(
    assemble: Callable[[AudioPort], AbstractAsyncContextManager[Assembled]],
    limits: Limits,
) -> AsyncGenerator[Conversations, None]:
    """Those of one server; all have ended when it is left."""
    async with asyncio.TaskGroup() as group:
        found = Conversations(group, assemble, limits)
        watching = group.create_task(found.watch())
        try:
            yield found
        finally:
            watching.cancel()
            found.stop()


def bridge_routes(known: Conversations, sockets: Sockets) -> list[WebSocketRoute]:
    """`/ws`."""

    async def serve(socket: WebSocket) -> None:
        wire = Socket(socket)
        asked = cast("list[str]", socket.scope.get("subprotocols", []))
        await socket.accept(subprotocol="voiceloop" if "voiceloop" in asked else None)
        try:
            if (peer := sockets.whose(socket.scope)) is None:
                raise Closing(bridge.POLICY, "A key is needed, and this is none.")
            hello = await _hello(wire, socket.query_params)
            if isinstance(hello, bridge.Resume):
                found = known.again(hello.token, peer)
                socket.scope[RESUMED] = True
                await found.attend(wire, hello)
            else:
                await known.begin(hello, peer).attend(wire)
        except Closing as why:
            socket.scope[REFUSED] = why.word
            await wire.close(why.code, why.reason)
        except ProtocolError as exc:
            socket.scope[REFUSED] = word(bridge.UNREADABLE)
            await wire.close(bridge.UNREADABLE, str(exc)[:100])
        except ConnectionError:
            pass

    return [WebSocketRoute("/ws", serve)]


async def _hello(wire: Socket, query: Mapping[str, str]) -> bridge.Start | bridge.Resume:
    """What the peer begins with; its first frame is kept if it is another."""
    start = bridge.started(query)
    try:
        async with asyncio.timeout(HELLO_S):
            frame = await wire.receive()
    except TimeoutError:
        return start
    if frame is None:
        raise ConnectionError
    message = bridge.decode(frame) if isinstance(frame, str) else None
    if isinstance(message, bridge.Start | bridge.Resume):
        return message
    wire.again(frame)
    return start
