"""The lowest versions that `pyproject.toml` allows, as a constraints file for pip.

    python tests/floors.py > floors.txt
    pip install -c floors.txt -e '.[dev]'
    python tests/floors.py --check

`--check` compares what is installed with the floors instead. `--except torch` leaves a package to
pip: useful where the floor has no small wheel.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import re
import sys
import tomllib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

PYPROJECT = Path(__file__).resolve().parent.parent / "pyproject.toml"
REQUIREMENT = re.compile(r"([A-Za-z0-9._-]+)(?:\[[^\]]*\])?(.*)")
FLOOR = re.compile(r">=\s*([0-9][0-9a-zA-Z.]*)")


def closure(project: Mapping[str, Any], extras: Iterable[str]) -> list[str]:
    """The requirements of the package with these extras, and with those that they include."""
    optional = project.get("optional-dependencies", {})
    texts, waiting, seen = list(project.get("dependencies", [])), list(extras), set()
    while waiting:
        extra = waiting.pop()
        if extra in seen:
            continue
        seen.add(extra)
        for text in optional[extra]:
            if inner := re.fullmatch(rf"{re.escape(project['name'])}\[(.*)\]", text.strip()):
                waiting += re.split(r"\s*,\s*", inner[1])
            else:
                texts.append(text)
    return texts


def floors(project: Mapping[str, Any], extras: Iterable[str] | None = None) -> dict[str, str]:
    """The floor of every direct dependency, by name.

    Args:
        project: The table `[project]` of `pyproject.toml`.
        extras: The extras to include; all of them by default.

    Raises:
        ValueError: If a dependency has no floor, or two different ones.
    """
    found: dict[str, str] = {}
    for text in closure(
        project, project.get("optional-dependencies", {}) if extras is None else extras
    ):
        requirement = REQUIREMENT.fullmatch(text.strip())
        assert requirement is not None
        name = re.sub(r"[-_.]+", "-", requirement[1]).lower()
        floor = FLOOR.search(requirement[2])
        if floor is None:
            raise ValueError(
                f"expected a floor such as {name}>=1.0 in pyproject.toml, got {text!r}"
            )
        if found.setdefault(name, floor[1]) != floor[1]:
            raise ValueError(
                f"expected one floor of {name} in pyproject.toml, got {found[name]} and {floor[1]}"
            )
    return found


def release(version: str) -> tuple[int, ...]:
    """The numbers of a version, so that 2.0, 2.0.0 and 2.0.0+cpu are equal."""
    numbers = [int(part) for part in re.findall(r"\d+", version.partition("+")[0])]
    while numbers and numbers[-1] == 0:
        numbers.pop()
    return tuple(numbers)


def not_at_floor(wanted: Mapping[str, str], installed: Callable[[str], str]) -> list[str]:
    """What is installed in another version than its floor, in words."""
    wrong = []
    for name, floor in sorted(wanted.items()):
        try:
            found = installed(name)
        except importlib.metadata.PackageNotFoundError:
            wrong.append(f"{name}: expected {floor}, found none")
            continue
        if release(found) != release(floor):
            wrong.append(f"{name}: expected {floor}, found {found}")
    return wrong


def main() -> None:
    """Print the constraints, or compare what is installed with them."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--except", dest="left_out", nargs="+", default=[], metavar="NAME",
        help="packages to leave out of the constraints",
    )  # fmt: skip
    parser.add_argument("--extras", nargs="*", default=["dev"], help="dev by default")
    parser.add_argument("--check", action="store_true", help="compare what is installed")
    options = parser.parse_args()
    project = tomllib.loads(PYPROJECT.read_text(encoding="utf-8"))["project"]
    wanted = floors(project, options.extras)
    for name in options.left_out:
        wanted.pop(name)
    if not options.check:
        sys.stdout.writelines(f"{name}=={floor}\n" for name, floor in sorted(wanted.items()))
    elif wrong := not_at_floor(wanted, importlib.metadata.version):
        raise SystemExit("\n".join(wrong))
    else:
        print(f"all {len(wanted)} direct dependencies are at their floors")


if __name__ == "__main__":
    main()
