"""`GradientFlow`: the curve is the gradient's, of every architecture and task."""

from __future__ import annotations

import logging
import math
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import pytest
import torch
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from modules import SERVED
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import Tensor, nn
from torch.nn import functional

import seqlearn as sl
from seqlearn.callbacks import GradientFlow
from seqlearn.callbacks.gradient_flow import last_loss
from seqlearn.introspect import gradient_flow


@pytest.mark.parametrize(("name", "task"), SERVED)
def test_the_loss_is_that_of_the_last_target(module, batches, name: str, task: str) -> None:
    model, batch = module(name, task).eval(), batches(task)[0]
    loss, embedded, lengths = last_loss(model, batch)
    source = batch.source_lengths is not None
    read = (model.source_embedding, batch.source) if source else None
    embedding, tokens = read or (model.target_embedding, batch.target[:, :-1])
    assert torch.equal(embedded, embedding(tokens))
    for row in range(batch.size):
        one = sl.SequenceBatch(
            *(None if part is None else part[row : row + 1] for part in batch[:4])
        )
        if task == "tagging":
            logits = model(one)[0, int(one.target_lengths) - 1].log_softmax(-1)
            expected = -logits[one.target[0, int(one.target_lengths) - 1, 1] - 1]
            steps = one.source_lengths
        elif batch.target_lengths is not None:
            ids = one.target[:, : int(one.target_lengths)]
            logits = model(one._replace(target=ids))
            expected = -logits[0, -1].log_softmax(-1)[ids[0, -1]]
            steps = one.source_lengths if source else one.target_lengths - 1
        elif task == "sequence-to-vector (classes)":
            expected, steps = -model(one)[0].log_softmax(-1)[one.target[0]], one.source_lengths
        else:
            expected, steps = (model(one) - one.target).square().sum(), one.source_lengths
        assert loss[row].item() == pytest.approx(expected.item(), abs=1e-5)
        assert lengths[row] == steps
    norms = gradient_flow(loss, embedded)
    inside = torch.arange(norms.shape[1]) < lengths[:, None]
    assert (norms[~inside] == 0).all()
    if name != "FeedForward":
        assert (norms[inside] > 0).all()


def test_the_norms_are_those_of_finite_differences(module, batches) -> None:
    model, batch = (
        module("LSTM", "sequence-to-sequence").double().eval(),
        batches("sequence-to-sequence")[0],
    )
    loss, embedded, _ = last_loss(model, batch)
    norms, width = gradient_flow(loss, embedded), 1e-5
    for row, step in ((0, 0), (0, 3), (1, 5), (2, 0)):
        slopes = []
        for unit in range(embedded.shape[2]):
            ends = []
            for sign in (-1, 1):
                moved = embedded.detach().clone()
                moved[row, step, unit] += sign * width
                handle = model.source_embedding.register_forward_hook(lambda *_, to=moved: to)
                ends.append(last_loss_of(model, batch, row))
                handle.remove()
            slopes.append((ends[1] - ends[0]) / (2 * width))
        assert norms[row, step].item() == pytest.approx(math.hypot(*slopes), rel=1e-5)


def last_loss_of(model: sl.SequenceModule, batch: sl.SequenceBatch, row: int) -> float:
    last = int(batch.target_lengths[row]) - 1
    logits = model(batch)[row, last - 1]
    return functional.cross_entropy(logits, batch.target[row, last]).item()


def test_a_start_between_two_documents_is_no_target(module) -> None:
    model = module("GRU", "language-modeling").eval()
    stream = torch.tensor([[2, 5, 6, 3, 2], [2, 5, 6, 3, 2]])
    loss, _, lengths = last_loss(model, sl.SequenceBatch(None, None, stream, torch.tensor([5, 4])))
    assert lengths.tolist() == [3, 3]
    assert loss[0].item() == pytest.approx(loss[1].item())


@pytest.mark.parametrize(("name", "task"), SERVED)
def test_every_architecture_gives_a_curve(fit, module, batches, tmp_path, name, task) -> None:
    flow = GradientFlow(every_n_epochs=2)
    fit(module(name, task), batches(task), flow)
    (curve,) = flow.curves.values()
    steps = 6 if task.startswith(("sequence", "tagging")) else 4
    assert list(flow.curves) == [4]
    assert len(curve) == steps
    assert np.isfinite(curve).all()
    assert curve[0] > 0
    assert flow.flow_class in ("vanishing", "exploding", "stable")
    assert (tmp_path / "gradient_flow" / "norms-step000004.png").is_file()


def test_numbers_and_figures_go_to_the_loggers(fit, module, batches, tmp_path: Path) -> None:
    loggers = [TensorBoardLogger(tmp_path, name="tb"), CSVLogger(tmp_path, name="csv")]
    flow = GradientFlow()
    fit(
        module("RNN", "sequence-to-vector (classes)"),
        batches("sequence-to-vector (classes)"),
        flow,
        logger=loggers,
    )
    events = EventAccumulator(loggers[0].log_dir, size_guidance={"images": 0})
    events.Reload()
    assert [image.step for image in events.Images("gradient_flow/norms")] == [2, 4]
    curve = flow.curves[4]
    logged = {
        tag: events.Scalars(f"gradient_flow/{tag}")[-1] for tag in ("first", "last", "factor")
    }
    assert {event.step for event in logged.values()} == {4}
    assert logged["first"].value == pytest.approx(curve[-1])
    assert logged["last"].value == pytest.approx(curve[0])
    assert logged["factor"].value ** (len(curve) - 1) == pytest.approx(curve[-1] / curve[0])


@pytest.mark.parametrize(("factor", "flow_class"), [(0.1, "vanishing"), (3.0, "exploding")])
def test_it_says_once_what_becomes_of_the_gradient(
    fit, caplog: pytest.LogCaptureFixture, factor: float, flow_class: str
) -> None:
    def run(module: L.LightningModule, probe: Any) -> tuple[Tensor, Tensor]:
        embedded = torch.ones(2, 7, 3, requires_grad=True)
        weight = factor ** torch.arange(6, -1, -1.0)
        weight[-1] = 0.0  # A step of padding: the last but one counts as the last.
        return (embedded * weight[None, :, None]).sum((1, 2)), embedded

    flow = GradientFlow(probe=0, run=run)
    with caplog.at_level(logging.INFO, "lightning.pytorch.utilities.rank_zero"):
        fit(Scalar(), [torch.ones(1)] * 3, flow, max_epochs=3)
    said = [record.message for record in caplog.records if "GradientFlow" in record.message]
    assert len(said) == 1
    assert f"the gradient is {flow_class} after step 3" in said[0]
    assert flow.flow_class == flow_class
    curve = math.sqrt(3) * factor ** np.arange(1, 7)
    assert np.allclose(flow.curves[3], curve)


class Scalar(L.LightningModule):
    """Somebody's module, of one number."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(1, 1)

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        return self.layer(batch).square().mean()

    def validation_step(self, batch: Tensor, batch_idx: int) -> None:
        pass

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def test_another_module_needs_a_callable(fit) -> None:
    with pytest.raises(TypeError, match="expected a SequenceModule, got Scalar; pass run="):
        fit(Scalar(), [torch.ones(1)], GradientFlow())


def test_the_error_for_other_embeddings_names_the_callable(fit, module, batches) -> None:
    model = module("RNN", "sequence-to-vector (classes)")
    model.source_embedding, embedding = nn.Identity(), (model.source_embedding,)
    model.encode = lambda source, lengths: type(model).encode(model, embedding[0](source), lengths)
    model.forward = lambda batch: model.head(embedding[0](batch.source).mean(1))
    with pytest.raises(RuntimeError, match="call its source_embedding once, got 0 calls; pass run"):
        last_loss(model, batches("sequence-to-vector (classes)")[0])
    assert not model.source_embedding._forward_hooks


def test_curves_go_on_from_a_checkpoint(fit, module, batches, tmp_path: Path) -> None:
    data, path = batches("sequence-to-vector (classes)"), tmp_path / "last.ckpt"
    first, second = GradientFlow(), GradientFlow()
    fit(module("RNN", "sequence-to-vector (classes)"), data, first).save_checkpoint(path)
    fit(module("RNN", "sequence-to-vector (classes)"), data, second, max_epochs=3, ckpt_path=path)
    assert list(second.curves) == [2, 4, 6]
    assert np.array_equal(second.curves[4], first.curves[4])
    fit(module("RNN", "sequence-to-vector (classes)"), data, second, max_epochs=1)
    assert list(second.curves) == [2]
