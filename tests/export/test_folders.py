"""The folder of an export: what it replaces, what it holds, and the errors of all formats."""

from __future__ import annotations

import importlib
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest
from exported_models import TASKS, TEXTS, make

import seqlearn as sl
from seqlearn.cli import main
from seqlearn.core import exporting
from seqlearn.export import ExportedModel, load_exported
from seqlearn.export.sides import Side


def write_files(module: Any, path: Any) -> None:
    """An exporter of a test: the folder and its configuration alone."""
    with sl.export.folder.export_folder(path) as folder:
        config = sl.export.folder.config_of(module, "files") | {"graphs": {}}
        sl.export.folder.write_config(folder, config)
        (folder / f"{type(module).__name__}.onnx").touch()


@pytest.fixture
def files_format(monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(exporting, "_FORMATS", dict(exporting._FORMATS))
    exporting.register_format("files", write_files)
    return "files"


def test_other_files_are_never_replaced(tmp_path: Path, files_format: str) -> None:
    model = make("RNN", TEXTS)
    (tmp_path / "notes.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(FileExistsError, match=r"expected a new or empty folder.*other files"):
        model.export(tmp_path, files_format)
    with pytest.raises(FileExistsError, match="expected a folder to export to, got a file"):
        model.export(tmp_path / "notes.txt", files_format)
    assert (tmp_path / "notes.txt").read_text(encoding="utf-8") == "mine"


def test_an_earlier_export_is_replaced_as_a_whole(tmp_path: Path, files_format: str) -> None:
    model = make("RNN", TEXTS)
    out = tmp_path / "out"
    out.mkdir()  # empty
    make("GRU", TEXTS).export(out, files_format)
    (out / "__pycache__").mkdir()  # runtime.py makes it
    (out / "__pycache__" / "search.pyc").touch()
    model.export(out, files_format)
    assert {path.name for path in out.iterdir()} == {"export.json", "RNN.onnx"}
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize("other", ["server.py", "export.json"])
def test_a_file_beside_an_earlier_export_is_never_deleted(
    other: str, tmp_path: Path, files_format: str
) -> None:
    model, out = make("RNN", TEXTS), tmp_path / "out"
    if other == "server.py":
        model.export(out, files_format)
    out.mkdir(exist_ok=True)
    (out / other).write_text("mine", encoding="utf-8")
    with pytest.raises(FileExistsError, match=rf"with other files, such as {other}; choose"):
        model.export(out, files_format)
    assert (out / other).read_text(encoding="utf-8") == "mine"


def test_an_error_leaves_nothing(tmp_path: Path) -> None:
    def fails(_module: Any, path: Any) -> None:
        with sl.export.folder.export_folder(path) as folder:
            (folder / "half.onnx").write_text("…", encoding="utf-8")
            raise RuntimeError("no space")

    with pytest.raises(RuntimeError, match="no space"):
        fails(None, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


class Polite(sl.RNN):
    def generate(self, *args: Any, **options: Any) -> Any:
        return [f"{text}, please" for text in super().generate(*args, **options)]


def test_a_method_that_an_export_does_not_contain_is_named(
    tmp_path: Path, files_format: str
) -> None:
    model = Polite(make("RNN", TEXTS).spec, d_model=8)
    with pytest.warns(UserWarning, match="Polite overrides generate, which an export does not"):
        model.export(tmp_path / "out", files_format)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        make("RNN", TEXTS).export(tmp_path / "other", files_format)


def test_an_unknown_format_lists_the_formats(tmp_path: Path) -> None:
    said = "expected a format among 'onnx', 'torch-export', 'ctranslate2', 'page', got 'tflite'"
    with pytest.raises(ValueError, match=said):
        make("RNN", TEXTS).export(tmp_path / "out", format="tflite")
    with pytest.raises(ValueError, match="expected a new name of a format, got 'onnx'"):
        exporting.register_format("onnx", print)


@pytest.mark.parametrize(
    ("format_name", "package"), [("onnx", "onnx"), ("ctranslate2", "ctranslate2")]
)
def test_a_missing_package_names_the_extra(
    format_name: str, package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = importlib.import_module

    def absent(name: str, *rest: Any) -> Any:
        if name.partition(".")[0] == package:
            raise ModuleNotFoundError(f"No module named {package!r}", name=package)
        return real(name, *rest)

    monkeypatch.setattr(importlib, "import_module", absent)
    with pytest.raises(ModuleNotFoundError, match=rf"needs {package}.*'\.\[export\]'"):
        make("Transformer", TEXTS).export(tmp_path / "out", format_name)


def test_a_folder_that_is_no_export_is_refused(tmp_path: Path, files_format: str) -> None:
    with pytest.raises(FileNotFoundError, match=r"there is no export\.json"):
        load_exported(tmp_path)
    make("RNN", TEXTS).export(tmp_path / "out", files_format)
    with pytest.raises(ValueError, match=r"expected a format among 'onnx'.* got 'files'"):
        load_exported(tmp_path / "out")
    config = tmp_path / "out" / "export.json"
    text = config.read_text(encoding="utf-8").replace("seqlearn.export/2", "seqlearn.export/9")
    config.write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=r"expected the version 'seqlearn\.export/2'"):
        load_exported(tmp_path / "out")


@pytest.mark.parametrize(
    ("source", "error", "message"),
    [
        ("Sun\ud83d", ValueError, "source 2: character 4 is half of a surrogate pair"),
        ([4, 5.7], TypeError, r"source 2: expected a text or a list of ids, got \[4, 5\.7\]"),
        (None, TypeError, "source 2: expected a text or a list of ids, got None"),
        (5, TypeError, "source 2: expected a text or a list of ids, got 5"),
        (b"ab", TypeError, "source 2: expected a text or a list of ids, got b'ab'"),
        ([True, 5], TypeError, r"source 2: expected a text or a list of ids, got \[True, 5\]"),
        ({4: 1, 5: 2}, TypeError, "source 2: expected a text or a list of ids, got {4: 1, 5: 2}"),
        ({4, 5}, TypeError, "source 2: expected a text or a list of ids, got {4, 5}"),
    ],
)
def test_what_is_no_text_is_refused_by_its_number(source: Any, error: Any, message: str) -> None:
    data = sl.data.TextPairs([("Sunday", "Sonntag")], source=sl.data.Text("char"))
    side = Side(data.spec.to_dict()["source"])
    with pytest.raises(error, match=message):
        side.encode(["Sunday", source], "source")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"source": ["a"]}, "got dict; pass one of its columns"),
        ({"Sunday"}, "expected a list of sources, got set"),
        (b"Sunday", "expected a list of sources, got one string"),
        (5, "expected a list of sources, got int"),
    ],
)
def test_what_is_no_list_is_refused(given: Any, message: str) -> None:
    """The keys of a dictionary are no sources; `generate` of a model refuses the same."""
    data = sl.data.TextPairs([("Sunday", "Sonntag")], source=sl.data.Text("char"))
    side = Side(data.spec.to_dict()["source"])
    with pytest.raises(TypeError, match=message):
        side.encode(given, "source")
    with pytest.raises(TypeError, match="expected a list of sources, got"):
        make("RNN", TEXTS).generate(given)


def test_what_is_no_vector_is_refused_by_its_number() -> None:
    side = Side(sl.VectorSpec(2).to_dict())
    for wrong in ("ab", ["1", "2"], [None, 1.0]):
        with pytest.raises(TypeError, match="source 2: expected 2 finite numbers, got"):
            side.encode([[0, 1], wrong], "source")
    for wrong in ([1], [1, float("nan")], [[1, 2], [3]]):
        with pytest.raises((ValueError, TypeError), match="source 2: expected 2 finite numbers"):
            side.encode([[0, 1], wrong], "source")
    assert side.encode([[True, 2]], "source")[0].tolist() == [1.0, 2.0]


@pytest.mark.filterwarnings("error")
def test_a_limit_of_the_model_is_one_of_its_export(tmp_path: Path, files_format: str) -> None:
    model = make("FeedForward", TASKS["classes"])
    model.export(tmp_path / "out", files_format)
    exported = ExportedModel(tmp_path / "out", runners={})
    with pytest.raises(ValueError, match="at most 6 tokens of a source, got 7; shorten it"):
        exported.predict([[4] * 7])
    with pytest.raises(ValueError, match="source 2: expected ids below 9"):
        exported.predict([[4], [9]])
    with pytest.raises(TypeError, match="expected a list of sources, got one string"):
        exported.predict("one")
    with pytest.raises(ValueError, match="this model has no tokenizer"):
        exported.predict(["one"])


def test_the_command_exports_a_saved_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("ctranslate2", reason="needs ctranslate2: pip install '.[export]'")
    model = make("Transformer", TEXTS)
    model.save_pretrained(tmp_path / "saved")
    out = tmp_path / "out"
    arguments = ["export", str(tmp_path / "saved"), "--format", "ctranslate2", "--out", str(out)]
    assert main([*arguments, "--quantization", "int8"]) == 0
    assert capsys.readouterr().out == f"Export: {out}\n"
    assert load_exported(out).config["quantization"] == "int8"
    assert main([*arguments, "--head-mask"]) == 1
    assert "format 'ctranslate2' has no option head_mask" in capsys.readouterr().err


def test_a_file_has_one_answer_for_each_line(tmp_path: Path) -> None:
    """Lines end with a line feed alone, and an empty one stays empty: as `seqlearn translate`."""
    pytest.importorskip("onnxscript", reason="needs onnxscript: pip install '.[export]'")
    side = sl.data.Text("char")
    data = sl.data.TextPairs([("May 1, 2020", "1. Mai 2020")] * 4, source=side, target=side)
    data.setup("fit")
    model = sl.RNN(data.spec, d_model=4).eval()
    folder = model.export(tmp_path / "out")
    texts = ["May 1, 2020", "", "May\f 2, 2021"]
    with warnings.catch_warnings(action="ignore"):
        wanted = [model.generate([text])[0] if text else "" for text in texts]
    file = tmp_path / "in.txt"
    file.write_bytes("\r\n".join(texts).encode() + b"\n")

    def answered(*words: str, given: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        command = [sys.executable, str(folder / "runtime.py"), *words]
        return subprocess.run(command, input=given, capture_output=True, check=False, timeout=300)

    done = answered(str(file))
    assert done.stdout.decode().split("\n") == [*wanted, ""], done.stderr
    assert b"as unknown in 1 of the lines, the first of them line 3" in done.stderr
    done = answered(given=b"May 1, 2020\n\xff\n")
    assert done.returncode == 1
    assert done.stderr.startswith(b"line 2: expected UTF-8, got 'utf-8' codec can't decode")
    assert answered(str(file), "--nothing").returncode == 2
    done = answered("no-such-file.txt")
    assert (done.returncode, b"there is no file no-such-file.txt" in done.stderr) == (2, True)


def test_importing_seqlearn_imports_no_package_of_the_extra() -> None:
    code = """
import sys
import seqlearn
found = {"onnx", "onnxruntime", "onnxscript", "ctranslate2"} & set(sys.modules)
assert not found, found
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=300)
