"""A transcript as the core is told it: the words, what kind they are, and how likely it is that they are all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from voiceloop.core import evidence
from voiceloop.core.audio import RATE, Pcm
from voiceloop.core.choosing import BRIEF, Choices, weighed
from voiceloop.core.events import Transcribe, Transcribed
from voiceloop.core.evidence import Weights
from voiceloop.core.expectation import expected
from voiceloop.core.lexicon import Lexicon, sense
from voiceloop.ports import Transcript

_SHORT = 3 * RATE
"""Samples: in a longer segment there is voice enough."""


@dataclass(frozen=True, slots=True)
class Language:
    """What is known of the language that is spoken. weights: None if nothing is to be said of the end of a turn."""

    lexicon: Lexicon = field(default_factory=Lexicon)
    weights: Weights | None = None
    choices: Choices = field(default_factory=Choices)


def doubted(language: Language, order: Transcribe, pcm: Pcm) -> tuple[str, ...]:
    """The phrases that a brief sound over a reply is to be held against; none for any other sound."""
    return language.choices.phrases if order.over and pcm.size <= BRIEF else ()


def judged(
    language: Language, order: Transcribe, text: str, last: Transcript, pcm: Pcm, odds: Sequence[float] = ()
) -> Transcribed:
    """text: all words of the segment. last: the transcript of its last piece. pcm: all of it, int16 (n,), 16 kHz.
    odds: of the phrases that it was held against, if it was.

    Synchronous, 3 ms for 10 s of sound or more.
    """
    signs = None if last.p_stop is None or last.p_comma is None else last.p_stop + last.p_comma
    voiced = evidence.voiced_s(pcm) if pcm.size < _SHORT else None
    kind = sense(language.lexicon, text, p_sign=signs, logprob=last.logprob, voiced_s=voiced)
    if odds:
        kind = weighed(language.choices, kind, odds, early=order.probe)
    if language.weights is None or not last.text:
        return Transcribed(order.run, text, kind, logprob=last.logprob)
    words = evidence.wording(language.weights, text)
    tail, end = evidence.tail_db(pcm), evidence.end_st(last.text, pcm)
    doubt = {"p_stop": last.p_stop, "p_comma": last.p_comma, "logprob": last.logprob}
    p = expected(language.lexicon, order.expect, text)
    if p is None:
        p = evidence.finished(language.weights, wording=words, tail_db=tail, end_st=end, **doubt)
    return Transcribed(order.run, text, kind, finished=p, wording=words, tail_db=tail, end_st=end, **doubt)


def confirmed(language: Language, first: Transcribed, second: Transcript) -> float:
    """How likely it is that the words of a turn are all, by two transcripts of it.

    second: that of its end with more of the silence behind it. Where it says something else than the first, the speaker
    has probably not ended: recognizers invent what a cut phrase lacks.
    """
    weights, sound = language.weights, (first.tail_db, first.end_st)
    if weights is None or first.wording is None or None in sound or second.p_stop is None:
        return 0.5 if first.finished is None else first.finished
    once = _numbers(first, first.wording, first)
    again = _numbers(first, evidence.wording(weights, second.text), second)
    return evidence.confirmed(weights, once, again)


def joined(finished: float | None, score: float) -> float:
    """The same by what is known without an end-of-turn model, and its score."""
    return score if finished is None else evidence.joined(finished, score)


def _numbers(sound: Transcribed, wording: float, doubt: Transcribed | Transcript) -> evidence.Numbers:
    """Of one transcript, with what was heard of the last syllables."""
    return evidence.numbers(
        wording=wording,
        tail_db=sound.tail_db or 0.0,
        end_st=sound.end_st or 0.0,
        p_stop=doubt.p_stop,
        p_comma=doubt.p_comma,
        logprob=doubt.logprob,
    )
