"""Whether words could be a whole utterance, from all of them: a small recurrent network over the last WORDS.

Embeddings of words, or of how a rare word ends; one gated recurrent layer (Cho et al. 2014, with the reset gate behind
the product, as in torch.nn.GRU); and what may come after the last word: more words, a break, the end.
benchmarks/train_wording.py trains it, and says on what.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

WORDS = 60
"""More than these are not looked at: what was said so long ago says nothing about the end, and costs 15 us a word."""

_SUFFIX = 3


@dataclass(frozen=True, slots=True)
class Network:
    """What was learned, ready to use.

    numbers: of the common words. endings: numbers of the last three letters, for words that are not common; 0: of all
    the rest. embedding (n, w). inputs (3 h, w), kept (3 h, h): what a word and what the state bring to the gates reset,
    update, new; bias (2, 3 h): of both. out (3, h + 1): log-odds of going on, a break (a comma), the end.
    """

    numbers: Mapping[str, int]
    endings: Mapping[str, int]
    embedding: Floats
    inputs: Floats
    kept: Floats
    bias: Floats
    out: Floats

    @classmethod
    def of(cls, data: Mapping[str, NDArray[np.generic]]) -> Network:
        """From the arrays of the data file. Matrices are int8 (rows, n) with a float16 scale for each row (NAME_scale).

        words, endings: uint8, UTF-8, a line for each. Row 0 of `embedding` is for what is in neither.
        """
        words, endings = (_lines(data[name]) for name in ("words", "endings"))
        return cls(
            {word: i for i, word in enumerate(words, 1)},
            {ending: i for i, ending in enumerate(endings, 1 + len(words))},
            *(_matrix(data, name) for name in ("embedding", "inputs", "kept", "bias", "out")),
        )

    def log_odds(self, words: Sequence[str]) -> float:
        """That an utterance of these words (evidence.words_of), at least one, is complete."""
        known = [self.numbers.get(word) or self.endings.get(word[-_SUFFIX:], 0) for word in words[-WORDS:]]
        size = self.kept.shape[1]
        state = np.zeros(size, np.float32)
        # Not `@`: the threads of the linear algebra library wait for each other, up to 36 ms for all words together
        # when the cores are busy, which the session's loop cannot bear.
        for brought in np.einsum("nw,gw->ng", self.embedding[known], self.inputs) + self.bias[0]:
            held = np.einsum("gh,h->g", self.kept, state) + self.bias[1]
            # The logistic function, in the form that cannot overflow.
            gates = 0.5 + 0.5 * np.tanh(0.5 * (brought[: 2 * size] + held[: 2 * size]))
            new = np.tanh(brought[2 * size :] + gates[:size] * held[2 * size :])
            state = new + gates[size:] * (state - new)
        going, breaking, ending = self.out[:, :-1] @ state + self.out[:, -1]
        return float(ending - np.logaddexp(going, breaking))


def _lines(packed: NDArray[np.generic]) -> list[str]:
    return packed.tobytes().decode("utf-8").splitlines()


def _matrix(data: Mapping[str, NDArray[np.generic]], name: str) -> Floats:
    return data[name].astype(np.float32) * data[f"{name}_scale"].astype(np.float32)[:, None]
