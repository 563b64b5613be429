"""What a take was worth, and the statistics of many."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from stage import Piece, Take

from voiceloop.core import events as ev
from voiceloop.core.audio import RATE, ticks

MISSED_AFTER = ticks(5)


@dataclass(frozen=True, slots=True)
class Result:
    """One scene under one policy; times in ms.

    cut_ms: a reply was heard before the end of speech, so long after the beginning of the pause it was heard in (None:
    it was not). latency_ms: last sample of speech to the first sample of the next reply (None: there was none).
    hold_ms: first sample of the interruption to the last of the reply before it paused or stopped. judged_ms: to the
    order to go on or stop. right: the reply did what it should. calls, wasted: (stt, llm, tts).
    """

    name: str
    policy: str
    kind: str
    tags: tuple[str, ...]
    speaker: str
    finished: bool
    cut_ms: float | None
    latency_ms: float | None
    missed: bool
    stuck: bool
    exact: bool
    turns: int
    reopened: int
    calls: tuple[int, int, int]
    wasted: tuple[int, int, int]
    hold_ms: float | None = None
    judged_ms: float | None = None
    right: bool | None = None
    verdict: str = ""
    trace: tuple[str, ...] = ()

    @property
    def cut(self) -> bool:
        """Whether the user was talked into."""
        return self.cut_ms is not None


def judge(take: Take, policy: str) -> Result:
    """The measures of one take."""
    scene, pieces = take.scene, take.pieces
    early = next((piece.at for piece in pieces if piece.at < scene.end), None)
    if early is not None and not scene.over_after:
        began = max((a for a, _ in scene.pauses if a <= early), default=0)
        cut_ms = ms(early - began)
    else:
        cut_ms = None
    first = next((piece.at for piece in pieces if piece.first == 0 and piece.at >= scene.end), None)
    heard = {piece.reply for piece in pieces}
    withdrawn = {e.reply for _, e in take.of(ev.ReplyEnded) if e.ending == "withdrawn"}  # pyright: ignore
    kept = heard - withdrawn
    n_words = len({e.turn for _, e in take.of(ev.Heard)})  # pyright: ignore
    n_sentences = sum(e.reply in kept for _, e in take.of(ev.ReplySaid))  # pyright: ignore
    calls = (take.stt.calls, take.llm.calls, take.tts.calls)
    useful = (n_words, len(kept), n_sentences)
    common = Result(
        name=scene.name,
        policy=policy,
        kind=scene.kind,
        tags=scene.tags,
        speaker=scene.speaker,
        finished=scene.finished,
        cut_ms=cut_ms,
        latency_ms=None if first is None else ms(first - scene.end),
        missed=first is None or first - scene.end > MISSED_AFTER,
        stuck=take.port.timed_out,
        exact=all(is_prefix(*take.reply(number)) for number in heard),
        turns=n_words,
        reopened=len(take.of(ev.Reopened)),
        calls=calls,
        wasted=tuple(max(0, made - used) for made, used in zip(calls, useful, strict=True)),  # pyright: ignore
        trace=tuple(_line(at, event) for at, event in take.of(ev.Trace)),
    )
    return common if scene.over is None else _judge_over(take, common)


def _judge_over(take: Take, common: Result) -> Result:
    """The reply that was audible when the other sound began."""
    onset = take.port.over_at
    under = [p for p in take.pieces if onset is not None and p.at <= onset < p.at + p.pcm.size]
    if onset is None or not under:
        why = "no reply" if onset is None else "silent before the sound began"
        return replace(common, right=False, verdict=why)
    reply = under[0].reply
    rest = [p for p in take.pieces if p.reply == reply and p.at >= under[0].at]
    stop = contiguous(rest)
    ended = next((e for _, e in take.of(ev.ReplyEnded) if e.reply == reply), None)  # pyright: ignore
    ending = ended.ending if ended else "never ended"  # pyright: ignore
    heard, sound = take.reply(reply)
    whole = ending == "completed" and heard.size == sound.size and common.exact
    paused = any(p.at > stop for p in rest) or not whole
    orders = [(at, what) for at, what, r in take.port.speaker.orders if r == reply and at >= onset and what != "hold"]
    judged = ms(orders[0][0] - onset) if orders else None
    if orders and orders[0][1] == "resume" and not whole:
        verdict = "resumed, then stopped"
    elif whole:
        verdict = "went on" if paused else "was not held"
    else:
        verdict = "stopped" if ending in ("interrupted", "withdrawn") else ending
    right = whole if take.scene.goes_on else ending in ("interrupted", "withdrawn")
    hold = ms(stop - onset) if paused else None
    return replace(common, hold_ms=hold, judged_ms=judged, right=right, verdict=verdict)


def contiguous(pieces: Sequence[Piece]) -> int:
    """Where sound that has no hole in it ends."""
    end = pieces[0].at
    for piece in pieces:
        if piece.at != end:
            break
        end += piece.pcm.size
    return end


def is_prefix(heard: np.ndarray, sound: np.ndarray) -> bool:
    """Whether what was heard is the sound from its first sample on, none lost and none twice."""
    return heard.size <= sound.size and bool(np.array_equal(heard, sound[: heard.size]))


def _line(at: int, event: object) -> str:
    facts = " ".join(f"{key}={value}" for key, value in event.facts.items())  # pyright: ignore
    return f"{at / RATE:.2f} {event.what}: {event.because} {facts}"  # pyright: ignore


def ms(n: int) -> float:
    """Ticks as milliseconds."""
    return round(n * 1000 / RATE, 1)


# --- statistics ---


def wilson(k: int, n: int) -> tuple[float, float]:
    """95 % interval of a share (Wilson 1927); (0, 1) when there is nothing to count."""
    if n == 0:
        return 0.0, 1.0
    z = 1.959964
    p = k / n
    middle = p + z * z / (2 * n)
    half = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return max(0.0, (middle - half) / (1 + z * z / n)), min(1.0, (middle + half) / (1 + z * z / n))


def percentile(values: Sequence[float], q: float) -> float:
    """Linear between neighbours."""
    return float(np.percentile(np.array(values), q))


def bootstrap(
    values: Sequence[float], measure: Callable[[np.ndarray], float], times: int = 1000
) -> tuple[float, float]:
    """95 % interval of a measure, by drawing the values again and again."""
    rng = np.random.default_rng(1)
    x = np.array(values)
    found = sorted(measure(x[rng.integers(0, x.size, x.size)]) for _ in range(times))
    return found[round(0.025 * (times - 1))], found[round(0.975 * (times - 1))]


def times(values: Sequence[float | None]) -> str:
    """n, median, 90th and 95th percentile, and the interval of the median."""
    known = [value for value in values if value is not None]
    if not known:
        return f"{0:5}" + "       -" * 3
    low, high = bootstrap(known, lambda x: float(np.median(x)))
    cells = (statistics.median(known), percentile(known, 90), percentile(known, 95))
    return f"{len(known):5}" + "".join(f"{cell:8.0f}" for cell in cells) + f"   [{low:.0f}, {high:.0f}]"


def share(hits: Sequence[bool]) -> str:
    """n, per cent, and its interval."""
    n, k = len(hits), sum(hits)
    if not n:
        return f"{0:5}       -"
    low, high = wilson(k, n)
    return f"{n:5}{100 * k / n:8.1f} %  [{100 * low:.1f}, {100 * high:.1f}]"
