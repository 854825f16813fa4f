"""Options of the benchmarks that have no effect, and what is counted and recorded."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import seqlearn as sl
from benchmarks import __main__ as entry
from benchmarks import comparison, measuring, peers, recomputation
from benchmarks.comparison import Comparison, Contender, compare
from benchmarks.peers import decoders

SIDE = sl.TextSpec(20, 9)


def options(tmp_path: Path, *words: str) -> argparse.Namespace:
    parser = comparison.arguments("title")
    return parser.parse_args([*words, "--rounds", "4", "--out", str(tmp_path / "found.json")])


@pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")
def test_computing_a_layer_again_saves_memory() -> None:
    """The sizes are those at which the activations outweigh what the C library keeps."""
    kept, again = (recomputation.peak_of_step("tiny", 2048, 64, again=one) for one in (False, True))
    assert again < kept


def test_the_code_of_a_library_is_not_its_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "heavy_peer.py").write_text("code = bytearray(64 << 20)\n", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(peers.MODULES, "heavy", ("heavy_peer",))

    def light() -> Callable[[Any], Any]:
        peers.peer("heavy_peer")
        return float

    heavy = Contender("heavy", light, ("heavy",))
    done = Comparison("train", "x", [heavy], [1])
    assert compare(done, options(tmp_path, "--memory-of", "heavy")) == 0
    assert json.loads(capsys.readouterr().out)["bytes"] < 32 << 20


def test_a_command_names_its_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        sys, "argv", ["x", "--multi30k", "/data", "--out", "a.json", "--rounds", "9"]
    )
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    wanted = "OMP_NUM_THREADS=1 python -m benchmarks train --multi30k FOLDER --rounds 9"
    assert comparison._repeatable("train") == wanted
    monkeypatch.delenv("OMP_NUM_THREADS")
    assert comparison._repeatable("train") == wanted.removeprefix("OMP_NUM_THREADS=1 ")


def test_products_of_a_recurrent_layer_on_a_gpu_are_counted() -> None:
    """By the sizes that its kernel gets: the products are those of `mkldnn_rnn_layer`."""
    weights = [torch.Size(size) for size in ([16, 3], [16, 4], [16], [16])]
    assert measuring._cudnn_flops(torch.Size([6, 7, 3]), weights) == 2 * 6 * 7 * 16 * (3 + 4)


def test_decoding_of_another_form_is_not_compared_with_marian() -> None:
    pytest.importorskip("transformers")
    spec = sl.SequenceSpec(SIDE, SIDE)
    model = sl.Transformer(spec, d_model=8, num_layers=1, num_heads=2, norm="pre")
    with pytest.raises(ValueError, match=r"as Marian has, got \{'norm': 'pre'\}"):
        decoders.as_marian(model)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("decode --model attention --checkpoint x", "--checkpoint is for --model transformer"),
        ("decode --input-feeding", "--input-feeding is for --model attention"),
        ("decode --dtype bfloat16", "unrecognized arguments: --dtype"),
        ("pipeline --what padding --dtype bfloat16", "--dtype is for --what step"),
        ("pipeline --only seqlearn", "unrecognized arguments: --only"),
        ("compile --no-memory", "unrecognized arguments: --no-memory"),
        ("attention --what entropy --only fused", "are for --what recording"),
        ("attention --what recording --lengths 8", "--lengths is for --what crossing and entropy"),
    ],
)
def test_an_option_without_effect_is_refused(
    words: str, said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["benchmarks", *words.split()])
    with pytest.raises(SystemExit):
        entry.main()
    assert said in capsys.readouterr().err
