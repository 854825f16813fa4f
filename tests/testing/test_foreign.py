"""What the laws find in modules that are not ours, and that the mends hold."""

from __future__ import annotations

import pytest
from foreign import torch_modules

from seqlearn.testing import LawBroken, check_module

LAWS = ["shapes", "no tokens", "padding", "company", "examples apart", "in parts", "gradients"]


def test_an_lstm_without_packing_reads_its_padding() -> None:
    with pytest.raises(LawBroken) as caught:
        check_module(torch_modules.TorchLSTM, laws=LAWS, examples=20)
    assert caught.value.report.broken == [
        "shapes", "no tokens", "padding", "company", "examples apart", "gradients",
    ]  # fmt: skip
    assert check_module(torch_modules.TorchLSTMMended, laws=LAWS, examples=20).held == LAWS


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors:UserWarning")
@pytest.mark.filterwarnings("ignore:enable_nested_tensor is True:UserWarning")
def test_the_fast_path_of_torch_fails_on_empty_sources() -> None:
    with pytest.raises(LawBroken, match="to_padded_tensor") as caught:
        check_module(torch_modules.TorchTransformer, laws=LAWS, examples=30)
    assert {"no tokens", "padding"} <= set(caught.value.report.broken)
    assert check_module(torch_modules.TorchTransformerMended, laws=LAWS, examples=20).held == LAWS


def test_bart_takes_no_queries_of_no_places() -> None:
    pytest.importorskip("transformers")
    from foreign import bart

    with pytest.raises(LawBroken) as caught:
        check_module(bart.Bart, laws=LAWS, examples=10)
    assert caught.value.report.broken == ["no tokens"]
    assert check_module(bart.BartMended, laws=LAWS, examples=10).held == LAWS
