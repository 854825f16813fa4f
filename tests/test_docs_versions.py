"""The published site: versions side by side below a sub-path, as `make docs-version` makes them."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import chromium
import pytest

pytest.importorskip("mkdocs")
pytest.importorskip("mike")
pytest.importorskip("tornado")

ROOT = Path(__file__).resolve().parent.parent
ADDRESS = "https://someone.github.io/fork/"
IS_GIT_MISSING = shutil.which("git") is None


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the branch gh-pages holds after two versions of a small site."""
    folder = tmp_path_factory.mktemp("project")
    text = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    text = re.sub(r"  - mkdocstrings:\n(?:    .*\n)*", "", text.partition("\nnav:")[0]) + "\n"
    (folder / "mkdocs.yml").write_text(text, encoding="utf-8")
    shutil.copytree(ROOT / "docs" / "theme", folder / "docs" / "theme")
    ignored = shutil.ignore_patterns("katex", "benchmarks", "*.gif")
    shutil.copytree(ROOT / "docs" / "assets", folder / "docs" / "assets", ignore=ignored)
    (folder / "docs" / "index.md").write_text("# Home\n\n[Next](next.md)\n", encoding="utf-8")
    (folder / "docs" / "next.md").write_text("# Next\n\nA *first* “line”.\n", encoding="utf-8")
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "SITE_URL": ADDRESS,
        "REPO_URL": "https://github.com/someone/fork",
        "VERSION_PROVIDER": "mike",
    }
    mike = [sys.executable, "-c", "from mike.driver import main; main()", "--quiet"]
    for command in (
        ["git", "init", "--quiet"],
        ["git", "config", "user.name", "Nobody"],
        ["git", "config", "user.email", "nobody@example.org"],
        ["git", "commit", "--quiet", "--allow-empty", "--message", "Begin"],
        [*mike, "deploy", "--update-aliases", "--alias-type=redirect", "dev"],
        [*mike, "deploy", "--update-aliases", "--alias-type=redirect", "0.1", "latest"],
        [*mike, "set-default", "latest"],
        ["git", "worktree", "add", "--quiet", "pages", "gh-pages"],
    ):
        done = subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, encoding="utf-8", check=False
        )
        assert done.returncode == 0, (command, done.stdout, done.stderr)
    return folder / "pages"


@pytest.mark.slow
@pytest.mark.skipif(IS_GIT_MISSING, reason="git is not installed")
def test_a_page_names_its_own_address_picture_and_text(published: Path) -> None:
    page = (published / "0.1" / "next" / "index.html").read_text(encoding="utf-8")
    assert f'<link rel="canonical" href="{ADDRESS}0.1/next/">' in page
    assert f'<meta property="og:image" content="{ADDRESS}0.1/assets/card.png">' in page
    assert (published / "0.1" / "assets" / "card.png").is_file()
    assert '<meta property="og:title" content="Next">' in page
    assert '<meta property="og:description" content="A first “line”.">' in page
    sitemap = (published / "0.1" / "sitemap.xml").read_text(encoding="utf-8")
    assert re.findall("<loc>(.*)</loc>", sitemap) == [f"{ADDRESS}0.1/", f"{ADDRESS}0.1/next/"]


@pytest.mark.slow
@pytest.mark.skipif(IS_GIT_MISSING, reason="git is not installed")
@pytest.mark.skipif(chromium.found() is None, reason="Chromium is not installed")
def test_versions_work_below_a_sub_path(published: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "docs"))
    import site_pages

    assert 'url=latest/"' in (published / "index.html").read_text(encoding="utf-8")
    alias = (published / "latest" / "next" / "index.html").read_text(encoding="utf-8")
    assert 'url=../../0.1/next/"' in alias
    assert site_pages.dead_links(published / "0.1") == {}
    with site_pages.served(published, "/fork/") as address, chromium.page() as page:
        page.allowed = (*page.allowed, address)
        page.open(f"{address}0.1/")
        page.run(
            "new Promise(done => { const t = setInterval(() => "
            "document.querySelector('.md-version a') && (clearInterval(t), done()), 50) })"
        )
        links = page.run("[...document.querySelectorAll('.md-version a')].map(a => a.pathname)")
        assert sorted(links) == ["/fork/0.1/", "/fork/dev/"]
        assert page.run("document.querySelector('[data-md-component=outdated]').hidden")
        page.open(f"{address}dev/next/")
        assert page.run("document.title") == "Next - seqlearn"
        assert page.wrong == []
