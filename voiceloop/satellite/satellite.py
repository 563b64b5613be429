"""A conversation with a server: this machine's microphone and loudspeaker, one connection after the other.

The server does all that needs engines. Here are the devices, with echo cancellation, mute, push-to-talk and volume; the
rules of the connection are in wire/line.py, those of playback in speaker.py.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass, field
from random import random
from typing import Protocol, cast

from voiceloop.core import events as ev
from voiceloop.core.audio import FRAME, RATE, level_db, silence, ticks
from voiceloop.errors import LineError, ProtocolError
from voiceloop.ports import AudioPort, Capture, EchoCanceller, Observer, OtherSound, Progress
from voiceloop.satellite.news import ServerBack, ServerLost, Told
from voiceloop.satellite.speaker import Speaker
from voiceloop.session.observe import Level, News, Volume
from voiceloop.wire import bridge
from voiceloop.wire.line import CLOSINGS, PASSING, PEACEFUL, Line, Speech

KEY_UP = ticks(0.15)
"""The last sound of a word comes a little after the finger has left the key."""

ECHO = ticks(0.3)
"""Without an echo canceller the microphone does not count while something is played, and so long after it."""

FAREWELL_S = 0.3
"""So long the server is given to hear that the conversation is over."""

_LEVEL_EVERY = 5
_LOOK_S = 0.25
_MUTED = silence(FRAME)


class Wire(Protocol):
    """A connection: frames as text or bytes."""

    async def receive(self) -> str | bytes:
        """The next frame. Raises LineError when the connection has ended."""
        ...

    async def send(self, frame: str | bytes) -> None:
        """Waits until it is on its way. Raises LineError."""
        ...

    async def close(self) -> None:
        """The end. Never raises."""
        ...


Dial = Callable[[], Awaitable[Wire]]
"""Makes a connection. Raises LineError."""


@dataclass(frozen=True, slots=True)
class Room:
    """What is in the room. echo: takes the loudspeaker's sound out of the microphone's. open: voice over a reply can be
    told from its echo, so that it may interrupt. others: other programs' sound. keyed: only what is said while a key is
    down counts."""

    echo: EchoCanceller | None = None
    open: bool = True
    others: OtherSound | None = None
    keyed: bool = False
    volume: float = 1.0


@dataclass(slots=True)
class _Switches:
    """What the user has set. up: samples until a key that was released counts as up; 0: it does not come up."""

    volume: float
    muted: bool = False
    down: bool = False
    up: int = 0


@dataclass(slots=True)
class _Life:
    """stop: it is to end. news: there may be something to send. frames: of the microphone so far. echo: samples for
    which an echo may still come. lost: when the connection was lost; None: it was not."""

    stop: asyncio.Event = field(default_factory=asyncio.Event)
    news: asyncio.Event = field(default_factory=asyncio.Event)
    frames: int = 0
    echo: int = 0
    lost: float | None = None


class Satellite:
    """`run` holds the conversation. All methods belong to the event loop's thread; keys.py drives it as a session."""

    def __init__(
        self,
        port: AudioPort,
        dial: Dial,
        observers: Sequence[Observer] = (),
        *,
        name: str = "",
        room: Room | None = None,
    ) -> None:
        """name: what this machine calls itself."""
        self._port = port
        self._dial = dial
        self._name = name
        self._room = room or Room()
        self._tell = News(observers, strict=False).tell
        self._told = Told()
        self._switches = _Switches(self._room.volume)
        self._life = _Life()
        self._line = Line(bridge.Start())
        self._speaker = Speaker(port, self._report)

    async def run(self) -> None:
        """Until `close`, or until the server has ended the conversation. May be called once.

        Raises DeviceError, and LineError when the server cannot be had at first, or does not want us any more. A
        connection that is lost later is made again, for ever.
        """
        port = self._port
        try:
            await port.open()
            port.gain(self._switches.volume)
            self._line = Line(bridge.Start(RATE, port.out_rate, reports=True, name=self._name))
            async with asyncio.TaskGroup() as group:
                work = (self._listen(), self._converse(), self._speaker.run())
                tasks = [group.create_task(part) for part in work]
                try:
                    await self._life.stop.wait()
                finally:
                    self.close()  # also where a task fails in the very moment in which it is cancelled
                    for task in tasks:
                        task.cancel()
        except BaseExceptionGroup as several:
            raise _first(several) from None
        finally:
            await port.close()
            if self._room.others:
                await self._room.others.aclose()

    def close(self) -> None:
        """Ends `run` soon; the server is told. Idempotent."""
        self._life.stop.set()

    # --- what the user does ---

    @property
    def volume(self) -> float:
        """Of everything that is said, 0..1; as loud as that from now on."""
        return self._switches.volume

    @volume.setter
    def volume(self, volume: float) -> None:
        self._switches.volume = min(1.0, max(0.0, volume))
        self._port.gain(self._switches.volume)
        self._tell(Volume(self._switches.volume))

    def mute(self, on: bool = True) -> None:
        """The microphone gives silence, and the server is told; or not any more."""
        self._switches.muted = on
        self._say(bridge.Mute(on))
        self._news(self._told.mute(on))

    def push_to_talk(self, down: bool) -> None:
        """The key went down: the user has the floor. Up: what he said is answered at once."""
        switches = self._switches
        if down and not switches.down:
            switches.down = True
            self._say(bridge.PushToTalk(True))
            self._tell(ev.Pressed(True))
        switches.up = KEY_UP if switches.down and not down else 0

    def feed(self, event: ev.Interrupt) -> None:
        """Stops the reply, here at once and then at the server."""
        self._speaker.flush(drop=True)
        self._say(bridge.Interrupt())

    # --- the devices ---

    async def _listen(self) -> None:
        lost: float | None = None
        async with aclosing(self._port.frames()) as frames:
            async for what in frames:
                match what:
                    case Capture():
                        self._hear(what)
                    case Progress():
                        self._speaker.learn(what)
                    case ev.Notice():
                        self._tell(what)
                    case ev.PortLost(reason=reason):
                        lost = self._now()
                        self._released()
                        self._tell(ev.DeviceLost(reason))
                    case ev.PortBack(device=device):
                        away_s = 0.0 if lost is None else self._now() - lost
                        self._tell(ev.DeviceBack(device, ticks(away_s)))
                self._life.news.set()
        self.close()

    def _hear(self, capture: Capture) -> None:
        """One frame of the microphone, and what the loudspeaker did meanwhile."""
        for progress in capture.played:
            self._speaker.learn(progress)
        life, room, switches = self._life, self._room, self._switches
        mic, doubt = capture.mic, 0.0
        if capture.ref is not None:
            if room.echo is not None:
                mic = room.echo.process(mic, capture.ref)
                doubt = room.echo.doubt
            life.echo = ECHO if capture.ref.any() else max(0, life.echo - mic.size)
        closed = switches.muted or (room.keyed and not switches.down)
        if closed or (life.echo and not room.open):
            mic, doubt = _MUTED, 0.0
        self._line.hear(mic, doubt)
        self._speaker.tick(mic.size)
        if switches.up > mic.size:
            switches.up -= mic.size
        else:
            self._released()
        life.frames += 1
        if life.frames % _LEVEL_EVERY == 0:
            self._tell(Level(round(level_db(mic), 1), None))

    def _released(self) -> None:
        """A key that was let go is up now."""
        switches = self._switches
        if not switches.up:
            return
        switches.down, switches.up = False, 0
        self._say(bridge.PushToTalk(False))
        self._tell(ev.Pressed(False))

    # --- the server ---

    async def _converse(self) -> None:
        """One connection after the other. Raises LineError when there is to be none any more."""
        line = self._line
        while not self._life.stop.is_set():
            try:
                wire = await self._dial()
                line.opened(self._now(), self._speaker.played)
                await self._attend(wire)
            except LineError as why:
                await self._pause(why)

    async def _attend(self, wire: Wire) -> None:
        """A connection until it is lost. Raises LineError."""
        try:
            async with asyncio.TaskGroup() as group:
                for work in (self._read(wire), self._send(wire), self._watch()):
                    group.create_task(work)
        except BaseExceptionGroup as several:
            raise _first(several) from None
        except asyncio.CancelledError:
            with suppress(LineError, TimeoutError):
                async with asyncio.timeout(FAREWELL_S):
                    await wire.send(bridge.encode(bridge.End()))
            raise
        finally:
            await wire.close()

    async def _read(self, wire: Wire) -> None:
        while True:
            frame = await wire.receive()
            try:
                what = self._line.receive(frame)
            except ProtocolError as exc:
                said = f"What answers there is no server of voiceloop, or one of another version: {exc}"
                raise LineError(said) from None
            self._take(what)
            self._life.news.set()

    async def _send(self, wire: Wire) -> None:
        line, news = self._line, self._life.news
        while True:
            while (frame := line.next(self._now())) is not None:
                await wire.send(frame)
            news.clear()
            await news.wait()

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(_LOOK_S)
            if self._line.dead(self._now()):
                raise LineError("The server does not answer.")

    def _take(self, what: bridge.ToPeer | Speech | None) -> None:
        """Something from the server."""
        speaker = self._speaker
        match what:
            case None:
                return
            case Speech():
                speaker.push(what)
                return
            case bridge.Clear():
                speaker.flush()
            case bridge.AudioEnd(reply=reply):
                speaker.end(reply)
            case bridge.Ready():
                self._begin(again=False)
            case bridge.Resumed():
                self._begin(again=True)
            case bridge.StateChanged(state=state) if self._room.others:
                self._room.others.restore() if state == "listening" else self._room.others.lower()
            case _:
                pass
        reply = what.reply if isinstance(what, bridge.AudioEnd) else None
        self._news(self._told.event(what, None if reply is None else speaker.played.get(reply)))

    def _begin(self, *, again: bool) -> None:
        """The session listens. again: the one before goes on."""
        life, switches = self._life, self._switches
        for ended in self._told.begin(again=again):
            self._tell(ended)
        if life.lost is not None:
            self._tell(ServerBack(round(self._now() - life.lost, 1), again))
            life.lost = None
        if again:
            return
        self._speaker.reset()
        if switches.muted:
            self._say(bridge.Mute(True))
        if switches.down:
            self._say(bridge.PushToTalk(True))

    async def _pause(self, why: LineError) -> None:
        """Until the next attempt. Raises LineError when there is to be none."""
        line, life = self._line, self._life
        wait_s = line.lost(why.code, random())
        if life.stop.is_set():
            return
        if why.code in PEACEFUL and line.begun:
            self._tell(ev.Notice("session", _sentence(why)))
            self.close()
            return
        if wait_s is None or not line.begun or not why.retryable:
            raise LineError(_sentence(why), code=why.code) from why
        if life.lost is None:
            life.lost = self._now()
            self._tell(ServerLost(_sentence(why), line.kept))
        await asyncio.sleep(wait_s)

    def _report(self, message: bridge.Played) -> None:
        self._line.report(message)
        self._life.news.set()

    def _say(self, message: bridge.FromPeer) -> None:
        self._line.say(message)
        self._life.news.set()

    def _news(self, event: object) -> None:
        if event is not None:
            self._tell(event)

    def _now(self) -> float:
        return asyncio.get_running_loop().time()


def _sentence(why: LineError) -> str:
    """For the user. The server's own words count where ours say less; whoever shows them sees to what is in them."""
    said = str(why)
    if why.code in (0, bridge.AGAIN_LATER) and said:
        return said
    return CLOSINGS.get(why.code) or PASSING.get(why.code) or "The connection to the server was lost."


def _first(several: BaseExceptionGroup[BaseException]) -> BaseException:
    first = several.exceptions[0]
    return _first(cast("BaseExceptionGroup[BaseException]", first)) if isinstance(first, BaseExceptionGroup) else first
