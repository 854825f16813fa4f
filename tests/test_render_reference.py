"""The pages of the reference: all public names, and what each class inherits."""

from __future__ import annotations

import importlib.util
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

SCRIPT = Path(__file__).resolve().parent.parent / "docs" / "render_reference.py"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("render_reference", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def pages(script: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("reference")
    script.main(folder)
    return {
        path.relative_to(folder).with_suffix("").as_posix(): path.read_text(encoding="utf-8")
        for path in folder.rglob("*.md")
    }


def test_each_link_leads_to_a_page(pages: dict[str, str]) -> None:
    text = "\n".join(pages.values())
    linked = set(re.findall(r"^\| \[.*?\]\[(.*?)\]", text, re.MULTILINE))
    shown = set(re.findall(r"^::: (.*)$", text, re.MULTILINE))
    members = {path for path in linked - shown if path.rpartition(".")[0] not in shown}
    assert len(shown) > 150
    assert members == set()


def test_an_inherited_member_leads_to_the_page_that_has_it(pages: dict[str, str]) -> None:
    listed = {
        (name, *path.removeprefix("seqlearn.").rsplit(".", 1))
        for name, page in pages.items()
        if "## Inherited from" in page
        for path in re.findall(r"^\| \[.*?\]\[(.*?)\]", page, re.MULTILINE)
    }
    assert len(listed) > 100
    wrong = [
        (name, base, member)
        for name, base, member in listed
        if f"| [`{member}`][" in pages[f"names/{base}"]
    ]
    assert wrong == []


def test_public_names_come_first(pages: dict[str, str]) -> None:
    assert "| [`RNN`][seqlearn.models.RNN] | The tanh RNN" in pages["models"]
    assert "::: seqlearn.batch.PAD" in pages["batch"], "a constant is on the page of its package"
    assert not any(re.search(r"\.names/|\._", name) for name in pages)
    assert all("New in version" in page for name, page in pages.items() if "/" in name)


def test_inherited_members(pages: dict[str, str]) -> None:
    model, base = pages["names/models.RNN"], pages["names/core.SequenceModule"]
    assert "| [`generate`][seqlearn.core.SequenceModule.generate] |" in model
    assert "inherited_members" not in model, "they are documented on the page of the base class"
    assert re.search(r"inherited_members: \[.*\bgenerate\b.*\bsetup\b", base), "of internal bases"


def test_each_public_class_and_function_has_an_example(script: ModuleType) -> None:
    names = {
        name.path: inspect.getdoc(name.value) or ""
        for package in script.PACKAGES
        for name in script.public_names(package)
        if name.has_page
    }
    assert [path for path, doc in names.items() if ">>>" not in doc] == []


def test_examples_are_rendered_as_code() -> None:
    """`Examples:` is a section that the parser knows; `Example:` would be a box of quotations."""
    griffe = pytest.importorskip("griffe", reason="the extra `docs` is not installed")
    package = griffe.load(
        "seqlearn", search_paths=[SCRIPT.parent.parent], docstring_parser="google"
    )
    kinds = [
        (docstring.parent.path, section.kind.value)
        for docstring in docstrings(package)
        for section in docstring.parsed
    ]
    assert sum(kind == "examples" for _, kind in kinds) > 200
    assert [path for path, kind in kinds if kind == "admonition"] == []


def docstrings(item: Any) -> Iterator[Any]:
    """All docstrings of a module or a class, those of its members among them."""
    if item.docstring:
        yield item.docstring
    for member in item.members.values():
        if not member.is_alias:
            yield from docstrings(member)


def test_a_page_leads_back_to_its_package(
    pages: dict[str, str], script: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "\n\nPart of [Models](../models.md).\n\n" in pages["names/models.RNN"]
    assert "Source in the repository" not in pages["names/models.RNN"], "without REPO_URL"
    monkeypatch.setenv("REPO_URL", "https://example.org/repo/")
    link = script.source_link(script.public_names("models")[0].value)
    assert link.startswith(
        "[Source in the repository](https://example.org/repo/blob/main/seqlearn/"
    )


def test_internal_names_and_aliases_have_no_page(pages: dict[str, str]) -> None:
    assert "names/nn.State" not in pages
    assert "::: seqlearn.nn.State" in pages["nn"], "an alias of Any is on the page of its package"
    assert not any("shares_memory" in name or "hide_rows" in name for name in pages)
