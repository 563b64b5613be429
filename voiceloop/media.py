"""Sound in files and on its way: which adapter reads or writes what. PyAV is loaded only where it is needed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from importlib.util import find_spec
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from voiceloop.adapters.media.endings import cut_off
from voiceloop.core.audio import Pcm
from voiceloop.errors import ConfigError, MediaError
from voiceloop.ports import Resampler

if TYPE_CHECKING:
    from voiceloop.adapters.media.decode import Decoder
    from voiceloop.adapters.media.encode import Encoder
    from voiceloop.adapters.media.tempo import Tempo

_PLAIN = (b"RIFF", b"RF64", b"fLaC", b"FORM", b".snd", b"caff")
"""How files begin that libsndfile reads, which is always there: WAV, FLAC, AIFF, AU and CAF."""


class _Reader(Protocol):
    @property
    def duration_s(self) -> float | None: ...
    @property
    def early(self) -> bool: ...
    def samples(self) -> Iterator[Pcm]: ...


class Reel:
    """A recording or film, known to hold sound. Raises MediaError, also while it is read.

    duration_s: as the file says, which may be wrong; None if it says nothing. What is told by its first bytes is
    told so, never by its name. Blocks while it reads: a second of sound takes about 1 ms.
    """

    def __init__(self, path: str | PathLike[str]) -> None:
        self._path = Path(path)
        self._reader = _reader(self._path)
        self.duration_s = self._reader.duration_s

    @property
    def early(self) -> bool:
        """After the last piece: whether the file ends before its sound does, or a part of it cannot be decoded."""
        if self._reader.early:
            return True
        with self._path.open("rb") as file:
            return cut_off(file)

    def samples(self) -> Iterator[Pcm]:
        """All that can be read, mono at 16 kHz, in pieces of some thousand samples; who reads may stop anywhere."""
        return self._reader.samples()


def recording(path: str | PathLike[str]) -> Iterator[Pcm]:
    """Sound of any format as pieces of mono 16 kHz, with bounded memory. Raises MediaError."""
    return Reel(path).samples()


def encoder(format: str, rate: int) -> Encoder:
    """Turns samples at `rate` into "mp3", "opus", "aac", "flac", "wav" or "pcm" as they come.

    Raises MediaError on another format, ConfigError without PyAV.
    """
    _needs_av()
    from voiceloop.adapters.media.encode import Encoder

    return Encoder(format, rate)


def sound_file(path: str | PathLike[str], format: str, rate: int) -> AbstractContextManager[Callable[[Pcm], None]]:
    """A file of one of these formats, or "m4a", to write chunks at `rate` to.

    Raises MediaError, ConfigError without PyAV (a WAV does without, and keeps the rate).
    """
    if format == "wav":
        from voiceloop.adapters.audio.files import wav_writer

        return wav_writer(Path(path), rate)
    _needs_av()
    from voiceloop.adapters.media.encode import sound_writer

    return sound_writer(Path(path), format, rate)


def decoder(rate: int) -> Decoder:
    """Compressed sound that arrives in pieces to samples at `rate`. Raises ConfigError without PyAV."""
    _needs_av()
    from voiceloop.adapters.media.decode import Decoder

    return Decoder(rate)


def tempo(rate: int, factor: float) -> Tempo:
    """Makes speech `factor` times as fast, its pitch kept. Raises ConfigError without PyAV."""
    _needs_av()
    from voiceloop.adapters.media.tempo import Tempo

    return Tempo(rate, factor)


def resampler(source_hz: int, target_hz: int) -> Resampler:
    """A streaming resampler."""
    from voiceloop.adapters.resample.stream import StreamResampler

    return StreamResampler(source_hz, target_hz)


def _needs_av() -> None:
    if find_spec("av") is None:
        raise ConfigError("PyAV reads and writes MP3, AAC, Opus and films; run: pip install 'voiceloop[media]'")


def _reader(path: Path) -> _Reader:
    from voiceloop.adapters.audio.files import Recording

    head = b""
    if path.is_file():
        with path.open("rb") as file:
            head = file.read(4)
    first: MediaError | None = None
    if not head or head in _PLAIN:
        try:
            return Recording(path, resampler)
        except MediaError as exc:
            if head != b"RIFF":  # inside of a WAV may be codecs that only FFmpeg knows
                raise
            first = exc
    try:
        _needs_av()
        from voiceloop.adapters.media.files import MediaFile

        return MediaFile(path)
    except ConfigError as exc:
        # libsndfile knows Ogg and MP3 too.
        try:
            return Recording(path, resampler)
        except MediaError:
            raise first or MediaError(f"{path} is not WAV, FLAC, Ogg or MP3. {exc}") from exc
    except MediaError as exc:
        raise first or exc from exc
