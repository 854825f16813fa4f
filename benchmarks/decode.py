"""Generation, relative to Hugging Face `generate` or the search of JoeyNMT.

    python -m benchmarks decode [--model transformer|attention] [--size tiny|base] [--beam-size 5]
                                [--precision bf16|int8] [--device cuda]

Greedy search without `--beam-size`. A Transformer and Hugging Face's `MarianMTModel` have the same
weights; `AttentionSeq2Seq` (two LSTM layers, score "general") is compared with a model of JoeyNMT
of the same sizes. Weights are random, and no text ends before `--new-tokens`; with `--checkpoint
FOLDER`, a Transformer that was trained, texts end where they end. An item is a number of sentences
of mixed lengths; the peers get them sorted by length, `--peer-batch` at a time. With
`--precision`, seqlearn's contender is a copy by `for_inference`; the peer stays in float32, and for
`bf16` it is also measured in bfloat16.
"""

from __future__ import annotations

import argparse
import copy
from functools import partial
from typing import Any

import torch

import seqlearn as sl
from benchmarks.comparison import Comparison, Contender, arguments, compare
from benchmarks.measuring import Flops, Work
from benchmarks.peers import decoders, recurrent
from benchmarks.peers.decoders import Search
from benchmarks.workloads import SIZES, Workload, add_arguments, add_device, load
from seqlearn.batch import END

LAYERS_OF_ATTENTION = 2
NEVER = -1e4
TYPES = {"bf16": torch.bfloat16, "int8": torch.int8}


def transformer(work: Workload, options: argparse.Namespace) -> sl.Transformer:
    """The model: loaded, or with random weights and without an end."""
    if options.checkpoint:
        return sl.Transformer.from_pretrained(options.checkpoint).to(options.device)
    torch.manual_seed(0)
    model = sl.Transformer(work.data.spec, **SIZES[options.size]._asdict(), dropout=0.1)
    return without_end(model).to(options.device)


def without_end(model: Any) -> Any:
    """Make the end symbol less probable than every other token."""
    with torch.no_grad():
        model.head.bias[END] = NEVER
    return model.eval()


def in_precision(model: sl.SequenceModule, options: argparse.Namespace) -> sl.SequenceModule:
    """A copy of the model, in the precision that is measured."""
    chosen = options.precision
    return copy.deepcopy(model) if chosen is None else model.for_inference(chosen)


def ours(model: sl.SequenceModule, options: argparse.Namespace, search: Search) -> Work:
    """Generation by a copy of a model, whose memory counts as its own."""
    return decoders.seqlearn(in_precision(model, options), search)


def attention(work: Workload, options: argparse.Namespace, name: str, search: Search) -> Work:
    """Generation by a model of `benchmarks.peers.recurrent`."""
    size = SIZES[options.size]._replace(num_layers=LAYERS_OF_ATTENTION)
    torch.manual_seed(0)
    model, _ = getattr(recurrent, name)(work.data.spec, size, feeding=options.input_feeding)
    if name == "seqlearn":
        return ours(without_end(model), options, search)
    return decoders.joeynmt(model.eval(), search)


def items_of(work: Workload, spec: sl.SequenceSpec, count: int) -> list[list[list[int]]]:
    """Items of `count` sentences of mixed lengths, as ids of the model."""
    source, target = work.data.spec.source, spec.source
    assert isinstance(source, sl.TextSpec)
    assert isinstance(target, sl.TextSpec)
    ids = [
        row
        for batch in work.batches
        if batch.source is not None
        for row in source.unbatch(batch.source, batch.source_lengths)
    ]
    order = torch.randperm(len(ids), generator=torch.Generator().manual_seed(0)).tolist()
    ids = [ids[row] for row in order]
    if count > len(ids):
        raise ValueError(
            f"--sentences: expected at most {len(ids)}, those of 40 batches, got {count}"
        )
    if target != source:
        ids = [list(each) for each in target.encode(source.decode(ids), label="source")]
    return [ids[start : start + count] for start in range(0, len(ids) - count + 1, count)]


def main() -> int:
    """Compare."""
    parser = arguments(__doc__)
    add_arguments(parser, dtype=False)
    add_device(parser)
    parser.add_argument("--model", choices=["transformer", "attention"], default="transformer")
    parser.add_argument("--beam-size", type=int, default=1, help="greedy search without")
    parser.add_argument("--new-tokens", type=int, default=24, help="most tokens of a text")
    parser.add_argument("--sentences", type=int, default=500, help="of an item")
    parser.add_argument("--peer-batch", type=int, default=64, help="sentences of peers at a time")
    parser.add_argument("--checkpoint", metavar="FOLDER", help="of save_pretrained")
    parser.add_argument("--precision", choices=["bf16", "int8"], help="of seqlearn's contender")
    parser.add_argument("--input-feeding", action="store_true", help="of --model attention")
    options = parser.parse_args()
    if options.model == "attention" and options.checkpoint:
        parser.error("--checkpoint is for --model transformer")
    if options.model == "transformer" and options.input_feeding:
        parser.error("--input-feeding is for --model attention")
    work = load(options.multi30k, options.batch_tokens, count=40)
    search = Search(options.beam_size, options.new_tokens, options.peer_batch)
    name = f"seqlearn, {options.precision}" if options.precision else "seqlearn"
    dtype = TYPES.get(options.precision, torch.float32)
    if options.model == "attention":
        spec = work.data.spec
        contenders = [
            Contender(
                "JoeyNMT", partial(attention, work, options, "joeynmt", search), ("joeynmt",)
            ),
            Contender(name, partial(attention, work, options, "seqlearn", search), (), dtype),
        ]
    else:
        model = transformer(work, options)
        spec, marian = model.spec, partial(decoders.hugging_face, model, search)
        contenders = [
            Contender("Hugging Face generate", marian, ("transformers",)),
            Contender(name, partial(ours, model, options, search), (), dtype),
        ]
        if options.precision == "bf16":
            marian = partial(decoders.hugging_face, model, search, dtype=torch.bfloat16)
            contenders.insert(1, Contender("Hugging Face, bf16", marian, ("transformers",), dtype))
    form = "-feeding" if options.input_feeding else ""
    form += f"-{options.precision}" if options.precision else ""
    size = "trained" if options.checkpoint else options.size
    strategy = "greedy" if options.beam_size == 1 else f"beam{options.beam_size}"
    trained = "trained" if options.checkpoint else "random, without an end"
    comparison = Comparison(
        "decode",
        f"decode-{options.model}-{size}-{strategy}{form}",
        contenders,
        items_of(work, spec, options.sentences),
        work.description
        | {"size": size, "weights": trained, "sentences": options.sentences}
        | ({"joint_pieces": getattr(spec.target, "vocab_size", None)} if options.checkpoint else {})
        | {"precision": options.precision or "float32", "input_feeding": options.input_feeding}
        | search._asdict(),
        flops=Flops(contenders[0].build, options.device),
        device=options.device,
    )
    return compare(comparison, options)
