"""Errors of engines, as a client of the audio API is told them."""

from __future__ import annotations

from voiceloop.errors import Busy, Late, MediaError, ProviderError, ProviderRefused, ProviderTimeout, VoiceloopError
from voiceloop.wire.speech_errors import Refusal, bad

_PASSED_ON = (400, 404, 413, 415, 422)


def refusal(error: VoiceloopError) -> Refusal:
    """The answer to a request whose work failed. A path on this machine is not repeated."""
    match error:
        case Refusal():
            return error
        case MediaError():
            return bad("file", str(error), "invalid_file")
        case ProviderTimeout() | Late():
            return Refusal(504, str(error), code="timeout")
        case ProviderRefused():
            # What the service says of the request itself is said of ours; its word on our key or quota is not.
            status = error.status if error.status in _PASSED_ON else 502
            return Refusal(status, str(error), code="upstream_error")
        case ProviderError(retryable=True):
            return Refusal(503, str(error), code="engine_error", headers={"retry-after": "1"})
        case Busy():
            return Refusal(503, str(error), code="overloaded", headers={"retry-after": "5"})
        case _:
            return Refusal(500, str(error), code="engine_error")
