"""The pages of the tutorials; needs what `make docs` installs, and skips where that is missing."""

from __future__ import annotations

import importlib.util
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


@pytest.fixture(scope="module")
def rendering() -> ModuleType:
    spec = importlib.util.spec_from_file_location("render_tutorials", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


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
