"""How much at once, and how often. The first half on virtual time."""

import asyncio
from pathlib import Path

import pytest

from tests.server.serving import HELLO, Clock, Script, app_of, client, error_of
from voiceloop.sections import ServeSection
from voiceloop.server.keys import KeyFile
from voiceloop.server.limits import Line, Rates
from voiceloop.server.orders import Sound
from voiceloop.wire.speech_errors import Refusal


def test_requests_a_minute() -> None:
    clock = Clock()
    rates = Rates(3, clock)
    for _ in range(3):
        rates.count("ann")
    rates.count("ben")
    with pytest.raises(Refusal) as caught:
        rates.count("ann")
    assert (caught.value.status, caught.value.headers["retry-after"]) == (429, "20")
    clock.now = 5.0
    with pytest.raises(Refusal) as caught:
        rates.count("ann")
    assert caught.value.headers["retry-after-ms"] == "15000"
    clock.now = 20.0
    rates.count("ann")
    with pytest.raises(Refusal):
        rates.count("ann")


def test_no_rate() -> None:
    rates = Rates(0, Clock())
    for _ in range(1000):
        rates.count("ann")


def line(at_once: int = 1, queue: int = 1, per_key: int = 0, wait_s: float = 10.0) -> Line:
    return Line(at_once, queue, per_key, wait_s, asyncio.get_running_loop().time)


async def work(place: Line, key: str, seconds: float, order: list[str], name: str = "") -> None:
    async with place.join(key) as ticket:
        await ticket.turn()
        order.append(name)
        await asyncio.sleep(seconds)


@pytest.mark.virtual
async def test_first_come_first_served() -> None:
    place, order = line(queue=10), list[str]()
    async with asyncio.TaskGroup() as group:
        for name in "abcd":
            group.create_task(work(place, "", 1.0, order, name))
    assert order == list("abcd")
    assert asyncio.get_running_loop().time() == pytest.approx(4.0)
    assert place.n_present == 0


@pytest.mark.virtual
async def test_a_full_line_says_when_to_come_back() -> None:
    place = line(queue=1)
    async with asyncio.TaskGroup() as group:
        group.create_task(work(place, "ann", 9.0, []))
        group.create_task(work(place, "ann", 9.0, []))
        await asyncio.sleep(0)
        with pytest.raises(Refusal) as caught:
            await work(place, "ben", 1.0, [])
        assert (caught.value.status, caught.value.code) == (429, "queue_full")
        assert caught.value.headers["retry-after"] == "2"  # two are present, and one second each is the first guess
        await asyncio.sleep(9.5)
        group.create_task(work(place, "ann", 1.0, []))
        await asyncio.sleep(0)
        with pytest.raises(Refusal) as caught:
            await work(place, "ben", 1.0, [])
        assert caught.value.headers["retry-after-ms"] == "5200"  # the first one took nine


@pytest.mark.virtual
async def test_nobody_waits_longer_than_allowed() -> None:
    place = line(queue=5, wait_s=3.0)
    async with asyncio.TaskGroup() as group:
        group.create_task(work(place, "", 60.0, []))
        await asyncio.sleep(0)
        with pytest.raises(Refusal) as caught:
            await work(place, "", 1.0, [])
    assert (caught.value.status, caught.value.code) == (429, "queue_timeout")


@pytest.mark.virtual
async def test_one_key_does_not_take_all() -> None:
    place = line(at_once=4, queue=4, per_key=1)
    async with asyncio.TaskGroup() as group:
        group.create_task(work(place, "ann", 1.0, []))
        await asyncio.sleep(0)
        with pytest.raises(Refusal) as caught:
            await work(place, "ann", 1.0, [])
        assert caught.value.code == "too_many_at_once"
        await work(place, "ben", 0.0, [])
    await work(place, "ann", 0.0, [])


@pytest.mark.virtual
async def test_who_gives_up_makes_room() -> None:
    place = line(queue=1)
    async with asyncio.TaskGroup() as group:
        group.create_task(work(place, "", 2.0, []))
        waiting = group.create_task(work(place, "", 1.0, []))
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.sleep(0)
        await work(place, "", 1.0, [])
    assert place.n_present == 0


async def test_rates_are_those_of_a_key(tmp_path: Path) -> None:
    keys = KeyFile(tmp_path / "keys")
    ann, ben = ({"authorization": f"Bearer {keys.add(name)}"} for name in ("ann", "ben"))
    app = app_of(Script(Sound(b"x")), tmp_path, settings=ServeSection(per_minute=1), keys=keys)
    async with client(app) as http:
        assert (await http.post("/v1/audio/speech", json=HELLO, headers=ann)).status_code == 200
        refused = await http.post("/v1/audio/speech", json=HELLO, headers=ann)
        assert error_of(refused) == (429, None, "rate_limit_exceeded")
        assert refused.headers["retry-after"] == "60"
        assert (await http.post("/v1/audio/speech", json=HELLO, headers=ben)).status_code == 200


async def test_hundred_at_once_are_answered_or_told_to_wait(tmp_path: Path) -> None:
    app = app_of(Script(Sound(b"x")), tmp_path, settings=ServeSection(at_once=2, queue=8))
    async with client(app) as http, asyncio.TaskGroup() as group:
        tasks = [group.create_task(http.post("/v1/audio/speech", json=HELLO)) for _ in range(100)]
    answers = [task.result() for task in tasks]
    assert {answer.status_code for answer in answers} <= {200, 429}
    assert any(answer.status_code == 200 for answer in answers)
    for answer in answers:
        if answer.status_code == 429:
            assert error_of(answer) == (429, None, "queue_full")
            assert int(answer.headers["retry-after"]) >= 1
