"""The base module: its step, its statistics, its checkpoints and its answers."""

from __future__ import annotations

import inspect
import subprocess
import sys
from pathlib import Path
from typing import Unpack

import lightning as L
import pytest
import torch
from torch.nn import functional
from torch.utils.data import DataLoader

import seqlearn as sl
from seqlearn.batch import SequenceBatch, pad

SPEC = sl.SequenceSpec(sl.TextSpec(11, 6), sl.TextSpec(9, 6))
SIZES = {"d_model": 8, "num_layers": 1, "num_heads": 2, "dropout": 0.0}


def batch_of(*pairs: tuple[list[int], list[int]]) -> SequenceBatch:
    source, target = zip(*pairs, strict=True)
    return SequenceBatch(*pad(source), *pad([[2, *ids, 3] for ids in target]))


BATCHES = [
    batch_of(([4, 5], [6]), ([7], [4, 5, 6, 7])),
    batch_of(([4, 5, 9], [4, 4, 4, 4, 4, 4]), ([], [])),
    batch_of(([8], [5])),
]


def loader(batches: list[SequenceBatch]) -> DataLoader:
    return DataLoader(batches, batch_size=None)


def trainer(folder: Path, **options: object) -> L.Trainer:
    defaults = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    defaults |= {"accelerator": "cpu", "default_root_dir": folder, "enable_checkpointing": False}
    return L.Trainer(**(defaults | options))


ignore_workers = pytest.mark.filterwarnings(
    "ignore:.*does not have many workers",  # one process is enough for three batches
    "ignore:.*number of training batches",
    "ignore:.*no `val_dataloader`",
)


def test_loss_equals_torch() -> None:
    model = sl.Transformer(SPEC, **SIZES)
    for smoothing in (0.0, 0.1):
        measured = model.compute_loss(BATCHES[0], smoothing=smoothing)
        labels = BATCHES[0].target[:, 1:]
        peer = functional.cross_entropy(
            model(BATCHES[0]).transpose(1, 2),
            labels,
            ignore_index=0,
            reduction="sum",
            label_smoothing=smoothing,
        )
        torch.testing.assert_close(measured.loss, peer)
        assert measured.num_tokens == 7


def test_repeats_count_in_nothing() -> None:
    model = sl.Transformer(SPEC, **SIZES)
    batch = BATCHES[0]._replace(indices=torch.tensor([0, ~1]))
    alone = batch_of(([4, 5], [6]))
    torch.testing.assert_close(model.compute_loss(batch).loss, model.compute_loss(alone).loss)
    assert model.predict_step(batch, 0) == model.predict_step(alone, 0)


@ignore_workers
@pytest.mark.parametrize("accumulate", [1, 2, 3])
def test_batches_of_ones_own_loader_weigh_the_same(accumulate: int, tmp_path: Path) -> None:
    """Lightning's usual mean of means: three batches in groups of one, two and three."""
    seen: list[dict[str, torch.Tensor]] = []

    class Watch(L.Callback):
        def on_train_batch_end(
            self, trainer: L.Trainer, module: L.LightningModule, *_: object
        ) -> None:
            if trainer.global_step > len(seen):
                seen.append({name: p.grad.clone() for name, p in module.named_parameters()})

    torch.manual_seed(1)
    # A learning rate of nearly nothing, so that every group sees the same weights.
    model = sl.Transformer(SPEC, **SIZES, recipe=sl.Recipe(lr=1e-30, warmup_steps=0)).double()
    trainer(
        tmp_path,
        max_epochs=1,
        accumulate_grad_batches=accumulate,
        callbacks=[Watch()],
        precision="64-true",
    ).fit(model, loader(BATCHES))
    groups = [BATCHES[start : start + accumulate] for start in range(0, 3, accumulate)]
    for group, found in zip(groups, seen, strict=True):
        model.zero_grad()
        measured = [model.compute_loss(batch) for batch in group]
        (sum(m.loss / m.num_tokens for m in measured) / accumulate).backward()
        for name, parameter in model.named_parameters():
            torch.testing.assert_close(found[name], parameter.grad, atol=1e-12, rtol=1e-9)


@ignore_workers
def test_draws_follow_from_seed_and_batch_alone(tmp_path: Path) -> None:
    def losses(seed: int, noise: int) -> list[float]:
        torch.manual_seed(1)
        options = SIZES | {"dropout": 0.5}
        model = sl.Transformer(SPEC, **options, recipe=sl.Recipe(seed=seed))
        found: list[float] = []

        class Watch(L.Callback):
            def on_train_batch_end(
                self, trainer: object, module: object, outputs: dict, *_: object
            ) -> None:
                found.append(float(outputs["loss"]))
                torch.rand(noise)  # somebody else draws too

        trainer(tmp_path, max_epochs=2, callbacks=[Watch()]).fit(model, loader(BATCHES))
        return found

    assert losses(1, 0) == losses(1, 5)
    assert losses(1, 0) != losses(2, 0)


@ignore_workers
def test_overfits_and_validates(tmp_path: Path) -> None:
    torch.manual_seed(0)
    options = SIZES | {"d_model": 32, "num_heads": 4}
    model = sl.Transformer(SPEC, **options, recipe=sl.Recipe(lr=1e-2, warmup_steps=10))
    fitter = trainer(tmp_path, max_epochs=60, check_val_every_n_epoch=60)
    fitter.fit(model, loader(BATCHES), loader(BATCHES))
    figures = fitter.callback_metrics
    assert figures["val/exact_match"] == 1.0
    assert figures["val/token_accuracy"] == 1.0
    assert figures["val/perplexity"] == pytest.approx(float(figures["val/loss"].exp()))
    assert model.generate([[4, 5], [7], []]) == [[6], [4, 5, 6, 7], []]
    assert model.generate([[7], [4, 5]]) == [[4, 5, 6, 7], [6]]


@ignore_workers
def test_the_unused_half_has_no_gradients(tmp_path: Path) -> None:
    spec = sl.SequenceSpec(sl.TextSpec(11, 6), sl.ClassesSpec(("a", "b", "c")))
    model = sl.Transformer(spec, **SIZES)
    source, lengths = pad([[4, 5], []])
    batch = SequenceBatch(source, lengths, torch.tensor([2, 0]), None)
    fitter = trainer(tmp_path, max_epochs=1)
    fitter.fit(model, loader([batch]), loader([batch]))
    assert 0 <= fitter.callback_metrics["val/accuracy"] <= 1
    assert not any(p.requires_grad for p in model.decoder.parameters())
    assert model(batch).shape == (2, 3)
    model.compute_loss(batch).loss.backward()
    assert all(p.grad is not None for p in model.parameters() if p.requires_grad)
    assert all(label in "abc" for label in model.predict_step(batch, 0))


def test_a_vector_source_and_no_source() -> None:
    vector = sl.Transformer(sl.SequenceSpec(sl.VectorSpec(3), sl.TextSpec(9, 6)), **SIZES)
    assert len(vector.generate([[0.0, 1.0, 2.0], [1.0, 1.0, 1.0]], max_new_tokens=3)) == 2
    with pytest.raises(ValueError, match=r"source 1: expected 3 numbers, got \(2,\)"):
        vector.generate([[0.0, 1.0]])
    language = sl.Transformer(sl.SequenceSpec(None, sl.TextSpec(9, 6)), **SIZES)
    (text,) = language.generate(prompts=[[5, 6]], max_new_tokens=3)
    assert text[:2] == [5, 6]
    with pytest.raises(ValueError, match="this model has no source"):
        language.generate([[5]])


def test_generate_restores_every_mode_and_refuses_bad_input() -> None:
    model = sl.Transformer(SPEC, **SIZES).train()
    model.encoder.eval()
    modes = [part.training for part in model.modules()]
    model.generate([[4]], max_new_tokens=2)
    assert [part.training for part in model.modules()] == modes
    assert model.generate([]) == []
    with pytest.raises(TypeError, match=r"pass \['abc'\]"):
        model.generate("abc")
    with pytest.raises(ValueError, match="max_new_tokens of at least 1, or None, got 0"):
        model.generate([[4]], max_new_tokens=0)
    with pytest.raises(ValueError, match="expected 1 prompts"):
        model.generate([[4]], prompts=[[5], [6]])


def test_hyperparameters_are_plain_and_a_strange_one_is_refused() -> None:
    model = sl.Transformer(SPEC, **SIZES, recipe=sl.Recipe(lr=0.5))
    assert model.hparams["recipe"]["lr"] == 0.5
    assert model.hparams["norm"] == "post"
    assert "spec" not in model.hparams

    class Strange(sl.SequenceModule):
        def __init__(self, spec: sl.SequenceSpec, width: object) -> None:
            super().__init__(spec, d_model=8)

    with pytest.raises(TypeError, match="hyper-parameter width: expected plain data"):
        Strange(SPEC, object())


def test_arguments_are_kept_however_a_subclass_calls_its_parent() -> None:
    class Child(sl.Transformer):
        def __init__(
            self, spec: sl.SequenceSpec, width: int = 8, **base: Unpack[sl.BaseOptions]
        ) -> None:
            sl.Transformer.__init__(self, spec, d_model=width, num_heads=2, num_layers=1, **base)

    for child in (Child(SPEC, 4, recipe=sl.Recipe(lr=0.25)), Child(SPEC, recipe=None, width=4)):
        assert dict(child.hparams).keys() == {"width", "recipe", "generation"}
        assert child.hparams["width"] == child.d_model == 4
        assert child.hparams["recipe"]["lr"] == child.recipe.lr in (0.25, 1e-3)

    class Grandchild(Child):
        """Whose constructor is its parent's."""

    grandchild = Grandchild(SPEC, recipe=sl.Recipe(lr=0.5))
    assert grandchild.recipe.lr == 0.5
    assert grandchild.hparams["recipe"]["lr"] == 0.5
    assert grandchild.hparams["width"] == 8

    class Outer(Grandchild):
        """Whose own arguments are kept, not those that it passes on."""

        def __init__(self, spec: sl.SequenceSpec, *, half: int, **base: Unpack[sl.BaseOptions]):
            super().__init__(spec, 2 * half, **base)

    outer = Outer(SPEC, half=2, tie_embeddings=True)
    assert dict(outer.hparams).keys() == {"half", "tie_embeddings", "recipe", "generation"}
    assert outer.d_model == 4

    class Handing(Child):
        def __init__(self, spec: sl.SequenceSpec, recipe: sl.Recipe | None = None) -> None:
            super().__init__(spec, 4, recipe=recipe or sl.Recipe(lr=0.125))

    assert Handing(SPEC).recipe.lr == 0.125
    assert Handing(SPEC, recipe=sl.Recipe(lr=2.0)).recipe.lr == 2.0


def save(model: sl.SequenceModule, folder: Path) -> Path:
    fitter = trainer(folder)
    fitter.strategy.connect(model)
    path = folder / "model.ckpt"
    fitter.save_checkpoint(path)
    return path


def test_checkpoint_loads_alone_and_gives_the_same(tmp_path: Path) -> None:
    model = sl.Transformer(SPEC, **SIZES, norm="pre", tie_embeddings=True).eval()
    path = save(model, tmp_path)
    loaded = sl.Transformer.load_from_checkpoint(path).eval()
    assert loaded.spec == model.spec
    assert loaded.hparams == model.hparams
    torch.testing.assert_close(loaded(BATCHES[0]), model(BATCHES[0]), atol=0, rtol=0)
    assert loaded.head.weight is loaded.target_embedding.weight


def test_checkpoint_loads_in_a_new_process(tmp_path: Path) -> None:
    model = sl.Transformer(SPEC, **SIZES)
    path = save(model, tmp_path)
    code = (
        "import sys, seqlearn as sl\n"
        "model = sl.Transformer.load_from_checkpoint(sys.argv[1])\n"
        "print(model.generate([[4, 5]], max_new_tokens=4))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, path], capture_output=True, encoding="utf-8", check=True
    )
    assert done.stdout.strip() == str(model.generate([[4, 5]], max_new_tokens=4))


def test_bad_checkpoints(tmp_path: Path) -> None:
    path = save(sl.Transformer(SPEC, **SIZES), tmp_path)
    with pytest.raises(
        ValueError, match=r"expected a checkpoint of .*GRU, got one of .*Transformer"
    ):
        sl.GRU.load_from_checkpoint(path)
    with pytest.raises(ValueError, match=r"got one of seqlearn\.models\.transformer\.Transformer"):
        sl.SequenceModule.load_from_checkpoint(path)
    with pytest.raises(FileNotFoundError, match="no such checkpoint"):
        sl.Transformer.load_from_checkpoint(tmp_path / "none.ckpt")
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match="it is damaged"):
        sl.Transformer.load_from_checkpoint(path)
    torch.save({"state_dict": {}}, path)
    with pytest.raises(ValueError, match="without the key 'seqlearn'"):
        sl.Transformer.load_from_checkpoint(path)


def test_keys_that_a_command_line_adds_are_dropped(tmp_path: Path) -> None:
    path = save(sl.Transformer(SPEC, **SIZES), tmp_path)
    checkpoint = torch.load(path)
    checkpoint["hyper_parameters"] |= {"_class_path": "os.system", "_instantiator": "os.system"}
    torch.save(checkpoint, path)
    assert "_class_path" not in sl.Transformer.load_from_checkpoint(path).hparams


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lr": 0.0}, "above 0"),
        ({"warmup_steps": -1}, "0 or more"),
        ({"label_smoothing": 1.0}, "below 1"),
        ({"seed": -1}, "0 or more"),
        ({"beta2": 1.0}, "below 1"),
        ({"lr": float("nan")}, "above 0"),
    ],
)
def test_bad_recipes(options: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        sl.Recipe(**options)


def test_schedules() -> None:
    recipe = sl.Recipe(warmup_steps=10)
    assert [recipe.factor(step, 100) for step in (0, 9)] == [0.1, 1.0]
    assert recipe.factor(39, 100) == pytest.approx(0.5)
    cosine = sl.Recipe(warmup_steps=10, schedule="cosine")
    assert cosine.factor(10, 110) == 1.0
    assert cosine.factor(60, 110) == pytest.approx(0.5)
    assert cosine.factor(110, 110) == pytest.approx(0.0)
    assert sl.Recipe(warmup_steps=0, schedule="constant").factor(7, 1) == 1.0


@ignore_workers
def test_a_cosine_without_an_end_is_refused(tmp_path: Path) -> None:
    model = sl.Transformer(SPEC, **SIZES, recipe=sl.Recipe(schedule="cosine"))
    with pytest.raises(ValueError, match="needs a run with a last step"):
        trainer(tmp_path, max_epochs=-1).fit(model, loader(BATCHES))


@ignore_workers
def test_a_checkpoint_of_other_data_is_refused_by_the_trainer(tmp_path: Path) -> None:
    path = save(sl.Transformer(SPEC, **SIZES), tmp_path)
    other = sl.SequenceSpec(sl.TextSpec(12, 6), sl.TextSpec(9, 6))
    with pytest.raises(ValueError, match="trained on other data: source: vocab_size 12 against 11"):
        trainer(tmp_path).validate(sl.Transformer(other, **SIZES), loader(BATCHES), ckpt_path=path)


@ignore_workers
def test_a_training_step_of_ones_own_keeps_its_gradients(tmp_path: Path) -> None:
    norms: list[tuple[float, float]] = []

    class Own(sl.Transformer):
        def training_step(self, batch: SequenceBatch, batch_idx: int) -> torch.Tensor:
            measured = self.compute_loss(batch)
            return measured.loss / measured.num_tokens

        def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
            before = float(self.head.weight.grad.norm())
            super().on_before_optimizer_step(optimizer)
            norms.append((before, float(self.head.weight.grad.norm())))

    trainer(tmp_path, max_epochs=1).fit(Own(SPEC, **SIZES), loader(BATCHES))
    assert norms
    assert all(before == after for before, after in norms)


def test_only_the_spec_may_come_without_a_name_through_star_args(tmp_path: Path) -> None:
    class Star(sl.Transformer):
        def __init__(self, *args: object, **kwargs: object) -> None:
            super().__init__(*args, **kwargs)

    model = Star(SPEC, **SIZES)
    assert Star.load_from_checkpoint(save(model, tmp_path)).hparams == model.hparams
    with pytest.raises(TypeError, match="pass everything but the spec by name"):
        Star(SPEC, 1)


def test_a_recipe_that_the_class_decides(tmp_path: Path) -> None:
    class Fixed(sl.Transformer):
        def __init__(self, spec: sl.SequenceSpec) -> None:
            super().__init__(spec, **SIZES, recipe=sl.Recipe(lr=1.0))

    assert Fixed.load_from_checkpoint(save(Fixed(SPEC), tmp_path)).recipe.lr == 1.0
    with pytest.raises(TypeError, match="Fixed: got an unexpected keyword argument 'recipe'"):
        Fixed(SPEC, recipe=sl.Recipe(lr=0.5))


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("lr", r"pass recipe=sl\.Recipe\(lr=…\); "),
        ("batch_size", "pass batch_tokens=… to the data module; "),
    ],
)
def test_an_argument_of_another_object_is_named_with_it(name: str, advice: str) -> None:
    with pytest.raises(TypeError, match=f"LSTM: got an unexpected .* '{name}'; {advice}LSTM takes"):
        sl.LSTM(SPEC, **{name: 1})


def test_an_unknown_argument_is_refused_by_the_class_that_is_built() -> None:
    said = r"GRU: .* argument 'd_modle'; .*dropout, recipe, generation, tie_embeddings"
    with pytest.raises(TypeError, match=said):
        sl.GRU(SPEC, d_modle=4)


def test_the_signature_is_that_of_the_constructor() -> None:
    assert [*inspect.signature(sl.RNN).parameters][:3] == ["spec", "d_model", "num_layers"]

    class Own(sl.RNN):
        def __init__(self, spec: sl.SequenceSpec, **base: Unpack[sl.BaseOptions]) -> None:
            super().__init__(spec, **base)

        written = __init__

    assert Own.__init__ is Own.written


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"d_model": 0}, "d_model of at least 1"),
        ({"d_feedforward": 0}, "d_feedforward of at least 1"),
        ({"num_layers": 0}, "expected num_layers of at least 1, got 0"),
        ({"num_heads": 3}, "divides d_model=8"),
    ],
)
def test_bad_sizes(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        sl.Transformer(SPEC, **(SIZES | options))


def test_a_language_model_leaves_no_rank_waiting() -> None:
    model = sl.Transformer(sl.SequenceSpec(None, sl.TextSpec(9, 6)), **SIZES)
    batch = BATCHES[0]._replace(source=None, source_lengths=None)
    model.trainer = L.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False)
    model.setup("fit")
    model.compute_loss(batch).loss.backward()
    assert all((p.grad is not None) == p.requires_grad for p in model.parameters())


def test_fit_after_validate_and_test(tmp_path):
    data = sl.data.Synthetic("copy", 3, train_examples=50, held_out_examples=10)
    model = sl.GRU(data.spec, d_model=8)
    trainer = L.Trainer(
        max_epochs=1,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    (before,) = trainer.validate(model, data, verbose=False)
    trainer.test(model, data, verbose=False)
    trainer.fit(model, data)
    trainer.test(model, data, verbose=False)
    assert trainer.validate(model, data, verbose=False)[0]["val/loss"] != before["val/loss"]
