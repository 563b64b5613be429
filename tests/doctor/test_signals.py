"""Known delay, loss and noise in; the same out."""

from __future__ import annotations

import numpy as np
import pytest

from voiceloop.core.audio import RATE, Pcm, silence
from voiceloop.doctor import signals


def heard(ref: Pcm, *, delay: int, loss_db: float, noise_db: float = -70.0, room: bool = False, seed: int = 1) -> Pcm:
    """ref as a microphone hears it: later, weaker, in noise, perhaps with the reflections of a room."""
    rng = np.random.default_rng(seed)
    response = np.zeros(RATE // 4)
    response[0] = 1.0
    if room:
        tail = rng.standard_normal(response.size) * np.exp(-np.arange(response.size) / (0.05 * RATE))
        tail[: RATE // 500] = 0
        response += tail * 0.02
    response *= 10 ** (-loss_db / 20) / np.linalg.norm(response)
    late = np.concatenate((np.zeros(delay), np.convolve(ref.astype(float), response)))[: ref.size]
    noise = rng.standard_normal(ref.size) * 32768 * 10 ** (noise_db / 20)
    return np.clip(np.rint(late + noise), -32768, 32767).astype(np.int16)


def played(n: int = 5) -> Pcm:
    return np.concatenate((silence(RATE), signals.sweeps(RATE, n), silence(RATE // 2)))


@pytest.mark.parametrize("room", [False, True])
@pytest.mark.parametrize(
    ("delay_ms", "loss_db", "noise_db"), [(20, 6, -70), (137, 20, -55), (300, 35, -60), (600, 12, -40), (0, 0, -90)]
)
def test_delay_and_loss_come_out_as_they_went_in(delay_ms: int, loss_db: float, noise_db: float, room: bool) -> None:
    ref = played()
    delay = delay_ms * RATE // 1000
    found = signals.echoes(heard(ref, delay=delay, loss_db=loss_db, noise_db=noise_db, room=room), ref)
    assert found is not None
    assert found.found == found.asked == 5
    assert found.delay_s == pytest.approx(delay / RATE, abs=0.0005)
    assert found.spread_s <= 0.0005
    assert found.loss_db == pytest.approx(loss_db, abs=1.0)


def test_a_sweep_below_the_noise_is_still_found() -> None:
    ref = played()
    found = signals.echoes(heard(ref, delay=1600, loss_db=30, noise_db=-36), ref)
    assert found is not None
    assert found.delay_s == pytest.approx(0.1, abs=0.001)
    assert found.loss_db == pytest.approx(30, abs=3)


@pytest.mark.parametrize("seed", range(20))
def test_noise_alone_has_no_echo(seed: int) -> None:
    ref = played()
    assert signals.echoes(heard(ref, delay=0, loss_db=200, noise_db=-40, seed=seed), ref) is None


def test_a_voice_is_no_echo() -> None:
    rng = np.random.default_rng(3)
    ref = played()
    hum = np.sin(2 * np.pi * 120 * np.arange(ref.size) / RATE) * np.abs(np.sin(np.arange(ref.size) / 2000))
    voice = np.convolve(rng.standard_normal(ref.size), np.hanning(20))[: ref.size] * 200 + hum * 4000
    assert signals.echoes(voice.astype(np.int16), ref) is None


def test_nothing_played_and_nothing_heard() -> None:
    assert signals.echoes(silence(RATE), silence(RATE)) is None
    assert signals.echoes(silence(played().size), played()) is None
    assert signals.echo(silence(100), silence(200)) is None


def test_a_delay_that_jumps_is_seen_in_the_spread() -> None:
    ref = played(3)
    parts = [heard(ref, delay=delay, loss_db=10) for delay in (1600, 1920)]
    mixed = np.concatenate((parts[0][: 2 * RATE], parts[1][2 * RATE :]))
    found = signals.echoes(mixed, ref)
    assert found is not None
    assert found.spread_s == pytest.approx(0.02, abs=0.001)


@pytest.mark.parametrize("rate", [8_000, 16_000, 44_100, 48_000])
def test_the_sweep_fits_every_rate(rate: int) -> None:
    one = signals.sweep(rate)
    assert one.size == round(rate * signals.SWEEP_S)
    assert 0.16 * 32767 < np.abs(one).max() < 0.19 * 32767
    assert np.abs(one[[0, -1]]).max() == 0
    assert signals.sweeps(rate, 3).size == 3 * (one.size + round(rate * signals.GAP_S))


def test_bursts_are_found_with_their_silence() -> None:
    ref = played(2)
    (a, b), (c, d) = signals.bursts(ref)
    length = round(signals.SWEEP_S * RATE)
    assert abs(a - RATE) < 40
    assert abs((b - a) - length) < 80
    assert c - a == RATE
    assert d - c == b - a


# --- levels ---


def sine(level: float, offset: int = 0) -> Pcm:
    x = np.sin(2 * np.pi * 440 * np.arange(RATE) / RATE) * 32767 * level + offset
    return np.clip(x, -32768, 32767).astype(np.int16)


@pytest.mark.parametrize(
    ("pcm", "rms_db", "peak_db", "clipped", "dead"),
    [
        (sine(0.1), -23.0, -20.0, 0.0, ""),
        (sine(3.0), -0.9, 0.0, 0.79, ""),
        (sine(0.1, 3000), -23.0, -14.3, 0.0, ""),
        (silence(RATE), -96.0, -96.0, 0.0, "zeros"),
        (np.full(RATE, 900, np.int16), -96.0, -31.2, 0.0, "dc"),
    ],
)
def test_levels(pcm: Pcm, rms_db: float, peak_db: float, clipped: float, dead: str) -> None:
    found = signals.levels(pcm)
    assert found.rms_db == pytest.approx(rms_db, abs=0.7) or found.rms_db <= -90
    assert found.peak_db == pytest.approx(peak_db, abs=0.2) or found.peak_db <= -90
    assert found.clipped == pytest.approx(clipped, abs=0.05)
    assert found.dead == dead


def test_the_mean_is_told() -> None:
    assert signals.levels(sine(0.1, 3277)).dc == pytest.approx(0.1, abs=0.001)


# --- what the port says ---


def test_when_the_port_says_a_sample_was_heard() -> None:
    told = [(16_000 + 320 * i, 960 * i) for i in range(1, 50)]  # 48 kHz, from the first second on
    assert signals.lead_s(told, 48_000, 0) == pytest.approx(1.0)
    assert signals.lead_s(told, 48_000, 24_000) == pytest.approx(1.5)
    assert signals.lead_s(told[:2], 48_000, 0) is None
