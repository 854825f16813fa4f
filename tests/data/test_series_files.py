"""`SeriesFiles` and `Waveforms`: every kind of split, normalization, missing numbers, bad input."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import seqlearn as sl
from seqlearn.data import SeriesFiles
from seqlearn.data.sources.waveforms import FORMS, wave
from seqlearn.spec.scaling import fit_scaling

RNG = np.random.default_rng(0)
SERIES = [RNG.normal(3.0, 2.0, size=(length, 2)) for length in (3, 5, 4, 6)]
LABELS = ["a", "b", "a", "b"]
ROWS = [
    {"id": number, "time": time, "x": x, "y": y, "label": LABELS[number]}
    for number, series in enumerate(SERIES)
    for time, (x, y) in enumerate(series.tolist())
]


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEQLEARN_CACHE", str(tmp_path / "cache"))


def write_csv(path: Path, rows: list[dict[str, Any]], separator: str = ",") -> Path:
    lines = [separator.join(rows[0])]
    lines += [
        separator.join("" if cell is None else str(cell) for cell in row.values()) for row in rows
    ]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def kinds_of_split(folder: Path) -> dict[str, Any]:
    np.savez(folder / "series.npz", *SERIES)  # type: ignore[arg-type]
    (folder / "labels.txt").write_text("\n".join(LABELS) + "\n", encoding="utf-8")
    columns = {name: [row[name] for row in ROWS] for name in ROWS[0]}
    return {
        "lists": ([series.tolist() for series in SERIES], LABELS),
        "arrays": (SERIES, np.array(LABELS)),
        "tensors": ([torch.tensor(series) for series in SERIES], LABELS),
        "npz": (folder / "series.npz", folder / "labels.txt"),
        "names": (str(folder / "series.npz"), str(folder / "labels.txt")),
        "csv": write_csv(folder / "table.csv", ROWS),
        "tsv": write_csv(folder / "table.tsv", ROWS, "\t"),
        "columns": columns,
        "dictionaries": ROWS,
    }


def test_every_kind_of_split_gives_the_same_data(tmp_path: Path) -> None:
    for kind, split in kinds_of_split(tmp_path).items():
        data = SeriesFiles(split)
        found = list(data.examples("train"))
        assert [target for _, target in found] == LABELS, kind
        for (series, _), expected in zip(found, SERIES, strict=True):
            np.testing.assert_allclose(series, expected, rtol=1e-6, err_msg=kind)
        assert data.spec.source.size == 2, kind  # type: ignore[union-attr]
        assert data.spec.source.longest == 6, kind  # type: ignore[union-attr]
        assert SeriesFiles(split).fingerprint() == data.fingerprint()


def test_data_frames_and_parquet(tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(ROWS)
    splits = [frame, frame.assign(time=pandas.date_range("2026-01-01", periods=len(frame)))]
    if pytest.importorskip("pyarrow"):
        frame.to_parquet(tmp_path / "table.parquet")
        splits.append(tmp_path / "table.parquet")
    for split in splits:
        found = list(SeriesFiles(split, value_columns=["y", "x"]).examples("train"))
        np.testing.assert_allclose(found[1][0], SERIES[1][:, ::-1])
        assert [target for _, target in found] == LABELS


def test_a_broken_parquet_file(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    path = tmp_path / "table.parquet"
    path.write_bytes(b"PAR1 nothing")
    with pytest.raises(ValueError, match=r"table\.parquet: expected a parquet file"):
        SeriesFiles(path)
    with pytest.raises(FileNotFoundError, match=r"train: expected a file at .*none\.parquet"):
        SeriesFiles(tmp_path / "none.parquet")


def test_normalization_is_that_of_the_training_split() -> None:
    data = SeriesFiles((SERIES, LABELS), ([s + 100 for s in SERIES], LABELS))
    spec: Any = data.spec.source
    steps = np.concatenate(SERIES)
    np.testing.assert_allclose(spec.mean, steps.mean(0), rtol=1e-6)
    np.testing.assert_allclose(spec.std, steps.std(0), rtol=1e-6)
    data.setup("fit")
    batch = data.dataset("train")[[0, 1, 2, 3]]
    layer = spec.make_input_layer(4)
    scaled = layer[0](batch.source)[torch.arange(6) < batch.source_lengths[:, None]]
    torch.testing.assert_close(scaled.mean(0), torch.zeros(2), atol=1e-5, rtol=0)
    torch.testing.assert_close(scaled.std(0, correction=0), torch.ones(2), atol=1e-5, rtol=0)
    assert SeriesFiles((SERIES, LABELS), normalize=False).spec.source.mean is None  # type: ignore[union-attr]


def test_scaling_of_large_and_constant_numbers() -> None:
    numbers = np.array([[1e6 + step % 2, 7.0, np.nan] for step in range(1000)])
    parts = np.split(numbers, [3, 400])
    mean, std = fit_scaling(parts, 3)
    np.testing.assert_allclose(mean, (1e6 + 0.5, 7.0, 0.0))
    np.testing.assert_allclose(std, (0.5, 1.0, 1.0))


def test_forecasts() -> None:
    data = SeriesFiles(SERIES, horizon=2)
    for (source, future), series in zip(data.examples("train"), SERIES, strict=True):
        np.testing.assert_array_equal(source, series[:-2])
        np.testing.assert_array_equal(future, series[-2:].reshape(-1))
    windowed = SeriesFiles(ROWS, horizon=1, window=2, value_columns=["x"])
    for (source, future), series in zip(windowed.examples("train"), SERIES, strict=True):
        np.testing.assert_allclose(source, series[-3:-1, :1])
        np.testing.assert_allclose(future, series[-1:, 0])
    target: Any = data.spec.target
    futures = np.stack([future for _, future in data.examples("train")])
    np.testing.assert_allclose(target.mean, futures.mean(0), rtol=1e-6)
    model = sl.GRU(data.spec, d_model=4).eval()
    outputs = model(data.dataset("train")[[0]])
    expected = outputs[0].detach() * torch.tensor(target.std) + torch.tensor(target.mean)
    torch.testing.assert_close(model.predict([SERIES[0][:-2]])[0], expected)


def test_the_loss_of_normalized_vectors_is_in_units_of_the_deviation() -> None:
    data = SeriesFiles(SERIES, horizon=1)
    model = sl.GRU(data.spec, d_model=4).eval()
    batch = data.dataset("train")[[0, 1, 2, 3]]
    assert batch.target is not None
    mean, std = (torch.tensor(getattr(data.spec.target, name)) for name in ("mean", "std"))
    wanted = ((model(batch) - (batch.target - mean) / std) ** 2).sum()
    torch.testing.assert_close(model.compute_loss(batch).loss, wanted)


def test_texts_and_vectors_as_targets() -> None:
    texts = ["one", "two", "two one", "one"]
    data = SeriesFiles((SERIES, texts), target=sl.data.Text("word"))
    assert [target for _, target in data.examples("train")] == texts
    vectors = [[1.0, 2.0], [3.0, 4.0], [0.0, 0.0], [1.0, 1.0]]
    data = SeriesFiles((SERIES, vectors), target=sl.data.Vector(2))
    assert data.spec.target.mean == (1.25, 1.75)  # type: ignore[attr-defined]
    rows = [row | {"up": 1.5 * int(row["id"])} for row in ROWS]
    data = SeriesFiles(
        rows, target=sl.data.Vector(1), target_columns="up", value_columns=["x"], time_column=None
    )
    assert [float(target[0]) for _, target in data.examples("train")] == [0.0, 1.5, 3.0, 4.5]


def test_missing_numbers_are_masked_by_option(tmp_path: Path) -> None:
    rows = [dict(row) for row in ROWS]
    rows[2]["x"] = None
    rows[4]["y"] = float("nan")
    for split in (rows, write_csv(tmp_path / "gaps.csv", rows)):
        data = SeriesFiles(split, missing=True)
        data.setup("fit")
        batch = data.dataset("train")[[0, 1]]
        assert batch.source is not None
        assert batch.source.shape[-1] == 4
        assert batch.source[0, 2].tolist()[::2] == [0.0, 0.0]
        assert batch.source[1, 1].tolist()[3] == 0.0
        known = np.array([[row["x"], row["y"]] for row in rows], dtype=float)
        np.testing.assert_allclose(data.spec.source.mean, np.nanmean(known, 0), rtol=1e-6)  # type: ignore[union-attr]
        layer: Any = data.spec.source.make_input_layer(3)  # type: ignore[union-attr]
        assert layer[0](batch.source)[0, 2].tolist()[::2] == [0.0, 0.0]
        model = sl.GRU(data.spec, d_model=4).eval()
        given = [[[float("nan"), 1.0]], [[0.5, 2.0]]]
        assert len(model.predict(given)) == 2
        (read,) = data.spec.source.decode(data.spec.source.encode(given[:1]))  # type: ignore[union-attr]
        np.testing.assert_array_equal(read, given[0])


def test_a_fraction_for_validation() -> None:
    data = SeriesFiles((SERIES * 5, LABELS * 5), val=0.2)
    assert len(list(data.examples("train"))) == 16
    assert {target for _, target in data.examples("val")} <= {"a", "b"}
    assert "train series" in data.describe_location("val", 0)


def test_columns_are_those_of_training_by_name_in_any_order(tmp_path: Path) -> None:
    turned = [{name: row[name] for name in ("label", "y", "id", "x", "time")} for row in ROWS]
    files = write_csv(tmp_path / "train.csv", ROWS), write_csv(tmp_path / "val.csv", turned)
    for data in (SeriesFiles(ROWS, turned), SeriesFiles(*files)):
        for (read, _), series in zip(data.examples("val"), SERIES, strict=True):
            np.testing.assert_allclose(read, series, rtol=1e-6)


def changed(row: int, **cells: Any) -> list[dict[str, Any]]:
    return [each | cells if number == row else each for number, each in enumerate(ROWS)]


BAD: dict[str, tuple[Callable[[], Any], str]] = {
    "NaN": (
        lambda: SeriesFiles(changed(2, x=float("nan"))),
        "train dataset, row 2, column 'x': expected a number, got nan; fill it in, or pass missing",
    ),
    "words": (lambda: SeriesFiles(changed(2, x="3,5")), "row 2, column 'x': expected a number"),
    "unsorted time": (
        lambda: SeriesFiles(changed(1, time=0)),
        "row 1: expected increasing times within series 0, got 0 after 0.0; sort the table",
    ),
    "no time": (lambda: SeriesFiles(changed(1, time="soon")), "row 1: expected a number or a date"),
    "mixed times": (
        lambda: SeriesFiles(changed(1, time="2026-01-01")),
        "row 1: the time '2026-01-01' is of another kind",
    ),
    "times with and without a zone": (
        lambda: SeriesFiles([
            row | {"time": f"2026-01-01T00:0{row['time']}:00{'Z' * (number == 1)}"}
            for number, row in enumerate(ROWS)
        ]),
        "row 1: the time '2026-01-01T00:01:00Z' is of another kind",
    ),
    "duplicate id": (lambda: SeriesFiles([*ROWS, ROWS[0]]), "row 18: series 0 has been complete"),
    "no id": (lambda: SeriesFiles(changed(0, id=None)), "row 0: expected an id in column 'id'"),
    "two targets": (
        lambda: SeriesFiles(changed(1, label="b")),
        r"row 1: expected the target \('a',\) in all rows of series 0",
    ),
    "no such column": (
        lambda: SeriesFiles(ROWS, target_columns="class"),
        "expected a column 'class', got .*'label'.*; name the columns",
    ),
    "semicolons": (
        lambda: SeriesFiles([{"id;label;x": "1;a;2"}]),
        "got .*'id;label;x'.*; cells are divided by commas .* here by ';'",
    ),
    "no numbers": (
        lambda: SeriesFiles([{"id": 1, "label": "a", "time": 1}]),
        "expected columns of numbers besides",
    ),
    "width": (
        lambda: SeriesFiles(([SERIES[0], SERIES[1][:, :1]], ["a", "b"])),
        r"train series 2: source: .* vectors of 2 numbers.* got an array of shape \(5, 1\)",
    ),
    "width within a series": (
        lambda: SeriesFiles(([SERIES[0], [[1, 2], [3]]], ["a", "b"])),
        r"train series 2: expected vectors of one size, got vectors of \[1, 2\] numbers",
    ),
    "width of a split": (
        lambda: SeriesFiles((SERIES, LABELS), (np.zeros((4, 3, 5)), LABELS)),
        "train has 2 numbers in each time step and val has 5",
    ),
    "no steps": (
        lambda: SeriesFiles(([SERIES[0], SERIES[1][:0]], ["a", "b"])),
        "train series 2: source: expected at least one time step",
    ),
    "infinite": (
        lambda: SeriesFiles(([[[0.0], [np.inf]], [[1.0]]], ["a", "b"])),
        "train series 1: source: .*finite numbers, got inf at time step 2, number 1",
    ),
    "infinite, gaps allowed": (
        lambda: SeriesFiles(([[[0.0], [np.inf]], [[1.0]]], ["a", "b"]), missing=True),
        "finite numbers, got inf at time step 2, number 1",
    ),
    "more series": (lambda: SeriesFiles((SERIES, LABELS[:1])), "series 2 has no target"),
    "more targets": (lambda: SeriesFiles((SERIES[:1], LABELS)), "target 2 has no series"),
    "no series": (lambda: SeriesFiles(np.zeros((0, 3, 2)), horizon=1), "expected at least one"),
    "empty lists": (lambda: SeriesFiles(([], [])), "train: expected at least one series"),
    "targets and a horizon": (
        lambda: SeriesFiles((SERIES, LABELS), horizon=1),
        "train: expected series alone, because horizon= forecasts",
    ),
    "another column": (
        lambda: SeriesFiles(ROWS, [{("z" if k == "x" else k): r[k] for k in r} for r in ROWS]),
        "val dataset: expected a column 'x', got",
    ),
    "no targets": (lambda: SeriesFiles(SERIES), "got series alone; pass horizon="),
    "too short": (lambda: SeriesFiles(SERIES, horizon=3), "train series 1: expected more than hor"),
    "horizon": (lambda: SeriesFiles(SERIES, horizon=0), "expected a horizon of at least 1"),
    "window": (lambda: SeriesFiles((SERIES, LABELS), window=3), "expected a window .* horizon="),
    "a gap to forecast": (
        lambda: SeriesFiles(changed(2, x=None), horizon=1, target_columns=[], missing=True,
                            value_columns=["x"]),
        "row 0: target: expected finite numbers, got nan",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_named(name: str) -> None:
    make, message = BAD[name]
    with pytest.raises(ValueError, match=message):
        make().prepare_data()


@pytest.mark.usefixtures("unchecked")
def test_files_that_are_something_else(tmp_path: Path) -> None:
    path = tmp_path / "objects.npy"
    np.save(path, np.array([1, None], dtype=object), allow_pickle=True)
    with pytest.raises(ValueError, match=r"without Python objects.*numpy\.savez"):
        SeriesFiles((path, ["a"]))
    np.save(path, np.zeros((3, 2)))
    with pytest.raises(ValueError, match=r"expected an array \(series, time, size\).*savez"):
        SeriesFiles((path, ["a"]))
    path = tmp_path / "series.npz"
    path.write_bytes(b"nothing")
    with pytest.raises(ValueError, match=r"series\.npz: expected arrays of numbers"):
        SeriesFiles((path, ["a"]))
    for missing in ("none.npz", "none.csv", "none.npy"):
        with pytest.raises(FileNotFoundError, match=f"train: expected a file at .*{missing}"):
            SeriesFiles(tmp_path / missing, horizon=1)
    with pytest.raises(TypeError, match="train: expected a file, or a table with named columns"):
        SeriesFiles(3)  # type: ignore[arg-type]


def test_the_line_of_a_file_is_named(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "table.csv", changed(3, y="high"))
    with pytest.raises(ValueError, match=r"table\.csv, line 5, column 'y': expected a number"):
        SeriesFiles(path).prepare_data()


def test_a_series_is_no_target() -> None:
    class Wrong(sl.data.SequenceDataModule):
        def __init__(self) -> None:
            super().__init__(sl.data.Series(1), sl.data.Series(1))

        def examples(self, split: Any) -> Any:
            return [([[1.0]], [[1.0]])]

    with pytest.raises((TypeError, ValueError), match="as target, got Series"):
        Wrong().prepare_data()


def test_waveforms_are_what_they_say() -> None:
    data = sl.data.Waveforms("description", noise=0.0, train_examples=40, held_out_examples=8)
    for series, text in data.examples("train"):
        form, period = text.split()
        assert form in FORMS
        assert 24 <= len(series) <= 48
        repeated = series[int(period) :]
        np.testing.assert_allclose(repeated, series[: len(repeated)], atol=2e-5 + 5 * (form in (
            "square", "sawtooth")))  # fmt: skip
    whole = sl.data.Waveforms("continuation", noise=0.0, horizon=3, train_examples=4)
    for series, future in whole.examples("train"):
        assert future.shape == (3,)
        assert np.abs(future).max() <= np.abs(series).max() * 1.2
    again = [s.tolist() for s, _ in data.examples("test")]
    assert [s.tolist() for s, _ in data.examples("test")] == again
    assert again != [s.tolist() for s, _ in data.examples("val")]
    assert data.fingerprint() != whole.fingerprint()
    assert wave("square", np.array([0.1, 0.6])).tolist() == [1.0, -1.0]


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    "arguments",
    [{"target": "sum"}, {"min_length": 0}, {"min_length": 50}, {"noise": -1}, {"horizon": 0},
     {"train_examples": 0}],
)  # fmt: skip
def test_arguments_of_waveforms(arguments: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="expected"):
        sl.data.Waveforms(**arguments)


def test_masked_numbers_are_missing() -> None:
    """As netCDF files give them: a fill value under the mask is no number."""
    rows = [np.ma.masked_equal([[1.0, -9999.0], [2.0, 5.0]], -9999.0), np.ones((3, 2))]
    with pytest.raises(ValueError, match=r"time step 1, number 2; Series\(…, missing=True\)"):
        SeriesFiles((rows, ["a", "b"])).setup("fit")
    data = SeriesFiles((rows, ["a", "b"]), missing=True)
    data.setup("fit")
    source: Any = data.spec.source
    np.testing.assert_allclose(source.mean, [np.mean([1, 2, 1, 1, 1]), np.mean([5, 1, 1, 1])])
    with pytest.raises(ValueError, match="expected finite numbers, got nan"):
        sl.data.Vector(2).check(rows[0][0])


def test_the_columns_of_a_target_are_no_numbers_of_a_forecast(tmp_path: Path) -> None:
    rows = [row | {"label": 1.0} for row in ROWS]
    path = write_csv(tmp_path / "a.csv", rows)
    assert SeriesFiles(path, horizon=1).spec.source.size == 2
    named = SeriesFiles(path, horizon=1, value_columns=["x", "label"])
    assert named.spec.source.size == 2


def test_the_scaling_of_a_given_vector_stays() -> None:
    given = sl.data.Vector(2, normalize=True, mean=(1.0, 2.0), std=(3.0, 4.0))
    targets = [np.array([1.0, 2.0])] * len(SERIES)
    spec: Any = SeriesFiles((SERIES, targets), target=given).spec.target
    assert (spec.mean, spec.std) == ((1.0, 2.0), (3.0, 4.0))
