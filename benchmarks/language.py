"""Training steps of language models of GPT-2's form, relative to Hugging Face `GPT2LMHeadModel`.

    python -m benchmarks language [--size tiny|gpt2] [--window 1024] [--rows 1]
                                  [--dtype float32|bfloat16] [--device cuda]

A step is the loss of `--rows` windows of a text, its gradient, and AdamW. `gpt2` is the small GPT-2
(Radford et al. 2019): 12 layers of 768, 124 million weights, 50,257 tokens. The ids are random: a
step takes as long with any. With `--dtype bfloat16` all run under autocast.
"""

from __future__ import annotations

from functools import partial

import torch

from benchmarks.comparison import Comparison, Contender, arguments, compare
from benchmarks.peers import language
from benchmarks.training import step_flops, training_step
from benchmarks.workloads import DTYPES, SIZES, Size, add_device
from seqlearn.batch import SequenceBatch

FIRST_TOKEN = 4  # after the special ones
FORMS = {"tiny": (SIZES["tiny"], 8000), "gpt2": (Size(768, 12, 12, 3072), 50_257)}
"""Sizes and the number of tokens in the vocabulary."""
CONTENDERS = {
    "Hugging Face GPT-2": (language.hugging_face, ("transformers",)),
    "seqlearn": (language.seqlearn, ("seqlearn",)),
    "nn.TransformerEncoder": (language.torch_transformer, ()),
}


def windows(vocabulary: int, window: int, rows: int, device: torch.device) -> SequenceBatch:
    """A batch of random windows of `window` predictions."""
    ids = torch.randint(FIRST_TOKEN, vocabulary, (rows, window + 1), device=device)
    return SequenceBatch(None, None, ids, torch.full((rows,), window + 1, device=device))


def main() -> int:
    """Compare."""
    parser = arguments(__doc__)
    add_device(parser)
    parser.add_argument("--size", choices=list(FORMS), default="tiny")
    parser.add_argument("--dtype", choices=list(DTYPES), default="float32", help="of products")
    parser.add_argument("--window", type=int, default=1024, help="tokens; 1024 by default")
    parser.add_argument("--rows", type=int, default=1, help="windows of a batch; 1 by default")
    options = parser.parse_args()
    size, vocabulary = FORMS[options.size]
    dtype, device = DTYPES[options.dtype], options.device
    torch.manual_seed(0)
    batches = [windows(vocabulary, options.window, options.rows, device) for _ in range(4)]
    trainees = {
        name: (partial(build, vocabulary, options.window, size), packages)
        for name, (build, packages) in CONTENDERS.items()
    }
    said = {"size": options.size, **size._asdict(), "vocabulary": vocabulary}
    comparison = Comparison(
        "language",
        f"language-{options.size}-{options.dtype}",
        [
            Contender(name, partial(training_step, build, dtype), packages, dtype)
            for name, (build, packages) in trainees.items()
        ],
        batches,
        said | {"window": options.window, "rows": options.rows, "data": "random ids"},
        flops=step_flops(trainees["Hugging Face GPT-2"][0], device),
        device=device,
    )
    return compare(comparison, options)
