"""Text <-> samples of one reply: which words were really heard."""

from __future__ import annotations

from collections.abc import Iterator

from voiceloop.core import pace as paces


class Ledger:
    """Clauses in order, each with the number of samples it became.

    Within a clause words are placed by how long each takes to say (pace.py). Their number of samples is all that is
    asked for: to know the true places of the pauses inside a clause would gain next to nothing (benchmarks/heard.py).
    """

    def __init__(self) -> None:
        self._texts: list[str] = []
        self._sizes: list[int] = []
        self._done = 0
        self._torn = False

    def add(self, text: str) -> None:
        """A new clause."""
        self._texts.append(text)
        self._sizes.append(0)

    def size(self, clause: int, n: int, *, final: bool) -> None:
        """A clause has n samples so far."""
        self._sizes[clause] = n
        if final:
            self._done = clause + 1

    def cut(self) -> None:
        """No more audio will come: forgets the clauses without any; what came of an unfinished one stays."""
        self._torn = self._done < len(self._sizes) and self._sizes[self._done] > 0
        keep = self._done + self._torn
        del self._texts[keep:], self._sizes[keep:]
        self._done = keep

    @property
    def clauses(self) -> int:
        """How many clauses there are."""
        return len(self._texts)

    @property
    def done(self) -> int:
        """How many of them, from the first on, get no more audio."""
        return self._done

    @property
    def total(self) -> int:
        """Samples of all clauses so far."""
        return sum(self._sizes)

    @property
    def said(self) -> str:
        """The whole text so far."""
        return " ".join(self._texts)

    def clause(self, number: int) -> str:
        """The text of one clause."""
        return self._texts[number]

    def length(self, clause: int) -> float:
        """How long it takes to say a clause, in the units of `heard`."""
        return paces.length(self._texts[clause])

    def playing(self, n: int) -> int:
        """The clause that sample n belongs to: at most the first one that is not wholly synthesized."""
        for number, size in enumerate(self._sizes[: self._done]):
            if n < size:
                return number
            n -= size
        return self._done

    def heard(self, n: int, pace: float) -> str:
        """The words that were heard when n samples have been played.

        pace: samples a unit of `length`, as known from elsewhere (0: not known). It says how long a clause would have
        become of which only the beginning was synthesized.
        """
        parts: list[str] = []
        whole = len(self._texts) - 1 if self._torn else self._done
        for number, (text, size) in enumerate(zip(self._texts, self._sizes, strict=True)):
            if number < whole and n >= size:
                if size:
                    parts.append(text)
                n -= size
                continue
            if n > 0 and size:
                parts.append(_part(text, n, size, pace if number >= whole else 0.0))
            break
        return " ".join(part for part in parts if part)

    def begun(self) -> Iterator[tuple[str, int]]:
        """Each clause that has samples, and its first one."""
        at = 0
        for text, size in zip(self._texts, self._sizes, strict=True):
            if size:
                yield text, at
            at += size

    def words(self, pace: float) -> Iterator[tuple[str, int]]:
        """Each word of the clauses that have samples, and the sample at which it has been said; for captions.

        pace: as in `heard`.
        """
        at = 0
        for number, (text, size) in enumerate(zip(self._texts, self._sizes, strict=True)):
            if not size:
                return
            found, start = paces.words(text), 0
            length = found[-1].stop if found else 0.0
            whole = size if number < self._done else max(size, round(length * pace))
            for word in found:
                yield text[start : word.end].strip(), at + round(word.stop / max(length, 1e-9) * whole)
                start = word.end
            at += whole


def _part(text: str, n: int, size: int, pace: float) -> str:
    """The words of which at least half lies within the first n of all samples. pace: as in `heard`; there are more."""
    words = paces.words(text)
    length = words[-1].stop if words else 0.0
    limit = n / max(size, length * pace) * length
    return text[: max((word.end for word in words if (word.start + word.stop) / 2 <= limit), default=0)]
