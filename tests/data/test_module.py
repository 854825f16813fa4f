from __future__ import annotations

import copy
import itertools
import pickle
from collections.abc import Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import Callback, ModelCheckpoint

from seqlearn.batch import SequenceBatch
from seqlearn.data import Classes, SequenceDataModule, Text, TextPairs, Vector
from seqlearn.spec import ClassesSpec, TextSpec, VectorSpec

Splits = dict[str, list[tuple[Any, Any]]]


class Given(SequenceDataModule):
    """Examples as a test gives them."""

    def __init__(
        self,
        source: Text | Vector | None,
        target: Text | Classes | Vector,
        splits: Splits,
        **common: int,
    ) -> None:
        super().__init__(source, target, **common)
        self.splits = splits
        self.asked: list[str] = []

    def examples(self, split: str) -> Iterable[tuple[Any, Any]]:
        self.asked.append(split)
        return self.splits.get(split, [])


class Squares(SequenceDataModule):
    """Numbers, some repeated, and their squares."""

    def __init__(self, **common: int) -> None:
        super().__init__(Text(), Text(), **{"batch_tokens": 200, **common})

    def examples(self, split: str) -> list[tuple[str, str]]:
        numbers = {"train": range(90), "val": range(90, 95), "test": range(40, 80)}[split]
        return [(str(n) * (1 + n % 7), str(n * n)) for n in numbers]


PAIRS: Splits = {
    "train": [("ab", "x"), ("", "yxx"), ("b", "")],
    "val": [("a", "y")],
    "test": [("bba", "xxyy"), ("a", "x")],
}


def flat(lists: Iterable[list[int]]) -> list[int]:
    return list(itertools.chain.from_iterable(lists))


def rows(loader: Any) -> list[list[int]]:
    return [batch.indices.tolist() for batch in loader]


def test_two_texts() -> None:
    data = Given(Text(), Text(), PAIRS)
    assert data.spec.task == "sequence-to-sequence"
    source, target = data.spec.source, data.spec.target
    assert isinstance(source, TextSpec)
    assert isinstance(target, TextSpec)
    assert (source.vocab_size, source.max_length) == (6, 3)
    assert (target.vocab_size, target.max_length) == (6, 4)
    assert not data.spec.joint_vocabulary
    batch = data.dataset("test")[[0, 1]]
    assert source.decode(batch.source.tolist()) == ["bba", "a"]
    assert target.decode(batch.target.tolist()) == ["xxyy", "x"]
    assert batch.references == ("xxyy", "x")
    assert data.dataset("val")[[0]].references == ("y",)
    assert data.dataset("train")[[0]].references is None


def test_one_instance_is_one_vocabulary_also_in_a_copy() -> None:
    both = Text()
    for data in (Given(both, both, PAIRS), copy.deepcopy(Given(both, both, PAIRS))):
        assert data.spec.joint_vocabulary
        assert data.spec.source.vocab_size == data.spec.target.vocab_size == 8
        assert data.spec.source.max_length == 3
        assert data.spec.target.max_length == 4


def test_text_to_classes_and_vectors_to_text_and_nothing_to_text() -> None:
    data = Given(Text(), Classes(), {"train": [("a", "en"), ("b", "de"), ("a", "en")]})
    assert data.spec.target == ClassesSpec(("de", "en"))
    assert data.dataset("train")[[0, 1]].target.tolist() == [1, 0]
    data = Given(Vector(2), Text(), {"train": [([1, 2], "a"), ([3, 4], "b")]})
    assert data.spec.source == VectorSpec(2)
    assert data.dataset("train")[[1]].source.tolist() == [[3, 4]]
    data = Given(None, Text(), {"train": [(None, "ab"), (None, "b")]})
    assert data.spec.source is None
    assert [batch.source for batch in data.train_dataloader()] == [None]
    data = Given(Text(), Vector(1), {"train": [("a", [0.5])]})
    assert data.dataset("train")[[0]].target.tolist() == [[0.5]]


def test_the_tokenizer_sees_the_training_split_alone() -> None:
    data = Given(
        Text(), Text(), {"train": [("ab", "x")], "val": [("abcc", "xz")], "test": [("d", "x")]}
    )
    with pytest.warns(UserWarning, match="occur in the training") as caught:
        spec = data.spec
    unseen = "has tokens that do not occur in the training split"
    encoded = "they are encoded as unknown, an id that does not occur in training; the first are"
    first = "val example 1: 'c' at character 3; test example 1: 'd' at character 1"
    assert [str(one.message) for one in caught] == [
        f"the source {unseen} (2 in val, 1 in test); {encoded} {first}",
        f"the target {unseen} (1 in val); {encoded} val example 1: 'z' at character 2",
    ]
    assert spec.source.vocab_size == 6
    assert not spec.source.unk_in_training
    assert data.dataset("val")[[0]].source.tolist() == [[4, 5, 1, 1]]


def test_unknown_tokens_in_training_are_noted_and_then_no_surprise() -> None:
    data = Given(Text(vocab_size=5), Text(), {"train": [("aab", "x")], "val": [("c", "x")]})
    assert data.spec.source.unk_in_training
    assert not data.spec.target.unk_in_training


def test_preparing_costs_once() -> None:
    splits = {"train": [("costs once", "x")]}
    first = Given(Text(), Text(), splits)
    assert first.spec == first.spec
    asked = len(first.asked)
    first.prepare_data()
    first.setup("fit")
    assert len(first.asked) == asked
    second = Given(Text(), Text(), splits)
    assert second.spec == first.spec
    assert second.asked == ["train", "val", "test"]  # for the fingerprint alone


def test_what_decides_the_content_decides_the_key() -> None:
    both = Text()
    variants = [
        Given(Text(), Text(), PAIRS),
        Given(both, both, PAIRS),
        Given(Text(lowercase=True), Text(), PAIRS),
        Given(Text(), Text(), {**PAIRS, "val": [("a", "x")]}),
        Given(Text(), Text(), {**PAIRS, "val": PAIRS["test"], "test": PAIRS["val"]}),
    ]
    folders = {data.dataset("train").folder for data in variants}
    assert len(folders) == len(variants)
    assert Given(Text(), Text(), PAIRS, seed=3, batch_tokens=99).dataset("val").folder in folders


def test_every_process_can_have_its_own_copy() -> None:
    data = Squares(num_workers=0)
    assert data.spec
    copied = pickle.loads(pickle.dumps(data))
    assert copied.spec == data.spec
    assert rows(copied.train_dataloader()) == rows(data.train_dataloader())


@pytest.mark.parametrize(
    ("source", "target", "splits", "message"),
    [
        (Text(), Text(), {}, "Given has no training examples"),
        (
            Text(),
            Text(),
            {"train": [("a", "b"), ("a", 3)]},
            "train example 2: target: .* got int '3'",
        ),
        (
            Text(),
            Text(),
            {"train": [("a", "b")], "val": [(None, "b")]},
            "val example 1: source: expected",
        ),
        (None, Text(), {"train": [("a", "b")]}, "train example 1: source: expected None"),
        (
            Vector(1),
            Text(),
            {"train": [([1], "b"), ([float("nan")], "b")]},
            "train example 2: .*nan",
        ),
        (Vector(1), Text(), {"train": [([1, 2], "b")]}, r"train example 1: source: .*\(2,\)"),
        (
            Text(),
            Classes(),
            {"train": [("a", "x"), ("a", "y")], "test": [("a", "z")]},
            "test example 1: .*'z'",
        ),
        (Text(), Classes(), {"train": [("a", "x")]}, "two or more distinct labels"),
        (
            Text("word", vocab_size=99),
            Text(),
            {"train": [("a b", "b")]},
            "source: .* no more than 6 tokens",
        ),
        (
            Text(),
            Text("bpe", vocab_size=999),
            {"train": [("a", "b")]},
            "target: .* no more than 26. tokens",
        ),
    ],
)
def test_bad_data_is_named(source: Any, target: Any, splits: Splits, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        Given(source, target, splits).setup("fit")
    assert "\n" not in str(caught.value)


def test_an_example_over_the_budget_is_named() -> None:
    data = Given(Text(), Text(), {"train": [("a", "b"), ("a" * 9, "b")]}, batch_tokens=8)
    with pytest.raises(ValueError, match=r"train example 2: 9 tokens .* at least 9"):
        data.train_dataloader()


@pytest.mark.parametrize("name", ["batch_tokens", "seed", "num_workers"])
def test_numbers_out_of_range(name: str) -> None:
    with pytest.raises(ValueError, match=f"expected {name} of at least"):
        Given(Text(), Text(), {}, **{name: -1})


def test_sides_that_make_no_model_are_refused_before_anything_is_read() -> None:
    with pytest.raises(ValueError, match="no model goes from vector to classes; without a source"):
        Given(Vector(2), Classes(), {})
    with pytest.raises(ValueError, match="no model goes from nothing to classes"):
        Given(None, Classes(), {})


def test_a_field_of_ones_own_kind_is_its_base() -> None:
    class Line(Text):
        pass

    assert Given(Line(), Classes(), {}).source == Line()


def test_a_side_is_named_where_its_tokenizer_is_at_fault_alone(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("one\n", encoding="utf-8")
    (tmp_path / "b").write_text("one\ntwo\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"^\S*a has 1 lines and \S*b has 2"):
        _ = TextPairs((tmp_path / "a", tmp_path / "b")).spec
    few = Given(Text("char", vocab_size=900), Text(), PAIRS)
    with pytest.raises(ValueError, match=r"^source: the training split supports no more than"):
        _ = few.spec


def test_a_source_must_say_its_examples() -> None:
    with pytest.raises(TypeError, match="examples"):
        SequenceDataModule(Text(), Text())  # type: ignore[abstract]


def test_a_missing_split_is_an_error_when_it_is_used() -> None:
    data = Given(Text(), Text(), {"train": PAIRS["train"]})
    assert len(data.dataset("test")) == 0
    for name in ("val", "test", "predict"):
        with pytest.raises(ValueError, match=r"no (val|test) split .*; add one \(most .* \1=\)"):
            getattr(data, f"{name}_dataloader")()


def test_loaders() -> None:
    data = Squares(seed=1)
    train = data.train_dataloader()
    first = rows(train)
    train.sampler.set_epoch(1)
    assert rows(train) != first
    assert sorted(flat(first)) == list(range(90))
    assert rows(data.test_dataloader()) == rows(data.test_dataloader())
    assert flat(rows(data.predict_dataloader())) == list(range(40))
    assert flat(rows(data.test_dataloader())) != list(range(40))
    batch = next(iter(data.val_dataloader()))
    assert isinstance(batch, SequenceBatch)
    assert isinstance(batch.references, tuple)


def test_worker_processes_give_the_same_batches() -> None:
    with_workers = Squares(num_workers=2).train_dataloader()
    assert with_workers.persistent_workers
    for epoch in range(2):
        here = Squares().train_dataloader()
        here.sampler.set_epoch(epoch)
        with_workers.sampler.set_epoch(epoch)
        assert rows(with_workers) == rows(here)


def test_ranks_share_the_batches() -> None:
    seen: list[int] = []
    for rank in range(3):
        data = Squares()
        data.trainer = SimpleNamespace(
            distributed_sampler_kwargs={"num_replicas": 3, "rank": rank},
            state=SimpleNamespace(fn="test"),
        )
        loader = data.test_dataloader()
        assert len(loader) == len(rows(loader))
        seen += flat(rows(loader))
    assert sorted(seen) == list(range(40))


# With a real Trainer.


class Seen(L.LightningModule):
    """Writes down which rows each step got."""

    def __init__(self, *, fail_at: int = -1, asks_for_steps: bool = False) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.seen: list[list[int]] = []
        self.fail_at, self.asks_for_steps = fail_at, asks_for_steps

    def training_step(self, batch: SequenceBatch, index: int) -> torch.Tensor:
        if len(self.seen) == self.fail_at:
            raise RuntimeError("power cut")
        assert batch.indices is not None
        self.seen.append(batch.indices.tolist())
        return self.weight * batch.target.float().mean()

    def validation_step(self, batch: SequenceBatch, index: int) -> None:
        pass

    def test_step(self, batch: SequenceBatch, index: int) -> None:
        pass

    def predict_step(self, batch: SequenceBatch, index: int) -> list[int]:
        assert batch.indices is not None
        return batch.indices.tolist()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        if self.asks_for_steps:  # which has Lightning set up the loader before it restores loops
            assert self.trainer.estimated_stepping_batches
        return torch.optim.SGD(self.parameters(), 0.1)


def trainer(folder: Path, *callbacks: Callback, **options: Any) -> L.Trainer:
    return L.Trainer(
        **{"max_epochs": 3, "num_sanity_val_steps": 0, **options},
        accelerator="cpu",
        devices=1,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=any(isinstance(c, ModelCheckpoint) for c in callbacks),
        callbacks=list(callbacks),
        default_root_dir=folder,
    )


pytestmark = [
    # The machine that tests may have fewer cores than workers.
    pytest.mark.filterwarnings("ignore:This DataLoader will create"),
    # A resumed run writes to another folder, so that the test can compare.
    pytest.mark.filterwarnings("ignore:The dirpath has changed"),
    # What Lightning says where there is no validation split.
    pytest.mark.filterwarnings("ignore:Total length of `list` across ranks is zero"),
]

MOMENTS: dict[str, dict[str, Any]] = {
    "after each step": {"every_n_train_steps": 1},
    "after training an epoch": {"every_n_epochs": 1, "save_on_train_epoch_end": True},
    "after validation": {"every_n_epochs": 1, "save_on_train_epoch_end": False},
    "within validation steps": {"every_n_epochs": 1, "save_on_train_epoch_end": False},
}


@pytest.mark.parametrize("asks_for_steps", [False, True])
@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize("moment", MOMENTS)
def test_a_resumed_run_sees_what_the_uninterrupted_run_sees(
    moment: str, num_workers: int, asks_for_steps: bool, tmp_path: Path
) -> None:
    def run(folder: Path, path: Path | None = None) -> list[list[int]]:
        saving = ModelCheckpoint(folder, filename="{step}", save_top_k=-1, **MOMENTS[moment])
        module = Seen(asks_for_steps=asks_for_steps)
        each = 0.5 if moment.startswith("within") else 1.0
        trainer(tmp_path, saving, val_check_interval=each).fit(
            module, Squares(num_workers=num_workers), ckpt_path=path, weights_only=path and True
        )
        return module.seen

    whole = run(tmp_path / "whole")
    per_epoch = len(whole) // 3
    assert whole[:per_epoch] != whole[per_epoch : 2 * per_epoch]
    assert sorted(flat(whole[:per_epoch])) == list(range(90))
    checkpoints = list((tmp_path / "whole").iterdir())
    assert len(checkpoints) >= 3
    if num_workers and moment == "after each step":
        wanted = (1, per_epoch - 1, per_epoch, per_epoch + 2, 2 * per_epoch)
        checkpoints = [tmp_path / "whole" / f"step={step}.ckpt" for step in wanted]
    for path in checkpoints:
        steps = int(path.stem.split("=")[1].split("-")[0])
        assert run(tmp_path / f"again-{path.stem}", path) == whole[steps:], path.stem


@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize("stop", [3, 5, 8])
def test_so_does_a_run_that_was_stopped_by_its_number_of_steps(
    stop: int, num_workers: int, tmp_path: Path
) -> None:
    whole = Seen()
    trainer(tmp_path).fit(whole, Squares())
    assert len(whole.seen) == 15
    first, second = Seen(), Seen()
    stopped = trainer(tmp_path, max_epochs=-1, max_steps=stop)
    stopped.fit(first, Squares(num_workers=num_workers))
    stopped.save_checkpoint(tmp_path / "stopped.ckpt")
    trainer(tmp_path, max_epochs=-1, max_steps=15).fit(
        second,
        Squares(num_workers=num_workers),
        ckpt_path=tmp_path / "stopped.ckpt",
        weights_only=True,
    )
    assert first.seen + second.seen == whole.seen


class LastWill(Callback):
    def on_exception(self, trainer: L.Trainer, *args: Any) -> None:
        trainer.save_checkpoint(Path(trainer.default_root_dir) / "last.ckpt")


def test_so_does_a_run_that_failed_in_a_step(tmp_path: Path) -> None:
    whole, broken, again = Seen(), Seen(fail_at=7), Seen()
    trainer(tmp_path).fit(whole, Squares())
    failing = trainer(tmp_path, LastWill())
    with pytest.raises(RuntimeError, match="power cut"):
        failing.fit(broken, Squares())
    trainer(tmp_path).fit(again, Squares(), ckpt_path=tmp_path / "last.ckpt", weights_only=True)
    assert broken.seen + again.seen == whole.seen


def test_a_new_run_with_the_same_data_starts_anew(tmp_path: Path) -> None:
    data = Squares()
    first, second = Seen(), Seen()
    stopped = trainer(tmp_path, max_steps=7)
    stopped.fit(first, data)
    stopped.save_checkpoint(tmp_path / "stopped.ckpt")
    evaluation = trainer(tmp_path)
    evaluation.validate(
        Seen(), data, ckpt_path=tmp_path / "stopped.ckpt", weights_only=True, verbose=False
    )
    trainer(tmp_path, max_steps=7).fit(second, data)
    assert second.seen == first.seen


def test_another_order_in_the_middle_of_an_epoch_is_an_error(tmp_path: Path) -> None:
    for steps, warned in ((3, True), (5, False)):
        stopped = trainer(tmp_path, max_steps=steps)
        stopped.fit(Seen(), Squares())
        stopped.save_checkpoint(tmp_path / "stopped.ckpt")
        again = trainer(tmp_path, max_steps=steps + 1)
        expected = pytest.warns(UserWarning, match="middle of an epoch with a different seed:")
        if warned:
            with expected:
                again.fit(
                    Seen(), Squares(seed=1), ckpt_path=tmp_path / "stopped.ckpt", weights_only=True
                )
        else:
            again.fit(
                Seen(), Squares(seed=1), ckpt_path=tmp_path / "stopped.ckpt", weights_only=True
            )


def test_each_epoch_has_its_order_also_with_a_limit_and_reloaded_loaders(tmp_path: Path) -> None:
    for options in ({"limit_train_batches": 2}, {"reload_dataloaders_every_n_epochs": 1}):
        module = Seen()
        trainer(tmp_path, **options).fit(module, Squares())
        per_epoch = len(module.seen) // 3
        loader = Squares().train_dataloader()
        for epoch in range(3):
            loader.sampler.set_epoch(epoch)
            assert module.seen[epoch * per_epoch :][:per_epoch] == rows(loader)[:per_epoch]


def test_fitting_needs_no_validation_split_but_validating_does(tmp_path: Path) -> None:
    data = Given(Text(), Text(), {"train": PAIRS["train"]})
    run = trainer(tmp_path)
    run.fit(Seen(), data)
    with pytest.raises(ValueError, match="no val split"):
        run.validate(Seen(), data)


def test_predictions_come_in_the_order_of_the_data(tmp_path: Path) -> None:
    predictions = trainer(tmp_path).predict(Seen(), Squares())
    assert predictions is not None
    assert flat(predictions) == list(range(40))


def test_a_sanity_check_and_a_second_fit_do_no_harm(tmp_path: Path) -> None:
    module, data = Seen(), Squares()
    run = trainer(tmp_path, max_epochs=1, num_sanity_val_steps=2)
    run.fit(module, data)
    assert run.fit_loop.max_epochs == 1
    run.fit_loop.max_epochs = 2
    run.fit(module, data)
    whole = Seen()
    trainer(tmp_path, max_epochs=2).fit(whole, Squares())
    assert module.seen == whole.seen


class Returning(SequenceDataModule):
    """Returns something from `examples`."""

    def __init__(self, examples: Any) -> None:
        super().__init__(Text("char"), Text("char"))
        self.returned = examples

    def examples(self, split: str) -> Any:
        return self.returned


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("examples", "message"),
    [
        (None, r"Returning\.examples\('train'\): expected pairs .*, got NoneType"),
        ([("a", "b"), "cd"], r"train example 2: expected a pair \(source, target\), got str: 'cd'"),
        ([{"en": "a", "de": "b"}], "train example 1: expected a pair .*, got dict: {'en'"),
        ([("a", "b", "c")], "train example 1: expected a pair .*, got tuple"),
        ([None], "train example 1: expected a pair .*, got NoneType"),
    ],
)
def test_examples_that_are_not_pairs(examples: Any, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        _ = Returning(examples).spec


@pytest.mark.usefixtures("unchecked")
def test_a_field_class_instead_of_an_instance() -> None:
    message = r"as source, got the class Text; pass an instance: Text\(\.\.\.\)"
    with pytest.raises(TypeError, match=message):
        TextPairs([("a", "b")], source=Text)


def test_a_subclass_with_other_examples_has_other_data() -> None:
    class Louder(TextPairs):
        def __init__(self, end: str) -> None:
            super().__init__([("ab", "cd")], source=Text("char"), target=Text("char"))
            self.end = end

        def examples(self, split: Any) -> Any:
            return [(source + self.end, target) for source, target in super().examples(split)]

    plain = TextPairs([("ab", "cd")], source=Text("char"), target=Text("char"))
    assert plain.spec.source.max_length == 2
    assert Louder("!").spec.source.max_length == 3
    found = [Louder(end).spec.source.unknown_symbols("!?") for end in "!?"]
    assert found == [["'?' at character 2"], ["'!' at character 1"]]


def test_a_subclass_that_changes_a_part_of_its_parent_has_other_data(tmp_path: Path) -> None:
    class Held(TextPairs):
        def __init__(self, end: str) -> None:
            super().__init__([("ab", "cd")], source=Text("char"), target=Text("char"))
            self.end = end

        def clean(self, text: str) -> str:
            return text + self.end

        def examples(self, split: Any) -> Any:
            return [(self.clean(source), target) for source, target in super().examples(split)]

    class Cleaner(Held):
        def fingerprint(self) -> str:
            return super().fingerprint() + self.end

    class Shorter(Cleaner):
        def clean(self, text: str) -> str:
            return text[:1]

    assert Cleaner("!").spec.source.max_length == 3
    assert Shorter("!").spec.source.max_length == 1
