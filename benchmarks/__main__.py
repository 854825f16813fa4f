"""The one entry point of all benchmarks.

    python -m benchmarks                          list the benchmarks
    python -m benchmarks NAME [options of NAME]   run one; --help lists its options

Run it in the root of the repository. Each module of this folder that has a `main` is a benchmark;
the first line of its docstring describes it. `import` runs the module `imports`.
"""

from __future__ import annotations

import ast
import importlib
import sys
from pathlib import Path

MODULE_OF = {"import": "imports"}  # a keyword cannot name a module


def descriptions() -> dict[str, str]:
    """The first line of the docstring of each benchmark, by the name of its command."""
    found = {}
    commands = {module: command for command, module in MODULE_OF.items()}
    for path in sorted(Path(__file__).parent.glob("[!_]*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        if any(isinstance(node, ast.FunctionDef) and node.name == "main" for node in tree.body):
            title = (ast.get_docstring(tree) or "").partition("\n")[0]
            found[commands.get(path.stem, path.stem)] = title
    return found


def main() -> int:
    """Run the benchmark that the first argument names."""
    known = descriptions()
    if len(sys.argv) < 2 or sys.argv[1] in ("-h", "--help"):
        print("usage: python -m benchmarks NAME [options]\n")
        print("\n".join(f"{name:<14} {title}" for name, title in known.items()))
        return 0
    name = sys.argv[1]
    if name not in known:
        print(f"expected one of {', '.join(known)}, got {name!r}", file=sys.stderr)
        return 2
    sys.argv = [f"python -m benchmarks {name}", *sys.argv[2:]]
    return importlib.import_module(f"benchmarks.{MODULE_OF.get(name, name)}").main() or 0


if __name__ == "__main__":
    sys.exit(main())
