"""Tags: the case and punctuation of captions, restored from lower-cased words (Multi30k).

    python -m benchmarks casing --root FOLDER [--language de] [--only LSTM …] [--out FILE]

FOLDER holds the captions, such as `train.de.gz`. A word's tag says how it is written (`lower`,
`Upper`, `ALL`, `miXed`) and what follows it (`,`, `.`, another sign, or nothing): `Upper,` is an
upper-case first letter and a comma. The model reads the lower-cased words without punctuation.
"""

from __future__ import annotations

import gzip
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning as L

import seqlearn as sl
from benchmarks.fitting import Table, fit, options, said

EPOCHS = 4
SPLIT = "test_2016_flickr"
TAGS = ("lower", "Upper", "lower,", "Upper,", "lower.", "Upper.")
"""The tags that are listed; the others are rare."""

PIECE = re.compile(r"\w+(?:['’-]\w+)*|[^\w\s]")
ARCHITECTURES: dict[str, tuple[Callable[..., sl.SequenceModule], dict[str, Any]]] = {
    "FeedForward": (sl.FeedForward, {"d_model": 128, "window": 8}),
    "RNN": (sl.RNN, {"d_model": 128, "bidirectional": True}),
    "GRU": (sl.GRU, {"d_model": 128, "bidirectional": True}),
    "LSTM": (sl.LSTM, {"d_model": 128, "bidirectional": True}),
    "AttentionSeq2Seq": (sl.AttentionSeq2Seq, {"d_model": 128}),
    "Transformer": (sl.Transformer, {"d_model": 128, "num_layers": 2}),
}


def tagged(line: str) -> tuple[list[str], list[str]]:
    """The lower-cased words of a caption, and the tag of each.

    Examples:
        >>> tagged("Ein Hund, der läuft.")
        (['ein', 'hund', 'der', 'läuft'], ['Upper', 'Upper,', 'lower', 'lower.'])
    """
    words: list[str] = []
    tags: list[str] = []
    for piece in PIECE.findall(line):
        if piece[0].isalnum():
            words.append(piece.lower())
            tags.append(case(piece))
        elif tags and tags[-1][-1].isalpha():
            tags[-1] += piece if piece in ",." else "?"
    return words, tags


def case(word: str) -> str:
    """How a word is written."""
    if word == word.lower():
        return "lower"
    if len(word) > 1 and word == word.upper():
        return "ALL"
    return "Upper" if word[1:] == word[1:].lower() else "miXed"


def read(root: Path, split: str, language: str) -> list[tuple[list[str], list[str]]]:
    """The captions of a split."""
    text = gzip.decompress((root / f"{split}.{language}.gz").read_bytes()).decode()
    return [row for row in map(tagged, text.splitlines()) if row[0]]


def main() -> None:
    """Run what was asked for."""
    parser = options(__doc__, ARCHITECTURES, "runs/casing.md")
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--language", default="de")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    train, val, test = (read(args.root, s, args.language) for s in ("train", "val", SPLIT))
    known = {tag for _, tags in train for tag in tags}
    val, test = ([row for row in split if known.issuperset(row[1])] for split in (val, test))
    text = sl.data.Text("word", vocab_size=8_000)
    data = sl.data.TaggedText(train, val, test, text, batch_tokens=2_048)
    data.setup("fit")
    target: Any = data.spec.target
    common = [tag for tag in TAGS if tag in target.labels]
    names = ["architecture", "trained weights", "CPU time", "words right", "mean F1"]
    table = Table(args.out, [*names, *(f"`{tag}`" for tag in common)])
    for name in args.only:
        L.seed_everything(args.seed, verbose=False)
        cls, arguments = ARCHITECTURES[name]
        model = cls(data.spec, dropout=0.2, **arguments)
        result = fit(model, data, max_epochs=EPOCHS)
        found = result.figures
        table.add(
            [
                f"`{name}({said(arguments)})`",
                f"{result.weights / 1e6:.1f} M",
                f"{result.seconds:.0f} s",
                f"{found['test/accuracy']:.1%}",
                f"{found['test/f1']:.1%}",
                *(f"{found[f'test/f1/{tag}']:.1%}" for tag in common),
            ]
        )


if __name__ == "__main__":
    main()
