"""A port that outlives its devices: unplugged, replaced, renumbered, taken, muted, suspended, or without a server.

PortAudio reads its list of devices when it is initialised, so a device that comes back is found only after all streams
of the process are closed and it is initialised anew (portaudio.py counts them). Here a device that is lost is closed
at once, and opened again and again with growing pauses, by host API and name. The loudspeaker's queue outlives it: what
was handed to the device and not heard waits again, so that a reply goes on at the very sample.

Streams that a sound server moves by itself (PulseAudio, PipeWire: to the new default, or when one is removed) are not
noticed, and need not be: they go on.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass, replace
from itertools import chain, repeat
from typing import Protocol

from voiceloop.adapters.audio import portaudio
from voiceloop.adapters.audio.listing import Lookout
from voiceloop.adapters.audio.outlet import LiveOutlet
from voiceloop.adapters.audio.playback import Playback
from voiceloop.adapters.audio.portaudio import DeviceInfo, Kind, Wish
from voiceloop.adapters.audio.vitals import Vitals
from voiceloop.core import events as ev
from voiceloop.errors import DeviceError
from voiceloop.ports import Capture

PAUSES_S = (0.25, 0.5, 1.0, 2.0)
"""Pauses between the first attempts. To read PortAudio's list anew takes 50 to 70 ms, and each time it loses 12.5 kB
(19.6.0 on ALSA, 600 times in a row): nothing to go on with for weeks. So names that mean the same whatever comes and
goes are opened by the old list, and soon another process looks for the devices: they are opened when it sees them, and
if the list is as it was, without reading it anew. With opening, audio is back within 3 s of the device."""

MOVED_BY_SERVER = frozenset({"ALSA", "JACK Audio Connection Kit", "PulseAudio"})
"""Host APIs whose default device is one name for whatever the server's default is: there is nothing to follow."""

_RELEASE_S = 1.0

_SILENT = "The microphone gives nothing but silence: check that it is not muted, and that its cable is in."
_HEARD = "The microphone gives sound again."


class Device(Protocol):
    """What is used of `SoundDevicePort`."""

    @property
    def playback(self) -> Playback: ...
    @property
    def heard(self) -> int: ...
    @property
    def devices(self) -> tuple[DeviceInfo, DeviceInfo]: ...
    @property
    def settled(self) -> bool: ...
    @property
    def xruns(self) -> tuple[int, int]: ...
    async def open(self) -> None: ...
    def frames(self) -> AsyncGenerator[Capture, None]: ...
    async def let_go(self) -> None: ...
    async def close(self) -> None: ...


Make = Callable[[Wish, Wish, Playback | None], Device]
"""A port that is not open yet: microphone, loudspeaker, and the queue of the one before it."""


@dataclass(frozen=True, slots=True)
class Care:
    """How to look after the devices.

    wait: `open` waits for a device instead of failing. fallback: the default device is used while a named one is away.
    follow: a new default is followed at once, where the sound server does not do that itself. dead_s: a microphone that
    had signal is taken for dead after so long without; 0: never.
    """

    wait: bool = False
    fallback: bool = False
    follow: bool = False
    dead_s: float = 5.0


class SupervisedPort(LiveOutlet):
    """An `AudioPort` that opens devices, watches them, and opens them again.

    Its frames never end because of a device: they are interrupted by `PortLost` and `PortBack`. out_rate stays what it
    was at first; a device that has another is resampled to. Attempts to open hang in a thread, not in the loop.
    """

    def __init__(
        self,
        make: Make,
        input_device: str | int | None,
        output_device: str | int | None,
        care: Care | None = None,
        *,
        lookout: Callable[[Callable[[Sequence[DeviceInfo] | None], None]], Lookout] = Lookout,
    ) -> None:
        super().__init__(Playback(0))
        care = care or Care()
        self._make = make
        self._care = care
        self._wishes = tuple(
            Wish(named, follow=care.follow, or_default=care.fallback) for named in (input_device, output_device)
        )
        self._device: Device | None = None
        self._hanging: Device | None = None
        self._xruns = (0, 0)
        self._vitals = Vitals(care.dead_s)
        self._lookout = lookout(self._seen)
        self._wake = asyncio.Event()
        self._again = False
        self._closed = False

    @property
    def xruns(self) -> tuple[int, int]:
        """(blocks of input that were lost, blocks of output that came too late), of all devices so far."""
        now = self._device.xruns if self._device else (0, 0)
        return self._xruns[0] + now[0], self._xruns[1] + now[1]

    async def open(self) -> None:
        """Takes the devices and starts them. Raises DeviceError, unless it is to wait for them."""
        portaudio.on_renewal(self._let_others, asyncio.get_running_loop())
        try:
            try:
                await self._open()
            except DeviceError:
                if not self._care.wait:
                    raise
                await self._recover()
        except BaseException:
            await self.close()
            raise

    async def frames(self) -> AsyncGenerator[Capture | ev.PortLost | ev.PortBack | ev.Notice, None]:
        """Frames from now on until `close`, and what becomes of the devices. Raises nothing of its own."""
        away = False
        while (device := self._device) is not None and not self._closed:
            lost = ""
            try:
                async with aclosing(device.frames()) as frames:
                    async for capture in frames:
                        if away:  # a device that can be opened, and gives nothing, is not back
                            away = False
                            yield ev.PortBack(_label(device.devices))
                        if notice := self._examine(capture):
                            yield notice
                        yield capture
                        if self._again:
                            break
            except DeviceError as error:
                lost = str(error)
            if self._closed:
                return
            before = device.devices
            await self._let_go()
            now = None if lost else await self._reopened()
            if now is None:
                if not away:
                    away = True
                    yield ev.PortLost(lost or "The sound device cannot be opened again.")
                await self._recover()
            elif _names(before) != _names(now.devices):
                yield ev.Notice("audio", f"Sound now goes through {_label(now.devices)}.")

    async def close(self) -> None:
        """Gives the devices back. Twice is legal."""
        self._closed = True
        portaudio.on_renewal(self._let_others, None)
        self._lookout.want(False)
        self._playback.close()
        self._wake.set()
        if self._device is not None:
            await self._device.close()

    # --- the devices ---

    async def _open(self) -> None:
        """Raises DeviceError."""
        known = self._playback if self._playback.rate else None
        device = self._make(self._wishes[0], self._wishes[1], known)
        try:
            await device.open()
        except BaseException:
            self._hanging = device
            if known:
                known.rewind(device.heard)  # it may have played before it failed
            raise
        if self._closed:
            await device.close()
            return
        self._device, self._again = device, False
        self._playback = device.playback
        self._wishes = tuple(
            replace(wish, known=found) if wish.met_by(found) else wish
            for wish, found in zip(self._wishes, device.devices, strict=True)
        )
        self._lookout.want(self._expecting(device.devices))

    async def _let_go(self) -> None:
        """Closes the device, and takes back what it has not played."""
        device, self._device = self._device, None
        if device is not None:
            self._hanging = device
            with suppress(TimeoutError):  # a driver that hangs is left to its thread: it gets no sound any more
                async with asyncio.timeout(_RELEASE_S):
                    await device.let_go()
            self._xruns = self._xruns[0] + device.xruns[0], self._xruns[1] + device.xruns[1]
            self._playback.rewind(device.heard)

    async def _tried(self) -> Device | None:
        """One attempt, unless the one before still hangs in PortAudio: threads are not to pile up behind it."""
        if self._hanging is not None and not self._hanging.settled:
            return None
        try:
            await self._open()
        except DeviceError:
            return None
        return self._device

    async def _reopened(self) -> Device | None:
        """A few attempts in a second: what is not missing needs no more, and nobody has to hear of it."""
        for pause_s in (0.1, 0.2, 0.4, 0.0):
            if (device := await self._tried()) is not None or self._closed:
                return device
            await self._pause(pause_s)
        return None

    async def _recover(self) -> None:
        """Attempts until one succeeds, or the port is closed."""
        self._lookout.want(True)
        seen = False
        for pause_s in chain(PAUSES_S, repeat(None)):
            if not seen and all(wish.known and _is_lasting(wish.known) for wish in self._wishes):
                portaudio.keep_list()
            if self._closed or await self._tried() is not None:
                return
            seen = await self._pause(pause_s)

    async def _pause(self, pause_s: float | None) -> bool:
        """Until there is a reason to try again, or so long. Whether there is a reason."""
        with suppress(TimeoutError):
            async with asyncio.timeout(pause_s):
                await self._wake.wait()
        seen = self._wake.is_set()
        self._wake.clear()
        return seen

    # --- reasons to open them again ---

    def _examine(self, capture: Capture) -> ev.Notice | None:
        """What there is to say about the microphone; a dead one is opened again when nothing is played."""
        vitals = self._vitals
        dead = vitals.dead
        if vitals.see(capture.mic):
            return ev.Notice("audio", _SILENT)
        if dead and not vitals.dead:
            return ev.Notice("audio", _HEARD)
        if vitals.wants_help and self._playback.quiet and not self._playback.waiting:
            vitals.opened_again()
            self._again = True
        return None

    def _expecting(self, devices: tuple[DeviceInfo, DeviceInfo]) -> bool:
        """Whether there may soon be a device that is wanted more than these."""
        pairs = list(zip(self._wishes, devices, strict=True))
        away = any(not wish.met_by(device) for wish, device in pairs)
        return away or any(w.follow and w.named is None and d.host_api not in MOVED_BY_SERVER for w, d in pairs)

    def _seen(self, table: Sequence[DeviceInfo] | None) -> None:
        """What another process sees; None if it sees nothing."""
        if table is None:
            self._wake.set()
            return
        kinds: tuple[Kind, Kind] = ("input", "output")
        try:
            found = [portaudio.find(table, wish, kind) for wish, kind in zip(self._wishes, kinds, strict=True)]
        except DeviceError:
            return
        if self._device is not None and _names(found) == _names(self._device.devices):
            return
        if not (all(device.host_api in MOVED_BY_SERVER for device in found) and portaudio.is_listed(table)):
            portaudio.renew()
        self._again = self._device is not None
        self._wake.set()

    def _let_others(self) -> None:
        """Another port of this process needs a new list, which is read when nobody has a stream open."""
        self._again = self._device is not None


def _is_lasting(device: DeviceInfo) -> bool:
    """Whether its name is that of a sound server, or of a plug-in in front of one, and not of a numbered card."""
    return device.host_api in MOVED_BY_SERVER and "(hw:" not in device.name


def _names(devices: Sequence[DeviceInfo]) -> list[tuple[str, str]]:
    return [(device.host_api, device.name) for device in devices]


def _label(devices: tuple[DeviceInfo, DeviceInfo]) -> str:
    return " and ".join(dict.fromkeys(device.name for device in devices))
