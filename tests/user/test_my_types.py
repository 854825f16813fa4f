"""Types that files outside the package define satisfy the laws, and are trained and loaded."""

from __future__ import annotations

from pathlib import Path

import lightning as L
import pytest
import torch
from checklist import ChecklistSpec
from hypothesis import find, given
from hypothesis import strategies as st
from route import Directions, RouteSpec
from series import SeriesSpec

import seqlearn as sl
from seqlearn.spec import SequenceSpec
from seqlearn.testing import LAWS, LawsViolated, batch_of, check_module, module_checks, strategies

SERIES, ROUTE, CHECKLIST = SeriesSpec(2, 8), RouteSpec(8), ChecklistSpec(("a", "b", "c"))
TYPES = {
    "series to route": SequenceSpec(SERIES, ROUTE),
    "series to checklist": SequenceSpec(SERIES, CHECKLIST),
    "checklist to route": SequenceSpec(CHECKLIST, ROUTE),
    "routes": SequenceSpec(None, ROUTE),
}
"""A source type, a target type and a generated type of a user, in every task."""


def GRU(spec: SequenceSpec) -> sl.GRU:  # noqa: N802
    return sl.GRU(spec, d_model=8)


def Transformer(spec: SequenceSpec) -> sl.Transformer:  # noqa: N802
    return sl.Transformer(spec, d_model=8, num_layers=1, num_heads=2)


FAST = [law.name for law in LAWS if law.name != "compiled" and not law.slow]


@module_checks([Transformer], laws=FAST, tasks=TYPES, examples=4)
def test_each_law_holds(check) -> None:
    check()


@pytest.mark.slow
@module_checks(
    [GRU, Transformer], laws=[law for law in LAWS if law.name != "compiled"], tasks=TYPES
)
def test_each_law_holds_on_many_cases(check) -> None:
    check()


def test_the_report_names_the_types_of_the_user() -> None:
    report = check_module(GRU, laws=["shapes"], examples=4, tasks=TYPES)
    assert report.serves == list(TYPES)
    assert report.held == ["shapes"]


def test_a_law_finds_a_type_that_is_wrong() -> None:
    class Miscounts(RouteSpec):
        kind = "miscounted route"

        def count_items(self, lengths):
            return lengths  # the start symbol too

    class ReadsPadding(SeriesSpec):
        kind = "series without a mask"

        def embed(self, layer, source, lengths):
            inputs, mask, empty = super().embed(layer, source, lengths)
            return inputs, torch.ones_like(mask), empty

    tasks = {"wrong": SequenceSpec(ReadsPadding(2, 8), Miscounts(8))}
    laws = ["padding", "loss additivity", "shapes"]

    def small(spec: SequenceSpec) -> sl.RNN:
        return sl.RNN(spec, d_model=2, num_layers=1, bidirectional=False)

    with pytest.raises(LawsViolated) as error:
        check_module(small, laws=laws, tasks=tasks, examples=5)
    report = error.value.report
    assert report.violated == ["padding", "loss additivity"]
    assert "tasks=tasks)" in report.repeat
    case = report.outcomes["loss additivity"].counterexample
    assert case is not None
    assert "count_items of the target counts" in case.found
    module, batch = case.build(small)
    assert module.spec == tasks["wrong"]
    assert batch is not None


@given(
    strategies.specs(
        TYPES,
        sides={
            SeriesSpec: st.builds(SeriesSpec, st.integers(1, 3), st.just(8)),
            RouteSpec: st.builds(RouteSpec, st.just(8)),
            ChecklistSpec: st.just(CHECKLIST),
        },
    ),
    st.data(),
)
def test_strategies_draw_examples_of_the_types(spec, data) -> None:
    drawn = data.draw(strategies.examples(spec, max_size=3))
    batch = batch_of(spec, drawn)
    assert batch.size == len(drawn)
    if isinstance(spec.source, SeriesSpec):
        assert batch.source_lengths.tolist() == [len(source) for source, _ in drawn]


def test_a_type_without_a_strategy_is_named() -> None:
    with pytest.raises(ValueError, match=r"expected a strategy for \w+Spec; pass sides="):
        find(strategies.specs(TYPES), lambda _: True)


@pytest.mark.usefixtures("unchecked")
def test_tasks_are_specs_by_name() -> None:
    with pytest.raises(TypeError, match="expected tasks as specs by name"):
        check_module(GRU, tasks=[TYPES["routes"]])


@pytest.mark.filterwarnings("ignore:.*does not have many workers")
def test_a_generated_type_is_trained_generated_and_loaded(tmp_path: Path) -> None:
    torch.manual_seed(0)
    data = Directions()
    assert data.spec.target == RouteSpec(2)
    recipe = sl.Recipe(lr=0.03, warmup_steps=0)
    model = sl.GRU(data.spec, d_model=16, dropout=0.0, recipe=recipe)
    trainer = L.Trainer(
        max_epochs=100,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=tmp_path,
        limit_val_batches=0,
        log_every_n_steps=1,
    )
    trainer.fit(model, data)
    (figures,) = trainer.test(model, data, verbose=False)
    places = [(1, 1), (-1, 0), (0, 0)]
    routes = [("right", "up"), ("left",), ()]
    assert figures["test/exact_match"] == 1.0
    trainer.save_checkpoint(tmp_path / "last.ckpt")
    loaded = sl.GRU.load_from_checkpoint(tmp_path / "last.ckpt")
    assert loaded.generate(places) == loaded.predict(places) == routes
    texts, scores = loaded.generate(places, strategy="beam", return_scores=True)
    assert texts == routes
    torch.testing.assert_close(loaded.score(places, routes), scores)
    assert loaded.generate([(1, 1)], prompts=[("down",)])[0][0] == "down"
    predicted = trainer.predict(model, data.test_dataloader()) or []
    expected = sorted(route for _, route in data.examples("test"))
    assert sorted(route for batch in predicted for route in batch) == expected
    with sl.record(loaded, what=["states"]) as recording:
        loaded.generate(places)
    assert recording.tokens[0].decoder_output == ["right", "up", "]"]


def test_a_recording_of_a_series_names_its_steps() -> None:
    model = sl.Transformer(TYPES["series to route"], d_model=8, num_layers=1, num_heads=2).eval()
    batch = batch_of(model.spec, [([[0.5, 1]] * 3, [4, 5]), ([[1, 1]], [6])])
    with sl.record(model) as recording:
        model(batch)
    assert [tokens.source for tokens in recording.tokens] == [["1", "2", "3"], ["1"]]
    weights = recording.attention["encoder.layers.0.self_attention"]
    assert weights.shape == (2, 2, 3, 3)
    assert recording.axes["encoder.layers.0.self_attention"] == ("source", "source")
