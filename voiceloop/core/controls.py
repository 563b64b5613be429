"""Rules: what the host's switches do to the floor. They act at once, whatever the policy of the turn is."""

from __future__ import annotations

from dataclasses import replace

from voiceloop.core import events as ev
from voiceloop.core import replies
from voiceloop.core.judging import Verdict
from voiceloop.core.machines import Machines
from voiceloop.core.replies import manner_of, pause, stop
from voiceloop.core.trials import hear, no_more
from voiceloop.core.work import Draft


def mute(m: Machines, *, on: bool) -> None:
    """The microphone does not count any more, or does again.

    A turn that was being spoken ends here instead of being thrown away: what was said was said to us, and to lose a
    whole question without a word would be worse than to answer a part of one. A voice over a reply that is heard is
    dismissed: people mute so that the television does not interrupt.
    """
    m.out.append(ev.Listen(not on))
    if on == m.controls.muted:
        return
    m.controls.muted = on
    m.out.append(ev.Muted(on))
    m.trace("muted", "on" if on else "off")
    if on:
        hear(m, m.hearing.commit("muted"))


def press(m: Machines, *, down: bool) -> None:
    """The key of push-to-talk: down, the person has the floor, and what plays is held or stopped; up, the turn ends."""
    if down == m.controls.down:
        return
    m.out.append(ev.Pressed(down))
    m.trace("key", "down" if down else "up")
    if not down:
        no_more(m, Verdict(True, "key"))
        hear(m, m.hearing.commit("key"))
    m.controls.down = down
    reply = m.floor.audible
    if not down or reply is None or reply.state != "playing":
        return
    manner = manner_of(m, reply)
    if manner == "stop":
        m.trace("stopped", "key down", reply=reply.id, heard=reply.played)
        stop(m, reply)
    elif manner == "pause":
        pause(m, reply)
        m.trace("paused", "key down", reply=reply.id, heard=reply.played)


def respond(m: Machines, event: ev.Respond) -> None:
    """A text is answered: on the floor, as if it had been said, or beside it."""
    turn, policy = m.hearing.new_turn(), m.hearing.policy
    if event.out_of_band:
        replies.ask(m, Draft(turn, policy, words=ev.Transcribed(0, event.text)), "text")
        m.out.append(ev.Sure(turn, 0))
        return
    m.policy = policy
    draft = m.work.open(turn, replace(policy, reopen=0))
    draft.words, draft.decided = ev.Transcribed(0, event.text.strip()), m.now
