"""Mistakes in using a module are named in one sentence, with the right call."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import lightning as L
import numpy as np
import pytest
import torch

import seqlearn as sl
from seqlearn.batch import SequenceBatch, pad

SPEC = sl.SequenceSpec(sl.TextSpec(11, 6), sl.TextSpec(9, 6))
BATCH = SequenceBatch(*pad([[4, 5]]), *pad([[2, 4, 3]]))


NOT_GIVEN: Any = None


def copying() -> sl.data.Synthetic:
    return sl.data.Synthetic("copy", 3, train_examples=20, held_out_examples=5)


def fit(model: sl.SequenceModule, data: Any) -> None:
    L.Trainer(
        max_epochs=1,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    ).fit(model, data)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("model_class", [sl.Transformer, sl.FeedForward, sl.LSTM])
def test_a_data_module_in_the_place_of_its_spec(model_class: type[sl.SequenceModule]) -> None:
    with pytest.raises(
        TypeError, match=r"got the data module Synthetic; pass its spec: data\.spec"
    ):
        model_class(copying())
    with pytest.raises(TypeError, match=r"to be a SequenceSpec, got NoneType; pass data\.spec"):
        model_class(None)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("batch", "message"),
    [
        (BATCH._asdict(), "got dict with the keys source, source_lengths, target, target_lengths"),
        (tuple(BATCH), "got tuple; let the data loader yield"),
        (BATCH.source, "got Tensor; let the data loader yield"),
    ],
)
@pytest.mark.parametrize("call", ["forward", "compute_loss", "training_step", "predict_step"])
def test_a_batch_of_another_kind(call: str, batch: Any, message: str) -> None:
    model = sl.GRU(SPEC, d_model=4)
    arguments = (batch,) if call in ("forward", "compute_loss") else (batch, 0)
    with pytest.raises(TypeError, match="expected a SequenceBatch, " + message):
        getattr(model, call)(*arguments)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"bidirectional": "no"}, "bidirectional: expected True or False, got 'no'"),
        ({"bidirectional": 2}, "bidirectional: expected True or False, got 2"),
        ({"tie_embeddings": "no"}, "tie_embeddings: expected True or False, got 'no'"),
        ({"dropout": "0.1"}, "dropout: expected a number, such as 0.1, got '0.1'"),
        ({"dropout": None}, "dropout: expected a number, such as 0.1, got None"),
    ],
)
def test_an_argument_of_another_type(options: dict[str, Any], message: str) -> None:
    with pytest.raises(TypeError, match=message):
        sl.GRU(SPEC, d_model=4, **options)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda _: sl.data.TextPairs([("a", "b")], joint="no"), "joint"),
        (lambda model: model.generate([[4]], return_scores="yes"), "return_scores"),
        (lambda model: model.load_embeddings("none.vec", rescale="no"), "rescale"),
        (lambda model: model.export("none", "onnx", head_mask="no"), "head_mask"),
    ],
)
def test_a_switch_of_another_type(call: Callable[[Any], Any], name: str) -> None:
    with pytest.raises(TypeError, match=f"{name}: expected True or False, got '(no|yes)'"):
        call(sl.GRU(SPEC, d_model=4))


def test_the_default_of_a_switch_is_taken() -> None:
    class Optional(sl.GRU):
        def __init__(self, spec: sl.SequenceSpec, use: bool = NOT_GIVEN) -> None:
            super().__init__(spec, d_model=4)

    assert Optional(SPEC).hparams["use"] is None
    assert Optional(SPEC, use=True).hparams["use"] is True


def test_a_switch_of_numpy_is_taken() -> None:
    assert sl.GRU(SPEC, d_model=4, tie_embeddings=np.True_).hparams["tie_embeddings"] is True


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("model", "kind"), [(None, "NoneType"), (SPEC, "SequenceSpec"), (sl.GRU, "the class GRU")]
)
def test_recording_what_is_no_module(model: Any, kind: str) -> None:
    message = f"expected the model to record, .*, got {kind}"
    with pytest.raises(TypeError, match=message), sl.record(model):
        pass


@pytest.mark.usefixtures("unchecked")
def test_a_split_that_does_not_exist() -> None:
    with pytest.raises(ValueError, match="expected a split among 'train', 'val', 'test', got 'x'"):
        copying().dataset("x")


class NoEncoder(sl.SequenceModule):
    def __init__(self, spec: sl.SequenceSpec) -> None:
        super().__init__(spec, d_model=4)
        self.decoder = sl.GRU(spec, d_model=4).decoder


class NoDecoder(sl.SequenceModule):
    def __init__(self, spec: sl.SequenceSpec) -> None:
        super().__init__(spec, d_model=4)
        self.encoder = sl.GRU(spec, d_model=4).encoder


@pytest.mark.parametrize(("model_class", "half"), [(NoEncoder, "encoder"), (NoDecoder, "decoder")])
def test_a_missing_half(model_class: type[sl.SequenceModule], half: str) -> None:
    message = rf"{model_class.__name__} has no {half}; set self\.{half} in __init__, after super"
    data = copying()
    for call in (
        lambda: fit(model_class(data.spec), data),
        lambda: model_class(SPEC).generate([[4]]),
        lambda: model_class(SPEC).score([[4]], [[5]]),
        lambda: model_class(SPEC)(BATCH),
    ):
        with pytest.raises(AttributeError, match=message):
            call()
    with pytest.raises(AttributeError, match="has no attribute 'other'"):
        _ = model_class(SPEC).other


def test_a_half_that_the_task_does_not_use_may_be_missing() -> None:
    labels = sl.SequenceSpec(sl.TextSpec(11, 6), sl.ClassesSpec(("a", "b")))
    model = NoDecoder(labels)
    assert model.classify([[4]])[0][0] in ("a", "b")
    language = NoEncoder(sl.SequenceSpec(None, sl.TextSpec(9, 6)))
    assert len(language.generate(prompts=[[5]], max_new_tokens=2)) == 1
    for each in (model, language):
        each.trainer = L.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False)
        each.setup("fit")


@pytest.mark.parametrize("call", ["generate", "score", "classify", "decode"])
def test_what_needs_another_target(call: str) -> None:
    model = sl.GRU(sl.SequenceSpec(sl.TextSpec(11, 6), sl.VectorSpec(2)), d_model=4)
    arguments: dict[str, tuple[Any, ...]] = {
        "score": ([[4]], [[5]]),
        "decode": (torch.tensor([[2]]), None),
    }
    with pytest.raises(ValueError, match=r"VectorSpec; (call|use|read|pass)"):
        getattr(model, call)(*arguments.get(call, ([[4]],)))


@pytest.mark.parametrize("method", ["fit", "fit with validation", "validate", "test", "predict"])
def test_loaders_of_other_data(method: str) -> None:
    """Without a data module, too: ids of another vocabulary would be read as this one's."""
    data = copying()
    other = sl.data.Synthetic("copy", 3, vocabulary=5, train_examples=20, held_out_examples=5)
    model = sl.GRU(data.spec, d_model=4)
    trainer = L.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False, max_epochs=1)
    loaders = {
        "fit": [other.train_dataloader(), data.val_dataloader()],
        "fit with validation": [data.train_dataloader(), [other.val_dataloader()]],
    }
    call = getattr(trainer, method.partition(" ")[0])
    with pytest.raises(ValueError, match=r"spec does not fit the data: .*vocab_size"):
        call(model, *loaders.get(method, [other.test_dataloader()]))


@pytest.mark.parametrize("stage", ["validation", "test"])
def test_a_step_without_its_super_call_warns(stage: str) -> None:
    class Silent(sl.GRU):
        def validation_step(self, batch: SequenceBatch, batch_idx: int) -> None:
            pass

        def test_step(self, batch: SequenceBatch, batch_idx: int) -> None:
            pass

    loader = torch.utils.data.DataLoader([BATCH], batch_size=None)
    trainer = L.Trainer(accelerator="cpu", logger=False, enable_progress_bar=False)
    run = trainer.validate if stage == "validation" else trainer.test
    message = rf"Silent: no batch was added .* call super\(\)\.{stage}_step\(batch, batch_idx\)"
    with pytest.warns(UserWarning, match=message):
        assert run(Silent(SPEC, d_model=4), loader, verbose=False) == [{}]


@pytest.mark.usefixtures("unchecked")
def test_generate_batch_takes_a_batch_and_max_new_tokens_is_a_whole_number() -> None:
    model = sl.GRU(SPEC, d_model=4)
    wrong: Any = ["a"]
    with pytest.raises(TypeError, match="expected a SequenceBatch, got list"):
        model.generate_batch(wrong)
    length: Any = 2.5
    with pytest.raises(TypeError, match=r"max_new_tokens: expected a whole number .* got 2\.5"):
        model.generate([[4]], max_new_tokens=length)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("arguments", "options", "error", "message"),
    [
        ((0.1,), {}, TypeError, "state: expected the state of a decoder .* by name: smoothing=0.1"),
        ((), {"smoothing": "x"}, TypeError, "smoothing: expected a number, such as 0.1, got 'x'"),
        ((), {"smoothing": 2.0}, ValueError, "expected smoothing from 0 to below 1, got 2.0"),
    ],
)
def test_wrong_arguments_of_compute_loss(
    arguments: tuple[Any, ...], options: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        sl.GRU(SPEC, d_model=4).compute_loss(BATCH, *arguments, **options)
