"""Subtitles of a `Document`: SubRip (srt) and WebVTT (vtt), cut where a reader can follow."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from voiceloop.core.transcript import Document, Segment, Word
from voiceloop.core.words import CLOSERS, SENTENCE_END, spread

LINE = 42
"""Characters in a line, and
two lines in a cue, and LONGEST_S: the usual rules of subtitling (Netflix, BBC)."""

LONGEST_S = 7.0

PAUSE_S = 0.6
"""A silence between two words that ends a cue."""

SHORTEST_S = 1.0
"""A cue stays so long if the next one leaves room."""

_COMMA = (",", ";", ":", "\N{EM DASH}", "\N{IDEOGRAPHIC COMMA}", "\N{FULLWIDTH COMMA}")


@dataclass(frozen=True, slots=True)
class Cue:
    """What is shown from start to end, whole milliseconds; one or two lines."""

    start_ms: int
    end_ms: int
    lines: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Token:
    """A word, or a part of one that is longer than a line; glued: it goes on from the one before without a space."""

    text: str
    start_s: float
    end_s: float
    glued: bool = False


def srt(document: Document) -> str:
    """The document as SubRip. Empty if nothing was said."""
    return "".join(
        f"{n}\n{_clock(cue.start_ms, ',')} --> {_clock(cue.end_ms, ',')}\n{_plain(cue.lines)}\n\n"
        for n, cue in enumerate(cues(document.segments), 1)
    )


def vtt(document: Document) -> str:
    """The document as WebVTT; its header alone if nothing was said."""
    return "WEBVTT\n\n" + "".join(
        f"{_clock(cue.start_ms, '.')} --> {_clock(cue.end_ms, '.')}\n{_escaped(cue.lines)}\n\n"
        for cue in cues(document.segments)
    )


def cues(segments: Iterable[Segment]) -> list[Cue]:
    """Cues in order that never overlap; the words of a segment without times are spread over it by their letters."""
    groups = [group for segment in segments for group in _groups(_tokens(segment))]
    found: list[Cue] = []
    at = 0
    for n, group in enumerate(groups):
        start = max(at, round(group[0].start_s * 1000))
        end = max(start + 1, round(group[-1].end_s * 1000))
        following = round(groups[n + 1][0].start_s * 1000) if n + 1 < len(groups) else end + 1000
        at = max(start + 1, min(max(end, start + round(SHORTEST_S * 1000)), max(following, start + 1)))
        found.append(Cue(start, at, _lines(group)))
    return found


def _tokens(segment: Segment) -> list[_Token]:
    words: Sequence[Word] = segment.words or spread(segment.text, segment.start_s, segment.end_s)
    return [token for word in words for token in _parts(word)]


def _parts(word: Word) -> Iterator[_Token]:
    """A word that fits in a line, or a text without spaces cut into such."""
    n = len(word.text)
    step = (word.end_s - word.start_s) / max(1, n)
    for at in range(0, n, LINE):
        end = min(n, at + LINE)
        yield _Token(word.text[at:end], word.start_s + at * step, word.start_s + end * step, at > 0)


def _groups(tokens: Sequence[_Token]) -> Iterator[Sequence[_Token]]:
    """The tokens of each cue."""
    first = 0
    while first < len(tokens):
        end = first + 1
        while end < len(tokens) and not _ends(tokens[end - 1], tokens[end]) and _fits(tokens[first : end + 1]):
            end += 1
        if end < len(tokens) and not _ends(tokens[end - 1], tokens[end]):
            end = _better(tokens, first, end)
        yield tokens[first:end]
        first = end


def _ends(token: _Token, following: _Token) -> bool:
    """Whether a cue ends between two tokens, even if there is room."""
    text = token.text.rstrip(CLOSERS)
    return (text.endswith(SENTENCE_END) and not following.glued) or following.start_s - token.end_s >= PAUSE_S


def _better(tokens: Sequence[_Token], first: int, end: int) -> int:
    """Where there is no room for more: rather behind the last comma of its second half."""
    for at in range(end, first + (end - first) // 2, -1):
        if tokens[at - 1].text.endswith(_COMMA):
            return at
    return end


def _fits(tokens: Sequence[_Token]) -> bool:
    return tokens[-1].end_s - tokens[0].start_s <= LONGEST_S and _break(tokens) is not None


def _break(tokens: Sequence[_Token]) -> int | None:
    """Before which token the second line begins, so that both are about as long; 0: one line; None: no room."""
    if len(_text(tokens)) <= LINE:
        return 0
    fitting = [
        at for at in range(1, len(tokens)) if max(len(_text(tokens[:at])), len(_text(tokens[at:]))) <= LINE
    ]  # fmt: skip
    return min(fitting, key=lambda at: abs(len(_text(tokens[:at])) - len(_text(tokens[at:])))) if fitting else None


def _lines(tokens: Sequence[_Token]) -> tuple[str, ...]:
    at = _break(tokens)
    return (_text(tokens[:at]), _text(tokens[at:])) if at else (_text(tokens),)


def _text(tokens: Sequence[_Token]) -> str:
    return "".join(token.text if token.glued else " " + token.text for token in tokens).strip()


def _clock(ms: int, point: str) -> str:
    """HH:MM:SS and milliseconds; hours have two digits or more."""
    seconds, ms = divmod(ms, 1000)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02}:{minutes:02}:{seconds:02}{point}{ms:03}"


def _plain(lines: Sequence[str]) -> str:
    # An arrow would be read as a line of times.
    return "\n".join(lines).replace("-->", "->")


def _escaped(lines: Sequence[str]) -> str:
    return "\n".join(lines).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
