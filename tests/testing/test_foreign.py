"""Which laws modules of other libraries violate, and that the corrected ones hold."""

from __future__ import annotations

import pytest

from benchmarks.foreign import torch_modules
from seqlearn.testing import LawsViolated, check_module

LAWS = [
    "shapes",
    "empty target",
    "padding",
    "batch invariance",
    "no cross-example gradient",
    "incremental decoding",
    "gradients",
]


def test_an_lstm_without_packing_reads_its_padding() -> None:
    with pytest.raises(LawsViolated) as caught:
        check_module(torch_modules.TorchLSTM, laws=LAWS, examples=20)
    assert caught.value.report.violated == [
        "padding",
        "batch invariance",
        "no cross-example gradient",
    ]
    assert check_module(torch_modules.TorchLSTMFixed, laws=LAWS, examples=20).held == LAWS


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors:UserWarning")
@pytest.mark.filterwarnings("ignore:enable_nested_tensor is True:UserWarning")
def test_the_fast_path_of_torch_sees_no_empty_source() -> None:
    """It fails if all sources of a batch are empty."""
    assert check_module(torch_modules.TorchTransformer, laws=LAWS, examples=30).held == LAWS


def test_bart_is_never_called_without_queries() -> None:
    """Its attention needs at least one query."""
    pytest.importorskip("transformers")
    from benchmarks.foreign import bart

    assert check_module(bart.Bart, laws=LAWS, examples=10).held == LAWS
