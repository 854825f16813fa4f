"""What cannot be built again from a checkpoint is refused before training, in one sentence."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jaxtyping
import lightning as L
import pytest
import torch

import seqlearn as sl

DATA = sl.data.TextPairs(
    [("ab", "AB"), ("b", "B")], source=sl.data.Text("char"), target=sl.data.Text("char")
)


@dataclasses.dataclass
class Options:
    width: int = 4


class Configured(sl.GRU):
    def __init__(self, spec: sl.SequenceSpec, options: Any) -> None:
        super().__init__(spec, d_model=4)


class FromData(sl.GRU):
    def __init__(self, data: sl.data.TextPairs) -> None:
        super().__init__(data.spec, d_model=4)


class NoSpec(sl.GRU):
    def __init__(self) -> None:
        super().__init__(DATA.spec, d_model=4)


class Unnamed(sl.GRU):
    def __init__(self, spec: sl.SequenceSpec, *sizes: int) -> None:
        super().__init__(spec, d_model=sizes[0])


class NoSuper(sl.GRU):
    def __init__(self, spec: sl.SequenceSpec) -> None:
        pass


class SpecLast(sl.GRU):
    def __init__(self, width: int, spec: sl.SequenceSpec) -> None:
        super().__init__(spec, d_model=width)


@pytest.fixture
def unchecked() -> Iterator[None]:
    """Without the run-time check of types, which users do not have."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Configured(DATA.spec, Options()), "options: expected plain data, got the datacla"),
        (lambda: Configured(DATA.spec, {"a": [Options()]}), "got the dataclass Options"),
        (lambda: FromData(DATA), "the data module TextPairs; pass its spec"),
        (NoSpec, "expected the model's first argument to be a SequenceSpec"),
        (lambda: Unnamed(DATA.spec, 4), "names no checkpoint can keep"),
        (lambda: NoSuper(DATA.spec), r"NoSuper.__init__ must call super\(\).__init__\(spec"),
    ],
)
def test_refused(make: Any, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        make()


def test_the_spec_need_not_come_first(tmp_path: Path) -> None:
    SpecLast(4, DATA.spec).save_pretrained(tmp_path)
    assert SpecLast.from_pretrained(tmp_path).d_model == 4


def test_a_checkpoint_of_an_earlier_version(tmp_path: Path) -> None:
    path = tmp_path / "old.ckpt"
    kept = {"class": "seqlearn.models.gru.GRU", "spec": DATA.spec.to_dict()}
    torch.save({"seqlearn": kept, "state_dict": {}}, path)
    with pytest.raises(ValueError, match="of an earlier version of seqlearn without them"):
        sl.GRU.load_from_checkpoint(path)


def checkpoint_of(model: sl.SequenceModule, path: Path) -> Path:
    trainer = L.Trainer(accelerator="cpu", logger=False)
    trainer.strategy.connect(model)
    trainer.save_checkpoint(path)
    return path


@pytest.mark.parametrize("cls", [sl.GRU, SpecLast])
def test_assigned_options_are_saved(cls: Any, tmp_path: Path) -> None:
    model = cls(spec=DATA.spec, **({"width": 4} if cls is SpecLast else {"d_model": 4}))
    model.generation = model.generation.override(strategy="beam", beam_size=3)
    model.recipe = sl.Recipe(lr=0.5)
    model.save_pretrained(tmp_path)
    path = checkpoint_of(model, tmp_path / "a.ckpt")
    copied = cls.from_pretrained(tmp_path)
    copied.save_pretrained(tmp_path)  # and once more
    for loaded in (copied, cls.from_pretrained(tmp_path), cls.load_from_checkpoint(path)):
        assert loaded.generation == model.generation
        assert loaded.recipe == model.recipe
    if cls is sl.GRU:
        other = sl.GenerationConfig("sample")
        assert cls.from_pretrained(tmp_path, generation=other).generation == other


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("name", ["recipe", "generation"])
@pytest.mark.parametrize("value", ["beam", False, "", {}, None])
def test_options_of_another_type(name: str, value: Any) -> None:
    model = sl.GRU(DATA.spec, d_model=4)
    with pytest.raises(TypeError, match=f"{name}: expected a "):
        setattr(model, name, value)
    if value is not None:
        with pytest.raises(TypeError, match=f"{name}: expected a "):
            sl.GRU(DATA.spec, d_model=4, **{name: value})


class Derived(sl.GRU):
    def __init__(
        self, spec: sl.SequenceSpec, beam: int = 2, generation: Any = None, **base: Any
    ) -> None:
        generation = generation or sl.GenerationConfig("beam", beam_size=beam)
        super().__init__(spec, d_model=4, generation=generation, **base)


def test_an_override_reaches_derived_options(tmp_path: Path) -> None:
    Derived(DATA.spec, beam=3).save_pretrained(tmp_path)
    assert Derived.from_pretrained(tmp_path).generation.beam_size == 3
    assert Derived.from_pretrained(tmp_path, beam=5).generation.beam_size == 5


class Mutating(sl.GRU):
    def __init__(self, spec: sl.SequenceSpec, sizes: Any, options: Any, **base: Any) -> None:
        self.given = (repr(sizes), repr(options))
        sizes.append(99)
        options["inner"].pop()
        options.pop("hidden")
        super().__init__(spec, d_model=4, **base)


@pytest.mark.parametrize("sizes", [[1], (1, (2, 3))])
def test_arguments_are_saved_as_the_constructor_gets_them(tmp_path: Path, sizes: Any) -> None:
    """Also if it changes them, and if they were tuples."""
    options = {"hidden": 6, "inner": (4,)}
    model = Mutating(DATA.spec, sizes, options)
    assert options == {"hidden": 6, "inner": (4,)}
    model.save_pretrained(tmp_path)
    assert Mutating.from_pretrained(tmp_path).given == model.given


class PositionalOnly(sl.GRU):
    def __init__(self, spec: sl.SequenceSpec, width: int, /) -> None:
        super().__init__(spec, d_model=width)


def test_positional_only_parameters_are_refused() -> None:
    with pytest.raises(TypeError, match="the parameter spec is positional-only"):
        PositionalOnly(DATA.spec, 4)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"generation": {"num_beams": 3}}, "GenerationConfig has no field 'num_beams'; its fields"),
        ({"foo": 3}, "GRU: got an unexpected keyword argument 'foo'"),
    ],
)
def test_overrides_that_do_not_fit(tmp_path: Path, overrides: dict[str, Any], message: str) -> None:
    sl.GRU(DATA.spec, d_model=4).save_pretrained(tmp_path)
    with pytest.raises(TypeError, match=message):
        sl.GRU.from_pretrained(tmp_path, **overrides)
