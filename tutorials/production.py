# ---
# jupyter:
#   jupytext:
#     text_representation:
#       format_name: percent
# ---

# %% [markdown]
# # From notebook to production
#
# **Claim.** An exported model gives the same answers as the trained one, without importing PyTorch
# or seqlearn. A small server around it needs three packages and about seventy lines, and it answers
# a bad request with an error instead of stopping.
#
# This tutorial trains a model, saves it, exports it, counts equal answers, serves it in another
# process, and sends good and bad requests. It takes about a minute on two cores and downloads
# nothing. The export needs the extra `export` ([installation](../get-started.md#installation)).

# %%
import atexit
import json
import logging
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import lightning as L
import numpy as np
import torch

import seqlearn as sl

warnings.filterwarnings("ignore", module="lightning")
logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
torch.set_num_threads(1)  # networks as small as these gain nothing from more
_ = L.seed_everything(0, verbose=False)
folder = tempfile.TemporaryDirectory()
place = Path(folder.name)

# %% [markdown]
# ## A trained model
#
# It translates written-out dates, a character at a time.

# %%
data = sl.data.Dates("en", "de", batch_tokens=2048)
model = sl.AttentionSeq2Seq(
    data.spec,
    d_model=96,
    recipe=sl.Recipe(lr=3e-3, warmup_steps=50, schedule="cosine"),
)
trainer = L.Trainer(
    max_epochs=2,
    accelerator="cpu",
    gradient_clip_val=1.0,
    limit_val_batches=0,
    logger=False,
    enable_checkpointing=False,
    enable_progress_bar=False,
    enable_model_summary=False,
)
trainer.fit(model, data)
_ = model.eval()

sources, targets = zip(*list(data.examples("test"))[:500], strict=True)
answers = model.generate(sources)
right = sum(a == b for a, b in zip(answers, targets, strict=True))
print(f"{right} of {len(sources)} right;", sources[0], "→", answers[0])
assert right > 450

# %% [markdown]
# ## To keep it: `save_pretrained`
#
# A checkpoint of the Trainer continues a run, so it also has the state of the optimizer.
# `save_pretrained` writes what is needed to *use* the model: the weights as safetensors, and a JSON
# file with the class, its arguments, the tokenizers and the decoding options. Neither can contain
# code that runs when it is loaded, as a pickle can.

# %%
model.save_pretrained(place / "saved")
for path in sorted((place / "saved").iterdir()):
    print(f"{path.name:20} {path.stat().st_size / 1e6:6.2f} MB")

again = sl.AttentionSeq2Seq.from_pretrained(place / "saved")
print("same answers:", again.generate(sources) == answers)
assert again.generate(sources) == answers

# %% [markdown]
# This folder is what you keep, and what `push_to_hub` uploads. It needs PyTorch and seqlearn to
# run.
#
# ## To serve it: `export`
#
# An export is a folder of graphs: the operations of the encoder, and those of one step of the
# decoder, in the format [ONNX](https://onnx.ai). The decoding (greedy search and beam search) is a
# loop over steps in plain Python with NumPy, whose files are copied into the folder.

# %%
model.export(place / "exported", format="onnx")
for path in sorted((place / "exported").iterdir()):
    print(f"{path.name:20} {path.stat().st_size / 1e6:6.2f} MB")

# %% [markdown]
# `export` has compared the graphs with the model on random sources before it wrote the folder. We
# compare them on the test split, with greedy search and with a beam.

# %%
exported = sl.export.load_exported(place / "exported")


def equal(answers, others):
    """How many answers are equal."""
    return sum(a == b for a, b in zip(answers, others, strict=True))


same = {}
for options in ({"strategy": "greedy"}, {"strategy": "beam", "beam_size": 4}):
    ours = model.generate(sources, **options)
    theirs = exported.generate(sources, **options)
    same[options["strategy"]] = equal(ours, theirs)
    print(
        f"{options['strategy']:7} {same[options['strategy']]} of "
        f"{len(sources)} answers are equal"
    )
assert min(same.values()) == len(sources)

# %% [markdown]
# The texts are equal. The numbers behind them are equal up to rounding, since onnxruntime adds in
# another order than PyTorch (exercise 2). Where two tokens have almost the same probability, the
# rounding can decide; so compare the texts on your own data, as here.
#
# ## Without PyTorch
#
# Is PyTorch really not imported? We start a Python process in the folder, which has `runtime.py`
# and the files that it imports, and let it list what it has imported.

# %%
PROGRAM = """
import json, sys
from runtime import ExportedModel

answers = ExportedModel(".").predict(json.load(sys.stdin))
heavy = {"torch", "lightning", "seqlearn", "transformers"}
imported = sorted(heavy & set(sys.modules))
print(json.dumps({"answers": answers, "imported": imported}))
"""
done = subprocess.run(
    [sys.executable, "-c", PROGRAM],
    cwd=place / "exported",
    input=json.dumps(sources),
    stdout=subprocess.PIPE,
    encoding="utf-8",
    check=True,
)
result = json.loads(done.stdout)
print("imported of torch, lightning, seqlearn, transformers:")
print("   ", result["imported"] or "none")
print(equal(answers, result["answers"]), "answers are equal")
assert result["imported"] == []
assert result["answers"] == answers

# %% [markdown]
# An image for a server can therefore be small: `pip install onnxruntime numpy tokenizers`, and this
# folder.
#
# ## A server
#
# The standard library has an HTTP server. Its documentation does not recommend it for production:
# encryption, authentication and limits of the rate belong in front of it. It serves here to show
# the checks, which are the same in every framework. What they are, besides calling the model:
#
# - **Check the request** before the model sees it: its size, that it is JSON, that it has a list of
#   strings, how many and how long. The time of an answer grows with the number of texts and their
#   length, so without limits one request can occupy the server for hours.
# - **Answer every error.** What the client did wrong is a status of 4xx with a message, and the
#   next request is answered as if nothing had happened.
# - **Run one request at a time.** The graph already uses all cores it may use. `OMP_NUM_THREADS`
#   says how many.

# %%
SERVER = '''
import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from runtime import ExportedModel

MAX_BYTES, MAX_TEXTS, MAX_CHARACTERS = 100_000, 64, 100
model, lock = ExportedModel("."), threading.Lock()


class BadRequest(Exception):
    """What the client did wrong: the status and a message."""


def texts_of(body):
    """The texts of a request, after all checks."""
    try:
        request = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise BadRequest(400, f"expected JSON: {error}") from None
    texts = request.get("texts") if isinstance(request, dict) else None
    if not isinstance(texts, list):
        raise BadRequest(400, 'expected {"texts": [...]}')
    if not all(isinstance(text, str) for text in texts):
        raise BadRequest(400, "expected texts, that is, strings")
    if len(texts) > MAX_TEXTS:
        raise BadRequest(413, f"expected at most {MAX_TEXTS} texts")
    if any(len(text) > MAX_CHARACTERS for text in texts):
        raise BadRequest(413, f"expected at most {MAX_CHARACTERS} characters")
    return texts


class Handler(BaseHTTPRequestHandler):
    timeout = 10  # seconds to wait for a client that sends nothing

    def do_POST(self):
        try:
            length = self.headers.get("Content-Length", "")
            if not length.isdecimal():
                raise BadRequest(411, "expected the header Content-Length")
            if int(length) > MAX_BYTES:
                raise BadRequest(413, f"expected at most {MAX_BYTES} bytes")
            texts = texts_of(self.rfile.read(int(length)))
            with lock:
                status, content = 200, {"answers": model.predict(texts)}
        except BadRequest as error:
            status, content = error.args[0], {"error": error.args[1]}
        except (ValueError, TypeError) as error:  # the model refuses a text
            status, content = 400, {"error": str(error)}
        except TimeoutError:
            status, content = 408, {"error": "expected more of the body"}
        except Exception as error:  # ours: for the log, not for the client
            self.log_error("%r", error)
            status, content = 500, {"error": "the model failed"}
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments):
        pass  # or your log


server = ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler)
print(server.server_port, flush=True)
server.serve_forever()
'''
_ = (place / "exported" / "server.py").write_text(SERVER, encoding="utf-8")

# %% [markdown]
# We start it on a free port (0), which it prints when it is ready.

# %%
server = subprocess.Popen(
    [sys.executable, "server.py", "0"],
    cwd=place / "exported",
    stdout=subprocess.PIPE,
    encoding="utf-8",
)
_ = atexit.register(server.kill)  # also if a cell below fails
url = f"http://127.0.0.1:{int(server.stdout.readline())}"


def post(body, **headers):
    """Send bytes; return the status and the answer."""
    request = urllib.request.Request(url, body, headers, method="POST")
    try:
        with urllib.request.urlopen(request, timeout=60) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


def translate(texts):
    """Send texts as JSON."""
    return post(json.dumps({"texts": list(texts)}).encode())


status, content = translate(sources[:2])
print(status, content)
assert status == 200
assert content["answers"] == answers[:2]

# %% [markdown]
# Eight clients at once get the same answers as the model in this notebook:

# %%
chunks = [sources[at : at + 50] for at in range(0, len(sources), 50)]
with ThreadPoolExecutor(8) as clients:
    replies = list(clients.map(translate, chunks))
served = [answer for _, reply in replies for answer in reply["answers"]]
print(equal(answers, served), "of", len(served), "answers are equal")
assert served == answers

# %% [markdown]
# ## Bad requests
#
# What clients send is not what we expect. Each of these gets an answer:

# %%
BAD = {
    "no JSON": b"Sunday",
    "not UTF-8": b'{"texts": ["\xff"]}',
    "nothing": b"",
    "no texts": b'{"text": "Sunday"}',
    "one string": b'{"texts": "Sunday"}',
    "a number": b'{"texts": [5]}',
    "half a character": b'{"texts": ["\\ud83d"]}',
    "nested too deeply": b'{"texts": ' + b"[" * 50_000,
    "too many texts": json.dumps({"texts": ["May 5, 2020"] * 65}).encode(),
    "a long text": json.dumps({"texts": ["May " * 100]}).encode(),
}
statuses = {}
for name, body in BAD.items():
    statuses[name], content = post(body)
    print(f"{name:18} {statuses[name]} {content['error'][:50]}")
announced = {"Content-Length": "1000000000"}
statuses["announced"], content = post(b"", **announced)
print(f"{'a gigabyte to come':18} {statuses['announced']} {content['error']}")

assert set(statuses.values()) == {400, 413}
assert translate(sources[:10])[1]["answers"] == answers[:10]

# %% [markdown]
# And the next good request is answered as before. (A client that really sends a gigabyte gets no
# answer: the server closes the connection instead of reading it.) But a check of the form finds
# only errors of the form. These requests are well-formed:

# %%
strange = ["", "?", "Hello, world", "日曜日", "Sunday, Smarch 32, 2026"]
status, content = translate(strange)
print(status)
for text, answer in zip(strange, content["answers"], strict=True):
    print(f"{text!r:28} → {answer!r}")
assert status == 200
assert len(content["answers"]) == len(strange)

# %% [markdown]
# The model answers each of them, as it answers everything. It was trained on nothing but dates, so
# it writes dates or pieces of dates, whatever it reads; a date that looks right is the worst of
# these answers. A status of 200 says that the model has answered, not that the answer makes sense.
# Whether an input is of the kind that the model was trained on is for you to check; for dates, a
# rule is enough.
#
# ## The end of a server
#
# A process that serves is stopped by a signal. This one has no state, so nothing needs to be saved.
# Requests that it is answering are lost; in production, whatever distributes the requests first
# stops sending new ones.

# %%
server.terminate()
_ = server.wait(timeout=30)
server.stdout.close()
try:
    translate(["May 5, 2020"])
except urllib.error.URLError as error:
    print("stopped:", type(error).__name__)
assert server.returncode is not None

# %% [markdown]
# ## Other formats
#
# - `model.export(folder, format="torch-export")` writes graphs for PyTorch instead of ONNX, for
#   programs that have PyTorch at hand. `load_exported` reads both.
# - `format="ctranslate2"` is for the `Transformer` between texts, and made for speed on a CPU.
# - `model.to_page(folder, ["Sunday, November 22, 2026"])` writes a page that runs the model in the
#   reader's browser and shows its attention. Any static web server can serve it. [A model in this
#   page](../live.md) is one. It downloads a runtime of 14 MB once, so this tutorial does not run
#   it.
#
# [Deployment](../deployment.md) compares them.
#
# ## Exercises
#
# **1.** Is it faster to send 64 texts in one request, or one by one? Measure it without the server.
#
# <details markdown>
# <summary>Solution</summary>

# %%
few = sources[:64]
began = time.perf_counter()
together = exported.predict(few)
middle = time.perf_counter()
alone = [exported.predict([text])[0] for text in few]
end = time.perf_counter()
print(f"together {middle - began:.2f} s, one by one {end - middle:.2f} s")
assert together == alone

# %% [markdown]
# Together, one step of the decoder serves all texts. A server with many clients can wait for some
# milliseconds and put their texts into one batch (*dynamic batching*). The answers are the same.
#
# </details>
#
# **2.** The attention weights of the exported model: are they those of the model?
#
# <details markdown>
# <summary>Solution</summary>

# %%
name = "decoder.attentional_hidden.attention"
model.export(place / "inspected", record=("attention",))
inspected = sl.export.load_exported(place / "inspected")
found = inspected.outputs(sources[:1])[f"attention/{name}"]

with sl.record(model) as recording:
    model.generate(sources[:1])
weights = recording["attention"][name][:, :, :1].numpy()
print(
    f"shape {found.shape}, largest difference {abs(found - weights).max():.0e}"
)
assert found.shape == weights.shape
assert np.allclose(found, weights, atol=1e-4)

# %% [markdown]
# They are equal up to rounding. `outputs` gives them for the first step of the decoder, or for
# given `targets`; the recording has all steps.
#
# </details>
#
# **3.** The same with `format="torch-export"`: how many of 50 answers are equal?
#
# <details markdown>
# <summary>Solution</summary>

# %%
model.export(place / "torch", format="torch-export")
in_torch = sl.export.load_exported(place / "torch")
number = equal(answers[:50], in_torch.predict(sources[:50]))
print(number, "of 50 are equal")
assert number == 50

# %% [markdown]
# </details>
#
# ## Next
#
# [Deployment](../deployment.md) lists formats, options and limits, and
# [Security](../security.md) says what may be loaded from whom.
