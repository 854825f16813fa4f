"""Fixtures, and the run-time check of every shape that stands in a signature."""

from __future__ import annotations

import asyncio
import logging
import os
import weakref
from collections.abc import Iterator
from pathlib import Path

import jaxtyping
import pytest
import torch
from forks import compute_on_one_thread
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


THREADS = int(os.environ.get("SEQLEARN_TEST_THREADS", "1"))
torch.set_num_threads(THREADS)  # before the fixtures of modules, whose results tests compare
compute_on_one_thread()


@pytest.fixture(autouse=True)
def _threads_and_seed() -> None:
    torch.set_num_threads(THREADS)
    torch.manual_seed(0)


@pytest.fixture(autouse=True, scope="session")
def _log_lines_reach_pytest() -> None:
    """Lightning's loggers propagate only if another package added a handler before its import."""
    for name in ("lightning.fabric", "lightning.pytorch"):
        logging.getLogger(name).propagate = True


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep what tests prepare out of the user's cache, but shared within a run."""
    monkeypatch.setenv("SEQLEARN_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))


LOOPS: weakref.WeakSet[asyncio.BaseEventLoop] = weakref.WeakSet()
"""The event loops of this process; one that is left open fails a later test, at random."""


@pytest.fixture(scope="session", autouse=True)
def _listed_event_loops() -> Iterator[None]:
    made = asyncio.BaseEventLoop.__init__

    def listed(self: asyncio.BaseEventLoop) -> None:
        made(self)
        LOOPS.add(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(asyncio.BaseEventLoop, "__init__", listed)
        yield


@pytest.fixture(autouse=True)
def _no_open_event_loop(_listed_event_loops: None) -> Iterator[None]:
    before = list(LOOPS)  # those of a module's browser stay open for its other tests
    yield
    left = [loop for loop in LOOPS if loop not in before and not loop.is_closed()]
    for loop in left:
        loop.close()
    assert not left, f"expected the test to close its event loops, but these are open: {left}"


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
