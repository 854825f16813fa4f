"""Live pages: the scripts compute what Python computes, and a page is complete or refused."""

from __future__ import annotations

import base64
import functools
import hashlib
import http.server
import json
import random
import shutil
import subprocess
import tarfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import seqlearn as sl
from seqlearn.batch import UNKNOWN
from seqlearn.export import live_page, web_runtime
from seqlearn.introspect.viewer.quantise import pack_vectors, pack_weights

WEB = live_page.WEB
NODE = shutil.which("node")
needs_node = pytest.mark.skipif(NODE is None, reason="needs Node.js")
LETTERS = "aB zÄß'\t 19.,;!?\u00a0\u2028日本é👩‍👧ſ"


def in_node(tmp_path: Path, code: str, given: Any) -> Any:
    """What a script prints as JSON, of JSON that it reads."""
    for script in WEB.glob("*.js"):
        text = script.read_text(encoding="utf-8").replace('.js"', '.mjs"')
        (tmp_path / f"{script.stem}.mjs").write_text(text, encoding="utf-8")
    (tmp_path / "given.json").write_text(json.dumps(given), encoding="utf-8")
    main = (
        'import {readFileSync} from "node:fs";\n'
        'const given = JSON.parse(readFileSync("given.json", "utf8"));\n'
    )
    (tmp_path / "main.mjs").write_text(main + code, encoding="utf-8")
    assert NODE is not None
    done = subprocess.run(
        [NODE, "main.mjs"], cwd=tmp_path, capture_output=True, encoding="utf-8", check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def spec_of(tokenizer: str, lowercase: bool) -> sl.TextSpec:
    rng = random.Random(0)
    lines = ["".join(rng.choices(LETTERS, k=12)) + " the dog" for _ in range(60)]
    rows = [{"a": line, "b": line} for line in lines]
    text = sl.data.Text(tokenizer, lowercase=lowercase)
    data = sl.data.TextPairs(rows, source=text, target=text, columns=("a", "b"))
    data.setup("fit")
    source = data.spec.source
    assert isinstance(source, sl.TextSpec)
    return source


@needs_node
@pytest.mark.filterwarnings("ignore:symbols that do not occur")
@pytest.mark.parametrize("lowercase", [False, True])
@pytest.mark.parametrize("tokenizer", ["char", "word", "bpe"])
def test_the_tokenizers_equal_those_of_python(
    tmp_path: Path, tokenizer: str, lowercase: bool
) -> None:
    spec = spec_of(tokenizer, lowercase)
    rng = random.Random(1)
    texts = ["".join(rng.choices(LETTERS + "xyz", k=rng.randrange(1, 20))) for _ in range(200)]
    texts += ["the dog", "  two  spaces ", "I'll don't", "'s", "12 345", "a\n\nb "]
    texts = [text for text in texts if text.strip()]
    code = (
        'import {Tokenizer} from "./tokenizer.mjs";\n'
        "const made = new Tokenizer(given.side);\n"
        "const ids = given.texts.map(text => made.encode(text));\n"
        "const unknown = given.texts.map(text => made.unknown(text));\n"
        "console.log(JSON.stringify([ids, ids.map(row => made.decode(row)), unknown]));\n"
    )
    given = {"side": live_page._side(spec), "texts": texts}
    ids, decoded, unknown = in_node(tmp_path, code, given)
    expected = [list(row) for row in spec.encode(texts, label="text")]
    assert ids == expected
    assert decoded == spec.decode(expected)
    assert [bool(tokens) for tokens in unknown] == [UNKNOWN in row for row in expected]
    for text, tokens in zip(texts, unknown, strict=True):
        assert all(token in (text.lower() if lowercase else text) for token in tokens)


@needs_node
def test_arrays_are_packed_as_in_python(tmp_path: Path) -> None:
    weights = torch.rand(5, 7).softmax(-1)
    weights[1, 2:] = 0
    vectors = torch.randn(3, 70)
    code = (
        'import {packVectors, packWeights} from "./packing.mjs";\n'
        "console.log(JSON.stringify([packWeights(given.weights, 7), packVectors(given.vectors)]));"
    )
    given = {"weights": weights.tolist(), "vectors": vectors.tolist()}
    packed = in_node(tmp_path, code, given)
    for found, expected in zip(packed, (pack_weights(weights), pack_vectors(vectors)), strict=True):
        assert found.keys() == expected.keys()
        for name, value in expected.items():
            if name in ("top", "codes"):
                kind = {"top": "<f4"}.get(name, "i1" if "units" in expected else "<u2")
                got, wanted = (unpacked(str(each), kind) for each in (found[name], value))
                # A logarithm may be rounded to the neighbouring code.
                np.testing.assert_allclose(got, wanted, atol=1e-6 if name == "top" else 1)
            else:
                assert found[name] == pytest.approx(value)


def unpacked(text: str, kind: str) -> np.ndarray:
    return np.frombuffer(base64.b64decode(text), kind).astype(float)


def dates(**options: Any) -> sl.data.Dates:
    data = sl.data.Dates("en", "de", **options)
    data.setup("fit")
    return data


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with files that stand for the runtime."""
    folder = tmp_path / "dist"
    folder.mkdir()
    digests = {}
    for name in web_runtime.FILES:
        (folder / name).write_text(name, encoding="utf-8")
        digests[name] = hashlib.sha256(name.encode()).hexdigest()
    monkeypatch.setattr(web_runtime, "FILES", digests)
    return folder


def test_a_page_is_a_folder_of_its_own(tmp_path: Path, fake: Path) -> None:
    for package in ("onnx", "onnxruntime", "onnxscript"):
        pytest.importorskip(package, reason=f"needs {package}: pip install '.[export]'")
    model = sl.GRU(dates().spec, d_model=8).eval()
    texts = ["May 1, 1999", "<b>& </script>"]
    model.generation = sl.GenerationConfig(no_repeat_ngram_size=2)
    with pytest.warns(UserWarning, match="searches greedily without no_repeat_ngram_size, which"):
        path = model.to_page(tmp_path / "page", texts, title="A <title>, SIZE", runtime=fake)
    files = {file.name for file in path.iterdir()}
    assert files == {
        "decoder.onnx",
        "encoder.onnx",
        "export.json",
        "index.html",
        "viewer.js",
        *live_page.SCRIPTS,
        *web_runtime.FILES,
    }
    text = (path / "index.html").read_text(encoding="utf-8")
    assert "<h1>A &lt;title&gt;, SIZE</h1>" in text
    size = sum(parameter.numel() for parameter in model.parameters())
    assert f"GRU with {size:,} parameters. It reads characters" in text
    assert text.count("</script>") == 3, "no text of the model ends a script"
    assert "http://" not in text
    assert "https://" not in text
    with pytest.raises(ValueError, match=r"expected a format among .*, got 'page'"):
        sl.export.load_exported(path)


def test_a_page_knows_the_positions_of_a_language_model(tmp_path: Path, fake: Path) -> None:
    for package in ("onnx", "onnxruntime", "onnxscript"):
        pytest.importorskip(package, reason=f"needs {package}: pip install '.[export]'")
    spec = sl.SequenceSpec(None, dates().spec.target)
    model = sl.Transformer(spec, d_model=8, num_layers=1, num_heads=2, positions="learned").eval()
    path = model.to_page(tmp_path / "page", ["1. Mai"], runtime=fake)
    positions = len(model.decoder.positions.weight)
    text = (path / "index.html").read_text(encoding="utf-8")
    _, _, after = text.partition('<script id="page" type="application/json">')
    page = json.loads(after.partition("</script>")[0])
    assert (page["positions"], page["limit"]) == (positions, positions - 1)


@pytest.mark.parametrize(
    ("examples", "message"),
    [
        ([], "expected examples as a list of texts, such as"),
        ("May 1", "expected examples as a list of texts, such as"),
        ([" "], "expected examples as a list of texts, such as"),
    ],
)
def test_a_page_needs_an_example(tmp_path: Path, examples: Any, message: str) -> None:
    model = sl.GRU(dates().spec, d_model=8)
    with pytest.raises(ValueError, match=message):
        model.to_page(tmp_path / "page", examples)
    assert not (tmp_path / "page").exists()


def test_models_that_a_page_cannot_show_are_refused(tmp_path: Path, fake: Path) -> None:
    vectors = sl.SequenceSpec(sl.TextSpec(9, 4), sl.VectorSpec(2))
    with pytest.raises(ValueError, match="reads a text and answers with a text or a class"):
        sl.GRU(vectors, d_model=8).to_page(tmp_path / "page", ["a"], runtime=fake)
    ids = sl.SequenceSpec(sl.TextSpec(9, 4), sl.TextSpec(9, 4))
    with pytest.raises(ValueError, match="has no tokenizer: it was trained on ids"):
        sl.GRU(ids, d_model=8).to_page(tmp_path / "page", ["a"], runtime=fake)


def test_the_runtime_is_verified(tmp_path: Path, fake: Path) -> None:
    name = next(iter(web_runtime.FILES))
    assert set(web_runtime.runtime_files(fake)) == set(web_runtime.FILES)
    (fake / name).write_text("another version", encoding="utf-8")
    with pytest.raises(ValueError, match=f"{name}: expected the file of onnxruntime-web 1"):
        web_runtime.runtime_files(fake)
    (fake / name).unlink()
    with pytest.raises(FileNotFoundError, match=f"{name}: expected this file of the npm package"):
        web_runtime.runtime_files(fake)


def test_the_runtime_is_downloaded_once(
    tmp_path: Path, fake: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SEQLEARN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with Serving(fake) as (url, _):
        first = web_runtime.runtime_files(url=url)
    assert {path.read_text(encoding="utf-8") for path in first.values()} == set(web_runtime.FILES)
    assert web_runtime.runtime_files(url="http://127.0.0.1:9") == first, "kept"
    shutil.rmtree(tmp_path / "cache")
    monkeypatch.setattr(
        web_runtime, "download", functools.partial(web_runtime.download, attempts=1, timeout=1)
    )
    with pytest.raises(ConnectionError, match=r"npm pack onnxruntime-web@.* runtime=FOLDER takes"):
        web_runtime.runtime_files(url="http://127.0.0.1:9")


class Serving:
    """Serves a folder while the block runs; gives the address and the log of requests."""

    def __init__(self, folder: Path) -> None:
        asked: list[str] = []

        class Quiet(http.server.SimpleHTTPRequestHandler):
            def log_message(self, *_: object) -> None:
                asked.append(self.path)

        handler = functools.partial(Quiet, directory=folder)
        self.asked = asked
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,))

    def __enter__(self) -> tuple[str, list[str]]:
        self.thread.start()
        return f"http://127.0.0.1:{self.server.server_port}", self.asked

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


@pytest.fixture(scope="module")
def runtime(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The real runtime, from npm."""
    npm, folder = shutil.which("npm"), tmp_path_factory.mktemp("npm")
    name = f"onnxruntime-web@{web_runtime.VERSION}"
    if npm is None or subprocess.run([npm, "pack", name], cwd=folder, check=False).returncode:
        pytest.skip(f"needs the npm package {name}, and npm cannot fetch it")
    with tarfile.open(next(folder.glob("*.tgz"))) as archive:
        for each in web_runtime.FILES:
            archive.extract(f"package/dist/{each}", folder, filter="data")
    return folder / "package" / "dist"


MODELS = {
    "Transformer": (sl.Transformer, {"num_layers": 2, "num_heads": 4}, {}),
    "AttentionSeq2Seq": (sl.AttentionSeq2Seq, {}, {}),
    "LSTM": (sl.LSTM, {}, {}),
    "FeedForward": (sl.FeedForward, {}, {}),
    "classes": (sl.GRU, {}, {"task": "sequence-to-vector"}),
    "language model": (sl.Transformer, {"num_layers": 1}, None),
}


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    chromium = pytest.importorskip("chromium", reason="needs tornado to speak to a browser")
    if chromium.found() is None:
        pytest.skip(f"needs one of {chromium.NAMES}")
    with chromium.page() as page:
        yield page


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:symbols that do not occur")
@pytest.mark.parametrize("name", MODELS)
def test_answers_in_a_browser_equal_those_of_python(
    name: str, tmp_path: Path, runtime: Path, browser: Any
) -> None:
    cls, options, task = MODELS[name]
    torch.manual_seed(1)
    spec = sl.SequenceSpec(None, dates().spec.target) if task is None else dates(**task).spec
    model = cls(spec, d_model=16, **options).eval()
    texts = ["Sunday, November 22, 2026", "1 May 1999", "zz"]
    path = model.to_page(tmp_path / "page", texts, runtime=runtime)
    with Serving(path) as (url, _):
        browser.allowed = (*browser.allowed, url)
        browser.open(f"{url}/index.html")
        browser.run("document.getElementById('load').click()")
        answer = "document.getElementById('answer').textContent"
        wait(browser, f"{answer} !== ''")
        for text in texts:
            assert ask(browser, text) == python_answer(model, text)
        assert browser.run(f"{viewer} !== null")
        status = "document.getElementById('status').textContent"
        if name == "Transformer":
            ask(browser, "1 λ Ж λ")
            assert browser.run(status) == "Not in the vocabulary: “λ”, “Ж”."
            browser.run("document.querySelector('#switches button').click()")
            wait(browser, f"{status}.includes('switched off')")
            weight = model.encoder.layers[0].self_attention.output.weight
            with torch.no_grad():
                weight[:, :4] = 0  # of head 0
            assert ask(browser, texts[0]) == python_answer(model, texts[0])
    assert browser.wrong == []


viewer = "document.querySelector('#viewer .seqlearn-viewer').shadowRoot"


def wait(browser: Any, condition: str) -> None:
    for _ in range(600):
        if browser.run(condition):
            return
        time.sleep(0.1)
    status = browser.run("document.getElementById('status').textContent")
    raise AssertionError(f"{condition}: {status}; {browser.wrong}")


def ask(browser: Any, text: str) -> str:
    return browser.run(
        f"document.getElementById('text').value = {json.dumps(text)};"
        "new Promise(done => { document.addEventListener('seqlearn-viewer', () => "
        "done(document.getElementById('answer').textContent), {once: true});"
        "document.getElementById('form').requestSubmit() })"
    )


def python_answer(model: sl.SequenceModule, text: str) -> str:
    if model.spec.source is None:
        return model.generate(prompts=[text], strategy="greedy")[0]
    if not model.spec.target.needs_decoder:
        return model.predict([text])[0]
    return model.generate([text], strategy="greedy")[0]
