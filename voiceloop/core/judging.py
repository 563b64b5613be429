"""Whether a voice over a reply wants it to stop. A pure policy."""

from __future__ import annotations

from dataclasses import dataclass

from voiceloop.core.audio import ticks
from voiceloop.core.events import Sense
from voiceloop.core.policy import Policy
from voiceloop.core.selfspeech import UNLIKE, Likeness

_SURE_WORDS = 2
"""So many words while the voice still speaks are a sentence that begins; of one it is not known yet what it will be."""

_WORD_AGE = ticks(0.5)
"""A voice that has spoken for so long and still speaks is no single word: "mm-hm" and "yeah" are shorter."""

_PART = ticks(0.4)
"""In less than that the recognizer may not have found the word that is being said."""

_REST = ticks(0.16)
"""So much that was not looked at yet is no word of its own: when the voice ends there, "mm-h" was "mm-hm"."""

_BRIEF = ticks(0.6)
"""A voice shorter than that may be a cough or a word, and its words are waited for; a longer one was speech."""


@dataclass(frozen=True, slots=True)
class Glimpse:
    """What is known of a voice over a reply.

    words, sense: of what was transcribed so far; words None while nothing is known. known: voiced ticks of it.
    spoken: voiced ticks. age: ticks since it began. ended: it is silent now. over: so it is, and the words are those of
    all of it.
    settled: no other words of it are to come: they are those up to the pause behind it, or will not be known. held: a
    reply waits for the verdict. lost: its words will not be known.
    """

    words: int | None
    sense: Sense
    known: int
    spoken: int
    age: int
    ended: bool
    over: bool
    held: bool
    lost: bool
    settled: bool
    like: Likeness = UNLIKE


@dataclass(frozen=True, slots=True)
class Verdict:
    """stop: the person wants to speak (or to be heard); else what was said does not count. rash: it was not known what
    all of it would be, so that more words may change it."""

    stop: bool
    because: str
    rash: bool = False


def judge(policy: Policy, seen: Glimpse) -> Verdict | None:
    """What to make of a voice over a reply; None: it is too early to say."""
    if seen.like.own:
        # As soon as it is known, if its words are, and later if they are not: it may become somebody else's voice.
        known = seen.words is not None or seen.over or seen.age >= policy.judge
        return Verdict(False, "own voice", rash=not (seen.over and seen.settled)) if known else None
    if seen.words and seen.sense in ("stop", "wait"):
        return Verdict(True, f"{seen.sense} word", rash=True)
    nothing = not seen.words or seen.sense in ("none", "invented")
    if seen.words is None or (nothing and not seen.over and seen.known < _PART):
        return _without_words(policy, seen)
    if not nothing and seen.sense == "words":
        one = seen.over and seen.settled if seen.ended else seen.age >= _WORD_AGE
        if one or seen.words >= _SURE_WORDS:
            return Verdict(True, "words")
        return None
    hummed = seen.sense == "backchannel"
    if seen.over or (seen.ended and seen.spoken - seen.known < _REST if hummed else seen.age >= policy.judge):
        # While it still speaks, the words of all of it may be others.
        because = {"backchannel": "backchannel", "invented": "no speech"}.get(seen.sense, "no words")
        return Verdict(False, because, rash=not (seen.over and seen.settled))
    return Verdict(True, "long voice") if seen.age >= 2 * policy.judge and not seen.ended else None


def _without_words(policy: Policy, seen: Glimpse) -> Verdict | None:
    """The words do not come in time: by duration alone."""
    if seen.over and seen.spoken < policy.min_speech:
        return Verdict(False, "too short")
    if not seen.lost and (seen.age < policy.judge or not seen.held):
        return None
    if seen.spoken >= _BRIEF:
        return Verdict(True, "long voice", rash=True)
    late = seen.lost or seen.age >= 2 * policy.judge
    return Verdict(False, "brief voice", rash=not seen.lost) if seen.over and late else None
