"""Paths of keys in a tree of msgspec structs: what type stands there, what is wrong there, and a value as text."""

from __future__ import annotations

import re
from typing import Any, Literal, get_args, get_origin, get_type_hints

import msgspec
from msgspec import Struct

from voiceloop.errors import ConfigError

Options = dict[str, Any]
Names = list[str]

_WORDS = {
    "float": "a number",
    "int": "a whole number",
    "int | str": "a number or a name",
    "str": "text",
    "bool": "true or false",
    "object": "a section",
    "array": "a list",
}
SECRET = re.compile(r"(?i)(?:^|_)(?:key|token|secret|password)$")
NO_SECRETS = "Secrets are not kept in files; set the variable that service.api_key_env names, as OPENAI_API_KEY."


def is_section(kind: Any) -> bool:
    """Whether it is a table of keys that are known."""
    return isinstance(kind, type) and issubclass(kind, Struct)


def kind_of(root: Any, path: str) -> Any:
    """The type of a key, or None. A table of sections has one at every name."""
    kind = root
    for name in path.split("."):
        if is_section(kind):
            kind = get_type_hints(kind, include_extras=True).get(name)
        elif get_origin(kind) is dict and is_section(get_args(kind)[1]):
            kind = get_args(kind)[1]
        else:
            return None
    return kind


def explain(message: str, data: dict[str, Any], root: Any) -> str:
    """msgspec's sentence about data with the key path in front, and the known keys or values where one is unknown."""
    text, _, path = _named(message, data, root).partition(" - at `$")
    path = path.strip("`").lstrip(".")
    if unknown := re.search(r"unknown field `(.+)`", text):
        key = f"{path}.{unknown[1]}" if path else unknown[1]
        if SECRET.search(unknown[1]):
            return f"{key}: {NO_SECRETS}"
        section = kind_of(root, path) if path else root
        known = ", ".join(section.__struct_fields__) if is_section(section) else ""
        return f"{key}: there is no such key. Known here: {known}."
    return f"{path or 'top level'}: {_plain(text, kind_of(root, path))}"


def _named(message: str, data: dict[str, Any], root: Any) -> str:
    """msgspec does not say which of several tables it means."""
    if not (found := re.search(r"`\$\.(\w+)\[\.\.\.\]", message)):
        return message
    section = kind_of(root, f"{found[1]}.any")
    for name, table in data[found[1]].items() if section else ():
        try:
            msgspec.convert(table, section)
        except msgspec.ValidationError as exc:
            text, _, path = str(exc).partition(" - at `$")
            return f"{text} - at `$.{found[1]}.{name}{path or '`'}"
    return message


def value_of(variable: str, value: str, kind: Any) -> Any:
    """A value as a variable holds it, for a key of that type. Raises ConfigError."""
    if kind == (str | int):
        return int(value) if value.isdecimal() else value
    try:
        if kind == Names:
            return [name for part in value.strip().strip("[]").split(",") if (name := part.strip(" \"'"))]
        if get_origin(kind) is dict:
            return msgspec.to_builtins(msgspec.json.decode(value, type=kind))
        return msgspec.convert(value, kind, strict=False)
    except msgspec.ValidationError as exc:
        raise ConfigError(f"{variable}: {_plain(str(exc).removesuffix(', got `str`'), kind)}") from None
    except msgspec.DecodeError:
        raise ConfigError(f'{variable}: expected JSON, as in {{"key": 1}}.') from None


def _plain(text: str, kind: Any) -> str:
    """msgspec's sentence in the user's words; the possible values where one is none of them."""
    sentence = f"{text[0].lower()}{text[1:]}"
    for theirs, ours in _WORDS.items():
        sentence = sentence.replace(f"`{theirs}`", ours)
    choices = ", ".join(map(repr, get_args(kind))) if get_origin(kind) is Literal else ""
    return f"{sentence}. Known: {choices}." if choices else f"{sentence}."
