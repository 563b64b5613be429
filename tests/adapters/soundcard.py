"""A PortAudio without sound cards, for the event loop's thread: devices come, go and fall silent when a test says so.

Installed in place of the module `sounddevice`. As the real one, it reads its list of devices when it is initialised.
Nothing runs in a thread, so that all of it may run on virtual time.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np

from voiceloop.adapters.audio import portaudio
from voiceloop.adapters.audio.listing import EVERY_S
from voiceloop.adapters.audio.portaudio import DeviceInfo
from voiceloop.core.audio import Pcm, silence

T = TypeVar("T")

APIS = ("ALSA", "Core Audio")
BLOCK_S = 0.02
AHEAD_S = 0.04
"""What is handed over is heard so much later."""


class Refused(Exception):
    """PortAudio's error, with its number."""


class InlineDesk:
    """Does at once what the real one does on a thread. hangs: as a driver may, when something is closed or opened."""

    hangs = False

    def __init__(self) -> None:
        self.started = False

    def start(self) -> None:
        self.started = True

    async def call(self, job: Callable[[], T]) -> T:
        if type(self).hangs:
            await asyncio.get_running_loop().create_future()
        return job()

    async def finish(self, job: Callable[[], None]) -> None:
        if self.started:
            self.started = False
            if type(self).hangs:
                self._later(job)
                await asyncio.get_running_loop().create_future()
            job()

    def _later(self, job: Callable[[], None]) -> None:
        if type(self).hangs:
            asyncio.get_running_loop().call_later(0.1, self._later, job)
        else:
            job()

    def abandon(self, job: Callable[[], None]) -> None:
        if self.started:
            self.started = False
            job()

    @property
    def settled(self) -> bool:
        return not type(self).hangs


@dataclass
class Card:
    """One device. rates: those it opens at. silent: its callbacks stop without a word. busy: another program has it."""

    name: str
    inputs: int = 1
    outputs: int = 1
    api: int = 0
    rates: tuple[int, ...] = (16_000, 24_000, 48_000)
    silent: bool = False
    busy: bool = False


@dataclass
class Times:
    currentTime: float = 100.0
    outputBufferDacTime: float = 100.0 + AHEAD_S


@dataclass
class SoundCards:
    """The library, and the desk with the cables.

    mic: samples for the microphone, looped from where `spoken` stands; None gives noise. played: what the loudspeakers
    really played, int16 at each card's rate, without what was still on its way when a card was pulled out.
    """

    cards: list[Card]
    default: Any = None
    mic: Pcm | None = None
    played: list[tuple[str, int, Pcm]] = field(default_factory=lambda: list[tuple[str, int, Pcm]]())
    streams: list[Stream] = field(default_factory=lambda: list["Stream"]())
    listed: list[Card] = field(default_factory=lambda: list[Card]())
    initialised: int = 0
    spoken: int = 0
    opened: list[str] = field(default_factory=lambda: list[str]())

    PortAudioError = Refused

    def __post_init__(self) -> None:
        self.default = _Default(self)
        self._initialize()

    # --- what sounddevice has ---

    def _terminate(self) -> None:
        assert not self.streams, "the list was renewed under an open stream"

    def _initialize(self) -> None:
        self.initialised += 1
        self.listed = list(self.cards)

    def query_hostapis(self) -> list[dict[str, object]]:
        return [{"name": name} for name in APIS]

    def query_devices(self) -> list[dict[str, object]]:
        return [
            {
                "name": card.name,
                "hostapi": card.api,
                "max_input_channels": card.inputs,
                "max_output_channels": card.outputs,
                "default_samplerate": card.rates[0],
            }
            for card in self.listed
        ]

    def RawStream(self, **how: Any) -> Stream:
        return Stream(self, "both", **how)

    def RawInputStream(self, **how: Any) -> Stream:
        return Stream(self, "in", **how)

    def RawOutputStream(self, **how: Any) -> Stream:
        return Stream(self, "out", **how)

    # --- what a test does ---

    def unplug(self, *names: str, quietly: bool = False) -> list[Card]:
        """The cards are gone; their streams end, or just give nothing any more."""
        gone = [card for card in self.cards if card.name in names or not names]
        self.cards = [card for card in self.cards if card not in gone]
        for stream in list(self.streams):
            if stream.card in gone:
                stream.end(quietly=quietly)
        return gone

    def plug(self, *cards: Card) -> None:
        self.cards = [*self.cards, *cards]

    def sound(self, n: int) -> Pcm:
        """The next n samples of the microphone."""
        start, self.spoken = self.spoken, self.spoken + n
        if self.mic is None:
            return (np.arange(start, start + n) % 7).astype(np.int16)
        piece = self.mic[start : start + n]
        return np.concatenate((piece, (np.arange(n - piece.size) % 7).astype(np.int16)))

    def heard(self) -> Pcm:
        """All that was played, of all cards, as it is."""
        return np.concatenate([silence(0), *(pcm for _, _, pcm in self.played)])


class Watcher:
    """A `Lookout` on virtual time. blind: nobody can tell it what there is."""

    blind = False

    def __init__(self, seen: Callable[[Sequence[DeviceInfo] | None], None]) -> None:
        self.seen = seen
        self._timer: asyncio.TimerHandle | None = None

    @property
    def on(self) -> bool:
        return self._timer is not None

    def want(self, on: bool) -> None:
        if self._timer is not None and not on:
            self._timer.cancel()
            self._timer = None
        elif self._timer is None and on:
            self._wait()

    def _wait(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(EVERY_S + 0.1, self._look)

    def _look(self) -> None:
        """What another process would see now."""
        self._wait()
        cards = sys.modules["sounddevice"]
        frozen, cards.listed = cards.listed, list(cards.cards)  # type: ignore[attr-defined]
        table = portaudio.devices(cards)  # type: ignore[arg-type]
        cards.listed = frozen  # type: ignore[attr-defined]
        self.seen(None if self.blind else table)


class Stream:
    """One open stream; `start` lets its callbacks come from the loop."""

    def __init__(self, library: SoundCards, kind: str, **how: Any) -> None:
        self.card = library.listed[how["device"]]
        if self.card not in library.cards:
            raise Refused("Illegal combination of I/O devices", -9993)
        if self.card.busy:
            raise Refused("Device unavailable", -9985)
        if how["samplerate"] not in self.card.rates:
            raise Refused("Invalid sample rate", -9997)
        self.latency = AHEAD_S
        self.rate = how["samplerate"]
        self._library, self._kind, self._how = library, kind, how
        self._timer: asyncio.TimerHandle | None = None
        self._coming: list[Pcm] = []
        library.streams.append(self)
        library.opened.append(self.card.name)

    def start(self) -> None:
        self._due = asyncio.get_running_loop().time()
        self._next()

    def abort(self) -> None:
        self._stop()

    def close(self) -> None:
        self._stop()
        if self in self._library.streams:
            self._library.streams.remove(self)

    def end(self, *, quietly: bool) -> None:
        """The card is gone."""
        self._stop()
        if not quietly:
            self._how["finished_callback"]()

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _next(self) -> None:
        self._due += BLOCK_S
        self._timer = asyncio.get_running_loop().call_at(self._due, self._block)

    def _block(self) -> None:
        self._next()
        if self.card.silent:
            return
        n = self._how["blocksize"]
        mic = self._library.sound(n).tobytes() if self._kind != "out" else b""
        out = silence(n)
        match self._kind:
            case "both":
                self._how["callback"](mic, out, n, Times(), None)
            case "in":
                self._how["callback"](mic, n, Times(), None)
            case _:
                self._how["callback"](out, n, Times(), None)
        if self._kind != "in":
            self._coming.append(out)
            if len(self._coming) > round(AHEAD_S / BLOCK_S) + 1:  # the block before is heard to its end by now
                self._library.played.append((self.card.name, self.rate, self._coming.pop(0)))


class _Default:
    def __init__(self, library: SoundCards) -> None:
        self._library = library

    @property
    def device(self) -> tuple[int, int]:
        """The first that can, of each kind."""
        listed = self._library.listed
        ear = next((i for i, card in enumerate(listed) if card.inputs), -1)
        return ear, next((i for i, card in enumerate(listed) if card.outputs), -1)
