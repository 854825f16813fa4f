"""Exported models against Hugging Face `generate`: onnxruntime, CTranslate2 in fp32 and int8.

All contenders have random weights of the same sizes and decode the same sources to the same number
of tokens: the end symbol has no probability. With `--checkpoint` the BLEU of a trained model and
of its exports on the test split of Multi30k, or of Dates, is printed instead.

    python -m benchmarks exported --size tiny --decoding beam --multi30k FOLDER
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import sacrebleu
import torch

import seqlearn as sl
from benchmarks.comparison import Comparison, Contender, arguments, compare
from benchmarks.peers import UnavailableError, peer
from benchmarks.peers.transformers import vocabulary_sizes
from benchmarks.workloads import SIZES, Size, add_arguments, load
from seqlearn.batch import END, PAD, START, pad
from seqlearn.export import load_exported
from seqlearn.spec.raw_inputs import EncodedIds

ROWS, TOKENS, MOST = 32, 20, 500
NEVER = -1e4
Sources = list[EncodedIds]
Decoding = dict[str, Any]


def hugging_face(spec: sl.SequenceSpec, size: Size, decoding: Decoding) -> Callable[..., object]:
    """`MarianMTModel.generate`."""
    library = peer("transformers")
    source, target = vocabulary_sizes(spec)
    config = library.MarianConfig(
        vocab_size=source, decoder_vocab_size=target, share_encoder_decoder_embeddings=False,
        d_model=size.d_model, encoder_layers=size.num_layers, decoder_layers=size.num_layers,
        encoder_attention_heads=size.num_heads, decoder_attention_heads=size.num_heads,
        encoder_ffn_dim=size.d_feedforward, decoder_ffn_dim=size.d_feedforward,
        activation_function="relu", scale_embedding=True, max_position_embeddings=512,
        pad_token_id=PAD, eos_token_id=END, decoder_start_token_id=START, forced_eos_token_id=None,
    )  # fmt: skip
    model = library.MarianMTModel(config).eval()
    model.final_logits_bias[:, [PAD, 1, START, END]] = NEVER
    searched: dict[str, Any] = {}
    if "beam_size" in decoding:
        searched = {"num_beams": decoding["beam_size"], "early_stopping": True}

    def work(sources: Sources) -> object:
        ids, lengths = pad(sources)
        mask = torch.arange(ids.shape[1]) < lengths[:, None]
        return model.generate(
            ids, attention_mask=mask.long(), do_sample=False, max_new_tokens=TOKENS, **searched
        )

    return work


def seqlearn_model(spec: sl.SequenceSpec, size: Size) -> sl.Transformer:
    """A Transformer of random weights that never ends a text."""
    model = sl.Transformer(spec, **size._asdict()).eval()
    with torch.no_grad():
        model.head.bias[[PAD, 1, START, END]] = NEVER
    return model


def seqlearn(spec: sl.SequenceSpec, size: Size, decoding: Decoding) -> Callable[..., object]:
    """`Transformer.generate`."""
    model = seqlearn_model(spec, size)
    return partial(model.generate, max_new_tokens=TOKENS, **decoding)


def exported(
    spec: sl.SequenceSpec, size: Size, decoding: Decoding, **options: Any
) -> Callable[..., object]:
    """An export, run by `load_exported`."""
    try:
        model = reloaded(seqlearn_model(spec, size), **options)
    except ModuleNotFoundError as error:
        raise UnavailableError(str(error)) from error
    return partial(model.generate, max_new_tokens=TOKENS, **decoding)


def reloaded(model: sl.SequenceModule, **options: Any) -> Any:
    """A model that is exported to a temporary folder and loaded from it."""
    with tempfile.TemporaryDirectory(prefix="exported-") as folder:
        model.export(Path(folder), **options)
        return load_exported(folder)


FORMATS: dict[str, dict[str, Any]] = {
    "seqlearn, onnxruntime": {"format": "onnx"},
    "seqlearn, CTranslate2": {"format": "ctranslate2"},
    "seqlearn, CTranslate2 int8": {"format": "ctranslate2", "quantization": "int8"},
}


def contenders(spec: sl.SequenceSpec, size: Size, decoding: Decoding) -> list[Contender]:
    """Hugging Face, `generate` and the exports; the first is the baseline."""
    given = (spec, size, decoding)
    packages = {"onnx": ("onnxruntime",), "ctranslate2": ("ctranslate2",)}
    return [
        Contender("HF generate", partial(hugging_face, *given), ("transformers",)),
        Contender("seqlearn generate", partial(seqlearn, *given)),
        *(
            Contender(name, partial(exported, *given, **options), packages[options["format"]])
            for name, options in FORMATS.items()
        ),
    ]


def sources_of(batches: Sequence[Any]) -> list[Sources]:
    """The sources of batches, `ROWS` at a time."""
    texts = [
        EncodedIds(ids[:length])
        for batch in batches
        for ids, length in zip(batch.source.tolist(), batch.source_lengths.tolist(), strict=True)
    ]
    return [texts[at : at + ROWS] for at in range(0, len(texts) - ROWS + 1, ROWS)]


def print_quality(
    checkpoint: str, multi30k: str | None, languages: tuple[str, str], decoding: Decoding
) -> None:
    """BLEU of a trained model and of its exports on the test split, without case on Multi30k."""
    model = sl.Transformer.load_from_checkpoint(checkpoint, map_location="cpu").eval()
    if multi30k is None:
        examples = list(sl.data.Dates("en", "de").examples("test"))[:MOST]
    else:
        examples = list(sl.data.Multi30k(multi30k, languages).examples("test"))
        examples = [(str(one).lower(), str(other).lower()) for one, other in examples]
    sources, references = (list(map(str, side)) for side in zip(*examples, strict=True))
    contestants: dict[str, Any] = {"generate": model}
    for name, options in FORMATS.items():
        contestants[name] = reloaded(model, **options)
    expected: list[str] = []
    for name, contestant in contestants.items():
        texts = contestant.generate(sources, **decoding)
        expected = expected or texts
        same = sum(one == other for one, other in zip(texts, expected, strict=True))
        score = sacrebleu.corpus_bleu(texts, [references]).score
        print(f"{name:28} BLEU {score:6.2f}   same texts {same}/{len(texts)}")


def main() -> int:
    """Run the comparison, or with `--checkpoint` print the quality."""
    parser = arguments(__doc__)
    add_arguments(parser, dtype=False)
    parser.add_argument("--decoding", choices=("greedy", "beam"), default="greedy")
    parser.add_argument("--checkpoint", help="a trained Transformer, for its quality")
    languages: Any = {"nargs": 2, "metavar": ("SOURCE", "TARGET"), "default": ["en", "de"]}
    parser.add_argument("--languages", **languages, help="of --checkpoint, in Multi30k")
    options = parser.parse_args()
    decoding: Decoding = {"strategy": options.decoding}
    if options.decoding == "beam":
        decoding |= {"beam_size": 5, "early_stopping": True}
    if options.checkpoint:
        print_quality(options.checkpoint, options.multi30k, tuple(options.languages), decoding)
        return 0
    work = load(options.multi30k, options.batch_tokens)
    given = contenders(work.data.spec, SIZES[options.size], decoding)
    label = f"exported-{options.size}-{options.decoding}"
    described = work.description | {"rows": ROWS, "new_tokens": TOKENS}
    comparison = Comparison(
        "exported", label, given, sources_of(work.batches), described, flops=None, memory=False
    )
    return compare(comparison, options)
