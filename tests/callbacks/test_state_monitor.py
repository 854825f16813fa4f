"""`StateMonitor`: what is logged is what was recorded, padding left out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import torch
from lightning.pytorch.loggers import TensorBoardLogger
from matplotlib.figure import Figure
from modules import SERVED
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import seqlearn as sl
from seqlearn.callbacks import FigureLogger, StateMonitor


@dataclass(frozen=True)
class Kept(FigureLogger):
    """Keeps what would be logged."""

    numbers: dict[str, float] = field(default_factory=dict)
    figures: dict[str, Figure] = field(default_factory=dict)

    def scalars(self, values: Mapping[str, float]) -> None:
        self.numbers.update(values)

    def figure(self, tag: str, figure: Figure) -> None:
        self.figures[tag] = figure


def monitored(model: sl.SequenceModule, batch: sl.SequenceBatch, **arguments: object) -> Kept:
    kept, monitor = Kept([], Path(), 1), StateMonitor(**arguments)
    with torch.no_grad():
        monitor.show(monitor.observe(model.eval(), batch), kept)
    return kept


@pytest.mark.parametrize(("name", "task"), SERVED)
def test_every_architecture_shows_its_states(module, batches, name: str, task: str) -> None:
    kept = monitored(module(name, task), batches(task)[0])
    assert kept.figures
    assert {f"{tag}/norm" for tag in kept.figures} <= set(kept.numbers)
    gates = {tag.split("/")[2] for tag in kept.numbers if tag.startswith("gates/")}
    assert gates == {
        "GRU": {"reset", "update", "candidate"},
        "LSTM": {"input", "forget", "output", "candidate", "cell"},
        "AttentionSeq2Seq": {"input", "forget", "output", "candidate", "cell"},
    }.get(name, set())


def test_numbers_are_of_real_steps(module, batches) -> None:
    model, batch = module("GRU", "sequence-to-sequence"), batches("sequence-to-sequence")[0]
    numbers = monitored(model, batch).numbers
    norms, updates = [], []
    with torch.no_grad(), sl.record(model.eval()) as recording:
        model(batch)
    for row, length in enumerate((4, 6, 1)):
        norms.append(recording.states["encoder.layers.0"][row, :length].norm(dim=-1))
        updates.append(recording.gates["encoder.layers.0"]["update"][row, :length])
    update = torch.cat(updates)
    name = "encoder.layers.0"
    assert numbers[f"states/{name}/norm"] == pytest.approx(torch.cat(norms).mean().item())
    assert numbers[f"gates/{name}/update/mean"] == pytest.approx(update.mean().item())
    shut, opened = (update < 0.1).float().mean().item(), (update > 0.9).float().mean().item()
    assert numbers[f"gates/{name}/update/saturated_low"] == pytest.approx(shut)
    assert numbers[f"gates/{name}/update/saturated_high"] == pytest.approx(opened)
    assert f"gates/{name}/candidate/saturated_low" not in numbers


def test_saturation_is_of_cells_that_end_in_tanh(module, batches) -> None:
    model, batch = (
        module("RNN", "sequence-to-vector (classes)"),
        batches("sequence-to-vector (classes)")[0],
    )
    with torch.no_grad():
        for parameter in model.encoder.layers.parameters():
            parameter.mul_(1000.0)
    assert monitored(model, batch).numbers["states/encoder.layers.0/saturated"] > 0.9
    transformer = monitored(module("Transformer", "sequence-to-vector (classes)"), batch).numbers
    assert not [tag for tag in transformer if tag.endswith("saturated")]


def test_the_figure_shows_the_first_example_with_its_tokens(module, batches) -> None:
    model, batch = module("LSTM", "sequence-to-sequence"), batches("sequence-to-sequence")[0]
    kept = monitored(model, batch)
    assert list(kept.figures) == [
        "states/encoder.layers.0",
        "states/encoder.context",
        "states/decoder.layers.0",
    ]
    figure = kept.figures["states/decoder.layers.0"]
    panels = [panel for panel in figure.axes if panel.get_ylabel()]
    assert [panel.get_ylabel() for panel in panels] == [
        "state", "input", "forget", "output", "candidate", "cell"
    ]  # fmt: skip
    assert [text.get_text() for text in panels[-1].texts] == ["<s>", "5", "6", "4"]
    with torch.no_grad(), sl.record(model) as recording:
        model(batch)
    shown = torch.as_tensor(panels[0].images[0].get_array())
    assert torch.equal(shown, recording.states["decoder.layers.0"][0, :4].T)


def test_tensorboard_gets_figures_and_numbers(fit, module, batches, tmp_path: Path) -> None:
    logger, name = TensorBoardLogger(tmp_path, name="tb"), "encoder.layers.0"
    monitor = StateMonitor(layers=[name])
    fit(
        module("LSTM", "sequence-to-vector (classes)"),
        batches("sequence-to-vector (classes)"),
        monitor,
        logger=logger,
    )
    events = EventAccumulator(logger.log_dir, size_guidance={"images": 0})
    events.Reload()
    assert [image.step for image in events.Images(f"states/{name}")] == [2, 4]
    assert [s.step for s in events.Scalars(f"gates/{name}/forget/saturated_high")] == [2, 4]
    assert not [tag for tag in events.Tags()["images"] if "context" in tag]
    assert list(tmp_path.rglob("*.png")) == []


def test_a_layer_that_was_not_recorded_is_an_error(fit, module, batches) -> None:
    model, data = (
        module("LSTM", "sequence-to-vector (classes)"),
        batches("sequence-to-vector (classes)"),
    )
    with pytest.raises(
        ValueError,
        match=r"expected states of \['lstm'\], but only these modules reported any: \['encoder",
    ):
        fit(model, data, StateMonitor(layers=["lstm"]))


def test_states_of_ones_own_join_through_the_probe(module, batches) -> None:
    def run(model: sl.SequenceModule, batch: sl.SequenceBatch) -> None:
        sl.probe("mine", torch.full((1, 2, 4), 0.5), "states")
        sl.probe("mine", {"gate": torch.tensor([[[0.05, 0.95], [0.5, 0.99]]])}, "gates")

    model = module("FeedForward", "sequence-to-vector (classes)")
    kept = monitored(model, batches("sequence-to-vector (classes)")[0], run=run)
    assert kept.numbers == pytest.approx(
        {
            "states/mine/norm": 1.0,
            "states/mine/saturated": 0.0,
            "gates/mine/gate/mean": 0.6225,
            "gates/mine/gate/saturated_low": 0.25,
            "gates/mine/gate/saturated_high": 0.5,
        }
    )
