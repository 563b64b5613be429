"""The word lists and weights that are shipped, read from voiceloop/data.

A language without a file of its own gets the English lists ("stop" is understood in most places) and no word table.
"""

from __future__ import annotations

import json
import tomllib
from functools import cache
from pathlib import Path
from typing import Any

from voiceloop.core.choosing import Choices
from voiceloop.core.evidence import Logistic, Weights
from voiceloop.core.lexicon import Lexicon

_DATA = Path(__file__).parent / "data"

_LOOKING = -6.0
"""Log-odds that a text that ends in a filler ("um") is complete: as low as the table knows. Printed text has none."""


@cache
def lexicon(language: str) -> Lexicon:
    """The word lists of a language. language: ISO 639-1, with or without a region ("de-AT"); "" is English."""
    name = _base(language)
    return Lexicon.of(**_lists(name if name in languages() else "en"))


@cache
def choices(language: str) -> Choices:
    """The phrases that a brief sound is held against; none for a language without a list of its own."""
    path = _DATA / "phrases" / f"{_base(language)}.toml"
    if path.name not in {each.name for each in path.parent.glob("*.toml")}:
        return Choices()
    found = tomllib.loads(path.read_text(encoding="utf-8"))
    return Choices(tuple(found["signs"]), tuple(found["calls"]))


@cache
def weights(language: str) -> Weights:
    """The weights of the evidence, with the word table of a language, as for `lexicon`."""
    fit = json.loads((_DATA / "endofturn.json").read_text(encoding="utf-8"))
    heard, unheard, twice = (
        Logistic(fit[name]["bias"], tuple(fit[name]["weights"])) for name in ("heard", "unheard", "twice")
    )
    name = _base(language)
    if name not in {path.stem for path in (_DATA / "wording").glob("*.json")}:
        return Weights(heard, unheard, twice, unknown=fit["no_table"])
    table = json.loads((_DATA / "wording" / f"{name}.json").read_text(encoding="utf-8"))
    words, pairs, endings = (_odds(table[name]) for name in ("words", "pairs", "endings"))
    for text in _lists(name)["filler"]:
        (pairs if " " in text else words)[text] = _LOOKING
    return Weights(heard, unheard, twice, words, pairs, endings, table["unknown"])


def languages() -> list[str]:
    """Languages that have word lists, ISO 639-1."""
    return sorted(path.stem for path in (_DATA / "words").glob("*.toml"))


def _lists(language: str) -> dict[str, Any]:
    return tomllib.loads((_DATA / "words" / f"{language}.toml").read_text(encoding="utf-8"))


def _base(language: str) -> str:
    return language.replace("_", "-").partition("-")[0].lower() or "en"


def _odds(groups: dict[str, str]) -> dict[str, float]:
    return {key: float(odds) for odds, keys in groups.items() for key in keys.split(",")}
