"""Subtitles: what is shown when, and how it is written."""

from __future__ import annotations

import itertools
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voiceloop.core.captions import LINE, LONGEST_S, Cue, cues, srt, vtt
from voiceloop.core.transcript import Document, Segment, Word
from voiceloop.core.words import joined, sentences, shifted, spread, text_of


def said(text: str, start_s: float = 0.0, word_s: float = 0.3, gap_s: float = 0.0) -> Segment:
    words: list[Word] = []
    for word in text.split():
        words.append(Word(word, start_s, start_s + word_s))
        start_s += word_s + gap_s
    return Segment(text, words[0].start_s, words[-1].end_s, None, tuple(words))


def document(*segments: Segment) -> Document:
    return Document(text_of(segments), 60.0, "en", segments)


def test_srt() -> None:
    found = srt(document(said("Good morning."), said("How are you?", 3661.5)))
    assert found == (
        "1\n00:00:00,000 --> 00:00:01,000\nGood morning.\n\n2\n01:01:01,500 --> 01:01:02,500\nHow are you?\n\n"
    )


def test_vtt_is_escaped() -> None:
    found = vtt(document(said("if a<b & b>c --> d")))
    assert found == "WEBVTT\n\n00:00:00.000 --> 00:00:01.800\nif a&lt;b &amp; b&gt;c --&gt; d\n\n"


def test_srt_holds_no_second_arrow() -> None:
    assert srt(document(said("go --> there"))).count("-->") == 1


def test_nothing_was_said() -> None:
    empty = Document("", 3.0)
    assert (srt(empty), vtt(empty)) == ("", "WEBVTT\n\n")


LONG = "the quick brown fox jumps over the lazy dog and then it sleeps in the warm sun until the evening comes"


def test_long_sentences_are_cut_between_words() -> None:
    found = cues([said(LONG, word_s=0.2)])
    assert len(found) == 2
    assert " ".join(line for cue in found for line in cue.lines) == LONG
    assert found[0].end_ms == found[1].start_ms
    # About as long as each other.
    assert found[0].lines == ("the quick brown fox jumps over the lazy", "dog and then it sleeps in the warm sun")


def test_rather_behind_a_comma() -> None:
    text = LONG.replace("dog and", "dog, and").replace("sleeps in", "sleeps, in")
    assert cues([said(text, word_s=0.2)])[0].lines[-1].endswith("sleeps,")


def test_no_longer_than_seven_seconds() -> None:
    assert [cue.end_ms - cue.start_ms for cue in cues([said("one two three four", word_s=3.0)])] == [6000, 6000]


def test_a_sentence_and_a_pause_end_a_cue() -> None:
    found = cues([said('He said "no." Then he left', word_s=0.4), said("wait for it", 10, gap_s=0.7)])
    assert [cue.lines for cue in found] == [('He said "no."',), ("Then he left",), ("wait",), ("for",), ("it",)]


def test_a_brief_word_stays_until_the_next_one() -> None:
    found = cues([said("No.", 1.0), said("Yes.", 1.5), said("Well.", 9.0)])
    assert [(cue.start_ms, cue.end_ms) for cue in found] == [(1000, 1500), (1500, 2500), (9000, 10_000)]


def test_without_times_of_words_the_letters_say() -> None:
    found = cues([Segment(LONG, 10.0, 20.0)])
    assert (found[0].start_ms, found[-1].end_ms) == (10_000, 20_000)


def test_a_text_without_spaces_is_cut_anywhere() -> None:
    text = "あ" * 150
    found = cues([Segment(text, 0.0, 12.0)])
    assert "".join(line for cue in found for line in cue.lines) == text
    assert max(len(line) for cue in found for line in cue.lines) <= LINE


def test_words_that_overlap_or_stand_still_make_cues_that_do_not() -> None:
    words = (Word("a.", 1.0, 3.0), Word("b.", 2.0, 2.0), Word("c.", 2.0, 2.0))
    found = cues([Segment("a. b. c.", 1.0, 3.0, None, words)])
    assert all(one.end_ms <= other.start_ms for one, other in itertools.pairwise(found))
    assert all(cue.start_ms < cue.end_ms for cue in found)


SEGMENTS = st.lists(
    st.tuples(st.text(alphabet="ab c.,!あ", max_size=120), st.floats(0, 100), st.floats(0, 20)), max_size=6
)


@given(SEGMENTS)
def test_cues_never_overlap_and_lose_nothing(parts: list[tuple[str, float, float]]) -> None:
    segments: list[Segment] = []
    at = 0.0
    for text, gap, length in parts:
        segments.append(Segment(text, at + gap, at + gap + length))
        at += gap + length
    found = cues(segments)
    assert all(cue.start_ms < cue.end_ms for cue in found)
    assert all(one.end_ms <= other.start_ms for one, other in itertools.pairwise(found))
    assert all(1 <= len(cue.lines) <= 2 and max(map(len, cue.lines)) <= LINE for cue in found)
    shown = re.sub(r"\s", "", "".join(line for cue in found for line in cue.lines))
    assert shown == re.sub(r"\s", "", "".join(segment.text for segment in segments))
    assert LONGEST_S == 7.0
    assert all(isinstance(cue, Cue) for cue in found)


# --- words ---


def test_spread() -> None:
    assert spread("ab abcd 5", 1.0, 2.0) == (Word("ab", 1.0, 1.2), Word("abcd", 1.2, 1.6), Word("5", 1.6, 2.0))
    assert spread(" ", 0, 1) == ()
    assert [word.text for word in spread("- &", 0, 1)] == ["-", "&"]


def test_sentences() -> None:
    segment = said('So it "is." Now then')
    found = list(sentences(segment.words, -0.5))
    assert [(s.text, s.logprob) for s in found] == [('So it "is."', -0.5), ("Now then", -0.5)]
    assert [s.text for s in sentences(said("Whole.").words)] == ["Whole."]
    with pytest.raises(ValueError, match="words"):
        joined([])


def test_shifted() -> None:
    moved = shifted(Segment("a", 1.0, 2.0, -0.1, (Word("a", 1.0, 2.0),)), 10.0)
    assert moved == Segment("a", 11.0, 12.0, -0.1, (Word("a", 11.0, 12.0),))
