"""Every Python snippet of README and docs runs as it is written, page by page.

The Trainers of the snippets get fewer batches, by Lightning's environment variables; what a snippet
does not define itself (`texts`, files, the Hub) is there before it runs.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import pytest
from testing.broken import BROKEN

import seqlearn as sl
from seqlearn.testing import LawBroken, check_module

ROOT = Path(__file__).resolve().parent.parent
BLOCK = re.compile(r"^```python[^\n]*\n(.*?)^```", re.MULTILINE | re.DOTALL)
PAGES = [
    path
    for path in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    if "tutorials" not in path.parts and BLOCK.search(path.read_text(encoding="utf-8"))
]
SLOW = {"laws.md"}
"""Pages whose snippets take more than a few seconds; the laws of their module are checked below."""

TEXTS = ["Sunday, November 22, 2026", "Monday, November 23, 2026"]

pytestmark = [
    pytest.mark.usefixtures("unchecked"),
    pytest.mark.filterwarnings("ignore:.*does not have many workers"),
    pytest.mark.filterwarnings("ignore:.*checkpoint"),
]


def snippets(page: Path) -> list[tuple[int, str]]:
    """The blocks of a page, each with its line."""
    text = page.read_text(encoding="utf-8")
    return [(text.count("\n", 0, found.start(1)), found[1]) for found in BLOCK.finditer(text)]


def write_files() -> None:
    """The files that the snippets read."""
    lines = [f"a dog number {n}\tein Hund Nummer {n}\n" for n in range(20)]
    for split in ("train", "val", "test"):
        Path(f"{split}.tsv").write_text("".join(lines), encoding="utf-8")
        for place, language in enumerate(("en", "de")):
            side = "".join(line.strip().split("\t")[place] + "\n" for line in lines)
            Path(f"{split}.{language}").write_text(side, encoding="utf-8")
        Path(f"{split}.txt").write_text("".join(lines), encoding="utf-8")
        Path(f"{split}.csv").write_text("1.0,2.0\n" * 20, encoding="utf-8")
        np.save(f"{split}.npy", np.ones((20, 2)))
    Path("book.txt").write_text(f"ROMEO: {' '.join(TEXTS)}" * 9, encoding="utf-8")
    folder = Path("folder/with/the/files")
    folder.mkdir(parents=True)
    for name in ("train", "val", "test_2016_flickr"):  # of Multi30k; read when it is prepared
        for language in ("en", "fr"):
            (folder / f"{name}.{language}").touch()


def my_model() -> type[sl.SequenceModule]:
    """The module that docs/get-started.md builds."""
    page = ROOT / "docs" / "get-started.md"
    (code,) = [code for _, code in snippets(page) if "class MyModel" in code]
    names: dict[str, Any] = {"__name__": "my_package"}
    exec(code, names)
    return names["MyModel"]


def names_of(page: Path) -> dict[str, Any]:
    """What the snippets of a page take as given."""
    names: dict[str, Any] = {"L": L, "sl": sl, "__name__": "snippets"}
    if page.parent.name == "architectures":
        names["data"] = sl.data.Dates("en", "de")
    if page.name == "get-started.md":
        lines = sl.data.PlainText("book.txt", window=8, batch_tokens=32)
        names["language_model"] = sl.GRU(lines.spec, d_model=4)
        classes = sl.data.Dates(shape="sequence-to-vector")
        names["classifier"] = sl.GRU(classes.spec, d_model=4)
        names["texts"] = TEXTS
        names["translations"] = ["Sonntag, 22. November 2026", "Montag, 23. November 2026"]
    if page.name == "laws.md":
        names["MyModel"] = my_model()
        names["factory"] = BROKEN["PositionsCountedFromThePadding"].module
        with pytest.raises(LawBroken) as caught:
            check_module(names["factory"], laws=["padding"])
        names["error"] = caught.value
    return names


@pytest.mark.parametrize(
    "page",
    [
        pytest.param(
            page,
            id=page.relative_to(ROOT).as_posix(),
            marks=pytest.mark.slow if page.name in SLOW else (),
        )
        for page in PAGES
    ],
)
def test_the_snippets_of_a_page_run(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("TRAIN", "VAL", "TEST"):
        monkeypatch.setenv(f"PL_TRAINER_LIMIT_{name}_BATCHES", "2")
    monkeypatch.setenv("PL_TRAINER_LOG_EVERY_N_STEPS", "1")
    monkeypatch.setenv("PL_TRAINER_ACCELERATOR", "cpu")
    monkeypatch.setattr(
        sl.SequenceModule, "push_to_hub", lambda self, name, **_: self.save_pretrained(name)
    )
    write_files()
    names = names_of(page)
    for line, code in snippets(page):
        # Lines as in the page, so that an error names its place.
        exec(compile("\n" * line + code, str(page), "exec"), names)


def test_the_module_of_the_docs_obeys_the_laws() -> None:
    laws = ["shapes", "padding", "in parts", "bf16", "gradients", "by heart", "saved"]
    model_class = my_model()
    report = check_module(lambda spec: model_class(spec, d_model=8), laws=laws, examples=3)
    assert set(report.held) == set(laws)
