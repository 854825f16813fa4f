"""CTranslate2: the configurations of the Transformer that it has, and those that it has not."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest
from exported_models import PROMPTS, SOURCES, TASKS, TEXTS, make
from torch import nn

import seqlearn as sl
from seqlearn.export import CTranslate2Model, load_exported

pytest.importorskip("ctranslate2", reason="needs ctranslate2: pip install 'seqlearn[export]'")

SUPPORTED = list(
    itertools.product(
        ("post", "pre"), ("sinusoidal", "learned", "rotary"), ("relu", "gelu"), (False, True)
    )
)
"""norm, positions, activation, tie_embeddings: the table in docs/deployment.md."""

DECODING: list[dict[str, Any]] = [
    {"strategy": "greedy"},
    {"strategy": "greedy", "prompts": PROMPTS, "max_new_tokens": 5, "min_new_tokens": 2},
    {"strategy": "beam", "beam_size": 3, "early_stopping": True},
    {"strategy": "beam", "beam_size": 2, "early_stopping": True, "length_penalty": 0.3},
]


def draw(spec: sl.SequenceSpec, **options: Any) -> sl.SequenceModule:
    """A Transformer whose weights are those of `make` as far as they go."""
    model = sl.Transformer(spec, d_model=8, num_layers=2, num_heads=2, **options).eval()
    drawn = make("Transformer", spec).state_dict()
    kept = {name: drawn[name] for name, weight in model.state_dict().items() if name in drawn}
    model.load_state_dict(kept, strict=False)
    return model


def compare(model: sl.SequenceModule, exported: Any) -> tuple[int, int]:
    """How many texts are equal, of how many."""
    same = total = 0
    # An empty source gives CTranslate2 an empty text.
    sources = None if model.spec.source is None else [ids or [4] for ids in SOURCES]
    given: dict[str, Any] = {} if sources else {"prompts": PROMPTS}
    for options in (each | given for each in DECODING):
        expected = model.generate(sources, **options)
        found = exported.generate(sources, **options)
        same += sum(one == other for one, other in zip(expected, found, strict=True))
        total += len(expected)
    return same, total


@pytest.mark.parametrize(
    ("task", "every"),
    [
        ("texts", 5),
        ("language model", 7),
        pytest.param("texts", 1, marks=pytest.mark.slow),
        pytest.param("language model", 1, marks=pytest.mark.slow),
    ],
)
def test_every_supported_configuration_gives_the_same_texts(
    task: str, every: int, tmp_path: Path
) -> None:
    counts = []
    for norm, positions, activation, tied in SUPPORTED[::every]:
        model = draw(
            TASKS[task], norm=norm, positions=positions, activation=activation, tie_embeddings=tied
        )
        model.export(tmp_path / "out", "ctranslate2")
        exported = load_exported(tmp_path / "out")
        assert isinstance(exported, CTranslate2Model)
        counts.append(compare(model, exported))
    same, total = map(sum, zip(*counts, strict=True))
    assert total == len(SUPPORTED[::every]) * len(DECODING) * len(PROMPTS)
    # Ties, and texts of nearly equal probability, may be decided otherwise.
    assert same >= 0.99 * total, f"{same} of {total} texts are equal"
    assert min(each for each, _ in counts) >= 30, counts


def test_int8_gives_nearly_the_same_texts(tmp_path: Path) -> None:
    model = draw(TEXTS)
    model.export(tmp_path / "out", "ctranslate2", quantization="int8")
    exported = load_exported(tmp_path / "out")
    assert exported.config["quantization"] == "int8"
    same, total = compare(model, exported)
    assert same > 0.5 * total


def test_several_texts_for_each_source(tmp_path: Path) -> None:
    model = draw(TEXTS)
    model.export(tmp_path / "out", "ctranslate2")
    options: dict[str, Any] = {"strategy": "beam", "beam_size": 3, "early_stopping": True}
    options["num_return_sequences"] = 2
    found = load_exported(tmp_path / "out").generate([[4, 5]], **options)
    assert found == model.generate([[4, 5]], **options)


@pytest.mark.parametrize(
    ("name", "task", "said"),
    [
        ("LSTM", "texts", "expected TransformerEncoder as encoder of LSTM, got RecurrentEncoder"),
        ("Transformer", "classes", "expected TextSpec as target of Transformer, got ClassesSpec"),
        ("Transformer", "from vectors", "expected TextSpec as source of Transformer, got Vector"),
    ],
)
def test_what_it_has_not_is_refused_by_name(
    name: str, task: str, said: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=said):
        make(name, TASKS[task]).export(tmp_path / "out", "ctranslate2")
    assert not (tmp_path / "out").exists()


def test_a_part_of_the_users_own_is_refused_by_name(tmp_path: Path) -> None:
    model: Any = draw(TEXTS)
    model.decoder.layers[1].feedforward = nn.Linear(8, 8)
    said = r"expected FeedForwardBlock as decoder\.layers\.1\.feedforward of Trans.*, got Linear"
    with pytest.raises(ValueError, match=said):
        model.export(tmp_path / "out", "ctranslate2")


def test_options_that_it_has_not_are_refused(tmp_path: Path) -> None:
    model = draw(TEXTS, positions="learned")
    with pytest.raises(ValueError, match=r"expected quantization .*got 'int3'"):
        model.export(tmp_path / "out", "ctranslate2", quantization="int3")
    model.export(tmp_path / "out", "ctranslate2")
    exported = load_exported(tmp_path / "out")
    with pytest.raises(ValueError, match="leave early_stopping out"):
        exported.generate([[4]], strategy="beam", early_stopping=False)
    with pytest.raises(ValueError, match="at most 8 tokens of a source, got 9"):
        exported.generate([[4] * 9])
    with pytest.raises(ValueError, match="at most 25 tokens of a target, got 30"):
        exported.generate([[4]], max_new_tokens=30)
