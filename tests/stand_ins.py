"""Small files of the names and formats of the data sets that shipped configurations read."""

from __future__ import annotations

import gzip
import random
from pathlib import Path


def write_stand_ins(folder: Path) -> None:
    """Write stand-ins of Multi30k, TREC and tiny Shakespeare.

    Their words are drawn at random, and varied enough for the vocabularies of the configurations.
    """
    draw = random.Random(0)
    words = ["".join(draw.choices("abcdefghij", k=7)) for _ in range(6000)]
    sentences = [" ".join(draw.choices(words, k=8)) for _ in range(1200)]
    for split, count in (("train", 1200), ("val", 4), ("test_2016_flickr", 4)):
        for language in ("en", "de"):
            with gzip.open(folder / f"{split}.{language}.gz", "wt", encoding="utf-8") as file:
                file.writelines(f"{sentence}\n" for sentence in sentences[:count])
    for name, count in (("train.txt", 1200), ("test.txt", 6)):
        labels = (("NUM:date", "HUM:ind")[row % 2] for row in range(count))
        rows = zip(labels, sentences[:count], strict=True)
        text = "".join(f"{label} {sentence}\n" for label, sentence in rows)
        (folder / name).write_text(text, encoding="latin-1")
    (folder / "input.txt").write_text("\n".join(sentences), encoding="utf-8")
