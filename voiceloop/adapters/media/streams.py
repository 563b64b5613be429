"""One class for each format that `decode.Decoder` takes: bytes in, frames out, as soon as they are complete.

`early`: after `finish`, whether the bytes ended before the sound did.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

import av
from av.error import FFmpegError

from voiceloop.adapters.media.sound import Codec, Packet, decoder_of, packet_of
from voiceloop.errors import MediaError

_ENDLESS = 0x7FFF_0000
"""WAV sizes from here on, and 0, stand for "unknown": writers put 0x7FFFFFFF or 0xFFFFFFFF, some less their header."""

_PAGE_MAX = 65_307
"""Bytes of the longest Ogg page (RFC 3533)."""

_PCM = {(1, 8): "pcm_u8", (1, 16): "pcm_s16le", (1, 24): "pcm_s24le", (1, 32): "pcm_s32le",
        (3, 32): "pcm_f32le", (3, 64): "pcm_f64le", (6, 8): "pcm_alaw", (7, 8): "pcm_mulaw"}  # fmt: skip

_LAYOUTS = {1: "mono", 2: "stereo", 3: "2.1", 4: "quad", 5: "5.0", 6: "5.1", 7: "6.1", 8: "7.1"}
"""What so many channels usually are; they are mixed anyway."""


class _Parsed:
    """A stream of frames that FFmpeg's own parser finds. A frame that is broken is left out."""

    def __init__(self, name: str) -> None:
        self._codec = decoder_of(name)
        self.early = False

    def feed(self, data: bytes) -> Iterator[av.AudioFrame]:
        for packet in self._codec.parse(data) if data else ():
            yield from self._decoded(packet)

    def finish(self) -> Iterator[av.AudioFrame]:
        while packets := self._codec.parse(None):
            for packet in packets:
                yield from self._last(packet)
        yield from self._codec.decode(None)

    def _last(self, packet: Packet) -> Iterator[av.AudioFrame]:
        """A packet that the parser held back. Here: it knows how long frames are, so this one is not complete."""
        self.early = not bytes(packet).startswith((b"TAG", b"APETAGEX"))
        yield from ()

    def _decoded(self, packet: Packet) -> Iterator[av.AudioFrame]:
        try:
            frames = self._codec.decode(packet)
        except FFmpegError:
            return
        yield from frames


class Adts(_Parsed):
    """AAC with a header before each frame."""

    def __init__(self) -> None:
        super().__init__("aac")


class Mp3(_Parsed):
    """MP3: a tag before it is skipped, and what the encoder added at both ends is cut where its header says so.

    The fields of the header are those of LAME's "Mp3 Info Tag rev 1".
    """

    def __init__(self) -> None:
        super().__init__("mp3float")
        self._tag = b""
        self._skip: int | None = None
        """Bytes of the tag still to come; None: not known yet."""
        self._fresh = True
        self._cut = _Cut(0, None)
        self._left: int | None = None
        """Frames that the header promises still."""

    def feed(self, data: bytes) -> Iterator[av.AudioFrame]:
        if self._skip is None:
            self._tag = data = self._tag + data
            if len(data) < 10:
                return
            size = 0
            for byte in data[6:10]:
                size = size << 7 | byte & 0x7F
            self._skip = 10 + size if data[:3] == b"ID3" else 0
            self._tag = b""
        dropped = min(self._skip, len(data))
        self._skip -= dropped
        yield from super().feed(data[dropped:])

    def finish(self) -> Iterator[av.AudioFrame]:
        yield from super().finish()
        self.early = self.early or bool(self._left and self._left > 0)

    def _decoded(self, packet: Packet) -> Iterator[av.AudioFrame]:
        if self._fresh:
            self._fresh = False
            if self._info(bytes(packet)):
                return
        if self._left is not None:
            self._left -= 1
        for frame in super()._decoded(packet):
            yield from self._cut.feed(frame)

    def _info(self, data: bytes) -> bool:
        """Whether the first frame is no sound but a header about the others, which is then obeyed."""
        at = max(data[:60].find(b"Xing"), data[:60].find(b"Info"))
        if at < 0:
            return False
        flags = int.from_bytes(data[at + 4 : at + 8], "big")
        if flags & 1:
            self._left = int.from_bytes(data[at + 8 : at + 12], "big")
        lame = at + 8 + sum(size for bit, size in ((1, 4), (2, 4), (4, 100), (8, 4)) if flags & bit)
        padding = data[lame + 21 : lame + 24]
        if len(padding) == 3 and data[lame : lame + 4] in (b"LAME", b"Lavc", b"Lavf"):
            delay, end = padding[0] << 4 | padding[1] >> 4, (padding[1] & 0x0F) << 8 | padding[2]
            samples = 1152 if data[1] & 0x08 else 576
            # 529: what any decoder adds (Annex A of the same text).
            total = self._left * samples - delay - end if self._left else None
            self._cut = _Cut(delay + 529, total)
        return True


class Flac(_Parsed):
    """FLAC, its frames checked against their sums; it may say beforehand how many samples there are."""

    def __init__(self) -> None:
        super().__init__("flac")
        self._codec.options = {"err_detect": "crccheck+explode"}
        self._head = b""
        self._n = 0
        self._total: int | None = None
        self._broken = False

    def feed(self, data: bytes) -> Iterator[av.AudioFrame]:
        if self._total is None and len(self._head) < 26:
            self._head += data[:26]
            if len(self._head) >= 26:
                self._total = int.from_bytes(self._head[21:26], "big") & 0xF_FFFF_FFFF
        yield from super().feed(data)

    def finish(self) -> Iterator[av.AudioFrame]:
        yield from super().finish()
        self.early = self._broken or self._total is None or self._n < self._total

    def _last(self, packet: Packet) -> Iterator[av.AudioFrame]:
        yield from self._decoded(packet)

    def _decoded(self, packet: Packet) -> Iterator[av.AudioFrame]:
        self._broken = True
        for frame in super()._decoded(packet):
            self._broken = False
            self._n += frame.samples
            yield frame


class OggOpus:
    """Opus in Ogg (RFC 7845): pages, then packets. The decoder itself drops the pre-skip that it reads in the head."""

    def __init__(self) -> None:
        self._data = b""
        self._packet = b""
        self._codec: Codec | None = None
        self._cut = _Cut(0, None)
        self._pre_skip = 0
        self._serial: bytes | None = None
        self._n_packets = 0
        self.early = True

    def feed(self, data: bytes) -> Iterator[av.AudioFrame]:
        self._data += data
        while len(self._data) >= 27:
            if self._data[:4] != b"OggS":
                at = self._data.find(b"OggS", 1)
                if at < 0 and len(self._data) > _PAGE_MAX:
                    raise MediaError("The sound cannot be decoded: its Ogg pages end in something else.")
                if at < 0:
                    return
                self._data = self._data[at:]
                continue
            lacing = self._data[27 : 27 + self._data[26]]
            size = 27 + self._data[26] + sum(lacing)
            if len(lacing) < self._data[26] or len(self._data) < size:
                return
            page, self._data = self._data[:size], self._data[size:]
            yield from self._page(page, lacing)

    def finish(self) -> Iterator[av.AudioFrame]:
        self.early = self.early or bool(self._data)
        if self._codec is not None:
            for frame in self._codec.decode(None):
                yield from self._cut.feed(frame)

    def _page(self, page: bytes, lacing: bytes) -> Iterator[av.AudioFrame]:
        if page[5] & 2 and self._serial is None:
            self._serial = page[14:18]
        if page[14:18] != self._serial:
            return
        granule = struct.unpack("<q", page[6:14])[0]
        if page[5] & 4:
            self.early = False
            # Samples of the last page beyond this are padding.
            self._cut.end(granule - self._pre_skip)
        if not page[5] & 1:
            self._packet = b""
        at = 27 + len(lacing)
        for size in lacing:
            self._packet += page[at : at + size]
            at += size
            if size < 255:
                packet, self._packet = self._packet, b""
                yield from self._take(packet)

    def _take(self, packet: bytes) -> Iterator[av.AudioFrame]:
        self._n_packets += 1
        if self._n_packets == 1:
            if not packet.startswith(b"OpusHead") or len(packet) < 19:
                raise MediaError("The sound is Ogg, but not Opus: only that can be played while it comes in.")
            self._codec = decoder_of("libopus", 48_000, "mono" if packet[9] == 1 else "stereo", packet)
            self._pre_skip = int.from_bytes(packet[10:12], "little")
        elif self._n_packets > 2 and packet and self._codec is not None:
            try:
                frames = self._codec.decode(packet_of(packet))
            except FFmpegError:
                return
            for frame in frames:
                yield from self._cut.feed(frame)


class Wav:
    """WAV of any width; the sizes 0, 0x7FFFFFFF and 0xFFFFFFFF mean that nobody knew them."""

    def __init__(self) -> None:
        self._data = b""
        self._codec: Codec | None = None
        self._block = 1
        self._left: int | None = None
        self._inside = False
        self.early = False

    def feed(self, data: bytes) -> Iterator[av.AudioFrame]:
        self._data += data
        if not self._inside and not self._head():
            return
        whole = len(self._data) - len(self._data) % self._block
        if self._left is not None:  # what follows the samples is about them
            whole = min(whole, self._left)
            self._left -= whole
        sound, self._data = self._data[:whole], self._data[whole:] if self._left != 0 else b""
        if sound and self._codec is not None:
            yield from self._codec.decode(packet_of(sound))

    def finish(self) -> Iterator[av.AudioFrame]:
        self.early = not self._inside or bool(self._left) or bool(self._data)
        yield from ()

    def _head(self) -> bool:
        """Reads chunks up to the samples; False until they have come."""
        at = 12
        while len(self._data) >= at + 8:
            name, size = struct.unpack_from("<4sI", self._data, at)
            if name == b"data":
                if self._codec is None:
                    raise MediaError("The WAV does not say what its samples are.")
                self._inside = True
                self._left = size - size % self._block if 0 < size < _ENDLESS else None
                self._data = self._data[at + 8 :]
                return True
            if len(self._data) < at + 8 + size:
                if size > 1 << 20:
                    raise MediaError("The WAV has a head of more than a megabyte.")
                return False
            if name == b"fmt ":
                self._format(self._data[at + 8 : at + 8 + size])
            at += 8 + size + size % 2
        return False

    def _format(self, fmt: bytes) -> None:
        kind, channels, rate, _, block, bits = struct.unpack_from("<HHIIHH", fmt.ljust(16, b"\0"))
        if kind == 0xFFFE and len(fmt) >= 26:  # WAVE_FORMAT_EXTENSIBLE: the kind stands at the end
            kind = int.from_bytes(fmt[24:26], "little")
        if (kind, bits) not in _PCM or channels not in _LAYOUTS or block != channels * bits // 8:
            raise MediaError(f"The WAV has samples of a kind that is not known ({kind}, {bits} bits, {channels}).")
        self._block = block
        self._codec = decoder_of(_PCM[kind, bits], rate, _LAYOUTS[channels])


class _Cut:
    """Drops `start` samples at the beginning, and gives no more than `total`, if that is known."""

    def __init__(self, start: int, total: int | None) -> None:
        self._skip = start
        self._left = total
        self._given = 0

    def end(self, total: int) -> None:
        """There are so many samples in all."""
        self._left = max(0, total - self._given)

    def feed(self, frame: av.AudioFrame) -> Iterator[av.AudioFrame]:
        start = min(self._skip, frame.samples)
        self._skip -= start
        n = frame.samples - start
        if self._left is not None:
            n = min(n, self._left)
            self._left -= n
        self._given += n
        if n == frame.samples:
            yield frame
        elif n:
            yield _part(frame, start, start + n)


def _part(frame: av.AudioFrame, start: int, end: int) -> av.AudioFrame:
    """A stretch of a frame."""
    samples = frame.to_ndarray()
    width = 1 if frame.format.is_planar else len(frame.layout.channels)
    part = av.AudioFrame.from_ndarray(
        samples[:, start * width : end * width].copy(), format=frame.format.name, layout=frame.layout.name
    )
    part.sample_rate = frame.sample_rate
    return part
