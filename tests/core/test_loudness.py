"""How loud somebody speaks."""

from __future__ import annotations

import pytest

from voiceloop.core.audio import SILENCE_DB
from voiceloop.core.loudness import Loudness


def of(*levels: tuple[float, int]) -> Loudness:
    """Frames: so many of each level."""
    it = Loudness()
    for level_db, n in levels:
        for _ in range(n):
            it.add(level_db)
    return it


@pytest.mark.parametrize(
    ("frames", "loud_db"),
    [
        ([], SILENCE_DB),
        ([(-20.0, 19)], SILENCE_DB),
        ([(-20.0, 20)], -20.0),
        ([(-20.4, 20)], -20.0),
        ([(-50.0, 90), (-20.0, 10)], -20.0),
        ([(-50.0, 91), (-20.0, 9)], -50.0),
        ([(0.0, 30)], 0.0),
        ([(3.0, 30)], 0.0),
        ([(SILENCE_DB, 30)], SILENCE_DB),
        ([(-300.0, 30)], SILENCE_DB),
    ],
)
def test_the_level_of_the_loudest_tenth(frames, loud_db) -> None:
    assert of(*frames).loud_db == loud_db


def test_a_slammed_door_hardly_moves_it() -> None:
    assert of((-30.0, 100), (-2.0, 8)).loud_db == -30.0


@pytest.mark.parametrize(("n", "known"), [(74, False), (75, True)])
def test_it_is_known_after_a_while(n, known) -> None:
    assert of((-30.0, n)).known is known
