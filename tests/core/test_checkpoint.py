"""What a checkpoint holds, and which class it is loaded as."""

from __future__ import annotations

import enum
import json
import os
import subprocess
import sys
import types
import warnings
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

import seqlearn as sl
from seqlearn.batch import SequenceBatch, pad
from seqlearn.cli.loading import load_module
from seqlearn.comparison import Comparison
from seqlearn.core import pretrained
from seqlearn.core.checkpoint import class_name

TEXT = sl.TextSpec(9, 6)
SPEC = sl.SequenceSpec(sl.TextSpec(11, 6), TEXT)
BATCH = SequenceBatch(*pad([[4, 5], [7]]), *pad([[2, 6, 3], [2, 4, 3]]))


def trainer(folder: Path, **options: Any) -> L.Trainer:
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    quiet |= {"accelerator": "cpu", "default_root_dir": folder, "enable_checkpointing": False}
    return L.Trainer(**(quiet | options))


def save(model: sl.SequenceModule, folder: Path) -> Path:
    fitter = trainer(folder)
    fitter.strategy.connect(model)
    path = folder / "model.ckpt"
    fitter.save_checkpoint(path)
    return path


def round_trip(model: sl.SequenceModule, folder: Path, **overrides: Any) -> sl.SequenceModule:
    """Through a checkpoint and through a folder, with the same outputs."""
    loaded = type(model).load_from_checkpoint(save(model, folder), **overrides)
    model.save_pretrained(folder)
    for other in (loaded, type(model).from_pretrained(folder, **overrides)):
        assert torch.equal(other.eval()(BATCH), model.eval()(BATCH))
    return loaded


# Class methods


def test_a_class_method_on_an_instance_is_an_error(tmp_path: Path) -> None:
    model = sl.GRU(SPEC, d_model=4)
    path = save(model, tmp_path)
    fields = (sl.data.Text(), sl.data.Classes(), sl.data.Vector(2), sl.data.Series(1))
    calls = (model.load_from_checkpoint, model.from_pretrained, SPEC.from_dict)
    for call in (*calls, *(field.from_spec for field in fields)):
        with pytest.raises(TypeError, match="cannot be called on an instance: it creates a new"):
            call(path)
    with pytest.raises(TypeError, match=r"call new = GRU\.load_from_checkpoint\(\.\.\.\)"):
        model.load_from_checkpoint(path)
    with sl.record(model) as recording:
        model.generate([[4]], max_new_tokens=1)
    with pytest.raises(TypeError, match=r"Recording\.load is a class method"):
        recording.load(path)


def test_a_comparison_is_not_loaded_from_another(tmp_path: Path) -> None:
    comparison = Comparison({"models": []}, tmp_path)
    with pytest.raises(TypeError, match=r"Comparison\.load is a class method"):
        comparison.load(tmp_path)


def test_loading_does_not_touch_the_filters_of_warnings(tmp_path: Path) -> None:
    """They are those of all threads: two loads at once could leave them off for good."""
    seen: list[list[Any]] = []

    class Looks(sl.GRU):
        def __init__(self, spec: sl.SequenceSpec) -> None:
            seen.append(list(warnings.filters))
            super().__init__(spec, d_model=4)

    path = save(Looks(SPEC), tmp_path)
    Looks.load_from_checkpoint(path)
    assert len(seen) == 3, "built, built on trial, loaded"
    assert seen[1] == seen[2] == warnings.filters


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("path", [None, 3, ["a"]])
def test_what_is_no_path_is_not_called_damaged(path: Any) -> None:
    with pytest.raises(TypeError, match="expected the path of a checkpoint, got"):
        sl.GRU.load_from_checkpoint(path)


# Plain data


class Bias(enum.Enum):
    HIGH = 2.0


class Taking(sl.GRU):
    seen: Any

    def __init__(self, spec: sl.SequenceSpec, width: Any, extra: Any = None, **rest: Any) -> None:
        super().__init__(spec, d_model=width, dropout=0.0, **rest)
        self.seen = (width, extra)


def test_numpy_paths_and_enums_are_converted_before_the_constructor_runs(tmp_path: Path) -> None:
    extra = {
        "scalar": np.float32(0.5),
        "path": Path("a") / "b",
        "enum": Bias.HIGH,
        "labels": np.array(["a", "b"]),
        "nested": [np.int64(1), (np.bool_(True), np.str_("x"))],
        "tensor": torch.tensor(3),
    }
    model = Taking(SPEC, np.int64(4), extra, tie_embeddings=np.bool_(True))
    width, seen = model.seen
    assert (width, type(width)) == (4, int)
    assert seen == {
        "scalar": 0.5,
        "path": str(Path("a") / "b"),
        "enum": 2.0,
        "labels": ["a", "b"],
        "nested": [1, [True, "x"]],
        "tensor": 3,
    }
    assert type(seen["nested"][1][1]) is str
    assert round_trip(model, tmp_path).seen == (width, seen)
    with pytest.raises(
        TypeError, match=r"hyper-parameter extra\['a'\]: expected plain data .* objec"
    ):
        Taking(SPEC, 4, {"a": object()})


def test_what_is_assigned_to_hparams_is_converted_when_it_is_saved(tmp_path: Path) -> None:
    model = sl.GRU(SPEC, d_model=4)
    model.hparams["mine"], model.hparams["place"] = np.int64(3), tmp_path
    content = torch.load(save(model, tmp_path), weights_only=True)
    assert content["hyper_parameters"]["mine"] == 3
    assert content["hyper_parameters"]["place"] == str(tmp_path)
    round_trip(model, tmp_path)


class OrderedByNumpy(sl.data.Dates):
    def order_key(self) -> Any:
        return {"key": np.int64(3)}


def test_the_order_of_a_data_module_is_saved_as_plain_data(tmp_path: Path) -> None:
    data = OrderedByNumpy(first_year=2000, last_year=2000)
    model = sl.GRU(data.spec, d_model=4)
    fitter = L.Trainer(
        max_steps=1, accelerator="cpu", logger=False, default_root_dir=tmp_path,
        enable_checkpointing=False, enable_progress_bar=False, limit_val_batches=0,
    )  # fmt: skip
    fitter.fit(model, data)
    fitter.save_checkpoint(tmp_path / "order.ckpt")
    content = torch.load(tmp_path / "order.ckpt", weights_only=True)
    assert content["OrderedByNumpy"]["key"] == 3


NUMPY_ARGUMENTS = """
import sys
from pathlib import Path

import lightning as L
import numpy as np

import seqlearn as sl

folder = Path(sys.argv[1])
labels = np.unique(np.array(["b", "a", "b"]))


class Own(sl.data.SequenceDataModule):
    def __init__(self, source: object, scale: object, path: object) -> None:
        super().__init__(source, sl.data.Classes(), batch_tokens=np.int64(64), seed=np.int64(1))
        self.scale = scale
        self.save_hyperparameters()

    def examples(self, split: str) -> object:
        return [(np.str_("xy"[i % 2] * 3), labels[i % 2]) for i in range(8)]


def fit(source: object, epochs: int, **options: object) -> L.Trainer:
    data = Own(source, np.float32(0.5), folder / "x")
    recipe = sl.Recipe(lr=np.float64(1e-2), seed=np.int64(3), schedule=np.str_("constant"))
    model = sl.GRU(data.spec, d_model=np.int64(4), dropout=np.float32(0), recipe=recipe)
    trainer = L.Trainer(
        max_epochs=epochs, logger=False, enable_progress_bar=False, enable_model_summary=False,
        accelerator="cpu", default_root_dir=folder, enable_checkpointing=False,
    )
    trainer.fit(model, data, **options)
    return trainer


path = folder / "last.ckpt"
for source in (sl.data.Text(vocab_size=np.int64(6)), sl.data.Text("word")):
    fit(source, 1).save_checkpoint(path)
    loaded = sl.GRU.load_from_checkpoint(path)
    assert loaded.classify(["xxx"])[0][0] in ("a", "b")
    assert {type(label) for label in loaded.spec.target.labels} == {str}
    assert fit(source, 2, ckpt_path=path, weights_only=True).current_epoch == 2
for data in (
    sl.data.Synthetic("copy", np.int64(3), train_examples=np.int64(99), seed=np.int64(1)),
    sl.data.Recall(np.int64(2), train_examples=np.int64(300)),
    sl.data.Dates(first_year=np.int64(2000), last_year=np.int64(2003)),
):
    model = sl.GRU(data.spec, d_model=4)
    assert sl.SequenceSpec.from_dict(model.spec.to_dict()) == model.spec
spec = sl.SequenceSpec(sl.TextSpec(np.int64(11), np.int32(6)), sl.VectorSpec(np.int64(2)))
sl.GRU(spec, d_model=4).save_pretrained(folder)
assert sl.GRU.from_pretrained(folder).spec == spec
for make, message in (
    (lambda: sl.Recipe(seed=object()), "Recipe.seed: expected plain data"),
    (lambda: sl.ClassesSpec(np.array([1, 2])), "labels that are texts, got [1, 2]"),
    (lambda: sl.ClassesSpec("ab"), "labels that are texts, got 'ab'"),
):
    try:
        make()
    except TypeError as error:
        assert message in str(error), error
    else:
        raise AssertionError(message)
print("done")
"""


def test_a_run_with_numpy_arguments_is_loaded_and_resumed(tmp_path: Path) -> None:
    """In a process of its own, for there the tests' check of types does not refuse them first."""
    done = subprocess.run(
        [sys.executable, "-c", NUMPY_ARGUMENTS, tmp_path],
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
        env=os.environ | {"SEQLEARN_CACHE": str(tmp_path / "cache")},
    )
    assert done.stdout.strip() == "done", done.stderr


# save_hyperparameters


class After(sl.GRU):
    def __init__(self, spec: sl.SequenceSpec, width: int = 4, **rest: Any) -> None:
        super().__init__(spec, d_model=width, dropout=0.0, **rest)
        self.save_hyperparameters()


class Before(sl.GRU):
    def __init__(self, spec: sl.SequenceSpec, width: int = 4, **rest: Any) -> None:
        self.save_hyperparameters()
        super().__init__(spec, d_model=width, dropout=0.0, **rest)


class Names(sl.GRU):
    def __init__(self, spec: sl.SequenceSpec, width: int = 4, **rest: Any) -> None:
        super().__init__(spec, d_model=width, dropout=0.0, **rest)
        self.save_hyperparameters("width", ignore=["spec"])
        self.save_hyperparameters({"note": np.int64(3)})


@pytest.mark.parametrize("cls", [After, Before, Names])
def test_save_hyperparameters_may_be_called(cls: type[sl.GRU], tmp_path: Path) -> None:
    model = cls(SPEC, width=6, recipe=sl.Recipe(lr=0.5))
    loaded = round_trip(model, tmp_path)
    assert loaded.d_model == 6
    assert loaded.recipe.lr == 0.5
    assert loaded.hparams == model.hparams
    assert model.hparams["width"] == 6
    assert "spec" not in model.hparams
    assert model.hparams_initial == model.hparams
    assert model.hparams.get("note") == (3 if cls is Names else None)
    kept = torch.load(tmp_path / "model.ckpt", weights_only=True)["hyper_parameters"]
    assert kept == dict(model.hparams)


class Ignoring(sl.GRU):
    def __init__(self, spec: sl.SequenceSpec, scale: Any, first: bool = False) -> None:
        if first:
            self.save_hyperparameters(ignore="scale")
        super().__init__(spec, d_model=4, dropout=0.0)
        if not first:
            self.save_hyperparameters(ignore=["scale"])


@pytest.mark.parametrize("first", [False, True])
def test_what_is_ignored_is_not_kept_and_may_be_any_object(first: bool, tmp_path: Path) -> None:
    model = Ignoring(SPEC, object(), first)
    assert "scale" not in model.hparams
    assert round_trip(model, tmp_path, scale=object()).hparams == model.hparams
    with pytest.raises(
        ValueError, match=r"not fit .*Ignoring \(missing a required argument: 'scal"
    ):
        Ignoring.load_from_checkpoint(tmp_path / "model.ckpt")


# Classes that were moved, renamed, or stood in __main__


class Renamed(After):
    """`After` under another name."""


def rewrite(path: Path, name: str) -> None:
    checkpoint = torch.load(path, weights_only=True)
    checkpoint["seqlearn"]["class"] = name
    torch.save(checkpoint, path)


@pytest.mark.parametrize("name", ["__main__.After", "__main__.Mine", "old.place.After"])
def test_a_class_that_is_not_known_any_more(name: str, tmp_path: Path) -> None:
    model = After(SPEC, 6).eval()
    rewrite(path := save(model, tmp_path), name)
    with pytest.warns(UserWarning, match=rf"of {name}, a class that is not known here; .*\.After"):
        loaded = After.load_from_checkpoint(path)
    assert torch.equal(loaded.eval()(BATCH), model(BATCH))
    other = After(SPEC, 6)
    fitter = trainer(tmp_path, max_epochs=1)
    with pytest.warns(UserWarning, match="its arguments and weights fit"):
        fitter.validate(other, DataLoader([BATCH], batch_size=None), ckpt_path=path, verbose=False)
    assert torch.equal(other.eval()(BATCH), model(BATCH))
    with pytest.raises(
        ValueError, match=rf"of {name}, and they do not fit .*Transformer \(.*'width'"
    ):
        sl.Transformer.load_from_checkpoint(path)
    with pytest.raises(ValueError, match=rf"of {name}, whose weights do not fit .*Other \("):
        Other.load_from_checkpoint(path)
    with pytest.raises(ValueError, match=rf"of {name}, whose weights do not fit .*After \("):
        fitter.validate(After(SPEC, 8), DataLoader([BATCH], batch_size=None), ckpt_path=path)
    model.save_pretrained(tmp_path)
    config = json.loads((tmp_path / pretrained.CONFIG).read_text("utf-8")) | {"class": name}
    config["sha256 of this file"] = pretrained._sum_of(config)
    (tmp_path / pretrained.CONFIG).write_text(json.dumps(config), "utf-8")
    with pytest.warns(UserWarning, match="its arguments and weights fit"):
        assert torch.equal(After.from_pretrained(tmp_path)(BATCH), model(BATCH))


class Other(sl.SequenceModule):
    def __init__(self, spec: sl.SequenceSpec, width: int) -> None:
        super().__init__(spec, d_model=width)


def test_the_command_line_takes_the_class_that_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rewrite(path := save(After(SPEC, 6), tmp_path), "__main__.Mine")
    monkeypatch.setitem(sys.modules, "their_models", module := types.ModuleType("their_models"))
    module.After = After
    for name in ("their_models.After", "After"):
        with pytest.warns(UserWarning, match="its arguments and weights fit"):
            assert type(load_module(str(path), name)) is After
    with pytest.raises(ValueError, match=r"name its class with --model package\.module\.Class"):
        load_module(str(path))


def test_a_class_that_is_known_is_never_loaded_as_another(tmp_path: Path) -> None:
    path = save(sl.RNN(SPEC, d_model=4), tmp_path)
    with pytest.raises(ValueError, match=r"got one of .*RNN; load it with RNN\.load_from_checkp"):
        sl.GRU.load_from_checkpoint(path)
    path = save(Renamed(SPEC), tmp_path)
    for cls in (After, sl.GRU, sl.SequenceModule):
        with pytest.raises(ValueError, match=r"expected a checkpoint of .*, got one of .*Renamed"):
            cls.load_from_checkpoint(path)
    with pytest.raises(ValueError, match=r"expected a checkpoint of .*After, got one of .*Renamed"):
        trainer(tmp_path).validate(
            After(SPEC), DataLoader([BATCH], batch_size=None), ckpt_path=path
        )


class Extended(sl.GRU):
    def training_step(self, batch: SequenceBatch, batch_idx: int) -> torch.Tensor:
        return 2 * super().training_step(batch, batch_idx)


class Wider(sl.GRU):
    def __init__(self, spec: sl.SequenceSpec, **options: Any) -> None:
        super().__init__(spec, **options)
        self.more = torch.nn.Linear(4, 4)


def test_a_model_is_loaded_as_a_subclass_whose_weights_fit(tmp_path: Path) -> None:
    """To train it further with a step of one's own; the other way its methods would be lost."""
    model = sl.GRU(SPEC, d_model=4, tie_embeddings=True).eval()
    path = save(model, tmp_path)
    model.save_pretrained(tmp_path / "folder")
    for load, place in (("load_from_checkpoint", path), ("from_pretrained", tmp_path / "folder")):
        with pytest.warns(UserWarning, match=r"models\.gru\.GRU, from which .*Extended derives"):
            loaded = getattr(Extended, load)(place)
        assert type(loaded) is Extended
        assert torch.equal(loaded.eval()(BATCH), model(BATCH))
        with pytest.raises((ValueError, RuntimeError), match="more"):
            getattr(Wider, load)(place)
    Extended(SPEC, d_model=4).save_pretrained(tmp_path / "extended")
    with pytest.raises(ValueError, match=r"got one of .*Extended; load it with Extended\.from_pre"):
        sl.GRU.from_pretrained(tmp_path / "extended")


def test_a_script_run_by_name_and_imported_is_one_class(tmp_path: Path) -> None:
    """`python train.py` writes `__main__.Model`; another script imports `train.Model`."""

    def model() -> type[sl.GRU]:
        class Model(sl.GRU):
            pass

        Model.__qualname__ = "Model"
        return Model

    script, imported = model(), model()
    script.__module__, imported.__module__ = "__main__", "train_twice"
    path = save(script(SPEC, d_model=4), tmp_path)
    with pytest.warns(UserWarning, match=r"of __main__\.Model"):
        assert type(imported.load_from_checkpoint(path)) is imported


def test_what_torch_puts_before_a_class_is_not_its_name() -> None:
    wrapper = type("FSDPAfter", (After,), {"__module__": "torch.distributed.fsdp"})
    assert class_name(wrapper) == class_name(After) == f"{__name__}.After"
