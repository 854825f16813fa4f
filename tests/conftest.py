"""Fixtures, and the run-time check of every shape that stands in a signature."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import jaxtyping
import pytest
import torch
from hypothesis import HealthCheck, settings
from jaxtyping import install_import_hook

install_import_hook("seqlearn", "shape_check.check")

collect_ignore_glob = ["user/[!t]*.py"]
"""A user's files, which tests import by name: doctest would import them again under another one."""

settings.register_profile(
    "quick", max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile(
    "thorough", max_examples=1000, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "quick"))


@pytest.fixture(autouse=True)
def _threads_and_seed() -> None:
    torch.set_num_threads(int(os.environ.get("SEQLEARN_TEST_THREADS", "1")))
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep what tests prepare out of the user's cache, but shared within a run."""
    monkeypatch.setenv("SEQLEARN_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))


@pytest.fixture
def unchecked() -> Iterator[None]:
    """Without the run-time check of types, which users do not have."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder with real corpora; tests that need it skip where it is absent."""
    folder = os.environ.get("SEQLEARN_DATA", "")
    if not os.path.isdir(folder):
        pytest.skip(
            f"expected SEQLEARN_DATA to name the folder that holds multi30k/, got {folder!r}"
        )
    return Path(folder)
