"""A transcript with times: words, segments, and the document that they make."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Word:
    """One word as it is written, punctuation included, and where it was said; seconds from the beginning."""

    text: str
    start_s: float
    end_s: float


@dataclass(frozen=True, slots=True)
class Segment:
    """A stretch of speech; seconds from the beginning. logprob: mean log-probability of its tokens, None if unknown.

    words: empty where nobody asked for their times.
    """

    text: str
    start_s: float
    end_s: float
    logprob: float | None = None
    words: tuple[Word, ...] = ()


@dataclass(frozen=True, slots=True)
class Document:
    """What was said in a recording. language: ISO 639-1, None if unknown. duration_s: of the whole recording."""

    text: str
    duration_s: float
    language: str | None = None
    segments: tuple[Segment, ...] = ()
