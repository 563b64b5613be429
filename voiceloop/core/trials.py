"""Rules: voices over replies, before them, and soon after a decision, until it is known what they want."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from voiceloop.core import events as ev
from voiceloop.core.endpointing import next_pace
from voiceloop.core.hearing import Closed, Fact, Lasted, Opened, Paused, Rejected, Resumed, Spoke
from voiceloop.core.judging import Verdict, judge
from voiceloop.core.machines import Machines
from voiceloop.core.replies import manner_of, pause, public_answers, stop
from voiceloop.core.rules import close_draft, end_of_turn, go_on, likeness, reject
from voiceloop.core.work import Draft, Run, Span, Trial

# --- what is heard ---


def hear(m: Machines, facts: Sequence[Fact]) -> None:
    """What the microphone tells, in order."""
    for fact in facts:
        if isinstance(fact, Opened):
            _opened(m, fact)
            continue
        draft = m.work[fact.turn]
        match fact:
            case Spoke():
                _spoke(draft, fact)
            case Paused():
                _paused(m, draft, fact)
            case Lasted():
                draft.lasted = Span(fact.context, fact.context, fact.end)
            case Resumed():
                _resumed(m, draft, fact)
            case Rejected():
                _rejected(m, draft, fact)
            case _:
                _closed(m, draft, fact)


def _opened(m: Machines, fact: Opened) -> None:
    """Somebody speaks: is it over a reply, before one, or soon after a decision?"""
    m.policy = fact.policy
    no_more(m, Verdict(True, "went on"))
    draft = m.work[fact.turn] if fact.reopened else m.work.open(fact.turn, fact.policy, expect=m.expect)
    m.out.append(ev.SpeechStarted(fact.turn, fact.start, fact.continues))
    m.trace("started", "goes on" if fact.reopened else "voice", turn=fact.turn, level_db=m.hearing.level_db)
    draft.lasted = None
    if fact.reopened or m.floor.audible or public_answers(m):
        draft.trial = Trial(fact.start, fact.rev, reopens=fact.reopened)


def _spoke(draft: Draft, fact: Spoke) -> None:
    """What is known of the voice on trial grew."""
    if trial := draft.trial:
        trial.span = Span(fact.context, fact.start, fact.end, fact.spoken)


def _paused(m: Machines, draft: Draft, fact: Paused) -> None:
    """The sound of the turn, and of the voice on trial, is complete as far as is known."""
    whole = Span(fact.context, fact.start, fact.end) if fact.spoken >= draft.policy.min_speech else None
    trial = draft.trial
    if trial:
        trial.ended = True
        trial.span = Span(max(fact.context, fact.new - draft.policy.pre_roll), fact.new, fact.end, fact.spoken)
    if trial and trial.reopens:
        trial.whole = whole
    else:
        m.out += m.work.drop_looks(draft.turn, trial.span if trial else None)  # the words of all of it are due
        draft.span = whole or draft.span


def _resumed(m: Machines, draft: Draft, fact: Resumed) -> None:
    """The voice goes on after a silence."""
    m.trace("waiting", "went on", turn=draft.turn, pause_s=fact.pause)
    trial = draft.trial
    if trial:
        trial.again(m.hearing.at)
    if trial and trial.reopens:
        trial.rev, draft.lasted = fact.rev, None
    else:
        go_on(m, draft, fact.rev)


def _closed(m: Machines, draft: Draft, fact: Closed) -> None:
    """The segment has ended: the turn is decided, unless the voice does not count."""
    trial = draft.trial
    told = fact.cause in ("commit", "key")
    if trial and told and (trial.pending or (trial.reopens and trial.dismissed and not _final(m, draft, trial))):
        trial.verdict = Verdict(True, fact.cause)
        _stopped(m, draft, trial)
    if trial and trial.pending and fact.cause == "muted" and m.floor.audible:
        trial.verdict = Verdict(False, "muted")
        m.trace("ignored", "muted", turn=draft.turn, facts=_facts(m, draft, trial))
    if trial and _final(m, draft, trial):
        _dismissed(m, draft, trial)
    elif trial and trial.reopens:
        trial.ended, trial.closed = True, fact
    else:
        draft.span = Span(fact.context, fact.start, fact.end)
        if trial:  # it may have been cut in the middle of a word
            trial.ended, trial.span = True, trial.span or replace(draft.span, spoken=fact.end - fact.start)
        end_of_turn(m, draft, fact)


def _rejected(m: Machines, draft: Draft, fact: Rejected) -> None:
    """The voice was too short to be one, or the session ends."""
    trial = draft.trial or Trial(m.hearing.at, draft.rev)
    if not trial.dismissed:  # what it was taken for came to nothing
        trial.verdict = Verdict(False, fact.reason)
        m.trace("ignored", fact.reason, turn=draft.turn, facts=_facts(m, draft, trial) | {"spoken_s": fact.spoken})
    _dismissed(m, draft, trial)


def learn(m: Machines, draft: Draft, run: Run, event: ev.Transcribed | ev.Scored) -> None:
    """Words, or a score, became known."""
    if isinstance(event, ev.Scored):
        draft.score = event.p
        m.trace("waiting", "once more", turn=draft.turn, score=event.p)
        return
    words = replace(event, text=event.text.strip())
    trial = draft.trial
    if trial and run.probe and run.newer(trial.known):
        trial.words, trial.known = words, run.span
    elif trial and not (run.probe or trial.reopens):
        trial.words, trial.looked, trial.known = words, trial.span, trial.span
    if run.probe:
        draft.costs.stt += run.span.ticks if run.span else 0
        return
    draft.words = words
    m.trace(
        "waiting" if draft.decided is None else "understood",
        "words",
        turn=draft.turn,
        words=len(words.text.split()),
        sense=words.sense,
        finished=words.finished,
        p_stop=words.p_stop,
        p_comma=words.p_comma,
        logprob=words.logprob,
        wording=words.wording,
        tail_db=words.tail_db,
        end_st=words.end_st,
    )


# --- the rules ---


def hold(m: Machines) -> None:
    """A voice over a reply holds it, or lowers it, or stops it at once."""
    reply = m.floor.audible
    if reply is None:
        return
    for draft in m.work.unanswered:
        # It began before the reply, and went on without a pause: noise that never ends must not silence the replies.
        speaks = m.hearing.speaking and m.hearing.open_turn == draft.turn
        if draft.trial is None and draft.turn not in reply.past and (speaks or draft.words):
            draft.trial = Trial(m.hearing.at, draft.rev, words=draft.words, ended=draft.words is not None)
    if not (m.work.pending and m.hearing.speaking):
        return
    manner, down = manner_of(m, reply), m.controls.down
    if manner == "stop" or (manner == "pause" and down):
        for draft, trial in m.work.pending:
            trial.verdict = Verdict(True, "key" if down else "at once")
            _stopped(m, draft, trial)
    elif manner == "pause" and reply.state == "playing":
        pause(m, reply)
        since = m.work.pending[0][1].since
        facts = {"voice_s": m.hearing.at - since, "level_db": m.hearing.level_db, "heard": reply.played}
        m.trace("paused", "voice over the reply", turn=m.hearing.open_turn, reply=reply.id, facts=facts)


def look(m: Machines) -> None:
    """The words of a voice on trial are looked at while it speaks, and where it may be over."""
    for draft, trial, span in list(m.work.to_look()):
        trial.looked = span
        draft.costs.tries += 1
        run = m.work.begin("stt", turn=draft.turn, probe=True, span=span)
        m.out.append(
            ev.Transcribe(
                run, draft.turn, draft.rev, span.context, span.start, span.end, draft.expect, probe=True, over=True
            )
        )


def decide(m: Machines) -> None:
    """A voice on trial is judged, and the reply goes on or stops."""
    held = m.floor.audible is not None or m.floor.to_release(answers=True) is not None
    for draft in m.work.drafts:
        trial = draft.trial
        if trial is None or not trial.open:
            continue
        like = likeness(m, draft, trial.words)
        seen = trial.glimpse(m.hearing.at, held=held, lost="stt" in draft.failed, like=like)
        verdict = judge(draft.policy, seen)
        if verdict is None or (verdict == trial.verdict and trial.closed is None):
            continue
        known, trial.verdict = trial.dismissed, verdict
        if verdict.stop:
            _stopped(m, draft, trial)
        else:
            _ignored(m, draft, trial, known=known)


def resume(m: Machines) -> None:
    """A reply that was held for nothing goes on from the sample where it stopped; one told to stop soon, stops."""
    reply = m.floor.audible
    if reply is None:
        return
    if reply.state in ("paused", "away") and not (m.work.pending or m.controls.down) and m.watch.lost is None:
        m.out.append(ev.Gain(1.0) if reply.low else ev.Resume(reply.id))
        because = "device back" if reply.state == "away" else "nobody wants the floor"
        m.trace("resumed", because, reply=reply.id, heard=reply.played)
        reply.state = "playing"
    if reply.script.over(reply.played):
        m.trace("stopped", "end of the sentence", reply=reply.id, heard=reply.played)
        stop(m, reply)


def no_more(m: Machines, verdict: Verdict) -> None:
    """There is no more time to wait for the words of voices that have ended."""
    for draft in m.work.drafts:
        trial = draft.trial
        if trial is None or trial.closed is None:
            continue
        if trial.pending:
            trial.verdict = verdict
            if not verdict.stop:
                m.trace("ignored", verdict.because, turn=draft.turn, facts=_facts(m, draft, trial))
        if trial.dismissed:
            _dismissed(m, draft, trial)
        else:
            _stopped(m, draft, trial)


def be_sure(m: Machines) -> None:
    """A decided turn that nobody went on with for a while can no longer be reopened."""
    for draft in m.work.drafts:
        if draft.decided is None or m.hearing.open_turn == draft.turn or draft.reopening:
            continue
        if not draft.sure:
            reply = m.floor.get(draft.reply)
            now = reply is not None and reply.wishes.sure == "now"
            draft.sure = now or m.history.turn > draft.turn or m.now - draft.decided >= draft.policy.reopen
            if draft.sure:
                m.pace = next_pace(m.pace, reopened=False)
                m.out.append(ev.Sure(draft.turn, draft.rev))
        if draft.sure and draft.answered:
            close_draft(m, draft)


# --- what follows from a verdict ---


def _facts(m: Machines, draft: Draft, trial: Trial) -> dict[str, float | str | None]:
    known, like = trial.words, likeness(m, draft, trial.words)
    return {
        "age_s": m.hearing.at - trial.since,
        "spoken_s": trial.spoken,
        "words": len(known.text.split()) if known else None,
        "sense": known.sense if known else None,
        "logprob": known.logprob if known else None,
        "echo": like.sound,
        "our_words": like.words,
    }


def _ignored(m: Machines, draft: Draft, trial: Trial, *, known: bool) -> None:
    """The voice does not count. known: it did not before."""
    if not known:
        m.trace(
            "ignored", trial.verdict.because if trial.verdict else "", turn=draft.turn, facts=_facts(m, draft, trial)
        )
    if trial.closed and _final(m, draft, trial):
        _dismissed(m, draft, trial)


def _final(m: Machines, draft: Draft, trial: Trial) -> bool:
    """Whether a voice does not count, and nothing that is still to come can change that."""
    more = trial.known != trial.span or m.work.busy(draft.turn, "stt")
    return trial.dismissed and not (trial.open and more and "stt" not in draft.failed)


def _dismissed(m: Machines, draft: Draft, trial: Trial) -> None:
    """The segment is over and did not count: the turn that it would have been is none, or stays what it was."""
    m.out += m.work.drop(turn=draft.turn, probe=True)
    m.out.append(ev.SpeechRejected(draft.turn, trial.verdict.because if trial.verdict else ""))
    draft.trial = None
    if not trial.reopens:
        reject(m, draft)


def _stopped(m: Machines, draft: Draft, trial: Trial) -> None:
    """The person wants the floor."""
    because = trial.verdict.because if trial.verdict else ""
    facts = _facts(m, draft, trial)
    sense = trial.words.sense if trial.words else "none"
    hard = sense == "stop"
    if trial.reopens and sense in ("stop", "wait"):
        _silence(m, draft, trial, sense)
    elif trial.reopens:
        _reopen(m, draft, trial, because)
    if reply := m.floor.audible:
        manner = manner_of(m, reply)
        if manner in ("stop", "pause") or (hard and manner != "ignore"):
            m.trace("stopped", because, turn=draft.turn, reply=reply.id, facts=facts | {"heard": reply.played})
            stop(m, reply)
        elif manner == "finish_sentence":
            reply.script.stop_after_sentence(reply.played)
        else:
            m.trace("kept", manner, turn=draft.turn, reply=reply.id, facts=facts)
    if hard:
        for reply in public_answers(m):
            stop(m, reply)
    m.out += m.work.drop(turn=draft.turn, stage="stt", probe=True)


def _silence(m: Machines, draft: Draft, trial: Trial, sense: str) -> None:
    """A stop word soon after the decision takes nothing back: what was said counts, and gets no answer.

    What more is said at once still may.
    """
    draft.silenced = not draft.answered
    trial.verdict = Verdict(True, f"{sense} word", rash=True)
    if trial.closed:
        _dismissed(m, draft, trial)


def _reopen(m: Machines, draft: Draft, trial: Trial, because: str) -> None:
    """The turn was not finished: its reply is withdrawn, and nobody will have said or heard any of it."""
    after, reply = m.now - (draft.decided or 0), m.floor.get(draft.reply)
    facts = _facts(m, draft, trial) | {"after_s": after}
    m.trace("reopened", because, turn=draft.turn, reply=reply.id if reply else None, facts=facts)
    if reply:
        reply.fate = "withdrawn"
    m.history.withdraw(draft.turn)
    lasted = draft.lasted
    go_on(m, draft, trial.rev)
    draft.lasted = lasted  # the silence that it ends with may have lasted while its words were awaited
    m.pace = next_pace(m.pace, reopened=True)
    m.out.append(ev.Reopened(draft.turn, draft.rev, after))
    draft.span = trial.whole
    trial.reopens, draft.reopened = False, True
    m.hearing.go_on(draft.turn)
    closed, trial.closed = trial.closed, None
    if closed:
        _closed(m, draft, closed)
