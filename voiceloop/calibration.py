"""What `voiceloop calibrate` measured of a pair of devices, kept for this user in one small file."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from math import isfinite
from pathlib import Path
from typing import Any, cast

from voiceloop.errors import MediaError

_NAME = "devices.json"
_MOST = 50
"""Pairs that are kept; the oldest go."""
MOST_S = 1.0
"""No loudspeaker is heard so much later than PortAudio says."""
_DOUBT_S = 0.02
"""A block: what differs by less from what PortAudio says is not known to differ."""


@dataclass(frozen=True, slots=True)
class Calibration:
    """One pair of devices. Delays in seconds, medians of `found` sweeps.

    pair: both devices and their rates. echo_s: from the reference that goes with a frame to its echo in the microphone,
    which is what an echo canceller has to find. device_s: loudspeaker and microphone together, as measured, reported_s:
    as PortAudio says. extra_s: how much later than it says the loudspeaker is heard. spread_s: between the sweeps.
    loss_db: how much weaker the echo is than what was played.
    """

    pair: str
    echo_s: float
    device_s: float
    reported_s: float
    extra_s: float
    spread_s: float
    loss_db: float
    found: int


def load(folder: Path, pair: str) -> Calibration | None:
    """What is known of this pair; None if nothing is, or the file is not what it should be."""
    return _read(folder).get(pair)


def extra_s(folder: Path, pair: str) -> float:
    """By how much the loudspeaker is heard later than PortAudio says; 0 where that is not known to differ."""
    known = load(folder, pair)
    return known.extra_s if known and abs(known.extra_s) > _DOUBT_S else 0.0


def save(folder: Path, found: Calibration) -> Path:
    """Keeps it instead of what was known of the pair. The file. Raises MediaError if it cannot be written."""
    known = _read(folder)
    known.pop(found.pair, None)
    known[found.pair] = found
    rows = [asdict(each) for each in list(known.values())[-_MOST:]]
    path = folder / _NAME
    try:
        folder.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part")
        part.write_text(json.dumps(rows, indent=1) + "\n", "utf-8")
        os.replace(part, path)
    except OSError as exc:
        raise MediaError(f"{path} cannot be written ({exc.strerror}): check the folder and its rights.") from exc
    return path


def _read(folder: Path) -> dict[str, Calibration]:
    found: dict[str, Calibration] = {}
    rows: list[dict[str, Any]] = []
    with suppress(OSError, ValueError, TypeError, RecursionError):
        rows = list(cast("list[dict[str, Any]]", json.loads((folder / _NAME).read_text("utf-8"))))
    for row in rows:
        with suppress(TypeError):
            each = Calibration(**row)
            if _is_one(each):
                found[each.pair] = each
    return found


def _is_one(each: Calibration) -> bool:
    """A figure that no measurement gives would have words taken for unheard for ever."""
    right = all(isinstance(getattr(each, f.name), str if f.name == "pair" else int | float) for f in fields(each))
    return right and all(map(isfinite, (each.echo_s, each.device_s))) and abs(each.extra_s) <= MOST_S
