"""Recordings as the microphone, and a recording of what the loudspeaker would have played."""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import AsyncGenerator, Callable, Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from os import PathLike
from pathlib import Path
from typing import Protocol, cast

import numpy as np
from numpy.typing import NDArray

from voiceloop.adapters.audio.outlet import Outlet
from voiceloop.adapters.audio.playback import Playback
from voiceloop.core.audio import FRAME, RATE, Pcm, Rechunker, silence, ticks, to_pcm
from voiceloop.errors import MediaError
from voiceloop.ports import Capture, Resampler

SHORT_GAP_S = 0.3
"""What is left of a silence between replies with `replies_only`."""


class _SoundFile(Protocol):
    samplerate: int
    channels: int
    frames: int

    def read(self, frames: int, dtype: str, always_2d: bool) -> NDArray[np.float32]: ...
    def write(self, data: Pcm) -> None: ...
    def close(self) -> None: ...


class _Library(Protocol):
    """What is used of the module `soundfile`, which has no types of its own."""

    SoundFileError: type[Exception]

    def SoundFile(
        self,
        file: str,
        mode: str = "r",
        samplerate: int | None = None,
        channels: int | None = None,
        subtype: str | None = None,
        format: str | None = None,
    ) -> _SoundFile: ...


class FilePort(Outlet):
    """An `AudioPort` that hears `inputs` one after the other and then silence.

    Between them are `gap_s` seconds in which nobody speaks: a reply that is being played is heard out first.

    inputs: any format, rate and number of channels that libsndfile reads; channels are averaged. paced: 50 frames
    a second by the loop's clock; else the next frame comes when it is fetched. output: a WAV, int16 mono at
    out_rate, of the loudspeaker from the first frame to the last, silence included, written as it goes. With
    `replies_only` it begins with the first reply, ends with the last, and silences between replies are cut to
    0.3 s; pauses inside a reply stay as they are.

    A file has no echo: `ref` is None. What is played counts as heard at once. Files are read in pieces of 20 ms on
    the loop (0.2 ms at 48 kHz stereo FLAC, resampling included): a thread would cost more than it
    spares and would make stepped runs depend on its timing.
    """

    def __init__(
        self,
        inputs: Sequence[str | PathLike[str]],
        output: str | PathLike[str] | None,
        resampler: Callable[[int, int], Resampler],
        *,
        paced: bool,
        out_rate: int = 24_000,
        gap_s: float = 0.5,
        replies_only: bool = False,
    ) -> None:
        super().__init__(Playback(out_rate))
        self._inputs = [Path(path) for path in inputs]
        self._output = Path(output) if output is not None else None
        self._resampler = resampler
        self._paced = paced
        self._gap = ticks(gap_s)
        self._replies_only = replies_only
        self._reels: list[Recording] = []
        self._wav: _Wav | None = None
        self._exhausted = False
        self._closed = False

    @property
    def stepped(self) -> bool:
        """True unless paced."""
        return not self._paced

    @property
    def exhausted(self) -> bool:
        """True once the last sample of the last file has been given."""
        return self._exhausted

    @property
    def xruns(self) -> tuple[int, int]:
        """Files lose nothing."""
        return (0, 0)

    async def open(self) -> None:
        """Looks into every input and creates the output. Raises MediaError, naming the file."""
        try:
            for path in self._inputs:
                self._reels.append(Recording(path, self._resampler))
                await asyncio.sleep(0)  # a hundred files take longer than the loop may be kept
            if self._output is not None:
                if self._output.resolve() in [path.resolve() for path in self._inputs]:
                    raise MediaError(f"{self._output} is an input too: choose another name for the output.")
                gap = round(self.out_rate * SHORT_GAP_S) if self._replies_only else None
                self._wav = _Wav(self._output, self.out_rate, gap)
        except BaseException:
            await self.close()
            raise

    async def frames(self) -> AsyncGenerator[Capture, None]:
        """Frames until `close`; playback advances 20 ms with each."""
        loop = asyncio.get_running_loop()
        start = loop.time()
        for n, mic in enumerate(self._microphone(), 1):
            # A frame is there when its 20 ms are over. Counted from the start, so that lateness does not add up.
            await asyncio.sleep(max(0.0, start + n * FRAME / RATE - loop.time()) if self._paced else 0)
            if self._closed:
                return
            block = self._playback.pull(n * FRAME * self.out_rate // RATE - self._playback.pulled)
            if self._wav is not None:
                self._wav.write(block, quiet=self._playback.quiet)
            yield Capture(mic, None, self._playback.news())
            if self._closed:
                return

    async def close(self) -> None:
        """Ends the frames and completes the output. Twice is legal."""
        self._closed = True
        self._playback.close()
        for reel in self._reels:
            reel.close()
        if self._wav is not None:
            self._wav.close()

    def _microphone(self) -> Iterator[Pcm]:
        """All inputs as frames, then silence for ever."""
        frames = Rechunker(FRAME)
        ahead: Pcm | None = None  # one frame behind the files, so that the last one is known to be the last
        for pcm in self._samples():
            for frame in frames.feed(pcm):
                if ahead is not None:
                    yield ahead
                ahead = frame
        rest = frames.flush()
        if rest.size and ahead is not None:
            yield ahead
            ahead = rest
        self._exhausted = True
        yield ahead if ahead is not None else rest if rest.size else silence(FRAME)
        while True:
            yield silence(FRAME)

    def _silence(self) -> Iterator[Pcm]:
        left = self._gap
        while left > 0:
            yield silence(min(left, FRAME))
            left = left - FRAME if self._playback.quiet else self._gap

    def _samples(self) -> Iterator[Pcm]:
        for index, reel in enumerate(self._reels):
            if index:
                yield from self._silence()
            yield from reel.samples()


class Recording:
    """One sound file: opened to see that it holds audio, closed, and read when its turn comes. Raises MediaError."""

    def __init__(self, path: Path, resampler: Callable[[int, int], Resampler]) -> None:
        self._path = path
        self._resampler = resampler
        self._library = cast("_Library", importlib.import_module("soundfile"))
        self._file: _SoundFile | None = None
        file = self._open()
        try:
            self._missing = file.frames
            self.duration_s = file.frames / file.samplerate
            if self._read(file, 1).size == 0:
                raise MediaError(f"{path} holds no audio: record it again or choose another file.")
        finally:
            file.close()

    @property
    def early(self) -> bool:
        """After the last piece: whether fewer samples were read than the head promises."""
        return self._missing > 0

    def samples(self) -> Iterator[Pcm]:
        """The whole file as mono at 16 kHz, int16, in pieces. A truncated file gives what can be read."""
        file = self._file = self._open()
        self._missing = file.frames
        try:
            resampler = self._resampler(file.samplerate, RATE) if file.samplerate != RATE else None
            while (piece := self._read(file, max(1, file.samplerate // 50))).size:
                self._missing -= piece.size
                yield resampler.process(piece) if resampler else piece
            if resampler:
                yield resampler.flush()
        finally:
            self.close()

    def close(self) -> None:
        """Twice is legal."""
        file, self._file = self._file, None
        if file is not None:
            file.close()

    def _open(self) -> _SoundFile:
        path = self._path
        if not path.exists():
            raise MediaError(f"{path} does not exist: check the name.")
        if not path.is_file():
            raise MediaError(f"{path} is not a file: name a WAV or FLAC file.")
        if path.stat().st_size == 0:
            raise MediaError(f"{path} is empty: record it again or choose another file.")
        try:
            return self._library.SoundFile(str(path))
        except (self._library.SoundFileError, OSError, RuntimeError, TypeError) as error:
            reason = str(getattr(error, "error_string", error)).rstrip(".")
            raise MediaError(f"{path} cannot be read as audio ({reason}): convert it to WAV or FLAC.") from error

    def _read(self, file: _SoundFile, n: int) -> Pcm:
        """The next n samples or fewer; none at the end, or where the file is broken off."""
        with suppress(self._library.SoundFileError, RuntimeError):
            data = np.clip(np.nan_to_num(file.read(n, "float32", True)), -1.0, 1.0)
            mono = data[:, 0] if data.shape[1] == 1 else data.mean(axis=1)
            return to_pcm(mono)
        return silence(0)


@contextmanager
def wav_writer(path: Path, rate: int) -> Generator[Callable[[Pcm], None], None, None]:
    """A WAV, int16 mono, that chunks are written to; complete afterwards. Raises MediaError."""
    wav = _Wav(path, rate, None)
    try:
        yield lambda pcm: wav.write(pcm, quiet=False)
    finally:
        wav.close()


class _Wav:
    """The output. gap: longest silence outside replies, in samples; None: as it was."""

    def __init__(self, path: Path, rate: int, gap: int | None) -> None:
        library = cast("_Library", importlib.import_module("soundfile"))
        try:
            self._file: _SoundFile | None = library.SoundFile(
                str(path), "w", samplerate=rate, channels=1, subtype="PCM_16", format="WAV"
            )
        except (library.SoundFileError, OSError, RuntimeError) as error:
            raise MediaError(f"{path} cannot be written: check that its directory exists and is writable.") from error
        self._gap = gap
        self._silent = 0
        self._begun = False

    def write(self, block: Pcm, *, quiet: bool) -> None:
        if self._file is None:
            return
        if self._gap is None:
            self._file.write(block)
        elif quiet:
            self._silent += block.size
        else:
            if self._begun and self._silent:
                self._file.write(silence(min(self._silent, self._gap)))
            self._file.write(block)
            self._silent, self._begun = 0, True

    def close(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            file.close()
