"""The project as a whole: its direction of imports, its versions, its commands.

`MAY_IMPORT` and `LIGHTNING` are the rules; the sources are read, not run.
"""

from __future__ import annotations

import ast
import functools
import importlib
import importlib.metadata
import os
import re
import runpy
import shutil
import subprocess
import sys
import tarfile
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

import seqlearn
from seqlearn.cli import main

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]

MAY_IMPORT = {
    "version": {"version"},
    "class_methods": set(),
    "atomic_files": set(),
    "plain_data": set(),
    "instrumentation": {"instrumentation"},
    "batch": {"batch"},
    "nn": {"nn", "batch", "instrumentation", "plain_data"},
    "spec": {"spec", "batch", "plain_data", "class_methods", "nn", "metrics", "span_metrics"},
    "decoding": {"decoding", "batch", "instrumentation", "nn.decoder_state", "spec", "plain_data"},
    "metrics": {"metrics", "batch"},
    "span_metrics": set(),
    "data": {"data", "plain_data", "class_methods", "spec", "batch", "atomic_files"},
    "introspect": {"introspect", "class_methods", "batch", "instrumentation", "nn", "atomic_files"},
    "core": {"core", "spec", "batch", "instrumentation", "nn", "decoding", "metrics"}
    | {"class_methods", "plain_data", "atomic_files", "data.position"},
    "models": {"models", "core", "spec", "batch", "instrumentation", "nn", "plain_data"},
    "callbacks": {"callbacks", "spec", "batch", "instrumentation", "nn", "metrics", "core"}
    | {"introspect", "plain_data", "atomic_files", "span_metrics"},
    "testing": {"testing", "spec", "batch", "instrumentation", "nn", "decoding", "metrics", "core"}
    | {"models", "data", "introspect", "callbacks"},
    "export": {"export", "core", "models", "nn", "spec", "batch", "instrumentation", "introspect"}
    | {"atomic_files", "version", "data", "plain_data"},
    "comparison": {"comparison", "models", "core", "spec", "batch", "nn", "data", "callbacks"}
    | {"introspect", "metrics", "plain_data", "class_methods", "atomic_files", "version"},
    "cli": {"cli", "spec", "batch", "data", "introspect", "core", "models", "callbacks", "version"}
    | {"comparison", "atomic_files", "class_methods"},
    "__main__": {"cli"},
    "__init__": {"version", "spec", "batch", "instrumentation", "nn", "decoding", "metrics"}
    | {"data", "introspect", "core", "models", "callbacks", "testing", "export", "comparison"},
}
"""By part of the package, the parts (or modules in them) that it may import."""

LIGHTNING = {"core", "data", "callbacks", "testing", "comparison", "cli"}
"""The parts in which Lightning may appear."""

LIGHTNING_PACKAGES = {"lightning", "pytorch_lightning", "lightning_fabric", "lightning_utilities"}
TORCHMETRICS = {"metrics", "span_metrics", "core", "callbacks", "testing"}
"""The parts in which torchmetrics may appear."""

FORBIDDEN_NAMES = {"utils", "helpers", "common"}
MOST_LINES = 400


class Import(NamedTuple):
    line: int
    name: str
    in_function: bool


def modules() -> dict[str, Path]:
    """The package's modules by name, "seqlearn" itself left out: `nn.attention`, `__init__`."""
    package = ROOT / "seqlearn"
    names = {}
    for path in sorted(package.rglob("*.py")):
        parts = path.relative_to(package).with_suffix("").parts
        names[".".join(parts[:-1] if parts[-1] == "__init__" and parts[:-1] else parts)] = path
    return names


MODULES = modules()


def imports(source: str) -> Iterator[Import]:
    """All that a module imports; `from a import b` is `a.b` where that is a module of ours."""
    tree = ast.parse(source)
    functions = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
    inside = {id(n) for f in ast.walk(tree) if isinstance(f, functions) for n in ast.walk(f)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(node.lineno, alias.name, id(node) in inside)
        elif isinstance(node, ast.ImportFrom):
            origin = "." * node.level + (node.module or "")
            for alias in node.names:
                full = f"{origin}.{alias.name}"
                known = full.removeprefix("seqlearn.") in MODULES
                yield Import(node.lineno, full if known else origin, id(node) in inside)


def broken_rules(module: str, source: str) -> list[str]:
    """What a module's imports do that the direction of the package forbids."""
    part = module.partition(".")[0]
    if part not in MAY_IMPORT:
        return [f"{module}: {part} stands in no rule of tests/test_project.py"]
    broken = []
    for line, name, in_function in imports(source):
        place = f"seqlearn/{module.replace('.', '/')}:{line}"
        top, _, rest = name.partition(".")
        if top == "seqlearn":
            allowed = MAY_IMPORT[part]
            if not any(rest == other or rest.startswith(f"{other}.") for other in allowed):
                broken.append(f"{place}: {part} imports {name}, and may not")
            if in_function:
                broken.append(f"{place}: imports {name} inside a function")
        elif name.startswith("."):
            broken.append(f"{place}: imports {name}; write it in full, seqlearn.…")
        elif top in LIGHTNING_PACKAGES and part not in LIGHTNING:
            broken.append(f"{place}: {part} imports {name}, and may not see Lightning")
        elif top == "torchmetrics" and part not in TORCHMETRICS:
            broken.append(f"{place}: {part} imports {name}, and may not see torchmetrics")
    return broken


def requirements(*extras: str) -> list[Requirement]:
    """What the package depends on, and what these extras add."""
    texts = list(PROJECT["dependencies"])
    for extra in extras:
        texts += PROJECT["optional-dependencies"][extra]
    return [r for r in map(Requirement, texts) if canonicalize_name(r.name) != "seqlearn"]


# The direction of imports


@pytest.mark.parametrize("module", MODULES)
def test_imports_point_one_way(module: str) -> None:
    assert broken_rules(module, MODULES[module].read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    ("module", "source", "said"),
    [
        ("batch", "from seqlearn.spec import TextSpec", "batch imports seqlearn.spec"),
        ("instrumentation", "import seqlearn.spec", "instrumentation imports seqlearn.spec"),
        ("nn.attention", "from seqlearn.models import base", "nn imports seqlearn.models"),
        ("nn.attention", "from ..core.base import SequenceModule", "write it in full"),
        ("nn.attention", "from . import dropout", "write it in full"),
        ("nn.attention", "import seqlearn as sl", "nn imports seqlearn,"),
        ("nn.attention", "from seqlearn import record", "nn imports seqlearn,"),
        ("nn.attention", "import lightning as L", "may not see Lightning"),
        ("decoding", "from seqlearn.nn import attention", "decoding imports seqlearn.nn.attention"),
        ("decoding", "from seqlearn.nn import Decoder", "decoding imports seqlearn.nn,"),
        ("decoding", "from seqlearn.models import SequenceModule", "decoding imports"),
        ("data", "from seqlearn.nn import select", "data imports seqlearn.nn"),
        ("introspect.recording", "from seqlearn.models import Transformer", "introspect imports"),
        ("introspect.plots", "from lightning.pytorch import Callback", "may not see Lightning"),
        ("introspect.plots", "import torchmetrics.text", "may not see torchmetrics"),
        ("core.base", "from seqlearn.callbacks import AttentionMonitor", "core imports"),
        (
            "core.base",
            "if True:\n    from seqlearn.cli import main",
            "core imports seqlearn.cli",
        ),
        ("core.base", "def f():\n    from seqlearn.nn import attention", "inside a function"),
        ("models.rnn", "from seqlearn.cli import main", "models imports seqlearn.cli"),
        ("utils", "", "stands in no rule"),
    ],
)
def test_a_wrong_import_is_found(module: str, source: str, said: str) -> None:
    (broken,) = broken_rules(module, source)
    assert said in broken


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("decoding", "from seqlearn.nn.decoder_state import State, select"),
        ("decoding", "from seqlearn import instrumentation"),
        ("nn.attention", "from seqlearn.batch import causal_mask\nimport seqlearn.instrumentation"),
        ("core.base", "import lightning as L\nfrom seqlearn.nn import Encoder"),
        ("data.pairs", "def f():\n    import datasets"),
    ],
)
def test_a_right_import_is_let_through(module: str, source: str) -> None:
    assert broken_rules(module, source) == []


# The files of the package


def test_no_module_is_called_by_what_it_is_not() -> None:
    assert [name for name in MODULES if FORBIDDEN_NAMES & set(name.split("."))] == []


@pytest.mark.parametrize("module", [name for name in MODULES if name != "__init__"])
def test_no_name_shadows_a_module(module: str) -> None:
    """`import seqlearn.a.b as m` gives the module, not a function of the same name."""
    imported = importlib.import_module(f"seqlearn.{module}")
    assert functools.reduce(getattr, module.split("."), seqlearn) is imported


@pytest.mark.parametrize("module", MODULES)
def test_files_are_short(module: str) -> None:
    lines = len(MODULES[module].read_text(encoding="utf-8").splitlines())
    assert lines <= MOST_LINES, f"{module} has {lines} lines; split it where its subject splits"


def test_the_package_names_what_it_imports() -> None:
    distributions = importlib.metadata.packages_distributions()
    missing = {}
    for module, path in MODULES.items():
        extras = ["testing"] if module.split(".")[0] == "testing" else []
        declared = {canonicalize_name(requirement.name) for requirement in requirements(*extras)}
        for _, name, in_function in imports(path.read_text(encoding="utf-8")):
            top = name.split(".")[0]
            if top in sys.stdlib_module_names or top == "seqlearn" or in_function:
                continue
            found = {canonicalize_name(name) for name in distributions.get(top, [top])}
            if not found & declared:
                missing[top] = module
    assert missing == {}, "a package that is imported at the top of a module is a dependency"


# Versions


def test_no_file_of_a_run_is_committed_at_the_top() -> None:
    """`seqlearn` writes its configuration and checkpoints to the current folder by default."""
    if not (ROOT / ".git").exists() or shutil.which("git") is None:
        pytest.skip("not a clone, or no git")
    listed = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, check=True, capture_output=True, text=True, encoding="utf-8"
    )  # fmt: skip
    top = {name for name in listed.stdout.splitlines() if "/" not in name}
    assert {"config.yaml", "hparams.yaml", "metrics.csv"}.isdisjoint(top)
    assert not [name for name in top if name.endswith((".ckpt", ".log", ".csv"))]


def test_one_version_everywhere() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert PROJECT["dynamic"] == ["version"], "pyproject.toml takes it from seqlearn/version.py"
    assert importlib.metadata.version("seqlearn") == seqlearn.__version__
    assert citation["version"] == seqlearn.__version__
    assert citation["license"] == PROJECT["license"]


def test_the_command_line_prints_the_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"seqlearn {seqlearn.__version__}\n"


def test_python_m_seqlearn_is_the_command(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["seqlearn", "--version"])
    monkeypatch.delitem(sys.modules, "seqlearn.__main__", raising=False)
    with pytest.raises(SystemExit) as ended:
        runpy.run_module("seqlearn", run_name="__main__", alter_sys=True)
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"seqlearn {seqlearn.__version__}\n"
    with pytest.raises(SystemExit):
        main(["fit", "--help"])
    assert capsys.readouterr().out.startswith("usage: seqlearn ")


def constraints() -> dict[str, Version]:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = dict(line.split("==") for line in lines if line and not line.startswith("#"))
    return {canonicalize_name(name): Version(version) for name, version in pins.items()}


def test_constraints_name_every_direct_dependency_and_satisfy_its_floor() -> None:
    pins = constraints()
    for requirement in requirements(*PROJECT["optional-dependencies"]):
        name = canonicalize_name(requirement.name)
        assert name in pins, f"{name} is missing in constraints.txt"
        assert requirement.specifier, f"{name} has no floor in pyproject.toml"
        assert pins[name] in requirement.specifier, f"{name}: {pins[name]} against {requirement}"


def test_pages_name_every_extra_of_users_and_badges_say_what_the_project_does() -> None:
    page = (ROOT / "docs" / "get-started.md").read_text(encoding="utf-8")
    table = page.partition("\n| extra |")[2].partition("\n\n")[0]
    listed = re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)
    assert {*listed, "dev", "docs", "benchmarks"} == set(PROJECT["optional-dependencies"])
    oldest = PROJECT["requires-python"].removeprefix(">=")
    badges = {"python": f"Python: {oldest} or newer", "licence": f"Licence: {PROJECT['license']}"}
    for name, text in badges.items():
        badge = (ROOT / "docs" / "assets" / "badges" / f"{name}.svg").read_text(encoding="utf-8")
        assert f"<title>{text}</title>" in badge
        for path in ("README.md", "docs/index.md"):
            assert f"![{text}]" in (ROOT / path).read_text(encoding="utf-8")


def test_torch_is_the_version_that_has_a_small_wheel() -> None:
    assert constraints()["torch"] == Version("2.13.0")


INSTALLED_BY_NAME = re.compile(
    r"pip install\b[^\n`;|]*?[ '\"]seqlearn(\[[\w,]*\])?(?![\w\[/-]|\.\w|['\"]? ?@)"
)
"""A `pip install` of `seqlearn` from an index; an address after `@` or a file is not one."""
SHOWN = ("seqlearn/**/*.py", "docs/**/*.md", "docs/*.py", "tutorials/*.py", "benchmarks/**/*.md")
SHOWN += ("*.md", "*.txt", "Makefile", "configs/*.yaml", ".github/**/*.yml", ".github/**/*.md")
"""The files in which users and contributors read how to install."""


def installed_by_name(text: str) -> list[str]:
    """The commands of a text that install a project from PyPI under the name of this one."""
    joined = re.sub(r"[\"']\s*\n\s*f?[\"']|\\\n\s*", "", text)  # parts of a string or a command
    return [match[0] for match in INSTALLED_BY_NAME.finditer(joined)]


def test_nothing_is_installed_by_a_name_that_belongs_to_another_project() -> None:
    paths = {path for pattern in SHOWN for path in ROOT.glob(pattern)}
    made = {ROOT / "docs" / name for name in ("tutorials", "results", "reference")}
    texts = {path: path.read_text("utf-8") for path in paths if not made & {*path.parents}}
    found = {path.relative_to(ROOT).as_posix(): installed_by_name(t) for path, t in texts.items()}
    assert len(found) > 100
    assert {path: commands for path, commands in found.items() if commands} == {}
    for page in ("README.md", "docs/get-started.md"):
        words = re.sub(r"\s+", " ", (ROOT / page).read_text(encoding="utf-8"))
        assert "The package `seqlearn` on PyPI is another project." in words


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("pip install seqlearn", 1),
        ("`pip install seqlearn`.", 1),
        ("pip install -c constraints.txt seqlearn==0.1", 1),
        ("(`pip install 'seqlearn[tags]'`)", 1),
        ('pip install --upgrade "seqlearn[export,tags]"', 1),
        ("'which is not installed; pip install '\n    \"'seqlearn[export]'\"", 1),
        ("pip install -c constraints.txt '.[tags]'` in a clone of seqlearn", 0),
        ("$ pip install -c constraints.txt .\n$ seqlearn fit", 0),
        ('%pip install "seqlearn[testing] @ git+https://host/seqlearn"', 0),
        ("pip install dist/seqlearn-0.1.0-py3-none-any.whl", 0),
    ],
)
def test_an_installation_by_name_is_found(text: str, count: int) -> None:
    assert len(installed_by_name(text)) == count


# Commands


def targets() -> dict[str, str]:
    """The documented targets of the Makefile and what each depends on."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    return dict(re.findall(r"^([a-z-]+):(.*?)## ", makefile, re.MULTILINE))


def test_ci_checks_all_of_it() -> None:
    script = ROOT / ".ci" / "run"
    text = script.read_text(encoding="utf-8")
    assert os.access(script, os.X_OK) or sys.platform == "win32"
    assert "set -euo pipefail" in text.splitlines()
    commands = re.findall(r"^stage \".*?\"(?: \\\n)? +make (.*)$", text, re.MULTILINE)
    assert commands == [
        "set-up",
        "--jobs 2 --output-sync=target check wheel docs-quick",
        "test",
        "test-scalar",
    ]
    assert {"check", "wheel", "docs-quick", "test", "test-scalar"} <= set(targets())
    assert "|| true" not in text


def test_the_site_is_built_strictly() -> None:
    """With `--quiet`, MkDocs counts no warnings, and `--strict` never fails."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    builds = re.findall(r"mkdocs build.*", makefile)
    assert len(builds) == 2
    assert all("--strict" in build and "--quiet" not in build for build in builds)


def test_the_scalar_path_runs_the_comparisons_with_other_implementations() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    recipe = makefile.partition("\ntest-scalar:")[2].partition("\n\n")[0]
    assert "ATEN_CPU_CAPABILITY=default" in recipe
    assert "tests/parity" in recipe
    for path in re.findall(r"tests/\S+", recipe):
        assert (ROOT / path).exists(), path


def test_make_knows_every_command_that_the_pages_name() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    described = set(targets())
    phony = re.search(r"^\.PHONY: ((?:.*\\\n)*.*)$", makefile, re.MULTILINE)
    assert phony is not None
    assert set(phony[1].replace("\\\n", " ").split()) == described
    pages = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")]
    pages += [ROOT / ".github" / "pull_request_template.md"]
    named = {
        name
        for page in pages
        for name in re.findall(r"(?:`|\$ )make ([a-z-]+)", page.read_text(encoding="utf-8"))
    }
    assert named
    assert named <= described


@pytest.mark.skipif(sys.platform == "win32", reason="there is no make on Windows")
def test_an_old_python_is_refused_in_one_line(tmp_path: Path) -> None:
    old = tmp_path / "python-old"
    old.write_text('#!/bin/sh\n[ "$1" = --version ] && echo "Python 3.10.1" || exit 1\n', "utf-8")
    old.chmod(0o755)
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        (tmp_path / name).write_bytes((ROOT / name).read_bytes())
    environment = {name: os.environ[name] for name in os.environ if not name.startswith("MAKE")}
    done = subprocess.run(
        ["make", "demo", f"PYTHON={old}"],
        cwd=tmp_path, capture_output=True, encoding="utf-8", check=False, env=environment,
    )  # fmt: skip
    assert done.returncode == 2
    assert "expected Python 3.11 or newer" in done.stderr
    assert "got: Python 3.10.1" in done.stderr
    assert not (tmp_path / ".venv").exists()


def test_the_site_asks_no_other_host() -> None:
    text = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    site = yaml.safe_load(text.replace("!ENV", ""))
    assert site["theme"]["font"] is False
    # Material's own link to the repository asks its host for stars.
    link = (ROOT / site["theme"]["custom_dir"] / "partials" / "source.html").read_text("utf-8")
    assert "data-md-component" not in link
    assert site["site_url"] == ["SITE_URL", ""], "no address is the project's own yet"
    assert "analytics" not in site.get("extra", {})
    pictures = [site["theme"]["logo"], site["theme"]["favicon"], "assets/card.png"]
    for path in [*site["extra_css"], *site["extra_javascript"], *pictures]:
        assert (ROOT / "docs" / path).is_file()


def test_the_source_distribution_holds_all_that_tests_read(tmp_path: Path) -> None:
    """Packagers run the tests from it; what is left out of the repository is left out there too."""
    command = [sys.executable, "-m", "hatchling", "build", "--directory", str(tmp_path)]
    subprocess.run([*command, "--target", "sdist"], cwd=ROOT, check=True, capture_output=True)
    with tarfile.open(next(tmp_path.glob("*.tar.gz"))) as archive:
        names = {name.split("/")[1] for name in archive.getnames()}
    folders = {"seqlearn", "tests", "docs", "tutorials", "benchmarks", "configs", ".github"}
    assert names >= folders | {"Makefile", "mkdocs.yml", "constraints.txt", "README.md"}
    assert not names & {".venv", "runs", "site", "dist"}
