"""Trains the network that tells whether words could be a whole utterance: writes voiceloop/data/wording/en.npz,
which is used beside the table if it is there.

    pip install torch        (2.13.0, its CPU wheel, in an environment of its own with numpy)
    PYTHONPATH=. python benchmarks/train_wording.py TEXT      (TEXT as in benchmarks/wording_text.py)

On text held out (1 of 20 paragraphs), clean, the loss for "a sentence ends here" at each word is .2449 nats with the
table, .1890 with the network, .2009 with their mean: literature .2266 .2000 .2045, sayings .2312 .2053 .2102, essays
.1567 .1156 .1243, dialogue .2444 .2085 .2169, requests .3654 .1501 .1967 (templates, some of which were learned in
another spelling). With noise 4500 steps (10 minutes of one shared core) end at .1968; 439 kB.

What it is worth on the words alone: benchmarks/wording.py. In the fit of fit_turns.py on TUNE with one speaker left
out: `wording` .58 -> .63 against pauses, .84 -> .87 against cuts; all together .70 -> .70 and .89 -> .89. The
recognizer's own doubt and the voice know already what it adds there, so the file is not shipped.
"""

from __future__ import annotations

import argparse
import re
import sys
import time
import zlib
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import torch
import wording_text
from numpy.typing import NDArray
from torch import Tensor, nn
from wording_text import END, Marked

OUT = Path(__file__).resolve().parent.parent / "voiceloop" / "data" / "wording" / "en.npz"

SHARES = {"literature": 0.25, "sayings": 0.15, "essays": 0.1, "dialogue": 0.37, "requests": 0.13}
"""Of each kind of text in what is learned from, whatever there is of it."""

WORDS, ENDINGS, WIDTH, UNITS = 7000, 700, 48, 96
LENGTH, BATCH, SPARE = 40, 192, 8

NEXT = 500
"""So many common words it also learns to foretell, which is not exported: so it learns what a phrase may lack."""

FORETELL = 0.1
"""The weight of that against the ends."""

Numbers = NDArray[np.int64]


def held(words: Marked) -> bool:
    """Whether a paragraph is for validation: one of twenty, by what it says."""
    return zlib.crc32(" ".join(w for w, _ in words).encode()) % 20 == 0


def sound(word: str) -> str:
    """Words with the same are taken for one another, now and then: how they begin, and their consonants."""
    plain = word.replace("ck", "k").replace("ph", "f").replace("kn", "n").replace("wr", "r").replace("gh", "")
    return plain[:1] + re.sub(r"(.)\1", r"\1", re.sub(r"[aeiouyhw']", "", plain[1:])).replace("z", "s").replace(
        "c", "k"
    )


class Vocabulary:
    """Numbers of common words from 1, then of the endings of rare ones; 0 is all the rest."""

    def __init__(self, counts: Counter[str]) -> None:
        self.words = [w for w, _ in counts.most_common(WORDS)]
        known, rare = set(self.words), Counter[str]()
        for word, n in counts.items():
            if word not in known:
                rare[word[-3:]] += n
        self.endings = [e for e, _ in rare.most_common(ENDINGS)]
        self.of_word = {w: i + 1 for i, w in enumerate(self.words)}
        self.of_ending = {e: i + 1 + len(self.words) for i, e in enumerate(self.endings)}

    def __len__(self) -> int:
        return 1 + len(self.words) + len(self.endings)

    def ending(self, word: str) -> int:
        """As if it were rare."""
        return self.of_ending.get(word[-3:], 0)

    def number(self, word: str) -> int:
        """What the network sees."""
        return self.of_word.get(word) or self.ending(word)

    def alike(self, rng: np.random.Generator) -> Numbers:
        """Eight words for each that it may be taken for."""
        groups: dict[str, list[int]] = defaultdict(list)
        for word in self.words:
            groups[sound(word)].append(self.of_word[word])
        rows = [groups[sound(word)] for word in self.words]
        rows = [[0], *rows, *([i] for i in range(len(rows) + 1, len(self)))]
        return np.array([[row[int(k)] for k in rng.integers(0, len(row), 8)] for row in rows])


class Stream:
    """Endless text of one kind in chunks, most of them from the beginning of a sentence."""

    def __init__(self, found: list[Marked], vocabulary: Vocabulary, rng: np.random.Generator) -> None:
        flat = [pair for i in rng.permutation(len(found)) for pair in found[i]]
        self.ids = np.array([vocabulary.number(w) for w, _ in flat], np.int64)
        self.ends = np.array([vocabulary.ending(w) for w, _ in flat], np.int64)
        self.marks = np.array([m for _, m in flat], np.int64)
        self.last = len(flat) - 2 * LENGTH
        starts = np.flatnonzero(self.marks == END) + 1
        self.starts = starts[starts < self.last]

    def chunks(self, n: int, rng: np.random.Generator) -> tuple[Numbers, Numbers, Numbers]:
        """Words, their endings, their marks (n, LENGTH + SPARE)."""
        at = np.where(rng.random(n) < 0.7, rng.choice(self.starts, n), rng.integers(0, self.last, n))
        index = at[:, None] + np.arange(LENGTH + SPARE)
        return self.ids[index], self.ends[index], self.marks[index]


class Noise:
    """As a recognizer would have it: words lost (2 %), taken for others (7 %), or not known (4 %)."""

    def __init__(self, vocabulary: Vocabulary, rng: np.random.Generator) -> None:
        self.alike = vocabulary.alike(rng)

    def __call__(
        self, ids: Numbers, ends: Numbers, marks: Numbers, rng: np.random.Generator
    ) -> tuple[Numbers, Numbers]:
        """Words and marks (n, LENGTH). A word with a mark is never lost."""
        u = rng.random(ids.shape)
        out = np.where(u < 0.04, self.alike[ids, rng.integers(0, 8, ids.shape)], ids)
        out = np.where((u >= 0.04) & (u < 0.08), ends, out)
        out = np.where((u >= 0.08) & (u < 0.11), rng.integers(1, 1500, ids.shape), out)
        keep = (rng.random(ids.shape) >= 0.02) | (marks > 0)
        order = np.argsort(~keep, axis=1, kind="stable")[:, :LENGTH]
        return np.take_along_axis(out, order, 1), np.take_along_axis(marks, order, 1)


class Network(nn.Module):
    """The one of voiceloop/core/phrasing.py, with what it only needs to learn."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(size, WIDTH)
        nn.init.normal_(self.embedding.weight, std=0.1)
        self.gru = nn.GRU(WIDTH, UNITS, batch_first=True)
        self.drop = nn.Dropout(0.25)
        self.out = nn.Linear(UNITS, 3)
        self.next = nn.Linear(UNITS, NEXT)

    def forward(self, ids: Tensor) -> Tensor:
        """What it makes of each word (n, length, units)."""
        return self.drop(self.gru(self.drop(self.embedding(ids)))[0])


def loss_of(net: Network, ids: Numbers, marks: Numbers, rng: np.random.Generator) -> Tensor:
    """Of the marks, and of the next word at an eighth of the places."""
    state = net(torch.from_numpy(ids))
    loss = nn.functional.cross_entropy(net.out(state).flatten(0, 1), torch.from_numpy(marks).flatten())
    at = torch.from_numpy(rng.choice(LENGTH - 1, LENGTH // 8))
    after = torch.from_numpy(np.where(ids < NEXT, ids, 0))[:, at + 1]
    return loss + FORETELL * nn.functional.cross_entropy(net.next(state[:, at]).flatten(0, 1), after.flatten())


def check(net: Network, checks: dict[str, tuple[Numbers, Numbers]]) -> str:
    """Mean loss for "a sentence ends here" at each word of the text held out, nats."""
    net.eval()
    losses = {}
    with torch.no_grad():
        for kind, (ids, marks) in checks.items():
            p = torch.softmax(net.out(net(torch.from_numpy(ids))), -1)[..., END].clamp(1e-6, 1 - 1e-6)
            losses[kind] = nn.functional.binary_cross_entropy(p, torch.from_numpy(marks == END).float()).item()
    net.train()
    mean = sum(SHARES[kind] * loss for kind, loss in losses.items())
    return f"{mean:.4f} (" + ", ".join(f"{kind} {loss:.4f}" for kind, loss in losses.items()) + ")"


def packed(name: str, matrix: Tensor) -> dict[str, NDArray[np.generic]]:
    """int8 with a scale for each row."""
    rows = matrix.detach().numpy()
    scale = (np.abs(rows).max(axis=1) / 127 + 1e-8).astype(np.float16)
    return {
        name: np.rint(rows / scale[:, None].astype(np.float32)).clip(-127, 127).astype(np.int8),
        f"{name}_scale": scale,
    }


def export(net: Network, vocabulary: Vocabulary, path: Path) -> None:
    """The data file, as voiceloop/core/phrasing.py wants it."""
    data: dict[str, NDArray[np.generic]] = {
        "words": np.frombuffer("\n".join(vocabulary.words).encode(), np.uint8),
        "endings": np.frombuffer("\n".join(vocabulary.endings).encode(), np.uint8),
        **packed("embedding", net.embedding.weight),
        **packed("inputs", net.gru.weight_ih_l0),
        **packed("kept", net.gru.weight_hh_l0),
        **packed("bias", torch.stack((net.gru.bias_ih_l0, net.gru.bias_hh_l0))),
        **packed("out", torch.hstack((net.out.weight, net.out.bias[:, None]))),
    }
    np.savez_compressed(path, **data)


def read(directory: Path) -> tuple[Vocabulary, dict[str, list[Marked]], dict[str, list[Marked]]]:
    """Words, text to learn from and text held out, by kind."""
    counts, learned, apart = Counter[str](), dict[str, list[Marked]](), dict[str, list[Marked]]()
    for kind, share in SHARES.items():
        found = wording_text.paragraphs(directory, kind, print)
        apart[kind], learned[kind] = [p for p in found if held(p)], [p for p in found if not held(p)]
        own = Counter(word for paragraph in learned[kind] for word, _ in paragraph)
        total = sum(own.values())
        for word, n in own.items():
            if n > 2:
                counts[word] += round(share * n / total * 1e8)
    return Vocabulary(counts), learned, apart


def train(args: argparse.Namespace) -> None:
    """Learns, reports, writes."""
    rng = np.random.default_rng(1)
    vocabulary, learned, apart = read(args.text)
    noise = Noise(vocabulary, rng)
    streams = {kind: Stream(found, vocabulary, rng) for kind, found in learned.items()}
    checks = {
        kind: noise(*Stream(found, vocabulary, rng).chunks(500, rng), np.random.default_rng(2))
        for kind, found in apart.items()
    }
    net = Network(len(vocabulary))
    optimizer = torch.optim.Adam(net.parameters())
    began = time.monotonic()
    for step in range(args.steps):
        for group in optimizer.param_groups:
            group["lr"] = 4e-3 * min(1, (step + 1) / 200) * (0.5 + 0.5 * np.cos(np.pi * step / args.steps)) + 2e-5
        parts = [streams[kind].chunks(round(BATCH * share), rng) for kind, share in SHARES.items()]
        ids, ends, marks = (np.concatenate(part) for part in zip(*parts, strict=True))
        loss = loss_of(net, *noise(ids, ends, marks, rng), rng)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        if step % 500 == 499 or step == args.steps - 1:
            print(f"{step + 1} steps, {time.monotonic() - began:.0f} s: {check(net, checks)}", flush=True)
            export(net, vocabulary, args.out)
    print(f"{args.out.name}: {args.out.stat().st_size / 1000:.0f} kB")


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("text", type=Path)
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--steps", type=int, default=4500)
    args = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(1)
    train(args)
    return 0


if __name__ == "__main__":
    sys.exit(main())
