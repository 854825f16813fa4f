"""The code blocks of README.md and of the pages in docs/, and the functions that run them.

Python blocks are executed as written: all blocks of a page, in order, in one namespace, in a
separate folder. A comment directly before a block, invisible to readers, creates what the block
requires, such as a file:

    <!-- setup:
    Path("book.txt").write_text("To be, or not to be.")
    -->

A block with a title that ends in .py or .js is also written to that file, so that the blocks of
every page can import or read it; pytest runs a block titled test_….py. A data module of files or
tables as a statement of its own is prepared.

To run one page in an empty folder: `python tests/snippets.py PAGE`.
"""

from __future__ import annotations

import ast
import contextlib
import importlib
import inspect
import os
import re
import shutil
import sys
import tempfile
import types
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning as L
import pytest
from lightning.pytorch.callbacks import Checkpoint

import seqlearn as sl
from seqlearn.core import pretrained
from seqlearn.spec import base as spec_base
from seqlearn.testing import check_module, module_checks

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted(
    str(path.relative_to(ROOT))
    for path in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
    if not {"tutorials", "results"} & {*path.relative_to(ROOT).parts}  # made by `make docs`
    and ("reference" not in path.relative_to(ROOT).parts or path.name in ("index.md", "cli.md"))
)
FENCE = re.compile(r"(?P<indent> *)(?P<mark>```+|~~~+) *(?P<language>\w*) *(?P<attributes>.*)")
INCLUDED = re.compile(r'--8<-- "(.*)"')
"""A line that pymdownx.snippets replaces by the contents of a file."""
TITLE = re.compile(r'title="(.*)"')
EXAMPLES = 5
"""Number of cases drawn for each law; the default is 25."""


@dataclass(frozen=True)
class Block:
    """A fenced block.

    Attributes:
        page: The file, from the root of the repository.
        line: Of the first line of code, from 1.
        language: The word after the fence.
        title: The title above the block, or "".
        code: Without the indentation of the fence.
        setup: The code of the comment before the block, or "".
    """

    page: str
    line: int
    language: str
    title: str
    code: str
    setup: str


def blocks(page: str) -> list[Block]:
    """All fenced blocks of a page.

    Raises:
        ValueError: If a block has no end, or if no Python block follows a set-up comment.
    """
    lines = (ROOT / page).read_text(encoding="utf-8").splitlines()
    found: list[Block] = []
    setup, at = "", 0
    while at < len(lines):
        line = lines[at]
        fence = FENCE.fullmatch(line)
        if line.startswith("<!-- setup:"):
            end = _end(lines, at, "-->", page)
            setup, at = "\n".join(lines[at + 1 : end]), end
        elif fence:
            end = _end(lines, at, fence["indent"] + fence["mark"], page)
            code = "\n".join(text.removeprefix(fence["indent"]) for text in lines[at + 1 : end])
            code = INCLUDED.sub(_included, code)
            title = TITLE.search(fence["attributes"])
            name = title[1] if title else ""
            found.append(Block(page, at + 2, fence["language"], name, code + "\n", setup))
            setup, at = "", end
        if setup and line.strip() and line != "-->" and not line.startswith("<!-- setup:"):
            raise ValueError(f"{page}:{at + 1}: expected a block directly after the set-up")
        at += 1
    for block in found:
        if block.setup and block.language != "python":
            raise ValueError(f"{page}:{block.line}: expected a Python block after the set-up")
    if setup:
        raise ValueError(f"{page}: expected a block after the last set-up")
    return found


def _included(line: re.Match[str]) -> str:
    """The contents of an included file."""
    return (ROOT / line[1]).read_text(encoding="utf-8")


def _end(lines: list[str], start: int, mark: str, page: str) -> int:
    """The number of the first line after `start` that equals `mark`."""
    for at in range(start + 1, len(lines)):
        if lines[at].rstrip() == mark:
            return at
    raise ValueError(f"{page}:{start + 1}: expected {mark!r} as the end of what begins here")


def run_page(page: str, folder: Path) -> int:
    """Run the Python blocks of a page in a folder, and return their number.

    Three things are replaced, so that a page takes seconds and needs no network:

    - `lightning.Trainer` trains for two batches on the CPU, without logger, bars and checkpoints;
    - a folder serves as the Hugging Face Hub;
    - `check_module` and `module_checks` draw 5 cases for each law.
    """
    count = 0
    with _prepared(folder) as hook:
        namespace: dict[str, Any] = {"__name__": "snippets", "Path": Path}
        module = types.ModuleType("snippets")
        module.__dict__.update(namespace)
        hook.setitem(sys.modules, "snippets", module)
        hook.setattr(sys, "displayhook", _prepare)
        # A page defines the types of tests/user again; other tests keep those that they have.
        hook.setattr(spec_base, "_REGISTRY", dict(spec_base._REGISTRY))
        for block in blocks(page):
            if block.language != "python":
                continue
            _run(block.setup, block.page, 1, module.__dict__)
            if block.title.startswith("test_"):
                assert pytest.main(["-q", "-p", "no:cacheprovider", block.title]) == 0
            elif block.title:
                made = importlib.import_module(block.title.removesuffix(".py"))
                module.__dict__.update({k: v for k, v in vars(made).items() if k[:2] != "__"})
            else:
                _run(block.code, block.page, block.line, module.__dict__)
            count += 1
    return count


def _run(code: str, page: str, line: int, namespace: dict[str, Any]) -> None:
    """Run code as in an interactive session: values of expressions go to `sys.displayhook`."""
    tree = ast.parse(code, page)
    ast.increment_lineno(tree, line - 1)
    exec(compile(ast.Interactive(tree.body), str(ROOT / page), "single"), namespace)


def _prepare(value: object) -> None:
    """Prepare a data module of files or tables, so that its files are read."""
    if type(value) in (sl.data.TextPairs, sl.data.LabelledText, sl.data.PlainText, sl.data.Vectors):
        assert value.spec


class ShortTrainer(L.Trainer):
    """Trains for two batches on the CPU and writes no files but those of callbacks that save."""

    def __init__(self, **options: Any) -> None:
        saves = any(isinstance(one, Checkpoint) for one in options.get("callbacks", []))
        short = dict.fromkeys(("train", "val", "test", "predict"), 2)
        super().__init__(
            **options
            | {f"limit_{name}_batches": number for name, number in short.items()}
            | {"max_epochs": 1, "accelerator": "cpu", "logger": False}
            | {"enable_checkpointing": saves, "enable_progress_bar": False}
            | {"enable_model_summary": False}
        )


@contextlib.contextmanager
def _prepared(folder: Path) -> Iterator[pytest.MonkeyPatch]:
    """Enter the folder, write the titled files, and apply the replacements of `run_page`."""
    named = [each for page in PAGES for each in blocks(page) if each.title.endswith((".py", ".js"))]
    for block in named:
        (folder / block.title).write_text(block.code, encoding="utf-8")
    (folder / "pytest.ini").write_text("[pytest]\nxfail_strict = true\n", encoding="utf-8")
    hub = folder / "hub"

    class Api:
        def __init__(self, **_options: Any) -> None:
            pass

        def create_repo(self, name: str, **_options: Any) -> None:
            (hub / name).mkdir(parents=True)

        def upload_folder(self, *, repo_id: str, folder_path: str, commit_message: str) -> Any:
            assert commit_message
            shutil.copytree(folder_path, hub / repo_id, dirs_exist_ok=True)
            return types.SimpleNamespace(commit_url=f"https://hub.example/{repo_id}")

    modules = {Path(block.title).stem for block in named}
    others = {name: sys.modules.pop(name) for name in modules if name in sys.modules}
    try:
        with pytest.MonkeyPatch.context() as hook:
            hook.chdir(folder)
            hook.syspath_prepend(folder)
            hook.setattr(L, "Trainer", ShortTrainer)
            hook.setattr(pretrained, "HfApi", Api)
            hook.setattr(pretrained, "hf_hub_download", lambda repo, name, **_: hub / repo / name)
            for function in (check_module, module_checks):
                defaults = inspect.unwrap(function).__kwdefaults__
                hook.setitem(defaults, "examples", EXAMPLES)
            yield hook
    finally:
        for name in modules:
            sys.modules.pop(name, None)
        sys.modules.update(others)


if __name__ == "__main__":
    os.environ.setdefault("MPLBACKEND", "agg")
    with tempfile.TemporaryDirectory() as empty:
        print(f"{run_page(sys.argv[1], Path(empty))} blocks executed")
