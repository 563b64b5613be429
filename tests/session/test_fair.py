"""Who is next, in a time that is only a number: some threads, and sessions that ask more or less of them."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from voiceloop.session.fair import GUESS_S, Entry, Fair, Load


@dataclass(frozen=True)
class Ask:
    """A call: when it comes, of whom, how long it takes, and whether it is decided."""

    at: float
    whose: str
    cost: float
    decided: Callable[[], bool] = lambda: True


@dataclass(frozen=True)
class Begun:
    """A call whose turn came."""

    whose: str
    at: float
    waited: float
    cost: float


def worked(asks: list[Ask], *, threads: int = 1, until: float = 1e9) -> list[Begun]:
    """What so many threads begin, in order."""
    queue = Fair[Ask]()
    coming = sorted(asks, key=lambda ask: ask.at)
    running: list[tuple[float, Entry[Ask]]] = []
    log: list[Begun] = []
    now = 0.0
    while now < until:
        while coming and coming[0].at <= now:
            ask = coming.pop(0)
            queue.put(ask, ask.whose, now, ask.decided)
        while len(running) < threads and (entry := queue.take(now)):
            running.append((now + entry.item.cost, entry))
            log.append(Begun(entry.whose, now, now - entry.since, entry.item.cost))
        moments = [ask.at for ask in coming[:1]] + [end for end, _ in running]
        if not moments:
            break
        now = min(moments)
        for end, entry in [r for r in running if r[0] <= now]:
            running.remove((end, entry))
            queue.done(entry, entry.item.cost)
    return log


def order(asks: list[Ask]) -> str:
    return "".join(begun.whose for begun in worked(asks))


def test_one_session_is_served_in_its_order() -> None:
    queue = Fair[int]()
    for n in range(5):
        queue.put(n, "a", 0.0)
    taken = [entry.item for _ in range(5) if (entry := queue.take(0.0))]
    assert taken == [0, 1, 2, 3, 4]
    assert queue.take(0.0) is None


def test_sessions_take_turns() -> None:
    assert order([Ask(0, "a", 1)] * 6 + [Ask(0, "b", 1)] * 3 + [Ask(0, "c", 1)] * 3) == "abcabcabcaaa"


def test_who_asks_for_much_is_served_as_long_not_as_often() -> None:
    log = worked([Ask(0, "a", 0.1)] * 300 + [Ask(0, "b", 1.0)] * 30, until=20)
    seconds = {whose: sum(b.cost for b in log if b.whose == whose) for whose in "ab"}
    assert seconds["a"] == pytest.approx(seconds["b"], abs=2.0)


def test_one_call_of_a_quiet_session_does_not_wait_for_a_flood() -> None:
    flood = [Ask(0, "a", 0.5)] * 200
    quiet = [Ask(at, "b", 0.2) for at in range(3, 90, 7)]
    waits = [b.waited for b in worked(flood + quiet) if b.whose == "b"]
    assert len(waits) == len(quiet)
    assert max(waits) <= 0.5 + 1e-9  # the call under way, which cannot be cut off


def test_silence_saves_nothing_up() -> None:
    late = [Ask(0, "a", 1)] * 100 + [Ask(50, "b", 1)] * 10
    begun = [b.whose for b in worked(late) if b.at >= 50]
    assert "".join(begun[:8]) in ("babababa", "abababab")


def test_work_that_was_thrown_away_counts() -> None:
    """Who drops what runs, and asks again at once, gets no more than the others."""
    queue = Fair[str]()
    for n in range(4):
        queue.put("a", "a", n)
        queue.put("b", "b", n)
    first = queue.take(4)
    assert first is not None
    assert first.whose == "a"
    queue.done(first, 2.0)  # it was cancelled, and its thread needed 2 s all the same
    assert [entry.whose for _ in range(3) if (entry := queue.take(6))] == ["b", "b", "b"]


@pytest.mark.parametrize("threads", [1, 2, 4])
@pytest.mark.parametrize("seed", range(5))
def test_nobody_gets_less_than_his_share(threads: int, seed: int) -> None:
    """Sessions that always have something waiting get the same, but for some calls, whatever a call costs."""
    dice = random.Random(seed)
    asks = [Ask(0, whose, dice.uniform(0.01, 0.3) * (1 + 4 * (whose == "e"))) for whose in "abcde" for _ in range(600)]
    log = worked(asks, threads=threads, until=30)
    seconds = [sum(b.cost for b in log if b.whose == whose) for whose in "abcde"]
    assert max(seconds) - min(seconds) <= 2 * threads * 1.5 + 1.5


def test_decided_work_goes_before_guesses() -> None:
    guesses = [Ask(0, "a", 0.1, lambda: False)] * 2 + [Ask(0, "b", 0.1, lambda: False)] * 2
    assert order([*guesses, Ask(0, "c", 0.1), Ask(0, "d", 0.1)]) == "cdabab"


def test_a_guess_is_none_any_more_when_its_turn_is_decided() -> None:
    queue, decided = Fair[str](), set[str]()
    queue.put("guess", "a", 0.0, lambda: "a" in decided)
    queue.put("decided", "b", 0.0)
    queue.put("later", "c", 0.0)
    decided.add("a")
    first = queue.take(0.1)
    assert first is not None
    assert first.item == "guess"


def test_a_guess_waits_for_no_more_than_so_much_of_a_flood_that_is_decided() -> None:
    flood = [Ask(0, "a", 0.1)] * 500
    guesses = [Ask(at, "b", 0.1, lambda: False) for at in (5, 15, 25)]
    waits = [b.waited for b in worked(flood + guesses) if b.whose == "b"]
    assert len(waits) == 3
    assert all(0.5 < wait <= GUESS_S + 0.2 for wait in waits)


def test_what_is_taken_out_never_comes() -> None:
    queue = Fair[int]()
    entries = [queue.put(n, "a", float(n)) for n in range(3)]
    assert queue.remove(entries[1])
    assert not queue.remove(entries[1])
    assert len(queue) == queue.n_of("a") == 2
    first = queue.take(5.0)
    assert first is entries[0]
    assert not queue.remove(entries[0])
    assert queue.remove(entries[2], expired=True)
    assert queue.load(6.0) == Load(waiting=0, oldest_s=0.0, served=1, waited_s=5.0, expired=1)


def test_load_tells_the_oldest() -> None:
    queue = Fair[int]()
    queue.put(1, "a", 2.0)
    queue.put(2, "b", 1.0)
    assert queue.load(4.0) == Load(waiting=2, oldest_s=3.0)
    assert queue.clear() == [1, 2]
    assert queue.load(4.0) == Load()


def test_nothing_is_kept_of_sessions_that_are_over() -> None:
    """10,000 of them, of which always some overlap, so that it is never idle."""
    queue = Fair[int]()
    running: list[Entry[int]] = []
    most = 0
    for n in range(10_000):
        queue.put(n, f"session {n}", float(n))
        entry = queue.take(float(n))
        assert entry is not None
        running.append(entry)
        if len(running) > 3:
            queue.done(running.pop(0), 0.1 + (n % 7) / 10)
        most = max(most, queue.n_shares)
    assert most <= 70  # those of the last minute
    while running:
        queue.done(running.pop(), 0.1)
    assert queue.n_shares == 0
