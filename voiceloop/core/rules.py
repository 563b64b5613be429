"""The rules between the machines, one function each. `turns.py` holds their table and applies them.

Each looks at the state and says what follows from it now; said once, it has changed the state so that it is silent the
next time.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from voiceloop.core import events as ev
from voiceloop.core.floor import Floor, Kind, Reply
from voiceloop.core.hearing import Hearing
from voiceloop.core.history import History
from voiceloop.core.policy import Policy
from voiceloop.core.silence import Silence
from voiceloop.core.work import Draft, Work


@dataclass
class Machines:
    """The four machines, the history they write, the policy of the newest turn, and the actions of this step."""

    policy: Policy
    hearing: Hearing
    work: Work = field(default_factory=Work)
    floor: Floor = field(default_factory=Floor)
    silence: Silence = field(default_factory=Silence)
    history: History = field(default_factory=History)
    out: list[ev.Action] = field(default_factory=lambda: list[ev.Action]())


# --- the rules ---


def answer_decided(m: Machines) -> None:
    """A decided turn whose words are known is answered, or dropped if there are none."""
    for draft in m.work.settled():
        m.work.close(draft.turn)
        text = draft.text or ""
        if not text:
            m.out.append(ev.TurnDropped(draft.turn, "failed" if "stt" in draft.failed else "no words"))
            continue
        m.out.append(ev.Heard(draft.turn, draft.rev, text))
        m.history.user(draft.turn, text)
        for older in m.floor.replies():
            if older.kind == "answer" and older.public and older.state == "waiting":
                stop(m, older)
        reply = m.floor.get(draft.reply)
        if draft.silenced:
            if reply:
                stop(m, reply)
            m.out.append(ev.TurnDropped(draft.turn, "interrupted"))
        elif reply:
            reply.public = True
        else:
            ask(m, draft, "answer")


def transcribe(m: Machines) -> None:
    """The words of a turn that pauses, or was decided without them, are looked for."""
    for draft in m.work.to_transcribe():
        assert draft.end is not None, "words are looked for in an open segment"
        run = m.work.begin("stt", turn=draft.turn)
        m.out.append(ev.Transcribe(run, draft.turn, draft.rev, draft.context, draft.start, draft.end))


def answer_early(m: Machines) -> None:
    """The handler is asked before the turn is decided, as far as the policy reaches."""
    if draft := m.work.to_answer_early():
        draft.reply = ask(m, draft, "answer", early=True)


def barge_in(m: Machines) -> None:
    """A person over a reply: it is held at once, stopped when there are words, resumed when there were none."""
    reply = m.floor.audible
    if reply is None:
        return
    if any(draft.text for draft in m.work.drafts):
        stop(m, reply)
    elif m.hearing.speaking and reply.state == "playing" and m.policy.barge_in != "off":
        if m.policy.barge_in == "flush":
            stop(m, reply)
        else:
            reply.state = "paused"
            m.out.append(ev.Hold(reply.id))
    elif reply.state == "paused" and not m.work.drafts:
        reply.state = "playing"
        m.out.append(ev.Resume(reply.id))


def synthesize(m: Machines) -> None:
    """The next clause that is due becomes speech: one at a time for each reply."""
    for reply in m.floor.to_synthesize(ahead=m.policy.ahead, early=m.policy.reaches("speech")):
        run = m.work.begin("tts", reply=reply.id, clause=reply.asked)
        m.out.append(ev.Synthesize(run, reply.id, reply.turn, reply.asked, reply.ledger.clause(reply.asked)))
        reply.asked += 1


def end(m: Machines) -> None:
    """A reply of which all is played, or that has nothing to play, ends."""
    for reply, ending in m.floor.to_end():
        _finish(m, reply, ending, reply.ledger.heard(reply.played))


def release(m: Machines) -> None:
    """The next reply takes the floor when it is free and nobody speaks."""
    if not m.hearing.speaking and (reply := m.floor.to_release()):
        reply.state = "playing"
        m.out += [ev.Release(reply.id), ev.ReplyStarted(reply.id, reply.turn)]


def tell(m: Machines) -> None:
    """The clauses that are spoken now, or given as text, are made known."""
    for reply in m.floor.replies():
        known = reply.ledger.clauses if reply.kind == "text" else reply.asked if reply.state == "playing" else 0
        while reply.told < known:
            m.out.append(ev.ReplySaid(reply.id, reply.told, reply.ledger.clause(reply.told)))
            reply.told += 1


# --- what inputs and rules have in common ---


def waiting(m: Machines) -> bool:
    """Whether the user waits for a reply of which nothing is heard yet."""
    return m.work.waiting() or m.floor.waiting()


def state(m: Machines) -> ev.State:
    """Who has the floor."""
    reply = m.floor.audible
    if m.hearing.speaking:
        return "hearing"
    if reply and reply.ledger.total:
        return "paused" if reply.state == "paused" else "speaking"
    return "thinking" if reply or waiting(m) else "listening"


def ask(m: Machines, draft: Draft, kind: Kind, *, early: bool = False) -> int:
    """Asks the handler about a turn; the id of the reply to come."""
    reply = m.floor.add(m.floor.new_id(), kind, turn=draft.turn, public=not early)
    run = m.work.begin("handler", reply=reply.id)
    m.out.append(ev.Answer(run, reply.id, draft.turn, draft.rev, draft.text or "", early))
    return reply.id


def say(m: Machines, reply: int, kind: Kind, text: str) -> None:
    """Queues an announcement; one too many is dropped, and said so."""
    new = m.floor.add(reply, kind)
    if m.floor.count(kind) > m.policy.max_says:
        m.out.append(ev.Notice("session", "Too many announcements are waiting; the newest one was dropped."))
        stop(m, new)
    else:
        m.floor.write(new, text, final=True)


def stop(m: Machines, reply: Reply) -> None:
    """Ends a reply in this step: what is audible of it stops first, then its runs are dropped."""
    if reply.state in ("playing", "paused"):
        reply.state = "hushed"
        m.out.append(ev.Hush(reply.id))
        m.out += m.work.drop(reply=reply.id)
    elif reply.state == "waiting":
        m.out += m.work.drop(reply=reply.id)
        m.out.append(ev.Forget(reply.id))
        if reply.public:
            _finish(m, reply, "withdrawn", "")
        else:
            m.floor.end(reply)


def flushed(m: Machines, event: ev.Flushed) -> None:
    """The port stopped a reply: it ends with what was heard; a later exact count amends that."""
    if (reply := m.floor.get(event.reply)) and reply.state == "hushed":
        reply.played = max(reply.played, event.n) if not event.exact else event.n
        _finish(m, reply, "interrupted", reply.ledger.heard(reply.played))
    elif (reply := m.floor.ended(event.reply)) and event.exact:
        heard = reply.ledger.heard(event.n)
        if heard != reply.ledger.heard(reply.played):
            m.out.append(ev.Amend(reply.id, heard))
            m.history.amend(reply.id, heard)
        reply.played = event.n


def words_failed(m: Machines, draft: Draft, event: ev.Failed) -> None:
    """Speech to text failed: tried again when the turn is decided; then the user is told."""
    given_up = draft.decided
    draft.failed.add("stt")
    if given_up:
        draft.text = ""
        m.out.append(ev.Notice("stt", event.message))
        say(m, m.floor.new_id(), "filler", m.policy.sorry_stt)


def reply_failed(m: Machines, reply: Reply, event: ev.Failed) -> None:
    """The handler or the voice failed: unseen, it is tried again when the turn is decided; else the user is told."""
    if not reply.public:
        stop(m, reply)
        for draft in m.work.drafts:
            if draft.reply == reply.id:
                draft.reply = None
                draft.failed.add("handler")
        return
    m.out.append(ev.Notice(event.stage, event.message))
    reply.failed = True
    if event.stage == "tts":
        m.out += m.work.drop(reply=reply.id)
        reply.ledger.cut()
        reply.complete = True
    else:
        m.floor.write(reply, "", final=True)
        m.floor.write(reply, m.policy.sorry_handler, final=True)


def _finish(m: Machines, reply: Reply, ending: ev.Ending, heard: str) -> None:
    if reply.kind in ("answer", "say"):
        m.history.assistant(reply.id, reply.turn, heard)
    m.out.append(ev.ReplyEnded(reply.id, reply.turn, ending, reply.ledger.said, heard))
    m.floor.end(reply)
