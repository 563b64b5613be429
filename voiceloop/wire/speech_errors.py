"""How the audio API says no: an HTTP status and `{"error": {"message", "type", "param", "code"}}`."""

from __future__ import annotations

from collections.abc import Mapping
from math import ceil

import msgspec

from voiceloop.errors import ProtocolError

TYPES = {
    401: "authentication_error",
    403: "permission_error",
    429: "rate_limit_error",
    500: "server_error",
    502: "server_error",
    503: "server_error",
    504: "server_error",
}
"""Of each status; the others are an `invalid_request_error`."""

JSON = "application/json"


class Refusal(ProtocolError):
    """A request that is answered with an error. param: the field that is wrong. code: for programs.

    headers: to be sent with it, beside the content type.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.param = param
        self.code = code
        self.headers = dict(headers or {})

    @property
    def error(self) -> dict[str, str | None]:
        """The four keys that clients look for, all of them always."""
        kind = TYPES.get(self.status, "invalid_request_error")
        return {"message": str(self), "type": kind, "param": self.param, "code": self.code}

    def body(self) -> bytes:
        """As JSON."""
        return msgspec.json.encode({"error": self.error})


def bad(param: str, message: str, code: str | None = None) -> Refusal:
    """A field that is missing or wrong."""
    return Refusal(400, message, param=param, code=code)


def too_large(message: str, param: str | None = None) -> Refusal:
    """What is not read to its end; so the connection cannot be used again."""
    return Refusal(413, message, param=param, code="payload_too_large", headers={"connection": "close"})


def too_many(message: str, wait_s: float, code: str = "rate_limit_exceeded") -> Refusal:
    """Later it would go. wait_s: when. Old clients read only the header in whole seconds, so that one is rounded up."""
    after = {"retry-after": str(max(1, ceil(wait_s))), "retry-after-ms": str(max(1, ceil(wait_s * 1000)))}
    return Refusal(429, message, code=code, headers=after)
