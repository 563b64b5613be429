"""Answers of a transcription service, in any of its five formats, as a Transcript. Pure functions."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any, cast

from voiceloop.core.transcript import Segment, Word
from voiceloop.ports import Transcript

Fields = dict[str, Any]

NO_SPEECH = 0.6
NO_WORDS = -1.0
"""A segment is none when its probability of no speech is above the one and its mean log-probability below the other:
the thresholds of Whisper's own decoder, which not every service applies."""

_CUE = re.compile(r"(?:(\d+):)?(\d\d):(\d\d)[.,](\d{3})\s+-->\s+(?:(\d+):)?(\d\d):(\d\d)[.,](\d{3})")
_TAG = re.compile(r"<[^<>]*>")

_NAMES = """
af=afrikaans am=amharic ar=arabic as=assamese az=azerbaijani ba=bashkir be=belarusian bg=bulgarian bn=bengali
bo=tibetan br=breton bs=bosnian ca=catalan cs=czech cy=welsh da=danish de=german el=greek en=english es=spanish
et=estonian eu=basque fa=persian fi=finnish fo=faroese fr=french gl=galician gu=gujarati ha=hausa he=hebrew
hi=hindi hr=croatian hu=hungarian hy=armenian id=indonesian is=icelandic it=italian ja=japanese jw=javanese
ka=georgian kk=kazakh km=khmer kn=kannada ko=korean la=latin lb=luxembourgish ln=lingala lo=lao lt=lithuanian
lv=latvian mg=malagasy mi=maori mk=macedonian ml=malayalam mn=mongolian mr=marathi ms=malay mt=maltese
my=myanmar ne=nepali nl=dutch no=norwegian oc=occitan pa=punjabi pl=polish ps=pashto pt=portuguese ro=romanian
ru=russian sa=sanskrit sd=sindhi si=sinhala sk=slovak sl=slovenian sn=shona so=somali sq=albanian sr=serbian
su=sundanese sv=swedish sw=swahili ta=tamil te=telugu tg=tajik th=thai tk=turkmen tl=tagalog tr=turkish tt=tatar
uk=ukrainian ur=urdu uz=uzbek vi=vietnamese yi=yiddish yo=yoruba zh=chinese
"""
CODES: dict[str, str] = {name: code for code, _, name in (pair.partition("=") for pair in _NAMES.split())}
"""The languages that Whisper knows by their English names, as verbose answers write them -> its codes."""


def transcript(body: bytes, content_type: str) -> Transcript | None:
    """What an answer says; None if it is no transcript. Told by its content: types are not always right."""
    text = body.decode("utf-8-sig", "replace").strip()
    if text.startswith(("{", "[")):
        return of_json(text)
    if text.startswith("WEBVTT") or _CUE.search(text[:200]):
        return _captions(text)
    if content_type == "text/plain" and not text.startswith("<"):
        return Transcript(text)
    return None


def of_json(text: str) -> Transcript | None:
    """A `json` or `verbose_json` answer."""
    try:
        found: object = json.loads(text)
    except ValueError:
        return None
    return of_fields(cast("Fields", found)) if isinstance(found, dict) else None


def of_fields(found: Fields) -> Transcript | None:
    """The object of such an answer, or the last event of a streamed one."""
    text = found.get("text")
    if not isinstance(text, str):
        return None
    entries = _objects(found.get("segments"))
    spoken = [entry for entry in entries if not _silent(entry)]
    if len(spoken) < len(entries):
        text = "".join(str(entry.get("text", "")) for entry in spoken)
    segments = tuple(segment for entry in spoken if (segment := _segment(entry)))
    words = [word for entry in _objects(found.get("words")) if (word := _word(entry))]
    return Transcript(
        text.strip(), _language(found.get("language")), _logprob(found, spoken), segments=_spread(segments, words)
    )


def within(found: Transcript, seconds: float) -> Transcript:
    """With times of at most so many seconds, and one segment for all where the service gives no times."""
    if not found.segments:
        whole = Segment(found.text, 0.0, seconds, found.logprob)
        return replace(found, segments=(whole,)) if found.text else found
    segments = tuple(
        replace(
            segment,
            start_s=min(segment.start_s, seconds),
            end_s=min(segment.end_s, seconds),
            words=tuple(Word(w.text, min(w.start_s, seconds), min(w.end_s, seconds)) for w in segment.words),
        )
        for segment in found.segments
    )
    return replace(found, segments=segments)


def _captions(text: str) -> Transcript:
    """SRT or WebVTT: blocks with a line of times; what stands before it is a number or a name."""
    segments: list[Segment] = []
    for block in re.split(r"\n\s*\n", text.replace("\r\n", "\n")):
        if not (cue := _CUE.search(block)):
            continue
        times = [int(group or 0) for group in cue.groups()]
        start, end = (h * 3600 + m * 60 + s + ms / 1000 for h, m, s, ms in (times[:4], times[4:]))
        lines = block[cue.end() :].partition("\n")[2].split("\n")
        said = " ".join(_TAG.sub("", line).strip() for line in lines if line.strip())
        if said:
            segments.append(Segment(said, start, end))
    return Transcript(" ".join(segment.text for segment in segments), segments=tuple(segments))


def _segment(entry: Fields) -> Segment | None:
    start, end, text = _number(entry.get("start")), _number(entry.get("end")), entry.get("text")
    if start is None or end is None or not isinstance(text, str):
        return None
    words = [word for each in _objects(entry.get("words")) if (word := _word(each))]
    return Segment(text.strip(), start, max(start, end), _number(entry.get("avg_logprob")), _written(text, words))


def _word(entry: Fields) -> Word | None:
    start, end, text = _number(entry.get("start")), _number(entry.get("end")), entry.get("word")
    if start is None or end is None or not isinstance(text, str) or not text.strip():
        return None
    return Word(text.strip(), start, max(start, end))


def _spread(segments: tuple[Segment, ...], words: Sequence[Word]) -> tuple[Segment, ...]:
    """Segments with the words that lie in them, which the service lists apart."""
    if not words:
        return segments
    if not segments:
        return (Segment(" ".join(word.text for word in words), words[0].start_s, words[-1].end_s, words=tuple(words)),)
    shares: list[list[Word]] = [[] for _ in segments]
    at = 0
    for word in words:
        middle = (word.start_s + word.end_s) / 2
        while at < len(segments) - 1 and middle >= segments[at].end_s:
            at += 1
        shares[at].append(word)
    return tuple(
        replace(segment, words=_written(segment.text, share) or segment.words)
        for segment, share in zip(segments, shares, strict=True)
    )


def _written(text: str, words: Sequence[Word]) -> tuple[Word, ...]:
    """Words as the text writes them: OpenAI lists them without their punctuation."""
    units = text.split()
    if len(units) != len(words):
        return tuple(words)
    return tuple(replace(word, text=unit) for word, unit in zip(words, units, strict=True))


def _silent(entry: Fields) -> bool:
    nothing, sure = _number(entry.get("no_speech_prob")), _number(entry.get("avg_logprob"))
    return nothing is not None and sure is not None and nothing > NO_SPEECH and sure < NO_WORDS


def _logprob(found: Fields, segments: Iterable[Fields]) -> float | None:
    """Mean over the tokens, as far as the answer tells any."""
    tokens = [p for entry in _objects(found.get("logprobs")) if (p := _number(entry.get("logprob"))) is not None]
    if tokens:
        return sum(tokens) / len(tokens)
    weighed = [
        (p, _length(entry.get("tokens"))) for entry in segments if (p := _number(entry.get("avg_logprob"))) is not None
    ]
    total = sum(n for _, n in weighed)
    return sum(p * n for p, n in weighed) / total if total else None


def _length(tokens: object) -> int:
    return len(cast("list[object]", tokens)) if isinstance(tokens, list) and tokens else 1


def _language(found: object) -> str | None:
    if not isinstance(found, str):
        return None
    return found if len(found) == 2 else CODES.get(found.lower())


def _number(found: object) -> float | None:
    if isinstance(found, bool) or not isinstance(found, int | float) or not math.isfinite(found):
        return None
    return float(found)


def _objects(found: object) -> list[Fields]:
    if not isinstance(found, list):
        return []
    return [cast("Fields", entry) for entry in cast("list[object]", found) if isinstance(entry, dict)]
