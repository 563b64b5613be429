"""PortAudio as a library: loading it, keeping it quiet, naming its devices, and turning its errors into sentences.

`sounddevice.py` builds the port on it. Nothing here needs a loop; all calls block, some up to a second.
"""

from __future__ import annotations

import asyncio
import ctypes
import importlib
import logging
import platform
import re
import sys
import threading
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Literal, Protocol, cast

from voiceloop.errors import DeviceError

Kind = Literal["input", "output"]
RATES = (8_000, 16_000, 24_000, 32_000, 44_100, 48_000, 96_000)
LIST = "`voiceloop devices` lists what there is"

log = logging.getLogger(__name__)


class Stream(Protocol):
    """What is used of `sounddevice.RawStream` and its two halves. latency: seconds, a pair for both directions."""

    latency: float | tuple[float, float]

    def start(self) -> None: ...
    def abort(self) -> None: ...
    def close(self) -> None: ...


class _Check(Protocol):
    def __call__(self, *, device: int, channels: int, dtype: str, samplerate: int) -> None: ...


class _Default(Protocol):
    device: Sequence[int]


class Library(Protocol):
    """What is used of the module `sounddevice`, which has no types of its own."""

    PortAudioError: type[Exception]
    RawStream: Callable[..., Stream]
    RawInputStream: Callable[..., Stream]
    RawOutputStream: Callable[..., Stream]
    default: _Default
    check_input_settings: _Check
    check_output_settings: _Check

    def query_devices(self) -> Sequence[Mapping[str, object]]: ...
    def query_hostapis(self) -> Sequence[Mapping[str, object]]: ...


@dataclass(frozen=True, slots=True)
class DeviceInfo:
    """One device as PortAudio lists it.

    number: valid until devices come or go; the name lasts longer. inputs, outputs: channels. rates: those of RATES
    that open in every direction the device has, empty if nobody tried.
    """

    number: int
    name: str
    host_api: str
    inputs: int
    outputs: int
    default_rate: int
    rates: tuple[int, ...] = ()
    is_default_input: bool = False
    is_default_output: bool = False

    def can(self, kind: Kind) -> bool:
        """True if it has channels in that direction."""
        return bool(self.inputs if kind == "input" else self.outputs)

    @property
    def label(self) -> str:
        """Number, name and host API, as shown to the user."""
        return f'{self.number} "{self.name}" ({self.host_api})'


def list_devices() -> list[DeviceInfo]:
    """All devices with the rates they open at. Blocks for some ms per rate. Raises DeviceError without PortAudio."""
    with library() as sd:
        return [replace(device, rates=_rates(sd, device)) for device in devices(sd)]


def devices(sd: Library) -> list[DeviceInfo]:
    """All devices, rates not tried."""
    apis = [str(api["name"]) for api in sd.query_hostapis()]
    default = tuple(sd.default.device)

    def info(number: int, row: Mapping[str, object]) -> DeviceInfo:
        return DeviceInfo(
            number=number,
            name=str(row["name"]),
            host_api=apis[cast("int", row["hostapi"])],
            inputs=cast("int", row["max_input_channels"]),
            outputs=cast("int", row["max_output_channels"]),
            default_rate=round(cast("float", row["default_samplerate"])),
            is_default_input=number == default[0],
            is_default_output=number == default[1],
        )

    return [info(number, row) for number, row in enumerate(sd.query_devices())]


def choose(table: Sequence[DeviceInfo], wanted: str | int | None, kind: Kind) -> DeviceInfo:
    """The device meant by a number, a name, a part of a name in any case, or None (the default).

    A name may be followed by ", " and the host API. Raises DeviceError with the candidates when it is none or many.
    """
    noun = "microphone" if kind == "input" else "loudspeaker"
    able = [device for device in table if device.can(kind)]
    if not able:
        what = "microphone or loudspeaker" if not table else noun
        raise DeviceError(f"No {what} was found: connect one, or start the sound server, and try again.")
    if wanted is None:
        default = (device for device in able if (device.is_default_input, device.is_default_output)[kind == "output"])
        return next(default, able[0])
    found = _matches(able, wanted)
    if len(found) == 1:
        return found[0]
    listed = "; ".join(device.label for device in found or able)
    if found:
        raise DeviceError(f'The {noun} "{wanted}" may be any of these, give its number or full name: {listed}.')
    raise DeviceError(f'No {noun} is called "{wanted}"; there are: {listed}.')


@dataclass(frozen=True, slots=True)
class Wish:
    """Which device is meant, also when devices have come and gone since.

    named: as in `choose`. known: what that was when it was found. follow: with named None, whatever is the default now,
    even while `known` is there. or_default: the default is better than nothing.
    """

    named: str | int | None = None
    known: DeviceInfo | None = None
    follow: bool = False
    or_default: bool = False

    def met_by(self, device: DeviceInfo) -> bool:
        """False if it is only better than nothing."""
        if self.named is None or (self.known is not None and _same(self.known, device)):
            return True
        return (isinstance(self.named, str) or self.known is None) and bool(_matches([device], self.named))


def find(table: Sequence[DeviceInfo], wish: Wish, kind: Kind) -> DeviceInfo:
    """The device that is wished for: the one that is known, by name, or its replacement. Raises DeviceError."""
    known = wish.known
    if known is not None and not (wish.follow and wish.named is None):
        again = [device for device in table if device.can(kind) and _same(known, device)]
        exact = [device for device in again if device.name == known.name]
        if again:
            return (exact or again)[0]
    try:
        if known is not None and isinstance(wish.named, int):  # numbers change, and it would be another device
            noun = "microphone" if kind == "input" else "loudspeaker"
            raise DeviceError(f'The {noun} "{known.name}" is not there: connect it again.')
        return choose(table, wish.named, kind)
    except DeviceError:
        if wish.or_default and wish.named is not None:
            return choose(table, None, kind)
        raise


_CARD = re.compile(r"\(hw:\d+,")


def _same(one: DeviceInfo, other: DeviceInfo) -> bool:
    """Whether it is the same device, which may have come back as another card of ALSA."""
    alike = one.host_api == other.host_api and _CARD.sub("(hw:", one.name) == _CARD.sub("(hw:", other.name)
    return alike and (one.inputs > 0, one.outputs > 0) == (other.inputs > 0, other.outputs > 0)


def _matches(able: Sequence[DeviceInfo], wanted: str | int) -> list[DeviceInfo]:
    """The best kind of match that finds any device: number, exact name, name in another case, part of a name."""
    if isinstance(wanted, int):
        return [device for device in able if device.number == wanted]
    folded = wanted.casefold()
    tests: tuple[Callable[[str], bool], ...] = (
        lambda name: name == wanted,
        lambda name: name.casefold() == folded,
        lambda name: folded in name.casefold(),
    )
    for test in tests:
        if found := [d for d in able if test(d.name) or test(f"{d.name}, {d.host_api}")]:
            # Windows lists each device once per host API: the one of the default device's API is meant.
            usual = {d.host_api for d in able if d.is_default_input or d.is_default_output}
            preferred = [d for d in found if d.host_api in usual]
            return preferred if len(preferred) == 1 else found
    return []


def _rates(sd: Library, device: DeviceInfo) -> tuple[int, ...]:
    checks = [
        check
        for check, channels in ((sd.check_input_settings, device.inputs), (sd.check_output_settings, device.outputs))
        if channels
    ]

    def opens(rate: int) -> bool:
        try:
            for check in checks:
                check(device=device.number, channels=1, dtype="int16", samplerate=rate)
        except sd.PortAudioError:
            return False
        return bool(checks)

    return tuple(rate for rate in RATES if opens(rate))


def code(error: Exception) -> int:
    """PortAudio's number for an error, 0 if it has none."""
    return error.args[1] if len(error.args) > 1 and isinstance(error.args[1], int) else 0


INVALID_RATE = -9997


def device_error(error: Exception, what: str) -> DeviceError:
    """The sentence for an error met when opening `what`."""
    number = code(error)
    if number == -9985:  # paDeviceUnavailable
        return DeviceError(f"The {what} is in use by another program: close that one, or choose another device.")
    if number == INVALID_RATE:
        return DeviceError(f"The {what} opens at none of the usual sample rates: choose another device; {LIST}.")
    text = str(error.args[0] if error.args else error).rpartition(": ")[2]
    return DeviceError(
        f"The {what} cannot be opened ({text}): check that it is connected and the sound server runs; {LIST}."
    )


@contextmanager
def library() -> Generator[Library]:
    """PortAudio with a fresh list of devices while nobody else uses it. Raises DeviceError if it is missing."""
    sd = acquire()
    try:
        yield sd
    finally:
        release()


def acquire() -> Library:
    """As `library`, for one who keeps it until `release`."""
    with _users.lock:
        if _users.n and time.monotonic() < _users.renewal:
            raise DeviceError("The list of sound devices is being read anew: try again in a moment.")
        if _users.n == 0:
            _users.renewal, _users.unmute = 0.0, _mute()
        refresh, _users.right = _users.n == 0 and not _users.right, False
        try:
            sd = _load(refresh=refresh)
        except BaseException:
            if _users.n == 0:
                _users.unmute()
            raise
        _users.n += 1
        return sd


def release() -> None:
    """The counterpart of `acquire`."""
    with _users.lock:
        _users.n -= 1
        if _users.n == 0:
            _users.unmute()


def is_listed(table: Sequence[DeviceInfo]) -> bool:
    """Whether PortAudio's list, whenever it was read, is still right; then the next user does not read it anew."""
    if not _users.lock.acquire(blocking=False):  # somebody reads it, which takes as long as the driver likes
        return False
    try:
        sd = cast("Library | None", sys.modules.get("sounddevice"))
        if sd is not None:
            with suppress(sd.PortAudioError):  # it could not be initialised the last time: there is no list
                _users.right = devices(sd) == [replace(device, rates=()) for device in table]
        return _users.right
    finally:
        _users.lock.release()


def keep_list() -> None:
    """The next user does not read the list anew: it is asked for a name that needs no new one."""
    _users.right = True


def on_renewal(let_go: Callable[[], None], loop: asyncio.AbstractEventLoop | None) -> None:
    """Somebody who lets go of the library when asked to, called on its loop; None: not any more."""
    with _users.told:
        if loop is None:
            _users.asked.pop(let_go, None)
        else:
            _users.asked[let_go] = loop


def renew() -> None:
    """Asks all users to let go for a moment: the first one to acquire it after the last release gets a new list.

    Until then, but at most for RENEWAL_S (there may be users who cannot be asked), nobody gets the old one.
    """
    with _users.told:
        if _users.n == 0:
            return
        _users.renewal = time.monotonic() + RENEWAL_S
        for let_go, loop in _users.asked.items():
            with suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(let_go)


RENEWAL_S = 2.0


class _Users:
    """Who uses the library now. PortAudio is one per process, so this is too.

    lock: held while its list is read, which a driver that hangs never ends: no loop may wait for it. told: for `asked`.
    """

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.told = threading.Lock()
        self.n = 0
        self.unmute: Callable[[], None] = lambda: None
        self.null: int | None = None
        self.renewal = 0.0
        self.right = False
        self.asked: dict[Callable[[], None], asyncio.AbstractEventLoop] = {}


_users = _Users()


_RESTART = ("_terminate", "_initialize")


def _load(*, refresh: bool) -> Library:
    """The library, its devices listed anew if asked for: PortAudio reads the list once, when it is initialised."""
    refresh = refresh and "sounddevice" in sys.modules
    try:
        sd = cast("Library", importlib.import_module("sounddevice"))
    except ImportError as error:
        raise DeviceError("The package sounddevice is missing: pip install sounddevice.") from error
    except OSError as error:
        raise DeviceError("The PortAudio library is missing: apt install libportaudio2.") from error
    except Exception as error:
        raise device_error(error, "sound system") from error
    if refresh:
        # With open streams this would close them, so only the first user does it. sounddevice has no public name.
        terminate, initialize = (cast("Callable[[], None]", getattr(sd, name)) for name in _RESTART)
        with suppress(sd.PortAudioError):  # it may have failed to start the last time
            terminate()
        try:
            initialize()
        except sd.PortAudioError as error:
            raise device_error(error, "sound system") from error
    return sd


def _mute() -> Callable[[], None]:
    """Silences what C libraries write to their `stderr`; gives the function that ends it.

    ALSA and PortAudio report there, also from their own threads when a device is lost, what reaches us as error
    codes anyway. C's `stderr` is a variable: exchanging it leaves file descriptor 2, and so Python's own messages,
    alone, unlike the usual dup2, which swallows those of all threads; the price is that a C library's last words
    before it aborts are not seen either. PortAudio's hook for its messages is not
    exported (PortAudio issue 423) and ALSA's covers only ALSA. With debug logging on nothing is silenced.
    """
    if platform.libc_ver()[0] != "glibc" or log.isEnabledFor(logging.DEBUG):
        return lambda: None
    libc = ctypes.CDLL(None)
    libc.fopen.restype = ctypes.c_void_p
    slot = ctypes.c_void_p.in_dll(libc, "stderr")
    _users.null = _users.null or cast("int | None", libc.fopen(b"/dev/null", b"w"))
    if _users.null is None:
        return lambda: None
    before, slot.value = slot.value, _users.null

    def unmute() -> None:
        # The file stays open, for the next time: a thread of PortAudio may be about to write to it.
        slot.value = before

    return unmute
