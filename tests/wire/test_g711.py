import subprocess
import warnings

import numpy as np
import pytest

from voiceloop.wire import g711

EVERY = np.arange(-32768, 32768).astype(np.int16)
CODES = bytes(range(256))


@pytest.mark.parametrize(("law", "name"), [("mu", "mulaw"), ("a", "alaw")])
def test_decodes_as_ffmpeg_does(law: str, name: str) -> None:
    command = ["ffmpeg", "-v", "error", "-f", name, "-ar", "8000", "-i", "-", "-f", "s16le", "-"]
    try:
        theirs = subprocess.run(command, input=CODES, capture_output=True, check=True).stdout
    except FileNotFoundError:
        pytest.skip("there is no ffmpeg")
    assert g711.decode(CODES, law).tobytes() == theirs


@pytest.mark.parametrize("law", ["mu", "a"])
def test_both_ways_as_python_did(law: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        audioop = pytest.importorskip("audioop", reason="Python 3.13 has none any more")
    to_law, to_linear = (audioop.lin2ulaw, audioop.ulaw2lin) if law == "mu" else (audioop.lin2alaw, audioop.alaw2lin)
    assert g711.encode(EVERY, law) == to_law(EVERY.tobytes(), 2)
    assert g711.decode(CODES, law).tobytes() == to_linear(CODES, 2)


@pytest.mark.parametrize(
    ("law", "code", "sample"),
    # Decoder outputs of G.711 tables 1a and 2a (first and last value, the ends of two segments), times 8 and 4.
    [
        ("mu", 0xFF, 0),
        ("mu", 0x80, 8031 * 4),
        ("mu", 0xEF, 33 * 4),
        ("mu", 0x00, -8031 * 4),
        ("a", 0xD5, 1 * 8),
        ("a", 0xAA, 4032 * 8),
        ("a", 0x55, -1 * 8),
        ("a", 0x2A, -4032 * 8),
    ],
)
def test_values_of_the_recommendation(law: str, code: int, sample: int) -> None:
    assert g711.decode(bytes([code]), law).tolist() == [sample]


@pytest.mark.parametrize("law", ["mu", "a"])
def test_a_code_survives_the_way_there_and_back(law: str) -> None:
    back = g711.encode(g711.decode(CODES, law), law)
    assert [a for a, b in zip(CODES, back, strict=True) if a != b] == ([0x7F] if law == "mu" else [])
