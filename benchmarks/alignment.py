"""Is cross-attention on the right source position? The month in trained `Dates` models.

    python -m benchmarks alignment [--only AttentionSeq2Seq …] [--out FILE]

Models are trained as in `dates.py` (English to German, characters) and translate 500 unseen dates.
For each head with cross-attention: how often its largest weight is on the month in the source
("Jun", "June" or "6") when the first letter of the month's name is generated, and when any of its
letters is; how often it is on the month or the adjacent character, and the sum of the weights on
the month, both at the first letter. Seed 0.
"""

from __future__ import annotations

import re

import lightning as L
import torch

import seqlearn as sl
from benchmarks.dates import ARCHITECTURES, EPOCHS
from benchmarks.fitting import Table, fit, options, said

LOOKING = ("AttentionSeq2Seq", "Transformer")
DATES = 500
SOURCE_MONTH = re.compile(r"\w+, (\w+)")
TARGET_MONTH = re.compile(r"\w+, \d+\. (\w+) \d+")


def main() -> None:
    """Run what was asked for."""
    args = options(__doc__, LOOKING, "runs/alignment.md").parse_args()
    table = Table(
        args.out,
        [
            "architecture",
            "exact match",
            "module",
            "head",
            "first letter",
            "any letter",
            "next to",
            "weight",
        ],
    )
    data = sl.data.Dates("en", "de", batch_tokens=2048)
    for name in args.only:
        L.seed_everything(0, verbose=False)
        cls, arguments = ARCHITECTURES[name]
        recipe = sl.Recipe(lr=2e-3, warmup_steps=200, schedule="cosine")
        model = cls(data.spec, recipe=recipe, **arguments)
        result = fit(model, data, max_epochs=EPOCHS["sequence-to-sequence"])
        sources = [str(source) for source, _ in data.examples("test")][:DATES]
        with sl.record(model, what=("attention",)) as recording:
            answers = model.generate(sources)
        spans = months(sources, answers)
        for module, axes in recording.axes.items():
            if axes != ("target", "source"):
                continue
            for head, weights in enumerate(recording.attention[module].unbind(1)):
                shares = [f"{100 * share:.1f}%" for share in looks(weights, spans)]
                right = f"{100 * result.figures['test/exact_match']:.1f}%"
                table.add([f"`{name}({said(arguments)})`", right, f"`{module}`", head, *shares])


def months(sources: list[str], answers: list[str]) -> dict[int, tuple[slice, slice]]:
    """By number of the date, where the month stands in the answer and in the source."""
    found = {}
    for number, (source, answer) in enumerate(zip(sources, answers, strict=True)):
        there, here = SOURCE_MONTH.match(source), TARGET_MONTH.match(answer)
        if there is not None and here is not None:
            found[number] = slice(*here.span(1)), slice(*there.span(1))
    return found


def looks(weights: torch.Tensor, spans: dict[int, tuple[slice, slice]]) -> tuple[float, ...]:
    """Of one head, how often the month is looked at: first letter, any; and with what weight."""
    first, every, beside, mass = [], [], [], []
    for number, (letters, month) in spans.items():
        rows = weights[number, letters]
        keys = rows.argmax(-1)
        hits = (keys >= month.start) & (keys < month.stop)
        beside.append(((keys >= month.start - 1) & (keys <= month.stop))[:1])
        first.append(hits[:1])
        every.append(hits)
        mass.append(rows[:1, month].sum(-1))
    return tuple(torch.cat(parts).float().mean().item() for parts in (first, every, beside, mass))
