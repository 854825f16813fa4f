"""Time of `import seqlearn` relative to `import lightning`, each in a new interpreter.

python -m benchmarks import
"""

from __future__ import annotations

import subprocess
import sys
from functools import partial

from benchmarks.comparison import Comparison, Contender, arguments, compare
from benchmarks.measuring import Work

STATEMENTS = ("import lightning", "import seqlearn")


def importing(statement: str) -> Work:
    """Return the function that runs the statement in a new interpreter."""

    def work(_: object) -> None:
        subprocess.run([sys.executable, "-c", statement], check=True)  # noqa: S603 -- see above

    return work


def main() -> int:
    """Compare."""
    contenders = [
        Contender(statement, partial(importing, statement), (statement.split()[1],))
        for statement in STATEMENTS
    ]
    comparison = Comparison("import", "import", contenders, [None], memory=False)
    return compare(comparison, arguments(__doc__).parse_args())
