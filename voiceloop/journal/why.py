"""Decisions in plain words. One table of sentences, and nothing is ever hidden: a decision that is not in it, or whose
facts a sentence does not mention, is told with all its facts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from string import Formatter

from voiceloop.core import events as ev
from voiceloop.journal.trace import Entry

Facts = Mapping[str, float | str | None]

SENTENCES: dict[tuple[str, str], str] = {
    ("started", "voice"): "heard a voice at {level_db}: a turn begins",
    ("started", "goes on"): "heard a voice at {level_db}, soon after the turn was decided: it may go on",
    ("waiting", "words"): "understood {words} so far",
    ("understood", "words"): "understood {words}, after the turn had ended",
    ("waiting", "once more"): "listened to it once more: it sounded finished with a probability of {score}",
    ("waiting", "went on"): "the person went on after a pause of {pause_s}; what ran ahead is thrown away",
    ("ended", "silence"): "ended the turn after {quiet_s} of silence (needed {wait_s}); reply ready: {ready}",
    ("ended", "cap"): "ended the turn: it was as long as one may be; reply ready: {ready}",
    ("ended", "commit"): "ended the turn, as it was told to; reply ready: {ready}",
    ("ended", "key"): "ended the turn: the key was released; reply ready: {ready}",
    ("ended", "muted"): "ended the turn: the microphone was muted; reply ready: {ready}",
    ("ended", "stalled"): "ended the turn: nothing came from the microphone any more; reply ready: {ready}",
    ("reopened", "words"): "took the reply back: the person went on {after_s} after the turn had been decided",
    ("reopened", "long voice"): "took the reply back: the person went on {after_s} after the turn had been decided",
    ("reopened", "went on"): "took the reply back: the person went on {after_s} after the turn had been decided",
    ("reopened", "at once"): "took the reply back at once: a voice {after_s} after the turn had been decided",
    ("reopened", "commit"): "took the reply back, as the turn was told to end {after_s} after it had been decided",
    ("reopened", "key"): "took the reply back: the person went on with the key down, {after_s} after the decision",
    ("paused", "key down"): "paused the reply: the key was pressed",
    ("paused", "voice over the reply"): "paused the reply: a voice for {voice_s} at {level_db} over it",
    ("paused", "device lost"): "paused the reply: the sound device was lost",
    ("resumed", "device back"): "went on with the reply: the sound device is back",
    ("resumed", "nobody wants the floor"): "went on with the reply: nobody wants to speak",
    ("stopped", "words"): "stopped the reply: the person has something to say",
    ("stopped", "long voice"): "stopped the reply: a voice for {spoken_s}, too long for a cough or a single word",
    ("stopped", "stop word"): "stopped the reply: the person told it to stop",
    ("stopped", "wait word"): "stopped the reply: the person told it to wait",
    ("stopped", "at once"): "stopped the reply at the first sound of a voice: it is set to",
    ("stopped", "went on"): "stopped the reply: the person spoke again before it was known what was said",
    ("stopped", "interrupted"): "stopped the reply: it was told to, by a key or the program",
    ("stopped", "commit"): "stopped the reply: the program said that the turn is over",
    ("stopped", "key"): "stopped the reply: the person spoke with the key down",
    ("stopped", "key down"): "stopped the reply, as it is set to: the key was pressed",
    ("stopped", "end of the sentence"): "stopped the reply at the end of its sentence, as it is set to",
    ("ignored", "backchannel"): "took no notice of a sign of listening, as mm-hm or yeah",
    ("ignored", "no words"): "took no notice of a sound: there were no words in it",
    ("ignored", "no speech"): "took no notice of a sound: its words are what recognizers make of noise",
    ("ignored", "too short"): "took no notice of a sound: {spoken_s} is too short for speech",
    ("ignored", "brief voice"): "took no notice of a brief voice: its words were not known in time",
    ("ignored", "muted"): "took no notice of a voice: the microphone was muted before it was known what it said",
    ("kept", "finish_reply"): "kept speaking to the end of the reply, as it is set to",
    ("kept", "ignore"): "kept speaking: this reply is not to be interrupted",
    ("dropped", "no words"): "dropped the turn: there were no words in it",
    ("dropped", "no speech"): "dropped the turn: its words are what recognizers make of noise",
    ("dropped", "interrupted"): "dropped the turn: the program was told to be silent",
    (
        "ignored",
        "own voice",
    ): "took no notice of a voice: it was our own ({echo} by its sound, {our_words} by its words)",
    ("dropped", "own voice"): "dropped the turn: it was our own voice ({echo} by its sound, {our_words} by its words)",
    ("ignored", "closed"): "took no notice of a voice: the session ended",
    ("dropped", "failed"): "dropped the turn: its words could not be found",
    ("dropped", "too short"): "dropped the turn: what was said last was too short for speech",
    ("dropped", "brief voice"): "dropped the turn: its words were not known in time",
    ("dropped", "backchannel"): "dropped the turn: it was a sign of listening, as mm-hm or yeah",
    ("dropped", "stop word"): "dropped the turn: all it said was to stop",
    ("dropped", "wait word"): "dropped the turn: all it said was to wait",
    ("muted", "on"): "stopped listening: it was muted",
    ("muted", "off"): "listened again: it was no longer muted",
    ("key", "down"): "gave the floor to the person: the key was pressed",
    ("key", "up"): "the key was released",
    ("silence", "moment"): "said that it takes a moment: the answer is slow",
    ("silence", "still"): "gave a sign of life: the answer is still not there",
    ("silence", "reprompt"): "asked whether somebody is there: nobody has spoken for long",
    ("silence", "end"): "ended the session: nobody has spoken for long",
}
"""(what, because) -> what to say. A name in braces is a fact, told with its unit."""

_WHAT = {
    "started": "a turn begins",
    "waiting": "waits",
    "understood": "understood",
    "ended": "ended the turn",
    "reopened": "took the reply back",
    "paused": "paused the reply",
    "resumed": "went on with the reply",
    "stopped": "stopped the reply",
    "ignored": "took no notice of a sound",
    "dropped": "dropped the turn",
    "kept": "kept speaking",
    "muted": "was muted or not",
    "key": "the key of push-to-talk",
    "silence": "gave a sign of life",
}

_COUNTED = {"words": "word", "heard": "heard sample"}


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
        value(name, fact) if name in _COUNTED else f"{_label(name)} {value(name, fact)}"
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
        case int() if name in _COUNTED:
            return f"{fact:,} {_COUNTED[name]}{'' if fact == 1 else 's'}"
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
