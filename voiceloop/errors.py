"""The one exception tree.

VoiceloopError
    ConfigError       a key, value or combination in the configuration is wrong
    DeviceError       no device, busy, rate refused, lost
    MediaError        a file or stream of audio cannot be read
    ProviderError     an engine or service failed (stage, retryable)
        ProviderTimeout    no answer within the deadline
        ProviderRefused    it answered, and the answer was no
    Busy              no worker thread can take more work
    Late              a worker thread did not finish in time; a TimeoutError too
    ProtocolError     a peer sent what the protocol forbids
    LineError         a server cannot be reached, or has hung up (code, retryable)

Each message is one sentence for the user: what is wrong and what to do.
"""

from __future__ import annotations

from typing import Literal

Stage = Literal["stt", "handler", "tts"]


class VoiceloopError(Exception):
    """Base of everything that voiceloop raises on purpose."""


class ConfigError(VoiceloopError):
    """The configuration is wrong. The message names the file and the key path."""


class DeviceError(VoiceloopError):
    """A sound device is missing, busy, lost, or refuses the rate."""


class MediaError(VoiceloopError):
    """A file holds no audio that can be read."""


class ProviderError(VoiceloopError):
    """A speech engine, service or handler failed.

    stage: which part of a turn it served. retryable: the same request may succeed later. status: of HTTP, if it was
    a service's that says what is wrong.
    """

    def __init__(self, message: str, *, stage: Stage, retryable: bool = False, status: int | None = None) -> None:
        super().__init__(message)
        self.stage: Stage = stage
        self.retryable = retryable
        self.status = status


class ProviderTimeout(ProviderError):
    """No answer within the deadline."""


class ProviderRefused(ProviderError):
    """The service answered with an error: bad key, bad request, over quota."""


class Busy(VoiceloopError):
    """No worker can take the call: the queue is full, too many threads are stuck, or the workers are closed."""


class Late(VoiceloopError, TimeoutError):
    """A call did not finish within its deadline. It is a TimeoutError too, so that an adapter can tell it
    without importing the session."""


class ProtocolError(VoiceloopError):
    """A peer sent something that the protocol forbids."""


class LineError(VoiceloopError):
    """A server is not there, does not let us in, or has hung up.

    code: with which it closed the connection, 0 if there was none to close. retryable: it may let us in later.
    """

    def __init__(self, message: str, *, code: int = 0, retryable: bool = True) -> None:
        super().__init__(message)
        self.code = code
        self.retryable = retryable
