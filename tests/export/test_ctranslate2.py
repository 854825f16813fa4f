"""CTranslate2: the configurations of the Transformer that it has, and those that it has not."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from exported_models import PROMPTS, SOURCES, TASKS, TEXTS, make

import seqlearn as sl
from seqlearn.batch import END, START
from seqlearn.export import CTranslate2Model, load_exported
from seqlearn.export.ctranslate2_format import QUANTIZATIONS

pytest.importorskip("ctranslate2", reason="needs ctranslate2: pip install '.[export]'")

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


def log_probs(model: sl.SequenceModule, source: list[int] | None, text: list[int]) -> list[float]:
    """The log-probability of each token of a text, and of the end symbol after it."""
    ids = torch.tensor([[START, *text, END]])
    given = None if source is None else torch.tensor([source])
    with torch.no_grad():
        memory = model.encode(given, None if source is None else torch.tensor([len(source)]))
        found = model.head(model.decode(ids[:, :-1], memory)[0]).log_softmax(-1)
    each: list[float] = found.gather(-1, ids[:, 1:, None])[0, :, 0].tolist()
    return each


def is_tie(
    model: sl.SequenceModule,
    source: list[int] | None,
    texts: tuple[list[int], list[int]],
    options: dict[str, Any],
) -> bool:
    """Whether a search may return either text: in the model they are worth the same."""
    each = [log_probs(model, source, text) for text in texts]
    if options["strategy"] == "greedy":
        one, other = ([*text, END] for text in texts)
        place = next(k for k in range(len(one)) if one[k] != other[k])
        worth = [values[place] for values in each]
    else:
        power = options.get("length_penalty", 1.0)
        worth = [sum(values) / len(values) ** power for values in each]
    return abs(worth[0] - worth[1]) < 1e-4


def compare(model: sl.SequenceModule, exported: Any) -> tuple[int, int, int]:
    """How many texts are equal, how many others are worth the same, of how many."""
    same = ties = total = 0
    # An empty source gives CTranslate2 an empty text.
    sources = None if model.spec.source is None else [ids or [4] for ids in SOURCES]
    given: dict[str, Any] = {} if sources else {"prompts": PROMPTS}
    for options in (each | given for each in DECODING):
        expected = model.generate(sources, **options)
        found = exported.generate(sources, **options)
        for source, *texts in zip(sources or [None] * len(found), expected, found, strict=True):
            same += texts[0] == texts[1]
            ties += texts[0] != texts[1] and is_tie(model, source, (texts[0], texts[1]), options)
        total += len(expected)
    return same, ties, total


def test_a_tie_is_two_texts_of_one_worth() -> None:
    model = draw(TEXTS)
    with torch.no_grad():
        model.head.weight[5], model.head.bias[5] = model.head.weight[6], model.head.bias[6]
    for options in DECODING:
        assert is_tie(model, [4, 5], ([7, 5], [7, 6]), options) == (options["strategy"] == "greedy")
        assert not is_tie(model, [4, 5], ([7, 5], [7, 8]), options)
        assert not is_tie(model, [4, 5], ([7], [7, 8]), options)
    embedding: Any = model.target_embedding
    with torch.no_grad():
        embedding.weight[5] = embedding.weight[6]
    assert is_tie(model, [4, 5], ([7, 5], [7, 6]), DECODING[2])


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
    same, ties, total = map(sum, zip(*counts, strict=True))
    assert total == len(SUPPORTED[::every]) * len(DECODING) * len(PROMPTS)
    assert same + ties == total, f"{same} of {total} texts are equal, {ties} of the others are ties"
    assert ties <= 0.01 * total, f"{ties} of {total} texts are ties"


def test_int8_gives_nearly_the_same_texts(tmp_path: Path) -> None:
    model = draw(TEXTS)
    model.export(tmp_path / "out", "ctranslate2", quantization="int8")
    exported = load_exported(tmp_path / "out")
    assert exported.config["quantization"] == "int8"
    same, _, total = compare(model, exported)
    assert same > 0.5 * total


@pytest.mark.parametrize("quantization", QUANTIZATIONS)
def test_every_quantization_is_written_and_runs_on_every_cpu(
    quantization: str, tmp_path: Path
) -> None:
    model = draw(TEXTS)
    model.export(tmp_path / "out", "ctranslate2", quantization=quantization)
    model.export(tmp_path / "whole", "ctranslate2")
    sizes = [(tmp_path / name / "model.bin").stat().st_size for name in ("out", "whole")]
    assert (sizes[0] < sizes[1]) == (quantization != "float32")
    assert len(load_exported(tmp_path / "out").generate([[4, 5], [6]])) == 2
    exported = CTranslate2Model(tmp_path / "out", compute_type="float32")
    assert exported.translator.compute_type == "float32"
    expected = log_probs(model, [4, 5], [7, 4, 8])
    tokens = exported.config["tokens"]["target"]
    (found,) = exported.translator.score_batch([["<4>", "<5>"]], [[tokens[i] for i in (7, 4, 8)]])
    # int8 keeps two or three digits of a weight
    assert np.abs(np.array(found.log_probs) - expected).max() < 0.5


def test_a_joint_vocabulary_gives_the_same_texts(tmp_path: Path) -> None:
    side = TEXTS.target
    spec = sl.SequenceSpec(side, side, joint_vocabulary=True)
    for tied in (False, True):
        model = draw(spec, tie_embeddings=tied)
        model.export(tmp_path / "out", "ctranslate2")
        same, ties, total = compare(model, load_exported(tmp_path / "out"))
        assert same + ties == total


def test_long_sources_are_read_to_their_end(tmp_path: Path) -> None:
    torch.manual_seed(2)
    model = sl.Transformer(TEXTS, d_model=8, num_layers=1, num_heads=2).eval()
    with torch.no_grad():
        for weight in model.parameters():
            if weight.dim() > 1:
                weight.copy_(0.6 * torch.randn_like(weight))
    sources = [[4] * 1024, [4] * 1024 + [5] * 1024, [4] * 3072 + [5] * 1024]
    expected = model.generate(sources, max_new_tokens=6)
    assert expected[0] != expected[1]
    model.export(tmp_path / "out", "ctranslate2")
    exported = load_exported(tmp_path / "out")
    assert exported.generate(sources, max_new_tokens=6) == expected
    with pytest.raises(ValueError, match="at most 4096 tokens of a source, got 4097"):
        exported.generate([[4] * 4097])


def test_several_texts_for_each_source(tmp_path: Path) -> None:
    model = draw(TEXTS)
    model.export(tmp_path / "out", "ctranslate2")
    options: dict[str, Any] = {"strategy": "beam", "beam_size": 3, "early_stopping": True}
    options["num_return_sequences"] = 2
    found = load_exported(tmp_path / "out").generate([[4, 5]], **options)
    assert found == model.generate([[4, 5]], **options)


def test_a_language_model_takes_no_sources(tmp_path: Path) -> None:
    draw(TASKS["language model"]).export(tmp_path / "out", "ctranslate2")
    exported = load_exported(tmp_path / "out")
    with pytest.raises(ValueError, match="this model has no source; pass prompts="):
        exported.generate([[4, 5], [6, 7]])
    with pytest.raises(ValueError, match=r"predict answers sources.*use generate\(prompts="):
        exported.predict([[4, 5]])
    assert len(exported.generate(prompts=[[4], [5]])) == 2


def test_a_saved_strategy_that_samples_is_refused(tmp_path: Path) -> None:
    model = draw(TEXTS)
    model.generation = sl.GenerationConfig("sample")
    with pytest.raises(ValueError, match="the saved strategy of this Transformer is 'sample'"):
        model.export(tmp_path / "out", "ctranslate2")


@pytest.mark.parametrize("task", ["texts", "language model"])
def test_saved_options_do_not_disturb_the_export(task: str, tmp_path: Path) -> None:
    model = draw(TASKS[task])
    model.generation = sl.GenerationConfig(
        "beam", early_stopping=True, min_new_tokens=4, repetition_penalty=1.2
    )
    said = "applies repetition_penalty, min_new_tokens before the softmax"
    with pytest.warns(UserWarning, match=said):
        model.export(tmp_path / "out", "ctranslate2")
    exported = load_exported(tmp_path / "out")
    given = {"sources": [[4, 5]]} if task == "texts" else {"prompts": [[4, 5]]}
    assert all(len(text) >= 4 for text in exported.generate(**given))


@pytest.mark.parametrize("early", [False, "never"])
def test_a_saved_end_of_a_beam_search_that_it_has_not_is_a_warning(
    early: Any, tmp_path: Path
) -> None:
    model = draw(TEXTS)
    model.generation = sl.GenerationConfig("beam", early_stopping=early)
    with pytest.warns(UserWarning, match=f"this model saves early_stopping={early!r}"):
        model.export(tmp_path / "out", "ctranslate2")
    assert (tmp_path / "out" / "model.bin").is_file()


@pytest.mark.parametrize("value", ["", "1,1"])
def test_every_value_of_omp_num_threads_is_read(
    value: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", value)
    draw(TEXTS).export(tmp_path / "out", "ctranslate2")
    assert load_exported(tmp_path / "out").generate([[4, 5]])


def test_a_folder_that_is_damaged_is_refused(tmp_path: Path) -> None:
    draw(TEXTS).export(tmp_path / "out", "ctranslate2")
    for name in ("model.bin", "config.json", "source_vocabulary.json"):
        path = tmp_path / "out" / name
        data = path.read_bytes()
        path.write_bytes(data[: len(data) // 2])
        with pytest.raises(ValueError, match="expected a model that CTranslate2 can load, got"):
            load_exported(tmp_path / "out")
        path.write_bytes(data)
    (tmp_path / "out" / "model.bin").unlink()
    with pytest.raises(FileNotFoundError, match=r"expected the file model\.bin"):
        load_exported(tmp_path / "out")


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
