"""What happens to replies: asked for, written, stopped, ended."""

from __future__ import annotations

from typing import get_args

from voiceloop.core import events as ev
from voiceloop.core.floor import Kind, Reply
from voiceloop.core.machines import Machines
from voiceloop.core.policy import BargeIn
from voiceloop.core.silence import CHIME
from voiceloop.core.work import Draft


def public_answers(m: Machines) -> list[Reply]:
    """Answers that the user waits for."""
    return [r for r in m.floor.replies() if r.kind == "answer" and r.public and r.state == "waiting"]


def manner_of(m: Machines, reply: Reply) -> BargeIn:
    """What a voice does to this reply: as asked for with it, else by what goes on."""
    if reply.wishes.barge_in:
        return reply.wishes.barge_in
    if reply.wishes.tool:
        return reply.policy.barge_in_tool
    manner = reply.policy.barge_in if reply.audible else reply.policy.barge_in_thinking
    # A voice may be our own echo; a key never is.
    return "pause" if manner == "ignore" and m.controls.down else manner


def ask(m: Machines, draft: Draft, kind: Kind, *, early: bool = False) -> int:
    """Asks the handler about a turn; the id of the reply to come."""
    reply = m.floor.add(kind, draft.policy, turn=draft.turn, public=not early)
    run = m.work.begin("handler", reply=reply.id)
    m.out.append(ev.Answer(run, reply.id, draft.turn, draft.rev, draft.text or "", early))
    return reply.id


def say(m: Machines, event: ev.Say) -> None:
    """Queues an announcement; one too many is dropped, and said so."""
    new = m.floor.add_said(event.reply, m.policy)
    new.wishes.barge_in, new.wishes.expect = event.barge_in, event.expect
    if m.floor.count("say") > m.policy.max_says:
        m.out.append(ev.Notice("session", "Too many announcements are waiting; the newest one was dropped."))
        stop(m, new)
    else:
        new.script.write(event.text, final=True)


def fill(m: Machines, text: str) -> None:
    """A sentence of our own, soon; but not a queue of them."""
    if text and not m.floor.count("filler"):
        m.floor.add("filler", m.policy).script.end_with(text, whole=text == CHIME)


def wish(reply: Reply, event: ev.HandlerState) -> None:
    """What the handler says beside its text. Values that mean nothing are ignored."""
    wishes = reply.wishes
    match event.key:
        case "tool":
            wishes.tool = event.value
        case "expect":
            wishes.expect = event.value
        case "sure":
            wishes.sure = event.value or "wanted"
        case _:
            wishes.barge_in = next((manner for manner in get_args(BargeIn) if manner == event.value), None)


def write(m: Machines, reply: Reply, text: str, *, final: bool) -> None:
    """More text from the handler; when there is no room for it, no more is wanted."""
    reply.script.write(text, final=final)
    if reply.script.overlong:
        m.out += m.work.drop(reply=reply.id, stage="handler")


def pause(m: Machines, reply: Reply) -> None:
    """Holds what plays, or lowers it."""
    reply.state = "paused"
    m.out.append(ev.Gain(reply.policy.duck) if reply.policy.duck else ev.Hold(reply.id))


def stop(m: Machines, reply: Reply) -> None:
    """Ends a reply in this step: what is audible of it stops first, then its runs are dropped."""
    if reply.audible:
        low, reply.state = reply.low, "hushed"
        m.out.append(ev.Hush(reply.id))
        if low:
            m.out.append(ev.Gain(1.0))
        m.out += m.work.drop(reply=reply.id)
    elif reply.state == "waiting":
        m.out += m.work.drop(reply=reply.id)
        m.out.append(ev.Forget(reply.id))
        if reply.public:
            finish(m, reply, "withdrawn")
        else:
            m.floor.end(reply)


def interrupt(m: Machines, only: int | None) -> None:
    """Nothing that is said, or was about to be, is wanted any more. only: the one reply that is not, if it is heard."""
    heard = m.floor.audible
    if only is not None and (heard is None or heard.id != only):
        return
    if heard:
        m.trace("stopped", "interrupted", reply=heard.id, heard=heard.played)
    if only is not None and heard:
        stop(m, heard)
        return
    for draft in m.work.unanswered:
        draft.silenced = draft.decided is not None
    for reply in m.floor.replies():
        if reply.kind != "text":
            stop(m, reply)


def flushed(m: Machines, event: ev.Flushed) -> None:
    """The port stopped a reply: it ends with what was heard; a later exact count amends that."""
    if (reply := m.floor.get(event.reply)) and reply.state == "hushed":
        reply.played = event.n if event.exact else max(reply.played, event.n)
        finish(m, reply, reply.fate)
    elif (reply := m.floor.ended(event.reply)) and event.exact and event.n != reply.played:
        before = m.floor.heard(reply), reply.cut_at
        reply.played = event.n
        heard, cut_at = after = m.floor.heard(reply), reply.cut_at
        if after != before:
            m.out.append(ev.Amend(reply.id, heard, cut_at))
            m.history.amend(reply.id, heard, cut_at)


def reply_failed(m: Machines, reply: Reply, event: ev.Failed, stage: ev.Stage) -> None:
    """The handler or the voice failed: unseen, it is tried again when the turn is decided; else the user is told."""
    if not reply.public:
        stop(m, reply)
        draft = m.work.asked(reply.id)
        draft.reply = None
        draft.failed.add("handler")
        return
    m.out.append(ev.Notice(stage, event.message))
    reply.failed = True
    if stage == "tts":
        m.out += m.work.drop(reply=reply.id)
        reply.ledger.cut()
        reply.script.asked = reply.ledger.clauses
        reply.script.complete = True
    else:
        reply.script.end_with(reply.policy.sorry_handler)


def finish(m: Machines, reply: Reply, ending: ev.Ending) -> None:
    """The terminal event of a reply, and what is remembered of it."""
    if reply.low:
        m.out.append(ev.Gain(1.0))
    heard, said = m.floor.heard(reply), reply.ledger.said
    cut_at = reply.cut_at if ending == reply.fate else None
    if (heard or ending == "interrupted") and ending != "withdrawn":
        note(m, reply, cut_at)
    if reply.script.overlong:
        who = "session" if reply.turn is None else "handler"
        m.out.append(ev.Notice(who, "The reply was too long; the rest of it was dropped."))
    if ending == "empty":
        _explain(m, reply)
    m.out.append(ev.ReplyEnded(reply.id, reply.turn, ending, said, heard, cut_at))
    m.floor.end(reply)


def note(m: Machines, reply: Reply, cut_at: int | None) -> None:
    """What is heard of a reply is remembered, if it is a part of the conversation."""
    if reply.kind in ("answer", "say"):
        m.history.assistant(reply.id, reply.turn, m.floor.heard(reply), said=reply.ledger.said, cut_at=cut_at)


def _explain(m: Machines, reply: Reply) -> None:
    if reply.ledger.clauses:
        m.out.append(ev.Notice("tts", "Speech synthesis made no sound of the reply."))
    elif reply.kind == "answer":
        m.out.append(ev.Notice("handler", "The handler gave no answer."))
