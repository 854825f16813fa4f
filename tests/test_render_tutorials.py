"""The pages of the tutorials; needs what `make docs` installs, and skips where that is missing."""

from __future__ import annotations

import importlib.util
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

pytest.importorskip("jupytext")
pytest.importorskip("nbclient")
pytest.importorskip("ipykernel")

SCRIPT = Path(__file__).resolve().parent.parent / "docs" / "render_tutorials.py"
TUTORIAL = """# %% [markdown]
# # A tutorial
# %%
import math

math.nothing_of_this_name()
# %%
1 / 0
"""
TUTORIALS = sorted((SCRIPT.parent.parent / "tutorials").glob("*.py"))


@pytest.fixture(scope="module")
def rendering() -> Iterator[ModuleType]:
    sys.path.insert(0, str(SCRIPT.parent))
    spec = importlib.util.spec_from_file_location("render_tutorials", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    sys.path.remove(str(SCRIPT.parent))


def test_import_statements(rendering: ModuleType) -> None:
    source = "import a.b as c\nx = 1\n\ndef f():\n    from d import (\n        e,\n    )\n"
    assert rendering.import_statements(source) == "import a.b as c\nfrom d import e"
    assert rendering.import_statements("x = 1") == ""


def test_only_the_imports_run_and_the_cache_stays_as_it_is(
    rendering: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rendering, "CACHE", tmp_path / "cache")
    (tmp_path / "one.py").write_text(TUTORIAL, encoding="utf-8")
    rendering.main(tmp_path, tmp_path / "pages", imports_only=True)
    page = (tmp_path / "pages" / "one.md").read_text(encoding="utf-8")
    assert "math.nothing_of_this_name()" in page
    assert "of which only the imports were executed" in page
    assert not (tmp_path / "cache").exists()
    with pytest.raises(SystemExit, match="code cell 1"):
        rendering.main(tmp_path, tmp_path / "pages")


def test_a_missing_package_fails_the_build(rendering: ModuleType, tmp_path: Path) -> None:
    text = TUTORIAL.replace("import math", "import no_such_package")
    (tmp_path / "one.py").write_text(text, encoding="utf-8")
    with pytest.raises(SystemExit, match=r"code cell 1, .*No module named 'no_such_package'"):
        rendering.main(tmp_path, tmp_path / "pages", imports_only=True)


def test_a_picture_has_an_alternative_text_which_is_no_part_of_the_code(
    rendering: ModuleType,
) -> None:
    source = "# | fig-alt: Two lines,\n# |   which cross.\n# | fig-cap: A: b.\nplot()"
    options = {"fig-alt": "Two lines, which cross.", "fig-cap": "A: b."}
    assert rendering.figure_options(source) == (options, "plot()")
    assert rendering.figure_options("plot()\n# | fig-alt: late") == (
        {},
        "plot()\n# | fig-alt: late",
    )


CELL = """x = 1

# How it is drawn
def draw(x):
    plt.subplots()


y = 2
figure, axes = plt.subplots()
for n in range(3):
    assert n < 3
axes.plot(x)
assert x == 1  # a check
# the end"""


def test_the_code_of_a_figure_and_checks_are_folded(rendering: ModuleType) -> None:
    shown = rendering.split_code(CELL)
    assert shown.code == "x = 1\n\n\ny = 2"
    assert shown.figure == (
        "# How it is drawn\ndef draw(x):\n    plt.subplots()\n"
        "figure, axes = plt.subplots()\naxes.plot(x)"
    )
    assert shown.checks == (
        "for n in range(3):\n    assert n < 3\nassert x == 1  # a check\n# the end"
    )
    assert rendering.block("x\n\ny", "More") == (
        '??? folded "More"\n\n    ```python\n    x\n\n    y\n    ```'
    )
    assert rendering.split_code("x = 1\n").code == "x = 1"


@pytest.mark.parametrize("script", TUTORIALS, ids=lambda path: path.stem)
def test_code_fits_the_column_and_each_figure_is_described(
    rendering: ModuleType, script: Path
) -> None:
    notebook = rendering.jupytext.reads(script.read_text(encoding="utf-8"), fmt="py:percent")
    for cell in notebook.cells:
        if cell.cell_type != "code":
            continue
        options, code = rendering.figure_options(cell.source)
        assert max(map(len, code.splitlines())) <= 80, code
        draws = r"^(\w+\.plot\(|figure, .*= plt\.subplots|figure$|draw\(|confusion_heatmap\()"
        wanted = ["fig-alt", "fig-cap"] if re.search(draws, code, re.MULTILINE) else []
        assert sorted(options) == wanted, code
        assert "RdBu" not in code or "RdBu_r" in code, "+1 is red in all figures"


def test_a_picture_without_an_alternative_text_fails_the_build(
    rendering: ModuleType, tmp_path: Path
) -> None:
    script = tmp_path / "one.py"
    picture = """SVG('<svg xmlns="http://www.w3.org/2000/svg"/>')"""
    text = f"# %%\nfrom IPython.display import SVG\n\n{picture}\n"
    script.write_text(text, encoding="utf-8")
    with pytest.raises(SystemExit, match=r"fig-alt: …`, got `from IPython"):
        rendering.render(script, tmp_path)


def test_a_notebook_installs_what_it_needs_and_links_to_the_site(
    rendering: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "# %% [markdown]\n# # One\n#\n# [A](two.md) and [B](../guide.md#place)\n# %%\n1 + 1\n"
    script, path = tmp_path / "one.py", tmp_path / "one.ipynb"
    script.write_text(text, encoding="utf-8")

    def cells() -> list[str]:
        rendering.write_notebook(script, path)
        content = json.loads(path.read_text(encoding="utf-8"))
        return ["".join(cell["source"]) for cell in content["cells"]]

    for name in ("REPO_URL", "SITE_URL", "DOCS_VERSION"):
        monkeypatch.delenv(name, raising=False)
    assert cells() == ["# One\n\nA and B", "1 + 1"]
    page = rendering.with_links("# One\n\nText\n", "one")
    assert page.startswith("# One\n\n[Download as a notebook](one.ipynb)")
    assert "Colab" not in page

    monkeypatch.setenv("REPO_URL", "https://github.com/someone/fork")
    monkeypatch.setenv("SITE_URL", "https://someone.github.io/fork/")
    monkeypatch.setenv("DOCS_VERSION", "0.1")
    title, installation, _ = cells()
    site = "https://someone.github.io/fork/0.1"
    assert title == f"# One\n\n[A]({site}/tutorials/two/) and [B]({site}/guide/#place)"
    assert "git+https://github.com/someone/fork" in installation
    page = rendering.with_links("# One\n\nText\n", "one")
    assert "/github/someone/fork/blob/gh-pages/0.1/tutorials/one.ipynb" in page
