"""Recordings as microphone and loudspeaker."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from contextlib import aclosing
from pathlib import Path

import numpy as np
import pytest
import soundfile

from voiceloop.adapters.audio.files import FilePort
from voiceloop.adapters.resample.stream import StreamResampler
from voiceloop.core.audio import FRAME, RATE, Pcm, level_db, silence
from voiceloop.errors import MediaError
from voiceloop.ports import Progress
from voiceloop.testing import VirtualLoop, tone

DATA = Path(__file__).parent.parent / "data"
QUICK = [DATA / "ps_goforward.flac"]


def port(inputs: list[Path], output: Path | None = None, **options: object) -> FilePort:
    return FilePort(inputs, output, StreamResampler, **{"paced": False, **options})  # type: ignore[arg-type]


async def heard(port: FilePort) -> Pcm:
    """Everything until the input has ended."""
    await port.open()
    frames: list[Pcm] = []
    async with aclosing(port.frames()) as captures:
        async for capture in captures:
            assert capture.mic.shape == (FRAME,)
            assert capture.mic.dtype == np.int16
            assert capture.ref is None
            assert capture.lost == 0
            frames.append(capture.mic)
            if port.exhausted:
                break
    await port.close()
    return np.concatenate(frames)


async def run(port: FilePort, n: int, at: dict[int, Callable[[], object]] | None = None) -> list[Progress]:
    """n frames; at: what to do before which frame. The news."""
    await port.open()
    news: list[Progress] = []
    async with aclosing(port.frames()) as captures:
        for i in range(n):
            if at and i in at:
                done = at[i]()
                if asyncio.iscoroutine(done):
                    await done
            news += (await anext(captures)).played
    await port.close()
    return news


def wav(path: Path, data: np.ndarray, rate: int = RATE, subtype: str = "PCM_16") -> Path:
    soundfile.write(path, data, rate, subtype)
    return path


def loudspeaker(path: Path) -> Pcm:
    data, _ = soundfile.read(path, dtype="int16")
    return data


async def test_flac_comes_sample_by_sample_and_then_silence() -> None:
    source, _ = soundfile.read(QUICK[0], dtype="int16")
    got = await heard(port(QUICK))
    assert np.array_equal(got[: source.size], source)
    assert 0 <= got.size - source.size < FRAME
    assert not got[source.size :].any()


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_24", "FLOAT", "DOUBLE", "ULAW"])
@pytest.mark.parametrize("rate", [8_000, 16_000, 44_100, 48_000])
async def test_every_depth_and_rate(tmp_path: Path, subtype: str, rate: int) -> None:
    path = wav(tmp_path / "a.wav", tone(0.51, rate=rate, hz=440.0) / 32_768, rate, subtype)
    got = await heard(port([path]))
    assert got.size == 26 * FRAME
    assert level_db(got[: round(0.5 * RATE)]) == pytest.approx(level_db(tone(0.5, hz=440.0)), abs=0.5)
    spectrum = np.abs(np.fft.rfft(got[: RATE // 2]))
    assert abs(int(spectrum.argmax()) * 2 - 440) <= 2


async def test_stereo_is_averaged(tmp_path: Path) -> None:
    left, right = tone(0.1), silence(RATE // 10)
    got = await heard(port([wav(tmp_path / "a.wav", np.stack([left, right], axis=1))]))
    assert np.abs(got[:1600].astype(int) * 2 - left).max() <= 1


async def test_floats_beyond_one_and_not_a_number_are_tamed(tmp_path: Path) -> None:
    data = np.array([0.5, 3.0, -3.0, np.nan, np.inf] * 64)
    got = await heard(port([wav(tmp_path / "a.wav", data, subtype="FLOAT")]))
    assert got[:5].tolist() == [16_384, 32_767, -32_768, 0, 32_767]


async def test_inputs_follow_each_other_with_a_gap(tmp_path: Path) -> None:
    paths = [wav(tmp_path / f"{i}.wav", np.full(1_000, i + 1, np.int16)) for i in range(3)]
    got = await heard(port(paths, gap_s=0.05))
    gap = [0] * 800
    wanted = [*[1] * 1_000, *gap, *[2] * 1_000, *gap, *[3] * 1_000]
    assert got[: len(wanted)].tolist() == wanted
    assert not got[len(wanted) :].any()


async def test_silence_goes_on_after_the_end_until_closed() -> None:
    files = port([])
    await files.open()
    async with aclosing(files.frames()) as captures:
        for _ in range(10):
            assert not (await anext(captures)).mic.any()
            assert files.exhausted
        await files.close()
        with pytest.raises(StopAsyncIteration):
            await anext(captures)
    await files.close()


BROKEN: dict[str, tuple[bytes | None, str]] = {
    "missing.wav": (None, "does not exist"),
    "empty.wav": (b"", "is empty"),
    "words.wav": (b"These are words and no sound at all.\n" * 9, "cannot be read as audio"),
    "header.wav": (b"RIFF\x24\x00\x00\x00WAVEfmt ", "cannot be read as audio"),
    "noise.flac": (b"fLaC" + bytes(range(256)), "cannot be read as audio"),
    "raw.raw": (b"\x00" * 640, "cannot be read as audio"),
}


@pytest.mark.parametrize("name", BROKEN)
async def test_a_bad_file_is_named_in_one_sentence(tmp_path: Path, name: str) -> None:
    content, reason = BROKEN[name]
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(MediaError, match=reason) as caught:
        await port([*QUICK, path]).open()
    assert str(path) in str(caught.value)
    assert str(caught.value).count("\n") == 0


async def test_a_file_without_samples(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match="holds no audio"):
        await port([wav(tmp_path / "a.wav", silence(0))]).open()


async def test_a_directory_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match="is not a file"):
        await port([tmp_path]).open()


@pytest.mark.parametrize("name", ["a.wav", "a.flac"])
async def test_a_truncated_file_gives_what_there_is(tmp_path: Path, name: str) -> None:
    source, _ = soundfile.read(QUICK[0], dtype="int16")
    path = wav(tmp_path / name, source)
    os.truncate(path, path.stat().st_size * 2 // 3)
    got = await heard(port([path]))
    n = source.size // 3
    assert np.array_equal(got[:n], source[:n])


@pytest.mark.parametrize("output", ["nowhere/out.wav", "."])
async def test_an_output_that_cannot_be_written(tmp_path: Path, output: str) -> None:
    with pytest.raises(MediaError, match="cannot be written"):
        await port(QUICK, tmp_path / output).open()


async def test_the_output_may_not_be_an_input(tmp_path: Path) -> None:
    path = wav(tmp_path / "a.wav", tone(0.1))
    with pytest.raises(MediaError, match="is an input too"):
        await port([path], tmp_path / "." / "a.wav").open()
    assert loudspeaker(path).any()


@pytest.mark.parametrize("out_rate", [16_000, 22_050, 24_000, 11_025])
async def test_the_output_is_a_recording_of_the_loudspeaker(tmp_path: Path, out_rate: int) -> None:
    files = port([], tmp_path / "out.wav", out_rate=out_rate)
    reply = tone(0.1, rate=out_rate)
    news = await run(files, 20, {4: lambda: files.write(7, reply)})
    assert news[-1] == Progress(7, reply.size)
    assert [p.n for p in news] == sorted(p.n for p in news)
    out = loudspeaker(tmp_path / "out.wav")
    assert out.size == round(0.4 * out_rate)
    start = round(0.08 * out_rate)
    assert np.array_equal(out[start : start + reply.size], reply)
    assert not out[:start].any()
    assert not out[start + reply.size :].any()
    info = soundfile.info(tmp_path / "out.wav")
    assert (info.samplerate, info.channels, info.subtype) == (out_rate, 1, "PCM_16")


async def test_hold_resume_and_flush_are_in_the_recording(tmp_path: Path) -> None:
    files = port([], tmp_path / "out.wav", out_rate=16_000)
    reply = np.full(RATE, 9_999, np.int16)
    counts: list[int] = []
    news = await run(
        files,
        40,
        {
            0: lambda: files.write(1, reply),
            10: lambda: counts.append(files.hold(1)),
            20: lambda: files.resume(1),
            30: lambda: counts.append(files.flush(1)),
            31: lambda: files.write(1, reply),
        },
    )
    assert counts == [10 * FRAME, 20 * FRAME]
    assert news[-1] == Progress(1, 20 * FRAME, final=True)
    frames = loudspeaker(tmp_path / "out.wav").reshape(40, FRAME)
    whole = [bool((frame == 9_999).all()) for frame in frames]
    fade = 80
    assert whole == [*[True] * 10, *[False] * 11, *[True] * 9, *[False] * 10]
    assert np.count_nonzero(frames[10]) == np.count_nonzero(frames[30]) == fade
    assert np.all(np.diff(frames[20, :fade].astype(int)) > 0)
    assert not frames[11:20].any()
    assert not frames[31:].any()


async def test_replies_only_shortens_the_silence(tmp_path: Path) -> None:
    files = port([], tmp_path / "out.wav", replies_only=True)
    reply = tone(0.1, rate=24_000)
    await run(files, 100, {10: lambda: files.write(1, reply), 60: lambda: files.write(2, reply)})
    out = loudspeaker(tmp_path / "out.wav")
    assert np.array_equal(out, np.concatenate([reply, silence(round(0.3 * 24_000)), reply]))


async def test_the_volume_is_in_the_recording(tmp_path: Path) -> None:
    files = port([], tmp_path / "out.wav", out_rate=16_000)
    await run(files, 10, {0: lambda: files.gain(0.5), 1: lambda: files.write(1, np.full(RATE, 8_000, np.int16))})
    assert loudspeaker(tmp_path / "out.wav")[FRAME : 5 * FRAME].tolist() == [4_000] * 4 * FRAME


async def test_write_waits_for_the_frames() -> None:
    files = port([])
    await files.open()
    reply = tone(5.0, rate=files.out_rate)
    async with asyncio.TaskGroup() as group, aclosing(files.frames()) as captures:
        writer = group.create_task(files.write(1, reply))
        n, news = 0, list[Progress]()
        while not writer.done():
            news += (await anext(captures)).played
            n += 1
        assert 2.9 * 50 <= n <= 4.1 * 50
        while not news or news[-1].n < reply.size:
            news += (await anext(captures)).played
    await files.close()


async def test_close_lets_a_writer_go() -> None:
    files = port([])
    await files.open()
    async with asyncio.TaskGroup() as group:
        group.create_task(files.write(1, tone(5.0)))
        await asyncio.sleep(0)
        await files.close()


def test_paced_frames_come_by_the_clock_without_drift() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        files = port(QUICK, paced=True)
        assert not files.stepped
        await files.open()
        start = loop.time()
        async with aclosing(files.frames()) as captures:
            for i in range(1, 200):
                await anext(captures)
                assert loop.time() - start == pytest.approx(i * 0.02, abs=1e-6)
                if i % 7 == 0:
                    await asyncio.sleep(0.013)  # a slow listener
            await asyncio.sleep(0.1)
            for _ in range(200, 300):
                await anext(captures)
            assert loop.time() - start == pytest.approx(299 * 0.02, abs=1e-6)
        await files.close()

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(main())


async def test_stepped_frames_come_at_once() -> None:
    files = port(QUICK)
    assert files.stepped
    assert not files.exhausted
    assert files.out_rate == 24_000
    assert files.xruns == (0, 0)


async def test_a_long_file_is_not_held_in_memory(tmp_path: Path) -> None:
    """The frames before the end come while most of the file is still unread."""
    path = wav(tmp_path / "a.wav", tone(20.0))
    files = port([path])
    await files.open()
    async with aclosing(files.frames()) as captures:
        await anext(captures)
        os.truncate(path, 44 + RATE * 2)
        n = 1
        while not files.exhausted:
            await anext(captures)
            n += 1
    assert 45 <= n <= 60
    await files.close()
