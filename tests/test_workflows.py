"""The workflows of GitHub: what they run exists, with few permissions and a limit of time."""

from __future__ import annotations

import importlib
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parent.parent
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


def load(name: str) -> dict[str, Any]:
    text = (ROOT / ".github" / name).read_text(encoding="utf-8")
    found: dict[str, Any] = yaml.load(text, Loader=yaml.BaseLoader)  # or `on` becomes True
    return found


def commands(workflow: dict[str, Any]) -> list[str]:
    steps = [step for job in workflow["jobs"].values() for step in job["steps"]]
    return [step["run"] for step in steps if "run" in step]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_each_job_has_few_permissions_and_a_limit(path: Path) -> None:
    workflow = load(f"workflows/{path.name}")
    assert workflow["permissions"] == {"contents": "read"}
    assert "concurrency" in workflow
    for job in workflow["jobs"].values():
        assert int(job["timeout-minutes"]) <= (350 if path.stem == "weekly" else 120)
        for step in job["steps"]:
            assert ("uses" in step) != ("run" in step)
            assert re.search(r"@(release/)?v\d+$|^docker://.*:[\d.]+$", step.get("uses", "@v1"))


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_each_command_exists(path: Path) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for command in commands(load(f"workflows/{path.name}")):
        for target in re.findall(r"\bmake ([a-z-]+)", command):
            assert re.search(rf"^{target}:", makefile, re.MULTILINE), command
        for script in re.findall(r"(?:tests|docs|\.ci)/[\w./]+", command):
            assert (ROOT / script).is_file(), command


def test_tests_run_on_every_system_and_python() -> None:
    jobs = load("workflows/tests.yml")["jobs"]
    matrix = jobs["systems"]["strategy"]["matrix"]
    assert set(matrix["system"]) == {"ubuntu-latest", "macos-latest", "windows-latest"}
    assert matrix["python"] == ["3.11", "3.12", "3.13", "3.14"]
    runs = {name: [step.get("run") for step in job["steps"]] for name, job in jobs.items()}
    assert ".ci/run" in runs["all-checks"]
    assert "python tests/floors.py --check" in runs["lowest-versions"]
    assert jobs["lowest-versions"]["steps"][1]["with"]["python-version"] == "3.11"


def test_what_the_site_takes_minutes_for_is_cached_until_its_sources_change(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("jupytext", "nbclient", "ipykernel"):
        pytest.importorskip(name)
    monkeypatch.syspath_prepend(ROOT / "docs")
    tutorials = importlib.import_module("render_tutorials")
    live = importlib.import_module("render_live")
    steps = [step for job in load("workflows/docs.yml")["jobs"].values() for step in job["steps"]]
    caches = [step["with"] for step in steps if "actions/cache@" in step.get("uses", "")]
    keys = {cache["path"]: cache["key"] for cache in caches}
    scripts = sorted((ROOT / "tutorials").glob("*.py"))
    hashed = {
        tutorials.CACHE: {path for script in scripts for path in tutorials.sources(script)},
        live.CACHE: set(live.sources()),
    }
    assert keys.keys() == {folder.relative_to(ROOT).as_posix() for folder in hashed}
    for folder, files in hashed.items():
        patterns = re.findall(r"'([^']+)'", keys[folder.relative_to(ROOT).as_posix()])
        found = {path for each in patterns for path in ROOT.glob(each.replace("**", "**/*"))}
        assert files == {path for path in found if path.is_file() and path.suffix != ".pyc"}


def test_a_release_uploads_nothing_under_a_name_that_belongs_to_another_project() -> None:
    publish = load("workflows/release.yml")["jobs"]["publish"]
    assert publish["if"] == "vars.PYPI_NAME != '' && vars.PYPI_NAME != 'seqlearn'"
    assert publish["environment"]["url"] == "https://pypi.org/project/${{ vars.PYPI_NAME }}/"


def test_a_release_needs_no_password() -> None:
    jobs = load("workflows/release.yml")["jobs"]
    assert jobs["publish"]["permissions"] == {"id-token": "write"}
    assert jobs["publish"]["environment"]["name"] == "pypi"
    assert "secrets." not in (ROOT / ".github/workflows/release.yml").read_text(encoding="utf-8")
    assert ".ci/run" in commands({"jobs": {"build": jobs["build"]}})


def test_dependabot_updates_packages_and_actions() -> None:
    updates = load("dependabot.yml")["updates"]
    assert {each["package-ecosystem"] for each in updates} == {"pip", "github-actions"}


@pytest.mark.parametrize("name", ["bug", "feature"])
def test_issue_forms(name: str) -> None:
    form = load(f"ISSUE_TEMPLATE/{name}.yml")
    assert {"name", "description", "body"} <= form.keys()
    ids = [field["id"] for field in form["body"]]
    assert len(set(ids)) == len(ids)
