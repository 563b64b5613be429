"""What kind of words they are: a sign of listening, a command to be silent, an invention of the recognizer, or words.

Only whole texts are judged: "stop" is a command, "stop at the shop" is a sentence. Sequences and polite forms count
("yeah, yeah, okay", "no, wait, please"). The lists are data (voiceloop/data/words); case and punctuation do not
matter.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from voiceloop.core.events import Sense

Phrase = tuple[str, ...]
Phrases = frozenset[Phrase]

LONGEST = 12
"""Words. A longer text is no command and no sign of listening."""

_WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)*")
_DRAWN = re.compile(r"([^\W\d_])\1{2,}")
_NONE: Phrases = frozenset()


@dataclass(frozen=True, slots=True)
class Lexicon:
    """The word lists of one language. Make it with `of`.

    polite: may stand beside a command or an answer. filler: "um": after it the speaker looks for a word.
    digits: number words to figures ("twenty": "20", "hundred": "00").
    times: "double": 2. letters: names of letters, and words that people spell with.
    """

    backchannel: Phrases = _NONE
    stop: Phrases = _NONE
    wait: Phrases = _NONE
    polite: Phrases = _NONE
    yes: Phrases = _NONE
    no: Phrases = _NONE
    invented: Phrases = _NONE
    filler: Phrases = _NONE
    digits: Mapping[Phrase, str] = field(default_factory=dict[Phrase, str])
    times: Mapping[Phrase, int] = field(default_factory=dict[Phrase, int])
    letters: Mapping[Phrase, str] = field(default_factory=dict[Phrase, str])

    @staticmethod
    def of(
        *,
        digits: Mapping[str, str],
        times: Mapping[str, int],
        letters: Mapping[str, str],
        **lists: Iterable[str],
    ) -> Lexicon:
        """From plain texts, as they stand in the data files. Raises TypeError for a list that there is not."""
        return Lexicon(
            digits={tuple(plain(key)): value for key, value in digits.items()},
            times={tuple(plain(key)): value for key, value in times.items()},
            letters={tuple(plain(key)): value for key, value in letters.items()},
            **{name: frozenset(tuple(plain(text)) for text in texts) for name, texts in lists.items()},
        )


def plain(text: str) -> list[str]:
    """The words in lower case, without punctuation; what is drawn out ("hmmmm") with two letters."""
    bare = unicodedata.normalize("NFKC", text).lower().replace("\u2019", "'")
    return _WORD.findall(_DRAWN.sub(r"\1\1", bare))


SIGNED = 0.3
"""Probability of a sign after the last word, below which a short text was no speech: Moonshine writes "You" for 213 of
250 clicks, thuds, hums, coughs and bursts of noise, with .00-.15; said words of one syllable have .4 and more."""

DOUBT = -0.45
"""Mean log-probability below which what stands in the list `invented` was: "Thank you." out of music has -.49 to -.67,
said -.09 to -.21 (shortest words: -.5 to -.1)."""

SHORT_S = 0.35
"""Voice that is shorter is no "thank you" either, where the recognizer says nothing about its doubt."""


def sense(
    lexicon: Lexicon,
    text: str,
    *,
    p_sign: float | None = None,
    logprob: float | None = None,
    voiced_s: float | None = None,
) -> Sense:
    """The kind of a transcript.

    p_sign: p_stop + p_comma of `ports.Transcript`; logprob: likewise. voiced_s: how long the voice was, seconds. All
    None: the benefit of the doubt is the speaker's.
    """
    words = plain(text)
    if not words:
        return "none"
    unsigned = p_sign is not None and p_sign < SIGNED
    if unsigned and made_of(words, lexicon.invented | lexicon.backchannel):
        return "invented"
    others = lexicon.polite | lexicon.backchannel | lexicon.no
    if made_of(words, lexicon.stop, others | lexicon.wait):
        return "stop"
    if made_of(words, lexicon.wait, others):
        return "wait"
    if made_of(words, lexicon.backchannel):
        return "backchannel"
    if tuple(words) in lexicon.invented and _doubtful(p_sign, logprob, voiced_s):
        return "invented"
    return "words"


def _doubtful(p_sign: float | None, logprob: float | None, voiced_s: float | None) -> bool:
    if logprob is not None and logprob < DOUBT:
        return True
    silent = p_sign is None and logprob is None
    return silent and voiced_s is not None and voiced_s < SHORT_S


def answers(lexicon: Lexicon, text: str) -> bool:
    """Whether a text is an answer to a question that expects yes or no, and nothing else."""
    others = lexicon.polite | lexicon.backchannel
    return made_of(plain(text), lexicon.yes | lexicon.no, others)


def made_of(words: list[str], wanted: Phrases, others: Phrases = _NONE) -> bool:
    """Whether words are nothing but phrases of two lists, with at least one wanted among them."""
    if len(words) > LONGEST:
        return False
    longest = max((len(phrase) for phrase in wanted | others), default=0)
    # Whether a place can be reached, and whether a wanted phrase can have been on the way.
    reached = {(0, False)}
    for start in range(len(words)):
        for seen in (False, True):
            if (start, seen) not in reached:
                continue
            for end in range(start + 1, min(start + longest, len(words)) + 1):
                phrase = tuple(words[start:end])
                if phrase in wanted:
                    reached.add((end, True))
                if phrase in others:
                    reached.add((end, seen))
    return (len(words), True) in reached
