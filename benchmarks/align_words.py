"""Where each word of the marked recordings begins and ends, by forced alignment: writes benchmarks/words.tsv.

    pip install pocketsphinx          (BSD-2, with its model; 5.1.1 made the table that is here)
    python benchmarks/align_words.py DIRECTORY          (a directory with boundaries.tsv)

A line for each word: file, start and end in ms, the word, and the mark behind it in boundaries.tsv (empty, / | . ? ~).
fit_turns.py reads the table, so that only whoever changes it needs the aligner.
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

OURS = {
    "wot": "W AA T",
    "seest": "S IY AH S T",
    "reciter": "R IH S AY T ER",
    "zau": "Z AW",
    "makan": "M AH K AA N",
    "distichs": "D IH S T IH K S",
    "nuzhat": "N UW Z HH AA T",
    "whilome": "W AY L AH M",
    "merneptah": "M ER N EH P T AA",
    "manasseh": "M AH N AE S AH",
    "churchyards": "CH ER CH Y AA R D Z",
    "woodcutters": "W UH D K AH T ER Z",
}
"""What the dictionary of the aligner lacks."""

SAID = {"sb_spk2_snt5.flac": "jump the fence and hurry up the bank ."}
"""What is really said where the table of marks has other words."""

PAD = 4800
"""Samples put around each recording: some end within the last word."""

HUSH = np.random.default_rng(1).normal(0, 4, PAD).astype(np.int16).tobytes()
"""Noise that nobody hears. Digital silence is none to the model, and it then loses the last words."""

MARKS = {"/", "|", ".", "?", "~"}


def marked(line: str) -> list[tuple[str, str]]:
    """Words and the mark behind each."""
    found: list[tuple[str, str]] = []
    for piece in line.split():
        if piece in MARKS:
            found[-1] = (found[-1][0], piece)
        else:
            found.append((piece, ""))
    return found


def spoken(word: str) -> list[str]:
    """The words of the aligner in one of the table: "forty-two" are two."""
    return [part for part in re.sub(r"[^a-z'-]", "", word.lower()).split("-") if part]


def align(decoder: Any, samples: bytes, words: list[str]) -> list[tuple[int, int]]:
    """Start and end of each word in ms."""
    decoder.set_align_text(" ".join(words))
    decoder.start_utt()
    decoder.process_raw(HUSH + samples + HUSH, full_utt=True)
    decoder.end_utt()
    segments = [s for s in decoder.seg() if not s.word.startswith(("<", "["))]
    found = [re.sub(r"\(\d+\)$", "", s.word) for s in segments]
    if found != words:
        raise SystemExit(f"the aligner lost words: {found} instead of {words}")
    lead = PAD * 1000 // 16_000
    return [(max(0, s.start_frame * 10 - lead), (s.end_frame + 1) * 10 - lead) for s in segments]


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", type=Path)
    args = parser.parse_args()
    import pocketsphinx

    decoder = pocketsphinx.Decoder(lm=None, beam=1e-100, pbeam=1e-100, wbeam=1e-80, loglevel="FATAL")
    for word, phones in OURS.items():
        decoder.add_word(word, phones, False)
    out = ["file\tstart_ms\tend_ms\tword\tmark"]
    for line in (args.directory / "boundaries.tsv").read_text(encoding="utf-8").splitlines()[1:]:
        name, text = line.split("\t")
        pcm, _ = soundfile.read(args.directory / name, dtype="int16")
        pairs = marked(SAID.get(name, text))
        times = iter(align(decoder, pcm.tobytes(), [part for word, _ in pairs for part in spoken(word)]))
        for word, mark in pairs:
            parts = [next(times) for _ in spoken(word)]
            end = min(parts[-1][1], pcm.size * 1000 // 16_000)
            out.append(f"{name}\t{parts[0][0]}\t{end}\t{word}\t{mark}")
    Path(__file__).with_name("words.tsv").write_text("\n".join(out) + "\n", encoding="utf-8")
    print(f"{len(out) - 1} words")
    return 0


if __name__ == "__main__":
    sys.exit(main())
