"""Times of words: guessed from their letters, moved, and put together to sentences."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from voiceloop.core.transcript import Segment, Word

SENTENCE_END = (".", "!", "?", "\N{HORIZONTAL ELLIPSIS}", "\N{IDEOGRAPHIC FULL STOP}")

CLOSERS = "\"')]}\N{RIGHT DOUBLE QUOTATION MARK}\N{RIGHT SINGLE QUOTATION MARK}"


def weight(word: str) -> int:
    """About how long a word is, in letters. A digit is a word of its own when it is said."""
    return max(1, sum(4 if c.isdigit() else 1 for c in word if c.isalnum()))


def spread(text: str, start_s: float, end_s: float) -> tuple[Word, ...]:
    """The words of a text, each as long as its letters are of all."""
    words = text.split()
    total = sum(map(weight, words))
    found: list[Word] = []
    done = 0
    for word in words:
        begin, done = done, done + weight(word)
        span = end_s - start_s
        found.append(Word(word, start_s + span * begin / total, start_s + span * done / total))
    return tuple(found)


def shifted(segment: Segment, by_s: float) -> Segment:
    """The same, so much later."""
    words = tuple(Word(word.text, word.start_s + by_s, word.end_s + by_s) for word in segment.words)
    return Segment(segment.text, segment.start_s + by_s, segment.end_s + by_s, segment.logprob, words)


def sentences(words: Sequence[Word], logprob: float | None = None) -> Iterator[Segment]:
    """A segment for each sentence."""
    sentence: list[Word] = []
    for word in words:
        sentence.append(word)
        if word.text.rstrip(CLOSERS).endswith(SENTENCE_END):
            yield joined(sentence, logprob)
            sentence = []
    if sentence:
        yield joined(sentence, logprob)


def joined(words: Sequence[Word], logprob: float | None = None) -> Segment:
    """Words as one segment. Raises ValueError without any."""
    if not words:
        raise ValueError("a segment has words")
    return Segment(text_of(words), words[0].start_s, words[-1].end_s, logprob, tuple(words))


def text_of(parts: Iterable[Word | Segment]) -> str:
    """Their texts with spaces between them."""
    return " ".join(part.text for part in parts if part.text)
