"""The constraints of the lowest-versions job come from pyproject.toml, and are really installed."""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from floors import closure, floors, not_at_floor
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
MADE_UP: dict[str, Any] = {
    "name": "mine",
    "dependencies": ["Babel>=2.16", "jsonargparse[signatures]>=4.47,<5"],
    "optional-dependencies": {
        "testing": ["py_test >= 8"],
        "dev": ["mine[testing, docs]", "ruff>=0.14.0"],
        "docs": ["ruff>=0.14.0"],
        "other": ["other>=1"],
    },
}


def test_floors_of_the_package_and_of_an_extra_with_those_it_includes() -> None:
    assert floors(MADE_UP, ()) == {"babel": "2.16", "jsonargparse": "4.47"}
    assert floors(MADE_UP, ["dev"]) == {
        "babel": "2.16", "jsonargparse": "4.47", "py-test": "8", "ruff": "0.14.0"
    }  # fmt: skip
    assert "other" in floors(MADE_UP)


def test_a_dependency_without_a_floor_or_with_two_is_refused() -> None:
    with pytest.raises(ValueError, match=r"such as numpy>=1\.0 .*, got 'numpy<3'"):
        floors(MADE_UP | {"dependencies": ["numpy<3"]})
    with pytest.raises(ValueError, match=r"one floor of ruff .*, got 0\.15 and 0\.14\.0"):
        floors(MADE_UP | {"dependencies": ["ruff>=0.15"]})


def test_every_dependency_of_ours_is_among_them() -> None:
    texts = closure(PROJECT, PROJECT["optional-dependencies"])
    names = {canonicalize_name(Requirement(text).name) for text in texts}
    assert floors(PROJECT).keys() == names > {"torch", "lightning", "hypothesis", "mkdocs"}
    for text in texts:
        name = canonicalize_name(Requirement(text).name)
        assert floors(PROJECT)[name] in Requirement(text).specifier


def test_other_versions_than_the_floors_are_named() -> None:
    versions = {"a": "2.0.0+cpu", "b": "1.2.1"}

    def installed(name: str) -> str:
        if name not in versions:
            raise importlib.metadata.PackageNotFoundError(name)
        return versions[name]

    assert not_at_floor({"a": "2.0"}, installed) == []
    assert not_at_floor({"a": "2.1", "b": "1.2", "c": "1"}, installed) == [
        "a: expected 2.1, found 2.0.0+cpu",
        "b: expected 1.2, found 1.2.1",
        "c: expected 1, found none",
    ]


@pytest.mark.slow
@pytest.mark.parametrize("lowest", [False, True], ids=["constraints", "floors"])
@pytest.mark.parametrize("extra", ["dev", "docs", "benchmarks"])
def test_pip_can_install_all_of_an_extra_together(extra: str, lowest: bool, tmp_path: Path) -> None:
    """Asks the package index, and installs nothing. PyTorch is the one of `constraints.txt`.

    These three extras include all others.
    """
    constraints = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    if lowest:
        torch = [line for line in constraints.splitlines() if line.startswith("torch==")]
        wanted = floors(PROJECT, [extra]) | {"torch": torch[0].partition("==")[2]}
        constraints = "".join(f"{name}=={version}\n" for name, version in wanted.items())
    file = tmp_path / "constraints.txt"
    file.write_text(constraints, encoding="utf-8")
    words = ["install", "--dry-run", "--ignore-installed", "--disable-pip-version-check"]
    done = subprocess.run(
        [sys.executable, "-m", "pip", *words, "--quiet", "-c", file, f"{ROOT}[{extra}]"],
        capture_output=True,
        encoding="utf-8",
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_these_three_extras_include_all_others() -> None:
    together = set(closure(PROJECT, ["dev", "docs", "benchmarks"]))
    assert together == set(closure(PROJECT, PROJECT["optional-dependencies"]))
