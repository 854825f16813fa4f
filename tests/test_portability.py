"""What must hold on every machine: encodings are named, and extras bring what a command imports."""

from __future__ import annotations

import ast
import functools
import importlib.metadata
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path

import portable
import pytest
from floors import closure
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
FOLDERS = ("seqlearn", "tests", "docs", "tutorials", "benchmarks")
SOURCES = [path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.py"))]
ENCODING_PLACE = {"read_text": 0, "write_text": 1}
"""By method, which positional argument is the encoding."""
SCRIPTS = {path.stem for name in ("docs", "tests") for path in (ROOT / name).glob("*.py")}
"""Modules that scripts and tests import from the folder beside them."""


# Encodings


def without_encoding(source: str) -> Iterator[int]:
    """The lines that read or write text in the encoding of the machine, which differs."""
    for call in (node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)):
        named = isinstance(call.func, ast.Name | ast.Attribute)
        name = getattr(call.func, "id", getattr(call.func, "attr", "")) if named else ""
        keywords = {keyword.arg: keyword.value for keyword in call.keywords}
        if "encoding" in keywords:
            continue
        if name in ENCODING_PLACE and len(call.args) <= ENCODING_PLACE[name]:
            yield call.lineno
        elif name == "open" and not isinstance(call.func, ast.Attribute):
            mode = keywords.get("mode", call.args[1] if len(call.args) > 1 else None)
            if not (isinstance(mode, ast.Constant) and "b" in str(mode.value)):
                yield call.lineno
        elif isinstance(keywords.get("text"), ast.Constant):  # subprocess's
            yield call.lineno


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_text_is_read_and_written_in_a_named_encoding(path: Path) -> None:
    lines = list(without_encoding(path.read_text(encoding="utf-8")))
    assert lines == [], f"{path.relative_to(ROOT)}: name an encoding in lines {lines}"


@pytest.mark.parametrize(
    "source",
    [
        "open(path)",
        "open(path, 'a')",
        "path.read_text()",
        "path.write_text(text)",
        "subprocess.run(words, text=True)",
    ],
)
def test_a_missing_encoding_is_found(source: str) -> None:
    assert list(without_encoding(source)) == [1]
    comma = "" if source.endswith("()") else ", "
    assert not list(without_encoding(f"{source[:-1]}{comma}encoding='utf-8')"))


def test_the_command_line_writes_utf8_whatever_the_locale() -> None:
    """As `seqlearn translate` must, whose input is UTF-8 too."""
    code = "import sys; from seqlearn.cli import main; sys.exit(main(['--help']))"
    plain = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONIOENCODING"} | plain
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "usage: seqlearn COMMAND …" in done.stdout.decode("utf-8")


# Extras


@functools.cache
def distributions() -> Mapping[str, list[str]]:
    """By top-level module, the packages that bring it; griffe also where it is not installed."""
    return {"griffe": ["griffelib"], **importlib.metadata.packages_distributions()}


def missing_packages(source: str, *extras: str) -> list[str]:
    """The imports of a script that neither the package nor these extras bring."""
    declared = {canonicalize_name(Requirement(text).name) for text in closure(PROJECT, extras)}
    missing = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
        else:
            continue
        for name in names:
            top = name.partition(".")[0]
            if name.startswith("seqlearn.testing"):
                found = {"hypothesis"}  # which seqlearn.testing imports
            elif top == "seqlearn" or top in sys.stdlib_module_names or top in SCRIPTS:
                continue
            else:
                found = {canonicalize_name(each) for each in distributions().get(top, [top])}
            if not found & declared:
                missing.append(name)
    return missing


def extras_of(target: str) -> list[str]:
    """The extras that a make target installs."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    stamp = re.search(rf"^{target}: \$\(([A-Z]+)\)", makefile, re.MULTILINE)
    assert stamp is not None
    recipe = makefile.partition(f"\n$({stamp[1]}): ")[2].partition("\n\n")[0]
    installed = re.search(r"--editable '?\.(?:\[(.*)\])?'?", recipe)
    assert installed is not None
    return (installed[1] or "").split(",") if installed[1] else []


@pytest.mark.parametrize("target", ["docs", "docs-quick"])
def test_the_docs_install_all_that_tutorials_and_scripts_import(target: str) -> None:
    scripts = [*(ROOT / "tutorials").glob("*.py"), *(ROOT / "docs").glob("*.py")]
    scripts.append(ROOT / "tests" / "chromium.py")  # which scripts of docs/ import
    assert len(scripts) > 9
    missing = {
        path.name: names
        for path in scripts
        if (names := missing_packages(path.read_text(encoding="utf-8"), *extras_of(target)))
    }
    assert missing == {}, "each package is named by the extra that the command installs"


@pytest.mark.parametrize("target", ["test", "test-portable", "coverage", "wheel"])
def test_the_test_targets_install_all_that_tests_import(target: str) -> None:
    ours = {path.stem for name in ("tests", "benchmarks") for path in (ROOT / name).rglob("*")}
    ours |= {"benchmarks"}
    missing = {
        name
        for path in (ROOT / "tests").rglob("*.py")
        for name in missing_packages(path.read_text(encoding="utf-8"), *extras_of(target))
        if name.partition(".")[0] not in ours
    }
    assert missing == set()


def test_a_missing_extra_is_found() -> None:
    source = "from seqlearn.testing import check_module\nimport jupytext, torch, ast"
    assert missing_packages(source, "testing") == ["jupytext"]
    assert missing_packages(source, "loggers") == ["seqlearn.testing", "jupytext"]
    assert missing_packages(source, "docs") == []


# Instruction sets and threads


def test_the_levels_are_those_that_pytorch_really_runs() -> None:
    assert portable.capability("default") == "default"


def test_each_level_and_each_number_of_threads_has_a_run() -> None:
    def pairs(levels: list[str], threads: list[int]) -> list[tuple[str, str]]:
        runs = portable.runs(levels, threads)
        return [
            (run.environment["ATEN_CPU_CAPABILITY"], run.environment["SEQLEARN_TEST_THREADS"])
            for run in runs
        ]

    levels = ["default", "avx2", "avx512"]
    assert pairs(levels, [4, 2, 1]) == [("default", "4"), ("avx2", "2"), ("avx512", "1")]
    assert pairs(["default"], [4, 2, 1]) == [("default", "4"), ("default", "2"), ("default", "1")]
    assert pairs(levels, [2]) == [("default", "2"), ("avx2", "2"), ("avx512", "2")]
    titles = [run.title for run in portable.runs(levels, [4, 2, 1])]
    assert titles == ["default, 4 threads", "avx2, 2 threads", "avx512, 1 thread"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
def test_a_fork_of_a_process_with_threads_computes() -> None:
    """It waited forever for the threads that it does not have."""
    code = """
import os, signal, sys, torch, forks
forks.compute_on_one_thread()
torch.set_num_threads(4)
torch.linalg.qr(torch.randn(600, 600))
if not (child := os.fork()):
    torch.linalg.qr(torch.randn(600, 600))
    os._exit(0)
signal.alarm(60)  # ends a parent that waits
sys.exit(os.waitpid(child, 0)[1])
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT / "tests", check=False)
    assert done.returncode == 0
