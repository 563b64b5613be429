"""Decisions in plain words. One table of sentences, and nothing is ever hidden: a decision that is not in it, or whose
facts a sentence does not mention, is told with all its facts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from string import Formatter

from voiceloop.core import events as ev
from voiceloop.journal.trace import Entry

Facts = Mapping[str, float | str | None]

SENTENCES: dict[tuple[str, str], str] = {
    ("started", "voice"): "a turn began: a voice for {voiced_s}",
    ("started", "typed"): "a turn began: it was typed",
    ("waiting", "silence"): "waits for {wait_s} of silence",
    ("waiting", "unfinished"): "waits on: it did not sound finished ({finished}, needed {needed})",
    ("waiting", "not_ready"): "waits on: the reply is not ready, so nothing is lost",
    ("waiting", "expected"): "waits on: {expect} is expected, and not yet complete",
    ("waiting", "doubtful"): "waits a moment: the last frame may have been a voice",
    ("ended", "silence"): "ended the turn after {quiet_s} of silence (needed {wait_s})",
    ("ended", "finished"): (
        "ended the turn after {quiet_s} of silence: it sounded finished ({finished}, needed {needed})"
    ),
    ("ended", "expected"): "ended the turn after {quiet_s} of silence: {expect} was expected, and is complete",
    ("ended", "cap"): "ended the turn: it was as long as one may be ({cap_s})",
    ("ended", "commit"): "ended the turn, as it was told to",
    ("reopened", "voice"): "took the reply back: the person went on {after_s} after the turn had ended",
    ("paused", "voice"): "paused the reply: a voice for {voiced_s} at {level_db} over it",
    ("resumed", "backchannel"): "went on with the reply: that was only a sign of listening",
    ("resumed", "no_words"): "went on with the reply: there were no words in that sound",
    ("resumed", "invented"): "went on with the reply: such words are what recognizers make of noise",
    ("resumed", "short"): "went on with the reply: {voiced_s} of sound is too short to mean something",
    ("resumed", "late"): "went on with the reply: nobody knew what the voice said within {judge_s}",
    ("stopped", "words"): "stopped the reply: the person has something to say",
    ("stopped", "long"): "stopped the reply: the person went on for {voiced_s} (allowed {most_s})",
    ("stopped", "stop"): "stopped the reply: the person told it to",
    ("stopped", "voice"): "stopped the reply: a voice for {voiced_s} over it, and it is set to stop at once",
    ("stopped", "interrupt"): "stopped the reply, as the program was told to",
    ("ignored", "short"): "took no notice of a sound: {voiced_s} is too short for speech (needed {needed_s})",
    ("ignored", "policy"): "took no notice of a voice: this reply is not to be interrupted",
    ("ignored", "echo"): "took no notice of a voice: it was its own",
    ("dropped", "no_words"): "dropped the turn: there were no words in it",
    ("dropped", "invented"): "dropped the turn: such words are what recognizers make of noise",
    ("dropped", "went_on"): "threw away what ran ahead: the person went on",
    ("kept", "backchannel"): "kept speaking: that was only a sign of listening",
    ("kept", "sentence"): "kept speaking to the end of the sentence",
    ("kept", "reply"): "kept speaking to the end of the reply",
}
"""(what, because) -> what to say. A name in braces is a fact, told with its unit."""

_WHAT = {
    "started": "a turn began",
    "waiting": "waits",
    "ended": "ended the turn",
    "reopened": "reopened the turn",
    "paused": "paused the reply",
    "resumed": "went on with the reply",
    "stopped": "stopped the reply",
    "ignored": "took no notice",
    "dropped": "dropped it",
    "kept": "kept it",
}


def sentence(trace: ev.Trace) -> str:
    """One decision, with all of its facts."""
    template = SENTENCES.get((trace.what, trace.because))
    names = {name for _, name, _, _ in Formatter().parse(template or "") if name}
    if template is not None and all(trace.facts.get(name) is not None for name in names):
        text = template.format(**{name: value(name, trace.facts[name]) for name in names})
    else:
        names = set[str]()
        text = f"{_WHAT.get(trace.what, _spaced(trace.what))}: {_spaced(trace.because)}"
    rest = [
        f"{_label(name)} {value(name, fact)}"
        for name, fact in trace.facts.items()
        if name not in names and fact is not None
    ]
    if not rest:
        return text
    return f"{text[:-1]}, {', '.join(rest)})" if text.endswith(")") else f"{text} ({', '.join(rest)})"


def value(name: str, fact: float | str | None) -> str:
    """A fact with the unit that its name ends in."""
    match fact:
        case None:
            return "unknown"
        case bool():
            return "yes" if fact else "no"
        case str():
            return fact.replace("_", " ") if fact else "none"
        case _ if name.endswith("_s"):
            return f"{fact:.2f} s"
        case _ if name.endswith("_db"):
            return f"{fact:.0f} dB"
        case _ if name.endswith("_ms"):
            return f"{fact:.0f} ms"
        case int():
            return str(fact)
        case _:
            return f"{fact:.2f}"


def last_turns(entries: Sequence[Entry], n: int) -> list[Entry]:
    """From the first entry of the n-th last turn on; all if there are no more turns than that."""
    turns = list(dict.fromkeys(turn for entry in entries if (turn := entry.what.turn) is not None))
    if len(turns) <= n:
        return list(entries)
    wanted = set(turns[-n:])
    first = next(i for i, entry in enumerate(entries) if entry.what.turn in wanted)
    return list(entries[first:])


def _label(name: str) -> str:
    for unit in ("_s", "_db", "_ms"):
        name = name.removesuffix(unit)
    return _spaced(name)


def _spaced(key: str) -> str:
    return key.replace("_", " ")
