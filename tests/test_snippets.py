"""Every code block of README.md and of the pages in docs/ is valid, and Python blocks run."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import tomllib
from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml
from snippets import INCLUDED, PAGES, ROOT, Block, blocks, run_page

from benchmarks.__main__ import MODULE_OF
from seqlearn.cli import COMMANDS
from seqlearn.cli.training import TRAINING
from seqlearn.testing import LAWS

LANGUAGES = {"python", "console", "bash", "js", "text", "yaml", "toml"}
OWN_PROCESS = {"docs/deployment.md", "docs/laws.md"}
"""Pages that trace or compile a module, which run-time checks of shapes prevent."""
NEEDED = {
    "docs/deployment.md": ("export", ("ctranslate2", "onnx", "onnxruntime", "onnxscript")),
    "docs/model-selection.md": ("tuning", ("optuna", "optuna_integration")),
}
"""The extra that a page needs, and its packages."""

ALL = [block for page in PAGES for block in blocks(page)]


def blocks_in(language: str) -> list:
    """The blocks of one language, as pytest parameters."""
    chosen = [block for block in ALL if block.language == language]
    return [pytest.param(block, id=f"{block.page}:{block.line}") for block in chosen]


def with_python(*, own_process: bool) -> list[str]:
    pages = {block.page for block in ALL if block.language == "python"}
    return sorted(pages & OWN_PROCESS if own_process else pages - OWN_PROCESS)


def skip_without_packages(page: str) -> None:
    """Skip a page whose extra is not installed."""
    extra, packages = NEEDED.get(page, ("", ()))
    for package in packages:
        pytest.importorskip(package, reason=f"needs {package}: pip install '.[{extra}]'")


@pytest.mark.parametrize("page", PAGES)
def test_each_block_is_found_and_has_a_known_language(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    found = [block for block in ALL if block.page == page]
    assert 2 * len(found) == len(re.findall(r"^\s*(?:```|~~~)", text, re.MULTILINE))
    assert text.count("<!--") == sum(bool(block.setup) for block in found)
    for block in found:
        assert block.language in LANGUAGES, f"{page}:{block.line}: {block.language!r}"
        assert block.code.strip(), f"{page}:{block.line}: the block is empty"


@pytest.mark.parametrize("page", with_python(own_process=False))
def test_the_python_of_a_page_runs(page, tmp_path, monkeypatch):
    skip_without_packages(page)
    monkeypatch.setenv("MPLBACKEND", "agg")
    count = sum(block.page == page and block.language == "python" for block in ALL)
    assert run_page(page, tmp_path) == count > 0


@pytest.mark.slow
def test_the_first_example_reaches_what_its_comments_promise(tmp_path):
    """As it is written: nothing is cut. The seed is that of the figures beside it."""
    example = next(each for each in ALL if each.page == "README.md" and each.language == "python")
    (promised,) = re.findall(r"generate\(.*\) +# (\[.*\])", example.code)
    seeded = example.code.replace("data = ", "L.seed_everything(0)\ndata = ", 1)
    test = "print(trainer.test(model, data, verbose=False)[0]['test/exact_match'])"
    (tmp_path / "example.py").write_text(f"{seeded}\n{test}\n", encoding="utf-8")
    as_typed = (
        "import ast; body = ast.parse(open('example.py', encoding='utf-8').read()).body; "
        "exec(compile(ast.Interactive(body), 'example.py', 'single'))"
    )
    done = subprocess.run(
        [sys.executable, "-c", as_typed],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "utf-8"},
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    lines = done.stdout.splitlines()
    assert promised in lines
    assert float(lines[-1]) > 0.85
    assert (tmp_path / "run.html").is_file()


@pytest.mark.parametrize("page", with_python(own_process=True))
def test_the_python_of_a_page_runs_in_a_process_of_its_own(page):
    skip_without_packages(page)
    done = subprocess.run(
        [sys.executable, "-W", "error::UserWarning:seqlearn", "tests/snippets.py", page],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    count = sum(block.page == page and block.language == "python" for block in ALL)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{count} blocks executed" in done.stdout


def test_a_block_that_fails_names_page_and_line(tmp_path, monkeypatch):
    page = tmp_path / "page.md"
    page.write_text("One.\n\n```python\nx = 1\n1 / 0\n```\n", encoding="utf-8")
    with pytest.raises(ZeroDivisionError) as caught:
        run_page(str(page), tmp_path)
    assert (caught.traceback[-1].path, caught.traceback[-1].lineno + 1) == (page, 5)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("```python\nx = 1\n", "page.md:1: expected '```' as the end"),
        (
            "<!-- setup:\nx = 1\n-->\nWords.\n",
            ":4: expected a block directly after the set-up",
        ),
        ("<!-- setup:\nx = 1\n-->\n```text\nx\n```\n", "expected a Python block after the set-up"),
        ("<!-- setup:\nx = 1\n-->\n", "expected a block after the last set-up"),
    ],
)
def test_an_invalid_page_is_an_error(tmp_path, text, message):
    page = tmp_path / "page.md"
    page.write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=re.escape(message)):
        blocks(str(page))


@pytest.mark.parametrize("page", PAGES)
def test_files_that_a_page_includes_exist(page):
    for path in INCLUDED.findall((ROOT / page).read_text(encoding="utf-8")):
        if not path.startswith("docs/pictures/"):  # made when the site is built
            assert (ROOT / path).is_file(), f"{page}: {path}"


@pytest.mark.parametrize("page", PAGES)
def test_a_displayed_formula_is_a_paragraph_of_its_own(page):
    """The site renders no other."""
    text = (ROOT / page).read_text(encoding="utf-8")
    assert re.findall(r"[^\n]\n\\\[|\\\]\n[^\n]", text) == []


@pytest.mark.parametrize("block", blocks_in("yaml"))
def test_yaml_is_a_mapping(block: Block):
    assert isinstance(yaml.safe_load(block.code), dict)


@pytest.mark.parametrize("block", blocks_in("toml"))
def test_toml_is_toml(block: Block):
    assert tomllib.loads(block.code)


@pytest.mark.parametrize("block", blocks_in("console"))
def test_what_a_command_names_exists(block: Block):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    targets = re.findall(r"^([a-z-]+):.*##", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)
    lines = block.code.replace("\\\n", " ").splitlines()
    commands = [line[2:] for line in lines if line.startswith("$ ")]
    assert commands
    for command in commands:
        # A command may begin with variables of the environment.
        name, *words = shlex.split(re.sub(r"^([A-Z_]+=\S+ )+", "", command), comments=True)
        known = {"make", "pip", "python", "seqlearn", ".venv/bin/seqlearn", "torchrun", "curl"}
        assert name in known, command
        if name == "make":
            assert set(words) <= set(targets), command
        elif name == "python" and words[:2] == ["-m", "http.server"]:
            assert find_spec(words[1]), command
        elif name == "python":
            file = words[0]
            if words[:2] == ["-m", "benchmarks"]:
                file = f"benchmarks/{MODULE_OF.get(words[2], words[2])}.py"
            shown = f'title="{file}"' in (ROOT / block.page).read_text(encoding="utf-8")
            exported = ROOT / "seqlearn" / "export" / Path(file).name
            copied = file.startswith("exported/") and exported.is_file()
            assert shown or copied or (ROOT / file).is_file(), command
        elif name.endswith("seqlearn"):
            assert words[0] in {*TRAINING, *COMMANDS}, command
        for extra in re.findall(r"seqlearn\[(\w+)\]", command):
            assert extra in project["optional-dependencies"], command
        for path in words:
            if path == "constraints.txt" or path.startswith(("configs/", "benchmarks/", "docs/")):
                assert (ROOT / path).is_file(), command


def test_the_laws_page_shows_a_law_as_it_is_reported():
    (shown,) = [block for block in ALL if block.page == "docs/laws.md" and block.language == "text"]
    first = shown.code.splitlines()[0]
    assert first in {f"law {law.number}, {law.name}: {law.says}" for law in LAWS}


def test_the_pages_are_those_of_the_site():
    text = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    site = yaml.safe_load(text.replace("!ENV", ""))
    named = set(re.findall(r"[\w/-]+\.md", str(site["nav"])))
    made = ("tutorials/", "results/")  # by `make docs`
    written = {"reference/index.md", "reference/cli.md"}  # the rest is made from docstrings
    ours = {
        f"docs/{path}"
        for path in named
        if path in written or not path.startswith((*made, "reference/"))
    }
    assert set(PAGES) == {"README.md"} | ours
    assert all(Path(ROOT / page).is_file() for page in PAGES)
    results = {f"results/{path.name}" for path in (ROOT / "benchmarks/results").glob("*.md")}
    assert results == {path for path in named if path.startswith("results/")}
