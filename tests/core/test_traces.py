"""Every kind of decision is told with its facts, and `voiceloop why` has a sentence for each."""

from __future__ import annotations

from dataclasses import replace
from string import Formatter

import pytest

from tests.core.test_trials import SURE, P, late, reopened, talking, thinking
from voiceloop.core import events as ev
from voiceloop.core.audio import ticks
from voiceloop.core.policy import Policy
from voiceloop.journal.why import SENTENCES

BEGUN = ("level_db",)
WORDS = ("words", "sense", "finished", "p_stop", "p_comma", "logprob", "wording", "tail_db", "end_st")
ENDED = ("quiet_s", "wait_s", "finished", "score", "ready", "pace")
VOICE = ("age_s", "spoken_s", "words", "sense", "logprob", "echo", "our_words")


def question(world, policy: Policy = SURE):
    it = world(policy)
    it.speak(1.0)
    it.quiet(0.2)
    return it


def over(world, text: str | None = None, sense: str = "words", *, policy: Policy = SURE, spoken: float = 0.4):
    """A voice over a reply, and its words."""
    it = talking(world, policy)
    it.speak(spoken)
    it.quiet(0.12)
    if text is not None:
        it.words(text, sense)
    return it


def echoed(world):
    """Our own voice over a reply."""
    it = talking(world, SURE)
    it.speak(1.0, echo=0.9)
    return it


def tail(world):
    """The last words of a reply, heard after it."""
    it = world(SURE)
    it.ask("tell me a story", reply="Once upon a time.", seconds=1.0)
    it.quiet(1.0)
    it.speak(0.4, echo=0.7)
    it.quiet(0.12)
    it.words("upon a time")
    return quiet(it)


def dropped(world, text: str, sense: str):
    """A turn that is none."""
    it = question(world)
    it.words(text, sense)
    it.quiet(1.0)
    return it


def lost(world):
    """Speech to text fails, before the decision and after it."""
    it = question(world)
    it.fail("stt")
    it.quiet(0.6)
    it.fail("stt")
    return it


def went_on(
    world, before: str, more: str | None = None, sense: str = "words", *, policy: Policy = P, spoken: float = 0.4
):
    """A person who goes on after the decision."""
    it = reopened(world, before=before, policy=policy)
    it.speak(spoken)
    if more is not None:
        it.words(more, sense)
    return it


def then(it, *events: ev.Input):
    """What happens after that."""
    for event in events:
        it.feed(event)
    return it


def stalled(world):
    it = question(world)
    it.now += ticks(3)
    return then(it, ev.Tick())


def quick(world):
    """Somebody speaks again before it is known what he said."""
    it = quiet(went_on(world, "sound"))
    it.speak(0.4)
    return it


def then_words(it, text: str, sense: str = "words", *, oldest: bool = False):
    it.words(text, sense, oldest=oldest)
    return it


def speaks(it, seconds: float = 0.4):
    it.speak(seconds)
    return it


def quiet(it, seconds: float = 0.7):
    it.quiet(seconds)
    return it


def over_something_else(world):
    """Nothing is known yet of what was said before an announcement and over it, and somebody speaks again."""
    it = reopened(world, before="words")
    it.say("Once upon a time.")
    it.audio(8)
    it.quiet(0.2)
    it.speak(0.4)
    return speaks(quiet(it))


def deaf(world):
    """The end of a long turn, understood while a reply is heard that is not to be interrupted."""
    it = speaks(world(replace(SURE, max_turn=ticks(2))), 2.1)
    it.words("", "none")
    it.say("Attention please.", barge_in="ignore")
    it.quiet(0.2)
    return then_words(it, "hello there")


def unheard(world):
    """A brief voice over a reply, whose words cannot be had."""
    it = quiet(over(world), 2.0)
    it.fail("stt")
    return it


def breaks_off(world):
    """A noise over a reply, another one, and frames that stop."""
    it = speaks(over(world, "", "none"), 0.08)
    it.now += ticks(3)
    return then_words(then(it, ev.Tick()), "hello")


def silent(world, seconds: float, **policy: object):
    it = thinking(world, replace(SURE, **policy))
    it.quiet(seconds)
    return it


def asked(world, seconds: float, **policy: object):
    it = world(replace(SURE, **policy))
    it.ask(seconds=0.5)
    it.quiet(seconds)
    return it


def ends_soon(world, policy: Policy = SURE, **wishes: str):
    """A reply that is not stopped at once by words."""
    it = talking(world, policy, **wishes)
    it.speak(0.4)
    it.quiet(0.1)
    it.words("and the queen")
    it.quiet(7)
    return it


STOP = replace(P, barge_in="stop")
KEY = ev.PushToTalk(True)
NOBODY = ("silence", "muted", "key")
"""Decisions about no turn and no reply."""
SOON = replace(P, barge_in="finish_sentence")
KEPT = replace(SURE, barge_in="finish_reply")


def talks(world):
    """Somebody speaks with the key down."""
    return speaks(then(world(replace(SURE, push_to_talk=True)), KEY), 1.0)


def once_more(world):
    it = world(replace(SURE, score=True))
    it.speak(1.0)
    it.quiet(0.1)
    it.words("hello")
    it.quiet(0.3)
    it.feed(ev.Scored(it.run("score"), 0.8))
    return it


HOW = {
    ("started", "voice"): (question, BEGUN),
    ("started", "goes on"): (lambda w: went_on(w, "sound"), BEGUN),
    ("waiting", "words"): (lambda w: then_words(question(w), "hello"), WORDS),
    ("understood", "words"): (lambda w: then_words(went_on(w, "words"), "hello", oldest=True), WORDS),
    ("waiting", "once more"): (once_more, ("score",)),
    ("waiting", "went on"): (lambda w: speaks(question(w)), ("pause_s",)),
    ("ended", "silence"): (lambda w: dropped(w, "hello", "words"), ENDED),
    ("ended", "cap"): (lambda w: speaks(w(replace(SURE, max_turn=ticks(2))), 2.2), ENDED),
    ("ended", "commit"): (lambda w: then(question(w), ev.Commit()), ENDED),
    ("ended", "key"): (lambda w: then(talks(w), ev.PushToTalk(False)), ENDED),
    ("ended", "muted"): (lambda w: then(question(w), ev.Mute(True)), ENDED),
    ("ended", "stalled"): (stalled, ENDED),
    ("reopened", "words"): (lambda w: went_on(w, "sound", "in the kitchen"), (*VOICE, "after_s")),
    ("reopened", "long voice"): (lambda w: went_on(w, "sound", spoken=1.0), (*VOICE, "after_s")),
    ("reopened", "went on"): (quick, (*VOICE, "after_s")),
    ("reopened", "at once"): (lambda w: went_on(w, "sound", policy=STOP), (*VOICE, "after_s")),
    ("reopened", "commit"): (lambda w: then(went_on(w, "sound"), ev.Commit()), (*VOICE, "after_s")),
    ("reopened", "key"): (lambda w: then(went_on(w, "sound"), KEY, ev.PushToTalk(False)), (*VOICE, "after_s")),
    ("paused", "key down"): (lambda w: then(talking(w, SURE), KEY), ("heard",)),
    ("paused", "voice over the reply"): (over, ("voice_s", "level_db", "heard")),
    ("paused", "device lost"): (lambda w: then(talking(w, SURE), ev.PortLost("Gone.")), ("heard",)),
    ("resumed", "device back"): (
        lambda w: then(talking(w, SURE), ev.PortLost("Gone."), ev.PortBack("USB Audio")),
        ("heard",),
    ),
    ("resumed", "nobody wants the floor"): (lambda w: over(w, "", "none"), ("heard",)),
    ("stopped", "words"): (lambda w: over(w, "and the queen"), (*VOICE, "heard")),
    ("stopped", "long voice"): (lambda w: over(w, spoken=1.0), (*VOICE, "heard")),
    ("stopped", "stop word"): (lambda w: over(w, "stop", "stop"), (*VOICE, "heard")),
    ("stopped", "wait word"): (lambda w: over(w, "wait", "wait"), (*VOICE, "heard")),
    ("stopped", "at once"): (lambda w: over(w, policy=replace(SURE, barge_in="stop")), (*VOICE, "heard")),
    ("stopped", "went on"): (over_something_else, (*VOICE, "heard")),
    ("stopped", "interrupted"): (lambda w: then(talking(w), ev.Interrupt()), ("heard",)),
    ("stopped", "commit"): (lambda w: then(over(w), ev.Commit()), (*VOICE, "heard")),
    ("stopped", "key"): (lambda w: speaks(then(talking(w, SURE), KEY)), (*VOICE, "heard")),
    ("stopped", "key down"): (lambda w: then(talking(w, STOP), KEY), ("heard",)),
    ("stopped", "end of the sentence"): (lambda w: ends_soon(w, SOON), ("heard",)),
    ("ignored", "backchannel"): (lambda w: over(w, "mm-hm", "backchannel"), VOICE),
    ("ignored", "no words"): (lambda w: over(w, "", "none"), VOICE),
    ("ignored", "no speech"): (lambda w: over(w, "you", "invented"), VOICE),
    ("ignored", "too short"): (lambda w: quiet(over(w, spoken=0.08)), VOICE),
    ("ignored", "brief voice"): (late, VOICE),
    ("ignored", "own voice"): (echoed, VOICE),
    ("dropped", "own voice"): (tail, ("echo", "our_words")),
    ("ignored", "closed"): (lambda w: then(over(w), ev.Close()), VOICE),
    ("ignored", "muted"): (lambda w: then(over(w), ev.Mute(True)), VOICE),
    ("kept", "finish_reply"): (lambda w: over(w, "and the queen", policy=KEPT), VOICE),
    ("kept", "ignore"): (deaf, VOICE),
    ("dropped", "no words"): (lambda w: dropped(w, "", "none"), ()),
    ("dropped", "no speech"): (lambda w: dropped(w, "you", "invented"), ()),
    ("dropped", "backchannel"): (lambda w: then_words(quiet(over(w)), "mm-hm", "backchannel"), ()),
    ("dropped", "stop word"): (lambda w: quiet(over(w, "stop", "stop")), ()),
    ("dropped", "wait word"): (lambda w: quiet(over(w, "wait", "wait")), ()),
    ("dropped", "failed"): (lost, ()),
    ("dropped", "interrupted"): (lambda w: then_words(then(reopened(w, before="words"), ev.Interrupt()), "hello"), ()),
    ("dropped", "too short"): (breaks_off, ()),
    ("dropped", "brief voice"): (unheard, ()),
    ("muted", "on"): (lambda w: then(w(SURE), ev.Mute(True)), ()),
    ("muted", "off"): (lambda w: then(w(SURE), ev.Mute(True), ev.Mute(False)), ()),
    ("key", "down"): (lambda w: then(w(SURE), KEY), ()),
    ("key", "up"): (lambda w: then(w(SURE), KEY, ev.PushToTalk(False)), ()),
    ("silence", "moment"): (lambda w: silent(w, 6), ()),
    ("silence", "still"): (lambda w: silent(w, 9, moment="", still="Still at it.", still_after=ticks(3)), ()),
    ("silence", "reprompt"): (lambda w: asked(w, 3, reprompt_after=ticks(2)), ()),
    ("silence", "end"): (lambda w: asked(w, 3, end_after=ticks(2)), ()),
}
"""(what, because) -> how it comes about, and its facts."""


@pytest.mark.parametrize("key", HOW, ids=" ".join)
def test_a_decision_is_told_with_its_facts(key, world) -> None:
    how, facts = HOW[key]
    found = [t for t in how(world).traces(key[0]) if t.because == key[1]]
    assert found
    assert set(found[0].facts) == set(facts)
    assert found[0].turn is not None or found[0].reply is not None or key[0] in NOBODY
    named = {name for _, name, _, _ in Formatter().parse(SENTENCES[key]) if name}
    assert named <= {name for name in facts if found[0].facts[name] is not None}


def test_every_decision_has_a_sentence_and_every_sentence_a_decision() -> None:
    assert HOW.keys() == SENTENCES.keys()
