"""What the clients say and hear."""

from __future__ import annotations

import itertools
import re
from typing import Any

from tests.program import misheard

FOX = "The quick brown fox jumps over the lazy dog."
"""Also in foreign/openai_sdk.py and foreign/openai_sdk.mjs."""

KENNEDY = "and so my fellow americans ask not what your country can do for you ask what you can do for your country"
"""tests/data/jfk.flac"""
SECONDS = 11.0

STAMP = re.compile(r"(\d\d):(\d\d):(\d\d)[.,](\d{3}) --> (\d\d):(\d\d):(\d\d)[.,](\d{3})")


def heard_kennedy(text: str) -> None:
    """All of it, but for one word."""
    assert misheard(KENNEDY, text) <= 1 / len(KENNEDY.split()) + 1e-9, text


def cues(text: str) -> list[tuple[float, float, str]]:
    """Start, end and text of each cue of srt or vtt."""
    found: list[tuple[float, float, str]] = []
    for block in re.split(r"\n\s*\n", text.replace("\r\n", "\n").strip()):
        lines = block.splitlines()
        for at, line in enumerate(lines):
            if stamp := STAMP.search(line):
                h, m, s, ms, h2, m2, s2, ms2 = map(int, stamp.groups())
                start, end = h * 3600 + m * 60 + s + ms / 1000, h2 * 3600 + m2 * 60 + s2 + ms2 / 1000
                found.append((start, end, " ".join(lines[at + 1 :])))
    return found


def in_order(times: list[tuple[float, float]], seconds: float) -> None:
    """Each begins before it ends, none before the one before it, all within the sound."""
    assert times
    assert all(start < end for start, end in times)
    assert all(a[0] <= b[0] for a, b in itertools.pairwise(times))
    assert times[0][0] >= 0
    assert times[-1][1] <= seconds + 0.1


def check_verbose(answer: dict[str, Any], *, words: bool) -> None:
    """The document of the recording, with its times."""
    heard_kennedy(answer["text"])
    assert answer["language"] == "english"
    assert abs(answer["duration"] - SECONDS) < 0.1
    in_order([(s["start"], s["end"]) for s in answer["segments"]], SECONDS)
    heard_kennedy(" ".join(s["text"] for s in answer["segments"]))
    if words:
        in_order([(w["start"], w["end"]) for w in answer["words"]], SECONDS)
        heard_kennedy(" ".join(w["word"] for w in answer["words"]))
    else:
        assert not answer.get("words")


def check_events(events: list[dict[str, Any]]) -> None:
    """Deltas that are the text, and one end."""
    *deltas, done = events
    assert deltas
    assert {event["type"] for event in deltas} == {"transcript.text.delta"}
    assert done["type"] == "transcript.text.done"
    assert "".join(event["delta"] for event in deltas) == done["text"]
    heard_kennedy(done["text"])
