"""Two processes train the model that one process trains with twice the accumulation."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

CASES = [
    "text",
    "short groups",
    "limited",
    "scheduled",
    "classes",
    "vectors",
    "tags",
    "series",
    "stream",
]

Found = tuple[dict[str, Any], dict[str, Any], dict[str, Any]]


def run(folder: Path, ranks: int) -> list[dict[str, Any]]:
    """What each rank wrote."""
    folder.mkdir()
    script = Path(__file__).with_name("two_processes.py")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    variables = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(ranks)}
    started = [
        subprocess.Popen(
            [sys.executable, str(script), str(folder)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            env=os.environ
            | ({} if ranks == 1 else variables)
            | {"RANK": str(rank), "LOCAL_RANK": str(rank), "GROUP_RANK": "0"}
            | {"LOCAL_WORLD_SIZE": str(ranks), "TORCHELASTIC_RUN_ID": "test"},
        )
        for rank in range(ranks)
    ]
    for each in started:
        _, errors = each.communicate(timeout=300)
        assert each.returncode == 0, errors
    return [torch.load(folder / f"out{rank}.pt") for rank in range(ranks)]


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Found:
    """What one process, and each of two, came to."""
    folder = tmp_path_factory.mktemp("processes")
    (folder / "stream.txt").write_text("abcde" * 29 + "edcba" * 7 + "ace" * 5, encoding="utf-8")
    (one,) = run(folder / "one", 1)
    return one, *run(folder / "two", 2)


@pytest.mark.parametrize("case", CASES)
def test_two_processes_equal_one_with_twice_the_accumulation(found: Found, case: str) -> None:
    one, two, _ = (each[case] for each in found)
    assert one["steps"] == two["steps"] >= 4
    for name, weight in one["weights"].items():
        torch.testing.assert_close(two["weights"][name], weight, atol=1e-9, rtol=1e-7)
    assert set(one["figures"]) == set(two["figures"])
    assert ("val/bleu" in one["figures"]) == (case == "short groups")
    for name in one["figures"]:
        if name.startswith("val/") and case != "vectors":
            assert abs(one["figures"][name] - two["figures"][name]) < 1e-6


@pytest.mark.parametrize(("case", "accumulate"), [("text", 1), ("short groups", 3)])
def test_an_added_term_has_the_weight_that_is_written(
    found: Found, case: str, accumulate: int
) -> None:
    """Plain as Lightning averages; with the batch's weight also in a group that is smaller."""
    for rank in found[1:]:
        gradients = torch.stack(rank[case]["extra"])
        torch.testing.assert_close(gradients[:, 1], torch.full_like(gradients[:, 1], 0.1))
        whole = gradients[:, 0][gradients[:, 0] > 0.09]
        torch.testing.assert_close(whole, torch.full_like(whole, 0.1))
        smaller = len(gradients) - len(whole)
        assert smaller == (0 if accumulate == 1 else 2)  # the last one of each epoch


def test_predictions_of_two_processes_are_in_the_order_of_the_data(found: Found) -> None:
    one, first, second = (each["predicted"] for each in found)
    assert one["text"] == first["text"]
    assert (len(one["text"]), second["text"], second["jsonl"]) == (37, [], [])
    assert [int(square) for square in first["jsonl"]] == [number**2 for number in range(11)]
    for name in ("text", "jsonl"):
        assert one["files"][name] == first["files"][name]
        assert one["files"][name].count("\n") == len(one[name])
    assert json.loads(first["files"]["jsonl"].splitlines()[3]) == {"index": 3, "prediction": 9}
    for rank in (one, first, second):  # none waits for another
        assert "the results cannot be written to" in rank["said"]


def test_loaders_outside_of_the_data_module_are_shared_out_or_refused(found: Found) -> None:
    one, *two = (each["handed"] for each in found)
    assert one["said"] == ""
    for rank in two:
        assert "trainer.fit(model, datamodule=data)" in rank["said"]
    # A model that makes the loader itself does so when the ranks are together.
    assert sorted(one["seen"]) == list(range(60))
    assert sorted(row for rank in two for row in rank["seen"]) == list(range(60))
    assert all(rank["seen"] for rank in two)
