"""`seqlearn export`: write a checkpoint in a format that runs without seqlearn."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from seqlearn.atomic_files import require_writable
from seqlearn.cli.arguments import ArgumentParser
from seqlearn.cli.loading import SAVED, load_module
from seqlearn.core.exporting import format_names

KINDS = ("attention", "states", "gates")


def export(argv: Sequence[str]) -> None:
    """Write a checkpoint as a folder that runs without it."""
    parser = ArgumentParser(
        prog="seqlearn export",
        description="Write a model as a folder for deployment, with its tokenizers and labels: "
        "graphs of encoder and decoder step (onnx, torch-export), or a model of CTranslate2, which "
        "seqlearn.export.load_exported(FOLDER) runs; or a page that runs the model in a browser.",
    )
    parser.add_argument("checkpoint", help=SAVED)
    parser.add_argument(
        "--model",
        help="the class of the checkpoint, if it is your own: package.module.Class",
    )
    parser.add_argument("--format", choices=format_names(), default="onnx", help="(%(default)s)")
    parser.add_argument(
        "--out",
        default="exported",
        help="a new or empty folder, or an earlier export, which is replaced (%(default)s)",
    )
    parser.add_argument(
        "--record",
        nargs="+",
        choices=KINDS,
        help="onnx, torch-export: what the graphs also return",
    )
    parser.add_argument(
        "--head-mask",
        action="store_true",
        default=None,
        help="onnx, torch-export: an input of the graphs that weights the heads of attention",
    )
    parser.add_argument(
        "--quantization", help="ctranslate2: how weights are stored and multiplied, such as int8"
    )
    parser.add_argument(
        "--examples", nargs="+", help="page: texts to choose from; the page opens with the first"
    )
    parser.add_argument("--title", help="page: its title")
    parser.add_argument(
        "--runtime",
        help="page: a folder with the files of onnxruntime-web; downloaded if not given",
    )
    options = parser.parse_args(argv)
    names = ("record", "head_mask", "quantization", "examples", "title", "runtime")
    given = {name: getattr(options, name) for name in names}
    given = {name: value for name, value in given.items() if value is not None}
    require_writable(Path(options.out).absolute().parent, "--out")
    module = load_module(options.checkpoint, options.model)
    path = module.export(options.out, options.format, **given)
    print(f"Export: {path}")
