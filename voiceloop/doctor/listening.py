"""A few seconds of the configured devices: the quiet room, then sweeps and what came back of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from voiceloop.calibration import MOST_S, Calibration
from voiceloop.core.audio import RATE, Pcm
from voiceloop.doctor import signals
from voiceloop.errors import DeviceError
from voiceloop.ports import AudioPort, Capture

SETTLING_S = 0.6
"""After a start blocks come in heaps, and cards click."""
QUIET_S = 1.2
_REPLY = 1
_LEAST = 0.1


class Opened(Protocol):
    """What an open port says of its devices; see adapters/audio/sounddevice.py."""

    @property
    def pair(self) -> str: ...
    @property
    def in_rate(self) -> int: ...
    @property
    def in_delay_s(self) -> float: ...
    @property
    def out_delay_s(self) -> float: ...


class DevicePort(AudioPort, Protocol):
    """A port that says what it has opened."""

    @property
    def opened(self) -> Opened | None: ...
    def frames(self) -> AsyncGenerator[Capture, None]: ...


@dataclass(frozen=True, slots=True)
class Take:
    """One recording, int16 at 16 kHz. quiet: before anything was played. mic, ref: all after the settling. told: pairs
    of (samples of mic that had come, samples of the sound that the port said had been heard). took_s: by our clock.
    late: blocks that came too late; lost: samples that never came, a block of PortAudio's taken for 20 ms."""

    opened: Opened
    out_rate: int
    quiet: Pcm
    mic: Pcm
    ref: Pcm
    told: tuple[tuple[int, int], ...]
    took_s: float
    open_s: float
    late: int
    lost: int


async def listen(port: DevicePort, n_sweeps: int, progress: Callable[[str], object], *, volume: float = 1.0) -> Take:
    """Opens the port, plays and records, closes it. volume: 0..1; that of the replies, so that nobody is startled.
    Raises DeviceError."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    progress("opening the devices")
    await port.open()
    open_s = loop.time() - began
    mics, refs, told = list[Pcm](), list[Pcm](), list[tuple[int, int]]()
    lost, began, at = 0, 0.0, 0
    try:
        opened = port.opened
        assert opened is not None, "it is open"
        port.gain(max(volume, _LEAST))
        sound = signals.sweeps(port.out_rate, n_sweeps)
        quiet, whole = round(QUIET_S * RATE), round((QUIET_S + sound.size / port.out_rate + 0.5) * RATE)
        settling = round(SETTLING_S * RATE)
        progress("listening to the room")
        async with asyncio.TaskGroup() as group, aclosing(port.frames()) as frames:
            writer: asyncio.Task[None] | None = None
            async for capture in frames:
                if settling > 0:
                    settling -= capture.mic.size
                    began = loop.time()
                    continue
                mics.append(capture.mic)
                refs.append(capture.ref if capture.ref is not None else np.zeros_like(capture.mic))
                at += capture.mic.size
                lost += capture.lost
                told += [(at, each.n) for each in capture.played if each.reply == _REPLY]
                if writer is None and at >= quiet:
                    progress(f"playing {n_sweeps} short sounds")
                    writer = group.create_task(port.write(_REPLY, sound))
                if writer is not None and at >= whole:
                    writer.cancel()  # nobody tells it any more that there is room
                    break
        took_s, (gone, late) = loop.time() - began, port.xruns
        out_rate = port.out_rate
    except BaseExceptionGroup as several:
        raise next((exc for exc in several.exceptions if isinstance(exc, DeviceError)), several) from None
    finally:
        await port.close()
    mic, ref = np.concatenate(mics), np.concatenate(refs)
    return Take(opened, out_rate, mic[:quiet], mic, ref, tuple(told), took_s, open_s, late, lost + gone * RATE // 50)


def measured(take: Take) -> tuple[signals.Echoes, Calibration] | None:
    """The echo, and what follows from it for this pair of devices; None if nothing came back.

    What is heard is what the loudspeaker has played; when, only the microphone can say: at the sample at which it hears
    it, less what PortAudio says lies between the sound and the callback. That figure cannot be measured apart from the
    loudspeaker's, so all that is missing is put down to the loudspeaker: words are rather not yet taken for heard.
    """
    found = signals.echoes(take.mic, take.ref)
    if found is None:
        return None
    opened = take.opened
    reported = opened.in_delay_s + opened.out_delay_s
    heard_s = signals.lead_s(take.told, take.out_rate, 0)
    came_s = signals.bursts(take.ref)[0][0] / RATE + found.delay_s
    extra_s = 0.0 if heard_s is None else came_s - opened.in_delay_s - heard_s
    extra_s = min(max(extra_s, -opened.out_delay_s), MOST_S)
    calibration = Calibration(
        pair=opened.pair,
        echo_s=found.delay_s,
        device_s=round(reported + extra_s, 4),
        reported_s=round(reported, 4),
        extra_s=round(extra_s, 4),
        spread_s=found.spread_s,
        loss_db=found.loss_db,
        found=found.found,
    )
    return found, calibration
