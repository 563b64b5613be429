"""The table of a run, and the curve of speed against cut-offs, as text and as a picture."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from score import Result, share, times, wilson

MID = ("inside", "open")
"""Pauses in the middle of a sentence."""

CURVE = ("600", "800", "1200")
"""Lengths that count for the curve."""


def rows(results: Sequence[Result]) -> Iterator[str]:
    """All rows of one policy."""
    yield from _ends(results)
    yield from _cuts(results)
    yield from _noise(results)
    yield from _over(results)
    yield from _health(results)


def _some(results: Sequence[Result], kind: str, *tags: str) -> list[Result]:
    return [r for r in results if r.kind == kind and all(tag in r.tags for tag in tags)]


def _line(what: str, cells: str, goal: str = "") -> str:
    return f"  {what:44}{cells:46}{goal}"


def _ends(results: Sequence[Result]) -> Iterator[str]:
    plain = [r for r in results if r.kind == "end" and r.finished]
    after = [r for r in results if r.kind == "pause" and r.finished]
    if not plain + after:
        return
    yield "end of speech -> first reply sample, ms            n  median     p90     p95   median's interval"
    goal = "goal 700 / 950 / 1200"
    yield _line("recordings and sentences as they are", times([r.latency_ms for r in plain]), goal)
    yield _line("  of them without a cut-off", times([r.latency_ms for r in plain if not r.cut]))
    yield _line("after a pause put into the sentence", times([r.latency_ms for r in after]))
    yield _line("missed ends: no reply within 5 s, %", share([r.missed for r in plain + after]))


def _cuts(results: Sequence[Result]) -> Iterator[str]:
    pauses = [r for r in results if r.kind == "pause"]
    natural = _some(results, "end", "natural")
    if not pauses + natural:
        return
    yield "reply heard before the user had finished, %         n"
    goals = {"600": "goal <= 5", "800": "goal <= 15", "1200": "goal <= 35"}
    for length in sorted({r.tags[1] for r in pauses}, key=int):
        those = [r for r in pauses if length in r.tags]
        mid = [r for r in those if r.tags[0] in MID]
        people = len({r.speaker for r in mid})
        yield _line(
            f"{length} ms, mid-sentence ({people} speakers)", share([r.cut for r in mid]), goals.get(length, "")
        )
        yield _line("    words so far cannot be complete", share([r.cut for r in those if "inside" in r.tags]))
        yield _line("    they could be, but go on", share([r.cut for r in those if "open" in r.tags]))
        yield _line("    a sentence ended, another follows", share([r.cut for r in those if "sentence" in r.tags]))
    yield _line("natural pauses, each recording as it is", share([r.cut for r in natural]))
    cuts = [r for r in [*pauses, *natural] if r.cut]
    yield _line("  of the cut-offs, repaired by reopening", share([r.reopened > 0 for r in cuts]))


def _noise(results: Sequence[Result]) -> Iterator[str]:
    noisy = [r for r in results if r.kind == "noise"]
    if not noisy:
        return
    yield "in noise                       n  latency median     p90   cut-off %   missed %   stuck"
    for kind in dict.fromkeys(r.tags[0] for r in noisy):
        for snr in dict.fromkeys(r.tags[1] for r in noisy):
            some = _some(noisy, "noise", kind, snr)
            known = [r.latency_ms for r in some if r.latency_ms is not None and not r.missed and r.finished]
            middle = f"{statistics.median(known):14.0f}{_p90(known):8.0f}" if known else f"{'-':>14}{'-':>8}"
            cut, missed = (100 * statistics.mean(hits) for hits in ([r.cut for r in some], [r.missed for r in some]))
            stuck = sum(r.stuck for r in some)
            yield f"  {kind + ' ' + snr + ' dB':24}{len(some):6}{middle}{cut:12.1f}{missed:11.1f}{stuck:8}"


def _p90(values: Sequence[float]) -> float:
    ordered = sorted(values)
    return ordered[round(0.9 * (len(ordered) - 1))]


def _over(results: Sequence[Result]) -> Iterator[str]:
    over = [r for r in results if r.kind == "over"]
    if not over:
        return
    yield "user over the reply, ms                             n  median     p90     p95   median's interval"
    for origin in ("human", "synthetic"):
        stops = _some(over, "over", origin, "stops")
        goes = _some(over, "over", origin, "goes on")
        yield _line(f"last reply sample ({origin}, stops)", times([r.hold_ms for r in stops]), "goal 150 / 300 / 400")
        yield _line(f"judgement ({origin}, stops)", times([r.judged_ms for r in stops]), "goal 600 / - / 1000")
        if goes:
            held = [r for r in goes if r.hold_ms is not None]
            yield _line(f"judgement ({origin}, goes on)", times([r.judged_ms for r in held]), "goal 600 / - / 1000")
    yield "the reply stops, %                                  n"
    for origin in ("human", "synthetic"):
        yield _line(
            f"for {origin} words", share([r.right is True for r in _some(over, "over", origin, "stops")]), ">= 98"
        )
    yield "the reply goes on from the exact sample, %          n"
    goes = _some(over, "over", "goes on")
    yield _line("all synthetic", share([r.right is True for r in goes]), "goal >= 95")
    for kind in dict.fromkeys(r.tags[1] for r in goes):
        yield _line(f"  {kind}", share([r.right is True for r in _some(goes, "over", kind)]))
    yield _line("  never held at all", share([r.verdict == "was not held" for r in goes]))


def _health(results: Sequence[Result]) -> Iterator[str]:
    if not results:
        return
    yield "over all scenes                                     n"
    yield _line("stuck: not idle after 10 s of silence, %", share([r.stuck for r in results]))
    yield _line("samples lost, doubled or out of order, %", share([not r.exact for r in results]))
    yield _line("scenes with a turn reopened, %", share([r.reopened > 0 for r in results]))
    turns = max(1, sum(r.turns for r in results))
    cells = []
    for i, stage in enumerate(("STT", "LLM", "TTS")):
        made, lost = sum(r.calls[i] for r in results), sum(r.wasted[i] for r in results)
        cells.append(f"{stage} {lost / turns:.2f} ({100 * lost / max(1, made):.0f} %)")
    yield _line("calls thrown away for each turn", f"{turns:5}   " + ", ".join(cells))


# --- the curve ---


@dataclass(frozen=True, slots=True)
class Point:
    """One policy: latency of finished ends, and how many were cut off."""

    policy: str
    median_ms: float
    mean_ms: float
    pauses: tuple[int, int]
    natural: tuple[int, int]


def points(results: Sequence[Result]) -> list[Point]:
    """One for each policy, in order of appearance."""
    found: list[Point] = []
    for policy in dict.fromkeys(r.policy for r in results):
        mine = [r for r in results if r.policy == policy]
        ends = [r.latency_ms for r in mine if r.kind == "end" and r.finished and r.latency_ms is not None]
        pauses = [r.cut for r in mine if r.kind == "pause" and r.tags[0] in MID and r.tags[1] in CURVE]
        natural = [r.cut for r in _some(mine, "end", "natural")]
        if ends and pauses and natural:
            median, mean = statistics.median(ends), statistics.mean(ends)
            counts = ((sum(pauses), len(pauses)), (sum(natural), len(natural)))
            found.append(Point(policy, median, mean, *counts))
    return found


def fixed_at(fixed: Sequence[tuple[float, float]], x: float) -> float | None:
    """Cut-off share of a fixed silence as fast as x: the best that is no slower, or on the line between two.

    None if no fixed silence is as fast.
    """
    best: list[tuple[float, float]] = []
    for at, y in sorted(fixed):
        if best and at - best[-1][0] < 1:
            best[-1] = (best[-1][0], min(best[-1][1], y))
        else:
            best.append((at, y))
    if not best or x < best[0][0]:
        return None
    for (x0, y0), (x1, y1) in pairwise(best):
        if x0 <= x <= x1:
            return y0 + (y1 - y0) * (x - x0) / (x1 - x0)
    return best[-1][1]


def curve(found: Sequence[Point]) -> Iterator[str]:
    """The points, and whether each preset lies below the fixed ones."""
    if not found:
        return
    yield "speed against cut-offs: latency median and mean ms; cut-offs of all mid-sentence pauses; of natural ones"
    for p in found:
        yield f"  {p.policy:20}{p.median_ms:8.0f}{p.mean_ms:8.0f}   {_percent(p.pauses)}   {_percent(p.natural)}"
    fixed = [p for p in found if p.policy.startswith("fixed")]
    for p in found:
        if p not in fixed and fixed:
            yield f"  {p.policy}: " + "; ".join(_verdicts(p, fixed))


def _verdicts(p: Point, fixed: Sequence[Point]) -> Iterator[str]:
    measures: tuple[tuple[str, Callable[[Point], tuple[int, int]]], ...] = (
        ("pauses", lambda q: q.pauses),
        ("natural", lambda q: q.natural),
    )
    for axis, at in (("median", lambda q: q.median_ms), ("mean", lambda q: q.mean_ms)):
        for name, count in measures:
            own = count(p)[0] / count(p)[1]
            other = fixed_at([(at(q), count(q)[0] / count(q)[1]) for q in fixed], at(p))
            if other is None:
                yield f"{name} at the same {axis}: faster than any fixed silence"
            else:
                word = "BELOW" if own < other else "above" if own > other else "on"
                yield f"{name} at the same {axis}: {100 * own:.1f} against {100 * other:.1f} %, {word}"


def _percent(count: tuple[int, int]) -> str:
    low, high = wilson(*count)
    return f"{100 * count[0] / count[1]:5.1f} % [{100 * low:4.1f}, {100 * high:4.1f}] of {count[1]:4}"


def svg(found: Sequence[Point]) -> str:
    """The curve as a picture: the fixed silences as a line, the presets as dots, with intervals."""
    width, height, left, top = 720, 440, 70, 30
    x_max = max(1400.0, max(p.mean_ms for p in found) + 100)
    low = min(p.mean_ms for p in found) - 100

    def x(value: float) -> float:
        return left + (value - low) / (x_max - low) * (width - left - 20)

    def y(value: float) -> float:
        return top + (1 - value) * (height - top - 60)

    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" font-family="sans-serif">']
    parts.append(f'<rect width="{width}" height="{height}" fill="white"/>')
    for share_ in (0.0, 0.25, 0.5, 0.75, 1.0):
        parts.append(f'<path d="M{left} {y(share_):.1f}H{width - 20}" stroke="#ddd"/>')
        parts.append(f'<text x="{left - 45}" y="{y(share_) + 4:.1f}" font-size="12">{100 * share_:.0f} %</text>')
    parts += [
        f'<text x="{x(at) - 14:.1f}" y="{height - 40}" font-size="12">{at}</text>'
        for at in range(int(low // 200 + 1) * 200, int(x_max), 200)
    ]
    parts.append(
        f'<text x="{left}" y="{height - 15}" font-size="12">mean ms from the end of speech to the reply</text>'
    )
    parts.append('<text x="10" y="18" font-size="12">talked into pauses of 600, 800, 1200 ms</text>')
    line = sorted((p.mean_ms, p.pauses[0] / p.pauses[1]) for p in found if p.policy.startswith("fixed"))
    path = " ".join(f"{x(a):.1f},{y(b):.1f}" for a, b in line)
    parts.append(f'<polyline points="{path}" fill="none" stroke="#888" stroke-width="2"/>')
    for p in found:
        fixed = p.policy.startswith("fixed")
        color, (a, b) = "#888" if fixed else "#c30", wilson(*p.pauses)
        px, py = x(p.mean_ms), y(p.pauses[0] / p.pauses[1])
        parts.append(f'<path d="M{px:.1f} {y(a):.1f}V{y(b):.1f}" stroke="{color}"/>')
        parts.append(f'<circle cx="{px:.1f}" cy="{py:.1f}" r="4" fill="{color}"/>')
        parts.append(f'<text x="{px + 6:.1f}" y="{py - 6:.1f}" font-size="11" fill="{color}">{p.policy}</text>')
    return "\n".join([*parts, "</svg>"]) + "\n"
