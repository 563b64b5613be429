"""Rules: the device is lost, and comes back. The conversation waits: nothing that was said, or is to be, is lost."""

from __future__ import annotations

from voiceloop.core import events as ev
from voiceloop.core.machines import Machines
from voiceloop.core.replies import fill
from voiceloop.core.trials import hear


def lose(m: Machines, event: ev.PortLost) -> None:
    """Who spoke is taken to have ended: what was said until then is answered. Unless the rest of it will come."""
    if m.watch.lost is not None:
        return
    m.watch.lost, m.watch.late = m.now, event.late
    m.out.append(ev.DeviceLost(event.reason))
    if not event.late:
        hear(m, m.hearing.stall())


def find(m: Machines, event: ev.PortBack) -> None:
    """All goes on; where no reply is heard then, a sign says so."""
    if m.watch.lost is None:
        return
    m.out.append(ev.DeviceBack(event.device, m.now - m.watch.lost))
    m.watch.lost, m.watch.late, m.watch.frame = None, False, m.now
    if m.floor.audible is None and m.floor.to_release(answers=True) is None:
        fill(m, m.policy.back)


def hold(m: Machines) -> None:
    """A reply that nobody can hear is held, until the device is back and nobody speaks over it."""
    reply = m.floor.audible
    if m.watch.lost is None or reply is None or reply.state == "away":
        return
    if reply.low:
        m.out.append(ev.Gain(1.0))
    if reply.low or reply.state == "playing":
        m.out.append(ev.Hold(reply.id))
        m.trace("paused", "device lost", reply=reply.id, heard=reply.played)
    reply.state = "away"
