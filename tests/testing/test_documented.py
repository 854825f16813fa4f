"""The page of the laws lists each of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from seqlearn.testing import LAWS

PAGE = Path(__file__).parents[2] / "docs" / "laws.md"


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.name)
def test_each_law_stands_in_the_docs(law) -> None:
    assert f"| {law.number} | {law.name} | {law.says} |" in PAGE.read_text(encoding="utf-8")
