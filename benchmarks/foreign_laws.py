"""The laws on modules that are not ours: which do they break, and does a mend of few lines hold?

    python benchmarks/foreign_laws.py [--examples 25] [--only TorchLSTM …] [--out FILE]

Prints the report of each, and writes a table of all laws and modules.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from foreign.bart import Bart, BartMended
from foreign.torch_modules import (
    TorchLSTM,
    TorchLSTMMended,
    TorchTransformer,
    TorchTransformerMended,
)

from seqlearn.testing import LAWS, LawsViolated, Report, check_module

MODULES = {
    module.__name__: module
    for module in (
        TorchTransformer,
        TorchTransformerMended,
        TorchLSTM,
        TorchLSTMMended,
        Bart,
        BartMended,
    )
}
WORDS = {"held": "holds", "broken": "**broken**", "not checked": "not checked"}


def checked(name: str, examples: int) -> Report:
    """What the laws find of one module, printed too."""
    try:
        report = check_module(MODULES[name], examples=examples)
        print(report, flush=True)
    except LawsViolated as error:
        report = error.report
        print(error, flush=True)
    print(flush=True)
    return report


def main() -> None:
    """Check what was asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--examples", type=int, default=25)
    parser.add_argument("--only", nargs="+", choices=list(MODULES), default=list(MODULES))
    parser.add_argument("--out", type=Path, default=Path("runs/foreign-laws.md"))
    args = parser.parse_args()
    reports = {name: checked(name, args.examples) for name in args.only}
    lines = [f"| law | {' | '.join(f'`{name}`' for name in reports)} |"]
    lines.append("|---" * (len(reports) + 1) + "|")
    for law in LAWS:
        cells = [WORDS[report.outcomes[law.name].status] for report in reports.values()]
        lines.append(f"| {law.number} {law.name} | {' | '.join(cells)} |")
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
