"""The word lists and weights that are shipped, read from voiceloop/data.

A language without a file of its own gets the English lists ("stop" is understood in most places) and no word table.
"""

from __future__ import annotations

import json
import tomllib
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from voiceloop.core.evidence import Logistic, Weights
from voiceloop.core.lexicon import Lexicon
from voiceloop.core.phrasing import Network

_DATA = Path(__file__).parent / "data"

_LOOKING = -6.0
"""Log-odds that a text that ends in a filler ("um") is complete: as low as the table knows. Printed text has none."""


@cache
def lexicon(language: str) -> Lexicon:
    """The word lists of a language. language: ISO 639-1, with or without a region ("de-AT"); "" is English."""
    name = _base(language)
    return Lexicon.of(**_lists(name if name in languages() else "en"))


@cache
def weights(language: str) -> Weights:
    """The weights of the evidence, with the network or the word table of a language, as for `lexicon`.

    Blocks for 50 ms with a network.
    """
    fit = json.loads((_DATA / "endofturn.json").read_text(encoding="utf-8"))
    heard, unheard = (Logistic(fit[name]["bias"], tuple(fit[name]["weights"])) for name in ("heard", "unheard"))
    name = _base(language)
    if (path := _DATA / "wording" / f"{name}.npz").exists():
        with np.load(path) as data:
            network = Network.of(data)
        return Weights(heard, unheard, *_fillers(name), unknown=fit["no_table"], network=network)
    if name not in {path.stem for path in (_DATA / "wording").glob("*.json")}:
        return Weights(heard, unheard, unknown=fit["no_table"])
    table = json.loads((_DATA / "wording" / f"{name}.json").read_text(encoding="utf-8"))
    words, pairs, endings = (_odds(table[name]) for name in ("words", "pairs", "endings"))
    for odds, looking in zip((words, pairs), _fillers(name), strict=True):
        odds |= looking
    return Weights(heard, unheard, words, pairs, endings, table["unknown"])


def languages() -> list[str]:
    """Languages that have word lists, ISO 639-1."""
    return sorted(path.stem for path in (_DATA / "words").glob("*.toml"))


def _lists(language: str) -> dict[str, Any]:
    return tomllib.loads((_DATA / "words" / f"{language}.toml").read_text(encoding="utf-8"))


def _fillers(language: str) -> tuple[dict[str, float], dict[str, float]]:
    """What a text ends in that is looking for words, of one word and of two."""
    found = _lists(language)["filler"]
    one, two = ([text for text in found if (" " in text) is pair] for pair in (False, True))
    return dict.fromkeys(one, _LOOKING), dict.fromkeys(two, _LOOKING)


def _base(language: str) -> str:
    return language.replace("_", "-").partition("-")[0].lower() or "en"


def _odds(groups: dict[str, str]) -> dict[str, float]:
    return {key: float(odds) for odds, keys in groups.items() for key in keys.split(",")}
