"""Microphone and loudspeaker of this machine, through PortAudio.

Both ends are opened at 16 kHz where they allow it: the sound server then resamples, better and cheaper than we
would, the echo reference needs no conversion, and an idle port costs least: 1.3 to 2.4 s of CPU per minute on the
machine of shared/ENGINES.md, 0.9 to 1.5 of them in PortAudio and ALSA. A voice loses what it has above 8 kHz; who
wants that puts 24000 or 48000 first in `rates` and pays two resamplers, 0.5 s per minute.

The device's threads only copy (taps.py); everything else happens on the loop. All calls to PortAudio itself come
from one thread of the port, because they block and because COM on Windows wants one thread.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial

from voiceloop.adapters.audio import portaudio
from voiceloop.adapters.audio.desk import SILENT, Desk
from voiceloop.adapters.audio.outlet import LiveOutlet, Rated
from voiceloop.adapters.audio.playback import Playback
from voiceloop.adapters.audio.portaudio import DeviceInfo as DeviceInfo
from voiceloop.adapters.audio.portaudio import Library, Stream, Wish, device_error
from voiceloop.adapters.audio.portaudio import list_devices as list_devices
from voiceloop.adapters.audio.primer import Primer
from voiceloop.adapters.audio.taps import Framer, Tap
from voiceloop.errors import DeviceError
from voiceloop.ports import Capture, Resampler

RATES = (16_000, 48_000, 44_100, 0, 32_000, 24_000, 96_000, 8_000)
"""Rates to try, in this order; 0 stands for the device's own default."""

TWO_STREAMS = frozenset({"ALSA"})
"""Host APIs whose duplex streams are avoided. On ALSA's PulseAudio plugin, a duplex stream that was held up once for
0.15 s (process or server) polls without pause from then on: 40 to 60 s of CPU per minute until it is closed, in 2 of
2 streams. Two streams stay at 0.6 to 0.9, and cost 0.2 more than an undisturbed duplex one."""

WATCH_S = 0.25
"""How often to look whether blocks still come."""


@dataclass(frozen=True, slots=True)
class Opened:
    """What the device threads run on. ear, mouth: which devices they are. out_delay_s, in_delay_s: what PortAudio says
    lies between the callback and the ear, and between the sound and the callback. pair: names both ends, for what was
    measured of them before."""

    ear: DeviceInfo
    mouth: DeviceInfo
    streams: tuple[Stream, ...]
    in_rate: int
    out_rate: int
    out_delay_s: float
    in_delay_s: float = 0.0
    pair: str = ""


@dataclass(frozen=True, slots=True)
class Settings:
    """How to open the devices.

    rates: in order of preference, 0 for the device's default. block_s: 10 to 20 ms; PortAudio's own choice costs
    half a core and drops blocks (shared/ENGINES.md). latency_s: what is asked of PortAudio, 0.06 to 0.1; more for
    machines that stutter. lost_s: a device that gives no block for so long is lost; it is noticed up to WATCH_S later.
    first_s: the same for its first block, as Bluetooth takes its time. open_s: how long opening may take. two_streams:
    host APIs whose devices get no duplex stream. primer_s, sleeps_after_s: as in `Primer`. extra_s: by how much later
    than PortAudio says a pair of devices is heard, where that was measured (voiceloop calibrate).
    """

    rates: Sequence[int] = RATES
    block_s: float = 0.02
    latency_s: float = 0.06
    lost_s: float = 1.5
    first_s: float = 2.5
    primer_s: float = 0.0
    sleeps_after_s: float = 0.0
    open_s: float = 10.0
    two_streams: frozenset[str] = TWO_STREAMS
    extra_s: Callable[[str], float] = lambda pair: 0.0


class SoundDevicePort(LiveOutlet):
    """An `AudioPort` on real devices, each named by number, name, part of a name, None for the default, or a `Wish`.

    One duplex stream if both ends are one device and it allows that (not on ALSA, see TWO_STREAMS), else one stream
    each; then the reference is brought to the microphone's clock. Progress counts what the loudspeaker has really
    played: what was handed over, less the latency that PortAudio reports. When nobody fetches frames, two seconds
    are kept, then the oldest go.

    playback: of a port before this one that lost its device; it keeps its rate, and goes on where it was. desk: who
    talks to PortAudio.
    """

    def __init__(
        self,
        input_device: str | int | Wish | None,
        output_device: str | int | Wish | None,
        resampler: Callable[[int, int], Resampler],
        settings: Settings | None = None,
        *,
        playback: Playback | None = None,
        desk: Desk | None = None,
    ) -> None:
        super().__init__(playback or Playback(0))
        self._wanted = (_wish(input_device), _wish(output_device))
        self._settings = settings or Settings()
        self._resampler = resampler
        self._desk = desk or Desk()
        self._opened: Opened | None = None
        self._tap = Tap()
        self._arrived = asyncio.Event()
        self._failure: DeviceError | None = None
        self._watch: asyncio.TimerHandle | None = None
        self._closed = False

    @property
    def opened(self) -> Opened | None:
        """What is open now; None before `open` and after `close`."""
        return self._opened

    @property
    def xruns(self) -> tuple[int, int]:
        """(blocks of input that were lost, blocks of output that came too late), as PortAudio tells."""
        return self._tap.lost, self._tap.late

    @property
    def playback(self) -> Playback:
        """Its loudspeaker's queue, for a port after this one."""
        return self._playback

    @property
    def heard(self) -> int:
        """The position on the output that the loudspeaker has reached, as far as is known."""
        return self._tap.heard

    @property
    def devices(self) -> tuple[DeviceInfo, DeviceInfo]:
        """Microphone and loudspeaker, while it is open."""
        if self._opened is None:
            raise ValueError("the port is not open")
        return self._opened.ear, self._opened.mouth

    @property
    def settled(self) -> bool:
        """After `close`: False if PortAudio still has not done all that was asked of it."""
        return self._desk.settled

    async def open(self) -> None:
        """Takes the devices and starts them. Raises DeviceError, also if they do not answer in time."""
        loop = asyncio.get_running_loop()
        self._desk.start()
        try:
            async with asyncio.timeout(self._settings.open_s):
                opened = await self._desk.call(self._take)
                if not self._playback.rate:
                    wanted = self._settings
                    primer = Primer(opened.out_rate, wanted.primer_s, wanted.sleeps_after_s)
                    self._playback = Playback(opened.out_rate, primer=primer)
                same = opened.out_rate == self._playback.rate
                source = self._playback if same else Rated(self._playback, opened.out_rate, self._resampler)
                extra_s = self._settings.extra_s(opened.pair)
                wake = partial(loop.call_soon_threadsafe, self._look)
                self._tap.connect(source, opened.out_delay_s, wake, extra_s=extra_s)
                await self._desk.call(lambda: _start(opened))
        except TimeoutError:
            self._give_back()
            raise DeviceError(SILENT) from None
        except BaseException:
            self._give_back()
            raise
        self._watch = loop.call_later(WATCH_S, self._watchdog, self._tap.beats, 0.0)

    async def frames(self) -> AsyncGenerator[Capture, None]:
        """Frames from now on until `close`. Raises DeviceError when the device is lost."""
        opened = self._opened
        if opened is None:
            return
        framer = Framer(opened.in_rate, opened.out_rate, self._resampler, one_clock=len(opened.streams) == 1)
        self._tap.forget()
        while True:
            for block in self._tap.blocks():
                news = self._playback.news(block.heard)
                for capture in framer.feed(block, news):
                    yield capture
                    if self._closed:
                        return
            if self._failure is not None:
                raise self._failure
            if self._closed:
                return
            self._arrived.clear()
            if not self._tap.waiting:
                await self._arrived.wait()

    async def close(self) -> None:
        """Gives the devices back. Twice is legal."""
        self._playback.close()
        await self.let_go()

    async def let_go(self) -> None:
        """As `close`, but the loudspeaker's queue stays as it is, for a port after this one."""
        self._closed = self._tap.closing = True
        self._arrived.set()
        if self._watch is not None:
            self._watch.cancel()
        with suppress(TimeoutError):  # a hung driver keeps its thread, not us
            async with asyncio.timeout(self._settings.open_s):
                await self._desk.finish(self._release)

    def _give_back(self) -> None:
        """As `close`, for where nobody may wait: an `open` that failed. A stream that starts late plays nothing."""
        self._closed = self._tap.closing = True
        self._desk.abandon(self._release)

    def _take(self) -> Opened:
        """On the desk's thread: opens what was asked for."""
        sd = portaudio.acquire()
        try:
            self._opened = _open(sd, self._wanted, self._settings, self._tap, self._playback.rate)
        except BaseException:
            portaudio.release()
            raise
        return self._opened

    def _release(self) -> None:
        """On the desk's thread."""
        opened, self._opened = self._opened, None
        if opened is None:
            return
        self._tap.closing = True
        for stream in opened.streams:
            # abort: stop would wait until everything queued in the device is played.
            with suppress(Exception):
                stream.abort()
            with suppress(Exception):
                stream.close()
        portaudio.release()

    def _look(self) -> None:
        """On the loop, after a block came or a stream ended."""
        self._tap.waking = False
        if self._tap.ended and not self._closed:
            self._fail("The sound device was lost: connect it again, or start the sound server.")
        self._arrived.set()

    def _watchdog(self, seen: tuple[int, int], silent_s: float) -> None:
        """Suspended or moved devices report nothing: they only stop calling (shared/ENGINES.md)."""
        beats = self._tap.beats
        stopped = any(now == before for now, before in zip(beats, seen, strict=True))
        silent_s = silent_s + WATCH_S if stopped else 0.0
        patience_s = self._settings.lost_s if all(seen) else max(self._settings.lost_s, self._settings.first_s)
        if silent_s >= patience_s:
            self._fail("The sound device has stopped giving sound: check that it is not suspended or unplugged.")
            self._arrived.set()
            return
        # Not the newest count when one end is silent: the other must not reset the clock.
        loop = asyncio.get_running_loop()
        self._watch = loop.call_later(WATCH_S, self._watchdog, seen if stopped else beats, silent_s)

    def _fail(self, sentence: str) -> None:
        self._failure = self._failure or DeviceError(sentence)


def _wish(named: str | int | Wish | None) -> Wish:
    return named if isinstance(named, Wish) else Wish(named)


def _open(sd: Library, wanted: tuple[Wish, Wish], settings: Settings, tap: Tap, rate: int) -> Opened:
    """The devices, opened but not started. rate: of what will be played, if that is known. Raises DeviceError."""
    table = portaudio.devices(sd)
    ear, mouth = portaudio.find(table, wanted[0], "input"), portaudio.find(table, wanted[1], "output")
    settings = replace(settings, rates=(rate, *settings.rates)) if rate else settings
    opened = _open_found(sd, ear, mouth, settings, tap)
    table = portaudio.devices(sd)
    if (table[ear.number], table[mouth.number]) != (ear, mouth):  # then these are other devices (sounddevice issue 427)
        for stream in opened.streams:
            stream.close()
        raise DeviceError("The sound devices changed while they were opened: try again.")
    return opened


def _open_found(sd: Library, ear: DeviceInfo, mouth: DeviceInfo, settings: Settings, tap: Tap) -> Opened:
    if ear.number == mouth.number and ear.host_api not in settings.two_streams:
        try:
            stream, rate = _try_rates(sd.RawStream, sd, ear, settings, tap.duplex, tap.finished)
            pair = _pair(ear, rate, mouth, rate)
            return Opened(ear, mouth, (stream,), rate, rate, _delay(stream, 1), _delay(stream, 0), pair)
        except sd.PortAudioError:
            pass  # some drivers allow each direction, but not both in one stream: the errors below are the clearer
    opened: list[tuple[Stream, int]] = []
    try:
        for device, make, callback in ((ear, sd.RawInputStream, tap.record), (mouth, sd.RawOutputStream, tap.play)):
            try:
                opened.append(_try_rates(make, sd, device, settings, callback, tap.finished))
            except sd.PortAudioError as error:
                noun = "microphone" if device is ear and not opened else "loudspeaker"
                raise device_error(error, f"{noun} {device.label}") from error
    except DeviceError:
        for stream, _ in opened:
            stream.close()
        raise
    (source, in_rate), (sink, out_rate) = opened
    pair = _pair(ear, in_rate, mouth, out_rate)
    return Opened(ear, mouth, (source, sink), in_rate, out_rate, _delay(sink, 1), _delay(source, 0), pair)


def _try_rates(
    make: Callable[..., Stream],
    sd: Library,
    device: DeviceInfo,
    settings: Settings,
    callback: Callable[..., None],
    finished: Callable[[], None],
) -> tuple[Stream, int]:
    """A stream at the first rate that is accepted. Raises PortAudioError: any but a refused rate at once."""
    refused: Exception | None = None
    for rate in dict.fromkeys(rate or device.default_rate for rate in settings.rates):
        try:
            stream = make(
                samplerate=rate,
                blocksize=round(rate * settings.block_s),
                device=device.number,
                channels=1,
                dtype="int16",
                latency=settings.latency_s,
                callback=callback,
                finished_callback=finished,
            )
        except sd.PortAudioError as error:
            if portaudio.code(error) != portaudio.INVALID_RATE:
                raise
            refused = error
        else:
            return stream, rate
    raise refused or ValueError("settings.rates is empty")


def _delay(stream: Stream, end: int) -> float:
    latency = stream.latency
    return latency[end] if isinstance(latency, tuple) else latency


def _pair(ear: DeviceInfo, in_rate: int, mouth: DeviceInfo, out_rate: int) -> str:
    """Both devices by what lasts: not by their numbers."""
    return f"{ear.host_api}: {ear.name} at {in_rate} Hz, {mouth.host_api}: {mouth.name} at {out_rate} Hz"


def _start(opened: Opened) -> None:
    for stream in opened.streams:
        try:
            stream.start()
        except Exception as error:
            raise device_error(error, "sound device") from error
