"""Modules of other libraries, as they are and corrected: which laws do they violate?

    python -m benchmarks foreign_laws [--examples 25] [--only TorchLSTM …] [--out FILE]

Prints the report of each module and writes a table of all laws and modules.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from benchmarks.foreign.bart import Bart, BartFixed
from benchmarks.foreign.torch_modules import (
    TorchLSTM,
    TorchLSTMFixed,
    TorchTransformer,
    TorchTransformerFixed,
)
from seqlearn.testing import LAWS, LawsViolated, Report, check_module

MODULES = {
    module.__name__: module
    for module in (
        TorchTransformer,
        TorchTransformerFixed,
        TorchLSTM,
        TorchLSTMFixed,
        Bart,
        BartFixed,
    )
}
CELLS = {"held": "holds", "violated": "**violated**", "not checked": "not checked"}


def check(name: str, examples: int) -> Report:
    """Check one module and print the report."""
    try:
        report = check_module(MODULES[name], examples=examples)
        print(report, flush=True)
    except LawsViolated as error:
        report = error.report
        print(error, flush=True)
    print(flush=True)
    return report


def main() -> None:
    """Check the modules and write the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--examples", type=int, default=25)
    parser.add_argument("--only", nargs="+", choices=list(MODULES), default=list(MODULES))
    parser.add_argument("--out", type=Path, default=Path("runs/foreign-laws.md"))
    args = parser.parse_args()
    reports = {name: check(name, args.examples) for name in args.only}
    lines = [f"| law | {' | '.join(f'`{name}`' for name in reports)} |"]
    lines.append("|---" * (len(reports) + 1) + "|")
    for law in LAWS:
        cells = [CELLS[report.outcomes[law.name].status] for report in reports.values()]
        lines.append(f"| {law.number} {law.name} | {' | '.join(cells)} |")
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text("\n".join(lines) + "\n", encoding="utf-8")
