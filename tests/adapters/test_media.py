"""Sound of every format in and out: whole files, pieces that arrive, what is broken, and what only looks like sound."""

from __future__ import annotations

import io
import itertools
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests.program import DATA, recording
from voiceloop import media
from voiceloop.core.audio import RATE, Pcm, level_db, silence
from voiceloop.errors import MediaError

av = pytest.importorskip("av")

from voiceloop.adapters.media.decode import Decoder  # noqa: E402
from voiceloop.adapters.media.encode import CONTENT_TYPES, RATE_HZ  # noqa: E402
from voiceloop.adapters.media.tempo import Tempo  # noqa: E402

JFK = DATA / "jfk.flac"
SPEECH_S = 11.0
STREAMED = ("mp3", "opus", "aac", "flac", "wav")
SLACK_S = {"mp3": 0.07, "aac": 0.06}
"""What codecs add where nothing in the stream says so; the others give back what they got."""


@pytest.fixture(scope="module")
def speech() -> Pcm:
    """11 s at 24 kHz."""
    resampler = media.resampler(RATE, RATE_HZ)
    return np.concatenate((resampler.process(recording(JFK.name)), resampler.flush()))


def encoded(format: str, pcm: Pcm, rate: int = RATE_HZ, step: int = 480) -> list[bytes]:
    encoder = media.encoder(format, rate)
    return [*(encoder.feed(pcm[at : at + step]) for at in range(0, pcm.size, step)), encoder.finish()]


def decoded(data: bytes, step: int = 1000, rate: int = RATE_HZ) -> tuple[Pcm, bool]:
    decoder = Decoder(rate)
    parts = [decoder.feed(data[at : at + step]) for at in range(0, len(data), step)]
    return np.concatenate([*parts, decoder.finish()]), decoder.early


def made(path: Path, container: str, codec: str, pcm: Pcm, rate: int, layout: str = "mono", **kinds: bool) -> Path:
    """A file made with PyAV. picture: a film. sound=False: without sound."""
    with av.open(str(path), "w", format=container) as out:
        video = out.add_stream("mpeg4", rate=10) if kinds.get("picture") else None
        audio = out.add_stream(codec, rate=rate, layout=layout) if kinds.get("sound", True) else None
        if video:
            video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
            for n in range(20):
                frame = av.VideoFrame(64, 48, "yuv420p")
                frame.pts = n
                out.mux(video.encode(frame))
            out.mux(video.encode(None))
        if audio:
            context = audio.codec_context
            resampler = av.AudioResampler(context.format, layout, rate, frame_size=context.frame_size or None)
            frame = av.AudioFrame.from_ndarray(pcm[None, :], format="s16", layout="mono")
            frame.sample_rate, frame.pts = RATE, 0
            for piece in [*resampler.resample(frame), *resampler.resample(None)]:
                out.mux(audio.encode(piece))
            out.mux(audio.encode(None))
    return path


# --- encoder ---


@pytest.mark.parametrize("rate", [24_000, 22_050, 16_000])
@pytest.mark.parametrize("format", STREAMED)
def test_a_stream_is_what_went_in(format: str, rate: int) -> None:
    resampler = media.resampler(RATE, rate)
    pcm = np.concatenate((resampler.process(recording(JFK.name)), resampler.flush()))
    found, early = decoded(b"".join(encoded(format, pcm, rate)))
    assert not early
    assert SPEECH_S - 0.002 <= found.size / RATE_HZ <= SPEECH_S + SLACK_S.get(format, 0.002)
    # Loud where it was loud: the envelope is the same, once what the codec puts in front is left out.
    lead = max(0, found.size - round(SPEECH_S * RATE_HZ)) if format == "aac" else 0
    fits = max(correlation(levels(found[at:], RATE_HZ), levels(pcm, rate)) for at in (0, lead, 1105))
    assert fits > 0.98


def levels(pcm: Pcm, rate: int) -> list[float]:
    window = rate // 20
    return [level_db(pcm[at : at + window]) for at in range(0, pcm.size - window, window)]


def correlation(one: list[float], other: list[float]) -> float:
    n = min(len(one), len(other))
    return float(np.corrcoef(one[:n], other[:n])[0, 1])


def test_pcm_is_the_samples(speech: Pcm) -> None:
    assert b"".join(encoded("pcm", speech)) == speech.tobytes()


EARLY = {"mp3": (0.1, 0.1), "opus": (0.02, 0.25), "aac": (0.15, 0.15), "flac": (0.02, 0.3), "wav": (0.02, 0.02)}
"""Seconds of speech after which there are bytes, and after which sound can be decoded."""


@pytest.mark.parametrize("format", STREAMED)
def test_the_first_sound_comes_early(format: str, speech: Pcm) -> None:
    bytes_s, sound_s = EARLY[format]
    decoder, first_bytes, first_sound = Decoder(RATE_HZ), None, None
    for n, data in enumerate(encoded(format, speech), 1):
        if data and first_bytes is None:
            first_bytes = n * 0.02
        if decoder.feed(data).size and first_sound is None:
            first_sound = n * 0.02
    assert first_bytes is not None
    assert first_bytes <= bytes_s
    assert first_sound is not None
    assert first_sound <= sound_s


@pytest.mark.parametrize("format", CONTENT_TYPES)
def test_nothing_and_next_to_nothing(format: str) -> None:
    encoder = media.encoder(format, RATE_HZ)
    assert encoder.content_type == CONTENT_TYPES[format].replace("x-", "")  # pyright: ignore
    assert isinstance(encoder.feed(silence(0)) + encoder.finish(), bytes)
    data = b"".join(encoded(format, np.full(1, 100, np.int16)))
    assert data


def test_a_streamed_wav_says_that_it_is_endless(speech: Pcm) -> None:
    data = b"".join(encoded("wav", speech))
    assert (data[4:8], data[40:44]) == (b"\xff" * 4, b"\xff" * 4)
    found, rate = soundfile.read(io.BytesIO(data), dtype="int16")
    assert rate == RATE_HZ
    assert np.array_equal(found, speech)


def test_an_unknown_format() -> None:
    with pytest.raises(MediaError, match="'gif' is no format of sound"):
        media.encoder("gif", RATE_HZ)


@pytest.mark.parametrize("format", [*STREAMED, "m4a", "pcm"])
def test_a_file_knows_its_length(format: str, speech: Pcm, tmp_path: Path) -> None:
    path = tmp_path / "speech"
    with media.sound_file(path, format, RATE_HZ) as write:
        for at in range(0, speech.size, 5000):
            write(speech[at : at + 5000])
    if format == "pcm":
        assert path.read_bytes() == speech.tobytes()
        return
    reel = media.Reel(path)
    assert reel.duration_s == pytest.approx(SPEECH_S, abs=0.4 if format == "aac" else 0.02)
    n = sum(piece.size for piece in reel.samples())
    assert n / RATE == pytest.approx(SPEECH_S, abs=0.06)
    assert not reel.early


def test_a_file_that_cannot_be_written(tmp_path: Path) -> None:
    for format in ("mp3", "wav"):
        with pytest.raises(MediaError, match="cannot be written"), media.sound_file(tmp_path / "no" / "x", format, 1):
            pass


def test_a_file_that_was_given_up_is_gone(speech: Pcm, tmp_path: Path) -> None:
    path = tmp_path / "x.mp3"

    def give_up() -> None:
        with media.sound_file(path, "mp3", RATE_HZ) as write:
            write(speech)
            raise KeyError

    with pytest.raises(KeyError):
        give_up()
    assert not path.exists()


# --- decoder ---


@pytest.mark.parametrize("step", [1, 17, 4096, 1 << 20])
@pytest.mark.parametrize("format", STREAMED)
def test_pieces_of_any_size(format: str, step: int, speech: Pcm) -> None:
    data = b"".join(encoded(format, speech[: 2 * RATE_HZ]))
    whole, _ = decoded(data)
    found, early = decoded(data, step)
    assert np.array_equal(found, whole)
    assert not early


@pytest.mark.parametrize("format", STREAMED)
def test_a_stream_that_breaks_off(format: str, speech: Pcm, tmp_path: Path) -> None:
    path = tmp_path / "x"
    with media.sound_file(path, format, RATE_HZ) as write:
        write(speech)
    data = path.read_bytes()
    found, early = decoded(data[: len(data) // 2 + 1])
    assert early
    assert 0.3 * speech.size < found.size < 0.7 * speech.size


def test_the_length_that_an_mp3_tells_is_obeyed(speech: Pcm, tmp_path: Path) -> None:
    """Its encoder puts 46 ms in front; pieces that follow each other would have gaps."""
    path = tmp_path / "x.mp3"
    with media.sound_file(path, "mp3", RATE_HZ) as write:
        write(speech)
    found, early = decoded(path.read_bytes())
    assert (found.size, early) == (speech.size, False)


@pytest.mark.parametrize("layout", ["stereo", "mono"])
def test_a_decoder_mixes_and_resamples(layout: str, tmp_path: Path) -> None:
    path = made(tmp_path / "x.mp3", "mp3", "libmp3lame", recording(JFK.name), 44_100, layout)
    found, early = decoded(path.read_bytes(), rate=RATE)
    assert not early
    assert found.size / RATE == pytest.approx(SPEECH_S, abs=0.01)


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_24", "FLOAT", "ULAW"])
def test_wavs_of_every_kind(subtype: str) -> None:
    file = io.BytesIO()
    stereo = np.stack([recording(JFK.name).astype(np.float32) / 32768] * 2, axis=1)
    soundfile.write(file, stereo, RATE, subtype=subtype, format="WAVEX" if subtype == "PCM_24" else "WAV")
    found, early = decoded(file.getvalue() + b"junk behind", rate=RATE)
    assert not early
    assert found.size == pytest.approx(SPEECH_S * RATE, abs=2)
    assert level_db(found) == pytest.approx(level_db(recording(JFK.name)), abs=1)


@pytest.mark.parametrize("data", [b"", b"RIFF", b"<html>no sound at all</html>", b"RIFF\0\0\0\0WAVEdata\0\0\0\0....",
                                  b"OggS" + b"\0" * 70_000, b"\0" * 500])  # fmt: skip
def test_what_is_no_sound(data: bytes) -> None:
    with pytest.raises(MediaError):
        decoded(data)


def test_noise_that_begins_like_sound_is_no_crash() -> None:
    noise = np.random.default_rng(1).integers(0, 256, 20_000, np.uint8).tobytes()
    for head in (b"\xff\xfb\x90\x00", b"\xff\xf1\x50\x80", b"fLaC\x00\x00\x00\x22", b"ID3\x04\0\0\0\0\0\x10"):
        decoder = Decoder(RATE)
        try:
            decoder.feed(head + noise)
            decoder.finish()
        except MediaError:
            continue
        assert decoder.early or head[:1] != b"f"


# --- files ---


def cases(folder: Path) -> Iterator[Path]:
    pcm = recording(JFK.name)
    yield made(folder / "a", "mp4", "aac", pcm, 48_000)
    yield made(folder / "b", "webm", "libopus", pcm, 48_000, "stereo")
    yield made(folder / "c", "ogg", "libopus", pcm, 48_000)
    yield made(folder / "d", "mp3", "libmp3lame", pcm, 44_100, "stereo")
    yield made(folder / "e", "mpeg", "mp2", pcm, 44_100, "stereo")
    yield made(folder / "f", "matroska", "pcm_f32le", pcm, 11_025)
    yield made(folder / "g", "mp4", "aac", pcm, 44_100, picture=True)
    yield made(folder / "h", "wav", "adpcm_ms", pcm, 22_050)
    yield made(folder / "i", "flac", "flac", pcm, 96_000, "5.1")
    yield made(folder / "j", "adts", "aac", pcm, 16_000)


def test_any_container_whatever_its_name(tmp_path: Path) -> None:
    for path in cases(tmp_path):
        wrong = path.rename(path.with_suffix(".txt"))
        reel = media.Reel(wrong)
        found = np.concatenate(list(reel.samples()))
        assert found.size / RATE == pytest.approx(SPEECH_S, abs=0.1), path
        assert abs(level_db(found) - level_db(recording(JFK.name))) < (16 if path.name == "i" else 4), path
        assert not reel.early, path


def test_a_film_without_sound(tmp_path: Path) -> None:
    path = made(tmp_path / "x.mp4", "mp4", "", silence(0), RATE, picture=True, sound=False)
    with pytest.raises(MediaError, match="is a film without sound: choose another file"):
        media.Reel(path)


@pytest.mark.parametrize(
    "text",
    [
        "#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\n{other}\n#EXT-X-ENDLIST\n",
        "ffconcat version 1.0\nfile '{other}'\n",
        "v=0\no=- 0 0 IN IP4 127.0.0.1\nm=audio 9 RTP/AVP 0\n",
    ],
)
def test_a_playlist_opens_no_other_file(text: str, tmp_path: Path) -> None:
    """FFmpeg would read what it names: any file of this machine, or an address in its network."""
    path = tmp_path / "x.mp3"
    path.write_text(text.format(other=JFK))
    with pytest.raises(MediaError, match="cannot be read as audio"):
        media.Reel(path)


@pytest.mark.parametrize("name", ["a", "b", "c", "d", "g", "wav", "flac"])
def test_an_upload_that_was_cut_off(name: str, tmp_path: Path) -> None:
    """What is there is given, and said to be a part; an MP4 without its index, which comes last, is nothing."""
    if name in ("wav", "flac"):
        path = tmp_path / name
        soundfile.write(path, recording(JFK.name), RATE, format=name)
    else:
        path = next(path for path in cases(tmp_path) if path.name == name)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    if name in ("a", "g"):
        with pytest.raises(MediaError, match="cannot be read"):
            media.Reel(path)
        return
    reel = media.Reel(path)
    assert 5 < sum(piece.size for piece in reel.samples()) / RATE < 9
    assert reel.early


def test_hours_of_silence_are_read_lazily(tmp_path: Path) -> None:
    """A tiny file that decodes to hours: who reads stops when it is enough."""
    path = tmp_path / "bomb.ogg"
    quiet = b"".join(encoded("opus", silence(60 * RATE_HZ), step=RATE_HZ))
    path.write_bytes(quiet)
    pieces = media.Reel(path).samples()
    first = list(itertools.islice(pieces, 10))
    assert max(piece.size for piece in first) < RATE
    pieces.close()  # type: ignore[attr-defined]


@pytest.mark.parametrize("step", [1, 400, 24_000])
@pytest.mark.parametrize("factor", [0.25, 0.5, 0.8, 1.3, 2.0, 4.0])
def test_faster_and_slower_at_the_same_pitch(factor: float, step: int) -> None:
    tone = (8000 * np.sin(2 * np.pi * 200 * np.arange(2 * RATE_HZ) / RATE_HZ)).astype(np.int16)
    tempo = Tempo(RATE_HZ, factor)
    step = max(step, 100)
    parts = [tempo.feed(tone[at : at + step]) for at in range(0, tone.size, step)]
    found = np.concatenate([*parts, tempo.flush()])
    assert found.size / tone.size == pytest.approx(1 / factor, rel=0.03)
    spectrum = np.abs(np.fft.rfft(found.astype(float)))
    assert float(np.argmax(spectrum)) * RATE_HZ / found.size == pytest.approx(200, abs=3)
    assert tempo.feed(silence(0)).size == tempo.flush().size == 0
