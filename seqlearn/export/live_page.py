"""A live page: a model that runs in the reader's browser, and shows what it did.

The folder holds the ONNX graphs, onnxruntime for browsers, the viewer, and the scripts in `web/`:

    a text ─► tokenizer.js ─► model.js: encoder, then decoder step by step ─► the answer
                                   │ attention weights, states, gates
                                   ▼
                              packing.js ─► the viewer

Names of modules, axes and pictures come from a recording of the first example in Python.
"""

from __future__ import annotations

import html
import json
import os
import re
import shutil
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from seqlearn.core import SequenceModule
from seqlearn.export.checking import check_export
from seqlearn.export.folder import changed_rules, check_spec, export_folder, write_config
from seqlearn.export.onnx_format import write_graphs
from seqlearn.export.runtime import ExportedModel
from seqlearn.export.web_runtime import runtime_files
from seqlearn.introspect import record
from seqlearn.introspect.plots.attention import escape_label
from seqlearn.introspect.viewer.page import script_json, viewer_script
from seqlearn.introspect.viewer.payload import page_data
from seqlearn.nn import MultiHeadAttention

WEB = Path(__file__).parent / "web"
SCRIPTS = ("model.js", "packing.js", "page.js", "page.css", "tokenizer.js")
KINDS = ("attention", "states", "gates")
MOST_TOKENS = 128
"""A page reads at most this many tokens."""


def export_page(
    module: SequenceModule,
    path: str | os.PathLike[str],
    *,
    examples: Sequence[str] = (),
    title: str | None = None,
    about: str | None = None,
    opens: str | None = None,
    runtime: str | os.PathLike[str] | None = None,
) -> None:
    """Write a live page; see `SequenceModule.to_page`."""
    texts = _checked_examples(examples)
    check_spec(module)
    source, target = module.spec.source, module.spec.target
    read = target if source is None else source
    if read.kind != "text" or target.kind not in ("text", "classes"):
        raise ValueError(
            "a live page reads a text and answers with a text or a class, and this model maps "
            f"{'nothing' if source is None else source.kind} to {target.kind}"
        )
    sides = {"source": None if source is None else _side(source), "target": _side(target)}
    if target.needs_decoder and (changed := changed_rules(module.generation)):
        warnings.warn(
            f"a live page searches greedily without {', '.join(changed)}, which this model saves: "
            "its answers may differ from those of generate; leave them out of model.generation",
            stacklevel=4,
        )
    files = runtime_files(runtime)
    data = _viewer_data(module, texts[0], opens)
    (template,) = data.pop("examples")
    pictures = {picture["kind"] for picture in template["pictures"]}
    has_heads = any(isinstance(part, MultiHeadAttention) for part in module.modules())
    with export_folder(path) as folder:
        config = write_graphs(module, folder, KINDS, head_mask=has_heads)
        check_export(module, ExportedModel(folder, threads=1))
        graphs = {
            name: graph | {"states": graph.get("states", {}), "memory": graph.get("memory", [])}
            for name, graph in config["graphs"].items()
            if name in ("encoder", "decoder")
        }
        for name in config["graphs"].keys() - graphs.keys():
            (folder / config["graphs"][name]["file"]).unlink()
        write_config(folder, config | {"format": "page", "graphs": graphs})
        for name in SCRIPTS:
            shutil.copyfile(WEB / name, folder / name)
        for name, file in files.items():
            shutil.copyfile(file, folder / name)
        (folder / "viewer.js").write_text(viewer_script(pictures), encoding="utf-8")
        size = sum(file.stat().st_size for file in folder.iterdir())
        positions = config["limits"].get("target", {"tokens": None})["tokens"]
        most = MOST_TOKENS  # of the text that is typed; a prompt needs a position for the answer
        if source is None and positions is not None:
            most = min(most, positions - 1)
        page = {
            "graphs": graphs,
            "suppressed_ids": config["suppressed_ids"],
            "max_new_tokens": config["generation"]["max_new_tokens"],
            "positions": positions,
            "limit": config["limits"].get("source", {"tokens": most})["tokens"],
            "examples": texts,
            "viewer": data,
            "template": template,
            **sides,
        }
        title = type(module).__name__ if title is None else title
        about = _about(module, sides) if about is None else about
        text = _page(page, title, about, "Text" if source is None else "Source", size)
        (folder / "index.html").write_text(text, encoding="utf-8")


def _checked_examples(examples: Sequence[str]) -> list[str]:
    texts = list(examples) if not isinstance(examples, str) else []
    if not texts or not all(isinstance(text, str) and text.strip() for text in texts):
        raise ValueError(
            "a live page opens with an example; expected examples as a list of texts, such as "
            f"examples=['A dog runs.'], got {examples!r}"
        )
    return texts


def _side(side: Any) -> dict[str, Any]:
    """What the scripts need of a text or of classes."""
    if side.kind == "classes":
        return {"labels": list(side.labels)}
    plain = side.to_dict()
    if plain.get("tokenizer") is None:
        raise ValueError(
            "a live page reads text, and this model has no tokenizer: it was trained on ids"
        )
    return _tokenizer(json.loads(plain["tokenizer"])) | {
        "names": [escape_label(name) for name in side.tokens(range(side.vocab_size))]
    }


def _tokenizer(definition: Mapping[str, Any]) -> dict[str, Any]:
    """A tokenizer as `tokenizer.js` reads it.

    Raises:
        ValueError: If it is not one that seqlearn makes.
    """
    normalizer = definition["normalizer"] or {}
    steps = normalizer.get("normalizers", [normalizer] if normalizer else [])
    names = {step["type"] for step in steps}
    split, model = definition["pre_tokenizer"], definition["model"]
    kinds = {("Split", "WordLevel"): "char", ("Sequence", "WordLevel"): "word"}
    tokens = kinds.get((split["type"], model["type"]))
    if split["type"] == "ByteLevel" and model["type"] == "BPE" and "Prepend" in names:
        tokens = "bpe"
    if tokens is None or names - {"Lowercase", "Prepend"}:
        raise ValueError(
            "a live page reads the tokenizers 'char', 'word' and 'bpe' of seqlearn, and this model "
            "has another one"
        )
    return {
        "tokens": tokens,
        "lowercase": "Lowercase" in names,
        "vocabulary": model["vocab"],
        "merges": model.get("merges"),
    }


def _viewer_data(module: SequenceModule, text: str, opens: str | None) -> dict[str, Any]:
    with record(module, what=KINDS) as recording:
        if module.spec.source is None:
            module.generate(prompts=[text], strategy="greedy")
        elif module.spec.target.kind == "classes":
            module.predict([text])
        else:
            module.generate([text], strategy="greedy")
    return page_data(recording, "What the model did", opens=opens)


def _about(module: SequenceModule, sides: Mapping[str, Any]) -> str:
    """What the model is, for a reader of its page."""
    size = sum(parameter.numel() for parameter in module.parameters())
    tokens = (sides["source"] or sides["target"])["tokens"]
    units = {"char": "characters", "word": "words", "bpe": "parts of words"}[tokens]
    return (
        f"{type(module).__name__} with {size:,} parameters. It reads {units} and runs in your "
        "browser; what you type stays there."
    )


def _page(page: Mapping[str, Any], title: str, about: str, label: str, size: int) -> str:
    parts = {
        "TITLE": html.escape(title),
        "ABOUT": html.escape(about),
        "LABEL": label,
        "SIZE": f"{size / 1e6:.0f} MB",
        "DATA": script_json(page),
    }
    text = (WEB / "page.html").read_text(encoding="utf-8")
    return re.sub("|".join(parts), lambda found: parts[found[0]], text)  # all at once
