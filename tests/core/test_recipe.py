"""The recipe: its defaults train, its schedule, and an optimizer of one's own."""

from __future__ import annotations

import random
import warnings
from itertools import pairwise
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import seqlearn as sl
from seqlearn.core.optimizer import make_adamw, parameter_groups

# The resumed run writes no checkpoints, which Lightning remarks on.
pytestmark = pytest.mark.filterwarnings("ignore:Be aware that when using `ckpt_path`")

WORDS = ["ab", "cd", "ef", "gh", "ij", "kl", "mn", "op"]


def pairs(count: int) -> list[dict[str, str]]:
    """Sentences of two to five words; the target has other words in another order."""
    draw = random.Random(0)
    sentences = [[draw.choice(WORDS) for _ in range(draw.randint(2, 5))] for _ in range(count)]
    return [
        {"source": " ".join(words), "target": " ".join(word[::-1] for word in words[::-1])}
        for words in sentences
    ]


def data_of(count: int, **options: Any) -> sl.data.TextPairs:
    text = sl.data.Text("word")
    rows = pairs(count)
    return sl.data.TextPairs(
        rows, rows[:4], None, text, text, columns=("source", "target"), **options
    )


def model_of(data: sl.data.TextPairs, **options: Any) -> sl.GRU:
    torch.manual_seed(0)
    return sl.GRU(data.spec, d_model=4, **options)


def trainer_of(folder: Path, **options: Any) -> L.Trainer:
    defaults = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    defaults |= {"accelerator": "cpu", "default_root_dir": folder, "enable_checkpointing": False}
    return L.Trainer(**(defaults | options))


class Rates(L.Callback):
    """Keeps the learning rate of every step."""

    def __init__(self) -> None:
        self.seen: list[float] = []
        self.at_step: dict[int, float] = {}

    def on_train_batch_start(self, trainer: L.Trainer, *args: object) -> None:
        self.seen.append(trainer.optimizers[0].param_groups[0]["lr"])
        self.at_step[trainer.global_step] = self.seen[-1]


# The defaults


def test_all_defaults_learn_240_pairs(tmp_path: Path) -> None:
    """One step an epoch and a warm-up of 400 steps get a fifth of the tokens right."""
    data = data_of(240)
    torch.manual_seed(0)
    model = sl.Transformer(data.spec, d_model=32, num_layers=1)
    trainer = trainer_of(tmp_path, max_epochs=30, limit_val_batches=0)
    trainer.fit(model, data)
    assert trainer.global_step == 30 * 11
    model.eval()
    with torch.no_grad():
        measured = [model.compute_loss(batch) for batch in data.train_dataloader()]
    accuracy = torch.cat([one.correct for one in measured]).float().mean()
    assert accuracy > 0.5, accuracy


# The schedule

RECIPES = st.builds(
    sl.Recipe,
    warmup_steps=st.none() | st.integers(0, 500),
    schedule=st.sampled_from(["inverse_sqrt", "cosine", "constant"]),
)


@given(recipe=RECIPES, total=st.integers(1, 20_000))
def test_the_rate_rises_to_the_highest_and_never_again(recipe: sl.Recipe, total: int) -> None:
    warmup = recipe.warmup(total)
    factors = [recipe.factor(step, total) for step in range(min(total, 1000))]
    assert all(0 <= factor <= 1 for factor in factors)
    assert all(a < b for a, b in pairwise(factors[:warmup]))
    assert all(a >= b for a, b in pairwise(factors[warmup:]))
    if 0 < warmup <= len(factors):
        assert factors[warmup - 1] == 1


@given(total=st.integers(1, 10**7), schedule=st.sampled_from(["inverse_sqrt", "cosine"]))
def test_the_default_warm_up_is_a_small_part_of_any_run(total: int, schedule: Any) -> None:
    warmup = sl.Recipe(schedule=schedule).warmup(total)
    assert 1 <= warmup <= max(1, min(400, total / 10))
    assert warmup >= min(400, total // 10)


def test_the_default_warm_up_of_a_run_of_unknown_length() -> None:
    assert sl.Recipe().warmup(float("inf")) == 400
    assert sl.Recipe(warmup_steps=7).warmup(float("inf")) == 7


@pytest.mark.parametrize(
    ("options", "steps", "first"),
    [
        ({"max_epochs": 5}, 20, 1 / 2),
        ({"max_epochs": 5, "accumulate_grad_batches": 4}, 5, 1),
        ({"max_epochs": -1, "max_steps": 30}, 30, 1 / 3),
        ({"max_epochs": 5, "max_steps": 10}, 10, 1),
    ],
)
def test_a_run_of_known_length_warms_up_in_a_tenth_of_it(
    options: dict[str, Any], steps: int, first: float, tmp_path: Path
) -> None:
    data = data_of(60, batch_tokens=120)
    assert len(data.train_dataloader()) == 4
    rates = Rates()
    trainer = trainer_of(tmp_path, callbacks=[rates], **options)
    trainer.fit(model_of(data), data)
    assert trainer.global_step == steps
    assert rates.seen[0] == pytest.approx(1e-3 * first)
    assert max(rates.seen) == 1e-3


@pytest.mark.parametrize(("most", "steps"), [(-1, 8), (6, 6)])
def test_a_schedule_of_accumulation_counts_in_the_length_of_a_run(
    most: int, steps: int, tmp_path: Path
) -> None:
    def rates_of(*callbacks: L.Callback, **options: Any) -> dict[int, float]:
        rates = Rates()
        trainer = trainer_of(tmp_path, callbacks=[rates, *callbacks], **options)
        recipe = sl.Recipe(schedule="cosine", warmup_steps=1)
        trainer.fit(model_of(data, recipe=recipe), data)
        assert trainer.global_step == steps
        return rates.at_step

    data = data_of(60, batch_tokens=120)  # 4 batches: 4, 2 and 2 steps
    schedule = L.pytorch.callbacks.GradientAccumulationScheduler({0: 1, 1: 2})
    expected = rates_of(max_epochs=-1, max_steps=steps)
    assert rates_of(schedule, max_epochs=3, max_steps=most) == expected
    assert len(expected) == steps


def test_a_run_without_an_end_warms_up_in_400_steps(tmp_path: Path) -> None:
    class Stop(L.Callback):
        def on_train_batch_end(self, trainer: L.Trainer, *args: object) -> None:
            trainer.should_stop = trainer.global_step >= 3

    data, rates = data_of(60, batch_tokens=120), Rates()
    trainer_of(tmp_path, max_epochs=-1, callbacks=[rates, Stop()]).fit(model_of(data), data)
    assert rates.seen[:3] == pytest.approx([1e-3 * step / 400 for step in (1, 2, 3)])


def test_a_resumed_run_of_more_epochs_keeps_its_warm_up(tmp_path: Path) -> None:
    data = data_of(60, batch_tokens=60)
    first = trainer_of(tmp_path, max_epochs=5)
    first.fit(model_of(data), data)
    first.save_checkpoint(tmp_path / "five.ckpt")
    steps = first.global_step
    rates = Rates()
    resumed = trainer_of(tmp_path, max_epochs=10, callbacks=[rates])
    resumed.fit(model_of(data), data, ckpt_path=tmp_path / "five.ckpt")
    assert len(rates.seen) == steps
    recipe = sl.Recipe()
    whole = [1e-3 * recipe.factor(step, steps) for step in range(2 * steps)]
    assert rates.seen == pytest.approx(whole[steps:])


def test_an_explicit_warm_up_applies_to_a_resumed_run_too(tmp_path: Path) -> None:
    data = data_of(60, batch_tokens=60)
    first = trainer_of(tmp_path, max_epochs=1)
    first.fit(model_of(data), data)
    first.save_checkpoint(tmp_path / "one.ckpt")
    rates, recipe = Rates(), sl.Recipe(warmup_steps=first.global_step + 2)
    resumed = trainer_of(tmp_path, max_epochs=2, callbacks=[rates])
    resumed.fit(model_of(data, recipe=recipe), data, ckpt_path=tmp_path / "one.ckpt")
    assert rates.seen[1] == pytest.approx(1e-3)


# A run that is nothing but warm-up


def test_a_run_shorter_than_its_warm_up_warns_once(tmp_path: Path) -> None:
    data = data_of(60, batch_tokens=120)
    model = model_of(data, recipe=sl.Recipe(warmup_steps=16))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        trainer_of(tmp_path, max_epochs=2).fit(model, data)
    texts = [str(one.message) for one in caught if "warm-up" in str(one.message)]
    assert len(texts) == 1
    assert "the run has 8 optimizer steps, all of them warm-up (warmup_steps=16)" in texts[0]
    assert "ends at 50% of lr=0.001" in texts[0]
    assert "set warmup_steps below 8" in texts[0]


@pytest.mark.parametrize(
    "options", [{"max_epochs": 5}, {"max_epochs": 2, "fast_dev_run": True}], ids=str
)
def test_other_runs_do_not_warn(options: dict[str, Any], tmp_path: Path) -> None:
    data = data_of(60, batch_tokens=120)
    trainer_of(tmp_path, **options).fit(model_of(data, recipe=sl.Recipe(warmup_steps=16)), data)


# An optimizer of one's own


class Momentum(sl.GRU):
    def make_optimizer(self, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
        return torch.optim.SGD(groups, lr=0.5, momentum=0.9)


def test_an_optimizer_of_ones_own_keeps_schedule_and_weight_decay(tmp_path: Path) -> None:
    data, rates = data_of(60, batch_tokens=120), Rates()
    recipe = sl.Recipe(warmup_steps=4, schedule="cosine", weight_decay=0.25)
    model = Momentum(data.spec, d_model=4, recipe=recipe)
    trainer = trainer_of(tmp_path, max_epochs=2, callbacks=[rates])
    trainer.fit(model, data)
    (optimizer,) = trainer.optimizers
    assert isinstance(optimizer, torch.optim.SGD)
    assert rates.seen == pytest.approx([0.5 * recipe.factor(step, 8) for step in range(8)])
    decays = {
        id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]
    }
    assert decays[id(model.head.weight)] == 0.25
    assert decays[id(model.head.bias)] == decays[id(model.source_embedding.weight)] == 0.0


def test_something_else_than_an_optimizer_is_an_error(tmp_path: Path) -> None:
    class Both(sl.GRU):
        def make_optimizer(self, groups: list[dict[str, Any]]) -> Any:
            return [torch.optim.SGD(groups, lr=0.5)]

    data = data_of(60, batch_tokens=120)
    with pytest.raises(TypeError, match=r"make_optimizer to return a torch\.optim\.Optimizer, got"):
        trainer_of(tmp_path, max_epochs=1).fit(Both(data.spec, d_model=4), data)


def test_optimizers_are_made_without_a_trainer_too() -> None:
    data = data_of(60)
    made = model_of(data).configure_optimizers()
    assert made["optimizer"].param_groups[0]["lr"] == pytest.approx(1e-3 / 400)


def test_a_class_has_a_default_recipe_of_its_own() -> None:
    spec = sl.SequenceSpec(sl.TextSpec(9, 4), sl.TextSpec(9, 4))
    assert sl.FeedForward(spec, d_model=4).recipe == sl.Recipe(lr=2e-3)
    assert sl.AttentionSeq2Seq(spec, d_model=4).recipe == sl.Recipe(lr=2e-3)
    assert sl.GRU(spec, d_model=4).recipe == sl.Recipe()
    given = sl.FeedForward(spec, d_model=4, recipe=sl.Recipe(label_smoothing=0.1))
    assert given.recipe.lr == 1e-3, "a recipe that is given replaces the default one whole"


def test_learned_positions_are_not_decayed_and_later_groups_follow_the_recipe() -> None:
    side = sl.TextSpec(9, 4)
    for decay in (0.0, 0.1):
        recipe = sl.Recipe(weight_decay=decay)
        model = sl.Transformer(
            sl.SequenceSpec(side, side), d_model=8, num_heads=2, positions="learned", recipe=recipe
        )
        groups = parameter_groups(model, recipe)
        kept = {id(each) for each in groups[1]["params"]}
        assert {id(half.positions.weight) for half in (model.encoder, model.decoder)} <= kept
        optimizer = make_adamw(groups, recipe)
        optimizer.add_param_group({"params": [torch.nn.Parameter(torch.ones(2, 2))]})
        assert optimizer.param_groups[-1]["weight_decay"] == decay  # that of AdamW is 0.01
