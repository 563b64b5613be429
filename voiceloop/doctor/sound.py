"""Checks of microphone and loudspeaker. Each takes what was recorded and gives what it found."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

from voiceloop.calibration import Calibration
from voiceloop.core.audio import RATE
from voiceloop.doctor import signals
from voiceloop.doctor.finding import Finding
from voiceloop.doctor.listening import Take

_LOUD_ROOM_DB = -38.0
"""A room that is louder has less than 15 dB to a voice at -24 dBFS: recognition suffers (shared/ENGINES.md, noisy)."""
_LATE_ECHO_S = 0.5
_UNSTEADY_S = 0.02
_MOVED_S = 0.03


class Device(Protocol):
    """A row of what PortAudio lists."""

    @property
    def name(self) -> str: ...
    @property
    def host_api(self) -> str: ...
    @property
    def inputs(self) -> int: ...
    @property
    def outputs(self) -> int: ...
    @property
    def rates(self) -> tuple[int, ...]: ...
    @property
    def is_default_input(self) -> bool: ...
    @property
    def is_default_output(self) -> bool: ...


def listed(rows: Sequence[Device]) -> Finding:
    """What there is."""
    ears, mouths = sum(bool(row.inputs) for row in rows), sum(bool(row.outputs) for row in rows)
    names = [f"{row.name} ({row.host_api})" for row in rows]
    text = f"{ears} to listen with, {mouths} to speak with"
    if ears and mouths:
        return Finding("devices", "ok", text, data={"names": names})
    what = "microphone" if mouths else "loudspeaker" if ears else "microphone and no loudspeaker"
    return Finding(
        "devices", "bad", f"no {what} was found", "Connect one, or start the sound server.", {"names": names}
    )


def opened(take: Take, rows: Sequence[Device]) -> Finding:
    """The pair that was opened, and at which rates it would."""
    pair = take.opened.pair
    rates = {rate for row in rows if f"{row.host_api}: {row.name} at " in pair for rate in row.rates}
    said = f"PortAudio says {_ms(take.opened.in_delay_s)} in and {_ms(take.opened.out_delay_s)} out"
    return Finding(
        "opened",
        "ok",
        f"{pair}, in {_ms(take.open_s)}; {said}",
        data={
            "pair": pair,
            "in_rate_hz": take.opened.in_rate,
            "out_rate_hz": take.out_rate,
            "rates_hz": sorted(rates),
            "open_s": round(take.open_s, 3),
            "in_delay_s": round(take.opened.in_delay_s, 4),
            "out_delay_s": round(take.opened.out_delay_s, 4),
        },
    )


def microphone(take: Take) -> Iterator[Finding]:
    """Whether it hears, how loud the room is, and whether anything is spoilt on the way."""
    whole, quiet = signals.levels(take.mic), signals.levels(take.quiet)
    data = {
        "noise_floor_db": quiet.rms_db,
        "peak_db": whole.peak_db,
        "clipped": round(whole.clipped, 5),
        "dc": quiet.dc,
        "dead": whole.dead,
    }
    unmute = "Unmute it (mixer, or a switch on the device), or choose another one: voiceloop devices."
    if whole.dead == "zeros":
        yield Finding("microphone", "bad", "gives nothing but zeros", unmute, data)
        return
    if whole.dead == "dc":
        text = f"gives a constant ({whole.dc:+.3f} of full scale) and no sound"
        yield Finding("microphone", "bad", text, "Plug it in again, or choose another one: voiceloop devices.", data)
        return
    if whole.clipped > 0.001:
        text = f"{whole.clipped:.1%} of the sound is clipped"
        yield Finding("microphone", "warn", text, "Turn the microphone's gain down, or the loudspeaker.", data)
    elif quiet.rms_db > _LOUD_ROOM_DB:
        text = f"the quiet room has {quiet.rms_db:.0f} dBFS: words are hard to tell from that"
        yield Finding("microphone", "warn", text, "Turn its gain down, or move it away from what is loud.", data)
    elif abs(quiet.dc) > 0.02:
        text = f"the sound is off centre by {quiet.dc:+.1%} of full scale"
        yield Finding("microphone", "warn", text, "Another input or cable is likely to be better.", data)
    else:
        floor = "digital silence" if quiet.dead == "zeros" else f"{quiet.rms_db:.0f} dBFS"
        yield Finding("microphone", "ok", f"noise floor {floor}, nothing clipped", data=data)


def underruns(take: Take) -> Finding:
    """Whether sound was lost, and whether it comes at the rate it should."""
    rate = take.mic.size / take.took_s
    data = {
        "late_blocks": take.late,
        "lost_samples": take.lost,
        "rate_hz": round(rate),
        "seconds": round(take.took_s, 2),
    }
    if take.late or take.lost:
        text = f"{take.late} blocks came too late and {_ms(take.lost / RATE)} were lost in {take.took_s:.1f} s"
        return Finding("underruns", "warn", text, "Close what keeps the machine busy.", data)
    if abs(rate / RATE - 1) > 0.03:
        text = f"the microphone gives {rate:.0f} samples a second instead of {RATE}"
        return Finding("underruns", "warn", text, "Choose another device, or restart the sound server.", data)
    return Finding("underruns", "ok", f"none in {take.took_s:.1f} s", data=data)


def echo(take: Take, found: tuple[signals.Echoes, Calibration] | None, canceller: bool | None) -> Finding:
    """What comes back of what is played. canceller: whether there is one; None if it is switched off."""
    if found is None:
        text = "nothing of the test sound came back"
        return Finding(
            "echo", "warn", text, "Good with headphones; else turn the loudspeaker up, or choose another one."
        )
    heard, calibration = found
    data = {
        "delay_s": heard.delay_s,
        "spread_s": heard.spread_s,
        "loss_db": heard.loss_db,
        "found": heard.found,
        "asked": heard.asked,
        "extra_s": calibration.extra_s,
    }
    text = f"comes back after {_ms(heard.delay_s)}, {heard.loss_db:.0f} dB weaker"
    if heard.loss_db < 0:
        return Finding("echo", "warn", text, "The microphone hears it louder than it is: turn one of them down.", data)
    if heard.spread_s > _UNSTEADY_S:
        text += f", but the delay swings by {_ms(heard.spread_s)}"
        return Finding(
            "echo", "warn", text, "The devices' clocks or a busy machine move it: use one device for both.", data
        )
    if heard.delay_s > _LATE_ECHO_S:
        return Finding("echo", "warn", text, "That is too late to cancel for certain: avoid Bluetooth.", data)
    if canceller is False and heard.loss_db < 40:
        todo = "There is no echo canceller, so barge-in by voice is off: pip install 'voiceloop[local]', or headphones."
        return Finding("echo", "warn", text, todo, data)
    return Finding("echo", "ok", text, data=data)


def compared(found: Calibration | None, known: Calibration | None) -> Finding:
    """Against what was measured before."""
    if known is None:
        todo = "Run voiceloop calibrate, so that what you heard of an interrupted reply is known exactly."
        return Finding("calibration", "warn" if found and abs(found.extra_s) > _MOVED_S else "ok", "none yet", todo)
    data = {"known_extra_s": known.extra_s, "known_echo_s": known.echo_s, "known_loss_db": known.loss_db}
    if found and abs(found.extra_s - known.extra_s) > _MOVED_S:
        off = found.extra_s - known.extra_s
        text = (
            f"the loudspeaker is heard {_ms(abs(off))} {'later' if off > 0 else 'earlier'} than when it was calibrated"
        )
        return Finding("calibration", "warn", text, "Run voiceloop calibrate again.", data)
    text = f"known: {_ms(known.device_s)} through both devices, where PortAudio says {_ms(known.reported_s)}"
    return Finding("calibration", "ok", text, data=data)


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms"
