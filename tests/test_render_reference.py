"""The pages of the reference: all public names, and what each class inherits."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parent.parent / "docs" / "render_reference.py"


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    spec = importlib.util.spec_from_file_location("render_reference", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    folder = tmp_path_factory.mktemp("reference")
    module.main(folder)
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
