"""The network that tells whether words could be a whole utterance."""

from __future__ import annotations

import math

import numpy as np
import pytest

from voiceloop.core.evidence import Logistic, Weights, wording
from voiceloop.core.phrasing import WORDS, Network

COMMON, ENDINGS, WIDTH, UNITS = ["the", "lights", "on", "größe"], ["ing"], 3, 2


def arrays() -> dict[str, np.ndarray]:
    """A data file with nothing learned."""
    rng = np.random.default_rng(1)
    shapes = {
        "embedding": (1 + len(COMMON) + len(ENDINGS), WIDTH),
        "inputs": (3 * UNITS, WIDTH),
        "kept": (3 * UNITS, UNITS),
        "bias": (2, 3 * UNITS),
        "out": (3, UNITS + 1),
    }
    data: dict[str, np.ndarray] = {
        "words": np.frombuffer("\n".join(COMMON).encode(), np.uint8),
        "endings": np.frombuffer("\n".join(ENDINGS).encode(), np.uint8),
    }
    for name, shape in shapes.items():
        data[name] = rng.integers(-127, 128, shape).astype(np.int8)
        data[f"{name}_scale"] = rng.uniform(0.005, 0.02, shape[0]).astype(np.float16)
    return data


DATA = arrays()
NETWORK = Network.of(DATA)


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def by_hand(rows: list[int]) -> float:
    """What torch.nn.GRU and a linear layer would say, number by number."""

    def at(name: str, i: int, j: int) -> float:
        return float(DATA[name][i, j]) * float(DATA[f"{name}_scale"][i])

    h = [0.0] * UNITS
    for row in rows:
        x = [at("embedding", row, j) for j in range(WIDTH)]
        gi = [sum(at("inputs", k, j) * x[j] for j in range(WIDTH)) + at("bias", 0, k) for k in range(3 * UNITS)]
        gh = [sum(at("kept", k, j) * h[j] for j in range(UNITS)) + at("bias", 1, k) for k in range(3 * UNITS)]
        r, z = ([sigmoid(gi[k + i] + gh[k + i]) for i in range(UNITS)] for k in (0, UNITS))
        n = [math.tanh(gi[2 * UNITS + i] + r[i] * gh[2 * UNITS + i]) for i in range(UNITS)]
        h = [(1 - z[i]) * n[i] + z[i] * h[i] for i in range(UNITS)]
    o = [sum(at("out", k, i) * h[i] for i in range(UNITS)) + at("out", k, UNITS) for k in range(3)]
    return o[2] - math.log(math.exp(o[0]) + math.exp(o[1]))


@pytest.mark.parametrize(
    ("words", "rows"),
    [
        (["the"], [1]),
        (["lights", "on"], [2, 3]),
        (["größe", "singing"], [4, 5]),
        (["zorb", "the", "ng"], [0, 1, 0]),
        (["on"] * 30 + ["the"], [3] * 30 + [1]),
    ],
)
def test_it_says_what_the_formula_says(words, rows) -> None:
    assert NETWORK.log_odds(words) == pytest.approx(by_hand(rows), abs=1e-4)


def test_what_was_said_long_ago_is_not_looked_at() -> None:
    recent = ["lights", "on"] * (WORDS // 2)
    assert NETWORK.log_odds(["the"] * 500 + recent) == NETWORK.log_odds(recent)


def test_wording_is_the_mean_of_table_and_network() -> None:
    flat = Logistic(0.0, (0.0,))
    weights = Weights(flat, flat, {"um": -6.0}, unknown=-2.0, network=NETWORK)
    assert wording(weights, "Lights, on the!") == pytest.approx((NETWORK.log_odds(["lights", "on", "the"]) - 2.0) / 2)
    assert wording(weights, "lights on um") == pytest.approx((NETWORK.log_odds(["lights", "on", "um"]) - 6.0) / 2)
    assert wording(weights, "...") == -2.0
