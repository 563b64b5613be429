"""How loud somebody speaks, as a histogram of his frames."""

from __future__ import annotations

from voiceloop.core.audio import SILENCE_DB

_LOUD = 0.1
_FEW = 20
"""Fewer frames say nothing, 0.4 s."""

_ENOUGH = 75
"""With so many it is known how loud somebody speaks, 1.5 s."""


class Loudness:
    """The level that the loudest tenth of a speaker's frames reach; a slammed door hardly moves it."""

    def __init__(self) -> None:
        self._counts = [0] * (1 - round(SILENCE_DB))
        self._n = 0
        self._loud_db: float | None = SILENCE_DB

    def add(self, level_db: float) -> None:
        """One frame of speech."""
        self._counts[min(0, max(round(SILENCE_DB), round(level_db)))] += 1  # negative: from the loud end
        self._n += 1
        self._loud_db = None

    @property
    def known(self) -> bool:
        """Whether enough was heard."""
        return self._n >= _ENOUGH

    @property
    def loud_db(self) -> float:
        """dBFS, to 1 dB; that of silence as long as too little was heard."""
        if self._loud_db is None:  # it is asked for with each frame, also of silence
            self._loud_db = self._found_db()
        return self._loud_db

    def _found_db(self) -> float:
        if self._n < _FEW:
            return SILENCE_DB
        rest = self._n * _LOUD
        for level_db in range(0, round(SILENCE_DB), -1):
            rest -= self._counts[level_db]
            if rest <= 0:
                return float(level_db)
        return SILENCE_DB
