"""How likely a text that ends in these words is complete: writes voiceloop/data/wording/LANG.json from plain text.

    apt install fortunes fortunes-de fortunes-es fortunes-it fortunes-br
    python benchmarks/word_tables.py en 60 /usr/share/games/fortunes/{art,computers,...}
    python benchmarks/word_tables.py de 12 /usr/share/games/fortunes/de/{zitate,witze}          (and so on)

Every sentence of the text is complete once, at its end, and not complete after each word before. What is counted for a
pair of words leans on what is counted for the last of them, that on its last three letters, that on all words, each
with the weight of LEAN occurrences; so a rare word or pair says little. Of the entries those are kept that say most
(occurrences times information against what they lean on), until the file has its size in kB. Log-odds, in tenths.

On a fifth of the English sentences held out, the loss for each place in a sentence is .2323 nats with words alone
(LEAN 10), .2214 with pairs (10, 10), .2203 with three words, which is not worth their size. LEAN 20 and 40 cost .005
there and were better on the recordings, whose words are of another kind. The text is Debian's (apt package fortunes
1.99.1: BSD collection; de, es, it, br likewise); the tables hold only how often what ended a sentence.
"""

from __future__ import annotations

import argparse
import json
import math
import re
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from voiceloop.core.evidence import words_of

DATA = Path(__file__).resolve().parent.parent / "voiceloop" / "data" / "wording"

LEAN = {"ending": 10.0, "word": 20.0, "pair": 40.0}

RARE = 5
"""Words seen so often at most teach what a rare word with such an ending does."""


def sentences(text: str) -> Iterator[list[str]]:
    """The words of each sentence of a file of fortunes, without who said it."""
    for item in re.split(r"\n%+\n", text):
        said = re.sub(r".\x08", "", re.sub(r"\n\s*--[\s\S]*$", "", item))
        for paragraph in re.split(r"\n\s*\n", said):
            for sentence in re.findall(r"[^.?!]+[.?!]+[\"')]*(?=\s|$)", re.sub(r"\s+", " ", paragraph)):
                words = words_of(sentence)
                if 2 <= len(words) <= 40:
                    yield words


class Counts:
    """How often something was seen, and how often at the end of a sentence."""

    def __init__(self) -> None:
        self.seen: Counter[str] = Counter()
        self.last: Counter[str] = Counter()

    def add(self, key: str, last: bool, n: int = 1) -> None:
        """Counts it n times."""
        self.seen[key] += n
        self.last[key] += last * n

    def share(self, key: str, lean: float, on: float) -> float:
        """How often it was the last, leaning on another share."""
        return (self.last[key] + lean * on) / (self.seen[key] + lean)


def gain(n: int, p: float, q: float) -> float:
    """What is lost if the share is taken for q while it is p."""
    return n * (p * math.log(p / q) + (1 - p) * math.log((1 - p) / (1 - q)))


def tenths(p: float) -> float:
    """Log-odds."""
    return round(math.log(p / (1 - p)), 1)


def table(found: list[list[str]], size: int) -> dict[str, object]:
    """The data file: entries by their log-odds."""
    words, pairs, endings, every = Counts(), Counts(), Counts(), Counts()
    for sentence in found:
        for i, word in enumerate(sentence):
            last = i == len(sentence) - 1
            words.add(word, last)
            pairs.add(f"{sentence[i - 1] if i else '<'} {word}", last)
    for word, n in words.seen.items():
        if n <= RARE:
            for counts, key in ((endings, word[-3:]), (every, "")):
                counts.add(key, True, words.last[word])
                counts.add(key, False, n - words.last[word])
    unknown = every.share("", 0, 0)
    of_ending = {key: endings.share(key, LEAN["ending"], unknown) for key in endings.seen}
    of_word = {
        key: words.share(key, LEAN["word"], of_ending.get(key[-3:], unknown)) for key, n in words.seen.items() if n > 2
    }
    ranked = [(gain(endings.seen[key], p, unknown), "endings", key, p) for key, p in of_ending.items()]
    ranked += [(gain(words.seen[k], p, of_ending.get(k[-3:], unknown)), "words", k, p) for k, p in of_word.items()]
    for pair, n in pairs.seen.items():
        if n > 2 and (word := pair.split()[1]) in of_word:
            p = pairs.share(pair, LEAN["pair"], of_word[word])
            ranked.append((gain(n, p, of_word[word]), "pairs", pair, p))
    out: dict[str, dict[str, list[str]]] = {"endings": {}, "words": {}, "pairs": {}}
    left = size * 1000
    for _, kind, key, p in sorted(ranked, reverse=True):
        left -= len(key.encode()) + 1
        if left < 0:
            break
        out[kind].setdefault(str(tenths(p)), []).append(key)
    joined = {
        kind: {odds: ",".join(sorted(keys)) for odds, keys in sorted(groups.items(), key=lambda g: float(g[0]))}
        for kind, groups in out.items()
    }
    return {"unknown": tenths(unknown), **joined}


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("language")
    parser.add_argument("size", type=int, help="kB")
    parser.add_argument("text", type=Path, nargs="+")
    args = parser.parse_args()
    found = [s for path in args.text for s in sentences(path.read_text(encoding="utf-8", errors="ignore"))]
    about = (
        f"Statistics of the ends of {len(found)} sentences in Debian's fortunes packages: log-odds that a text that "
        "ends so is complete; by benchmarks/word_tables.py"
    )
    data = {"about": about, **table(found, args.size)}
    DATA.mkdir(parents=True, exist_ok=True)
    path = DATA / f"{args.language}.json"
    path.write_text(json.dumps(data, ensure_ascii=False, indent=0) + "\n", encoding="utf-8")
    print(f"{path.name}: {len(found)} sentences, {path.stat().st_size / 1000:.0f} kB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
