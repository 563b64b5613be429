"""Bearer keys: made here, known by name, kept as hashes.

A key is 256 random bits, so plain SHA-256 is as hard to turn back as the key is to guess; what makes a hash of
passwords slow (scrypt) would only cost every request its 50 ms.
"""

from __future__ import annotations

import hmac
import os
import re
import secrets
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from voiceloop.errors import ConfigError

_PREFIX = "vl-"
_NAME = re.compile(r"[\w.@-]{1,64}")


@dataclass(frozen=True, slots=True)
class Key:
    """A key that opens the server. hash: hexadecimal."""

    name: str
    hash: str


class KeyFile:
    """A file with one line for each key: its name and its hash. Read again when it has changed."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._seen: tuple[int, int] | None = None
        self._keys: tuple[Key, ...] = ()

    def read(self) -> tuple[Key, ...]:
        """All of them; none if there is no file. Raises ConfigError if it cannot be read."""
        try:
            status = self.path.stat()
            seen = status.st_mtime_ns, status.st_size
            if seen != self._seen:
                self._keys = tuple(_parsed(self.path.read_text(encoding="utf-8"), self.path))
                self._seen = seen
        except FileNotFoundError:
            self._keys, self._seen = (), None
        except (OSError, UnicodeDecodeError) as exc:
            raise ConfigError(f"{self.path}: the keys cannot be read ({exc}).") from exc
        return self._keys

    def named(self, secret: str) -> str | None:
        """The name of a key, None if it is none. Takes as long for any: each is compared, in constant time."""
        offered = _hash(secret)
        found = None
        for key in self.read():
            if hmac.compare_digest(key.hash, offered):
                found = key.name
        return found

    def add(self, name: str) -> str:
        """Makes a key, and gives it: it can never be read again. Raises ConfigError."""
        if not _NAME.fullmatch(name):
            raise ConfigError("the name of a key has at most 64 letters, digits, and . _ @ -")
        if any(key.name == name for key in self.read()):
            raise ConfigError(f"there is a key named {name} already: choose another name, or remove it first.")
        secret = _PREFIX + secrets.token_urlsafe(32)
        self._write([*self.read(), Key(name, _hash(secret))])
        return secret

    def remove(self, name: str) -> None:
        """Raises ConfigError if there is none of that name."""
        rest = [key for key in self.read() if key.name != name]
        if len(rest) == len(self.read()):
            raise ConfigError(f"there is no key named {name}.")
        self._write(rest)

    def _write(self, keys: list[Key]) -> None:
        """Whole or not at all: a server may read it now. Only its owner may."""
        new = self.path.with_name(self.path.name + ".new")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
                file.writelines(f"{key.name} sha256:{key.hash}\n" for key in keys)
            os.replace(new, self.path)
        except OSError as exc:
            raise ConfigError(f"{self.path}: the keys cannot be written ({exc.strerror}).") from exc
        self._seen = None


def _hash(secret: str) -> str:
    return sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


def _parsed(text: str, path: Path) -> list[Key]:
    keys: list[Key] = []
    for number, line in enumerate(text.splitlines(), 1):
        found = re.fullmatch(r"\s*(\S+)\s+sha256:([0-9a-f]{64})\s*", line)
        if found:
            keys.append(Key(found[1], found[2]))
        elif line.strip() and not line.lstrip().startswith("#"):
            raise ConfigError(f"{path}, line {number}: expected a name and sha256:HASH, as voiceloop keys writes them.")
    return keys
