"""Training steps of encoder–decoder Transformers, relative to `torch.nn.Transformer`.

    python -m benchmarks train [--size tiny|base] [--dtype float32|bfloat16] [--multi30k FOLDER]
                               [--device cuda]

A step is the loss of a batch of about 4,096 target tokens with label smoothing, its gradient, and
AdamW. All contenders have the same sizes, the same dropout and the same batches, one after the
other in each round. With `--dtype bfloat16` all run under autocast.
"""

from __future__ import annotations

from functools import partial

from benchmarks.comparison import Comparison, Contender, arguments, compare
from benchmarks.peers import opennmt, transformers
from benchmarks.training import step_flops, training_step
from benchmarks.workloads import DTYPES, SIZES, add_arguments, add_device, load

CONTENDERS = {
    "nn.Transformer": (transformers.torch_transformer, ()),
    "seqlearn": (transformers.seqlearn, ("seqlearn",)),
    "Hugging Face Marian": (transformers.marian, ("transformers",)),
    "x-transformers": (transformers.x_transformers, ("x-transformers",)),
    "JoeyNMT": (transformers.joeynmt, ("joeynmt",)),
    "OpenNMT-py": (opennmt.transformer, ("OpenNMT-py",)),
}


def main() -> int:
    """Compare."""
    parser = arguments(__doc__)
    add_arguments(parser)
    add_device(parser)
    options = parser.parse_args()
    work = load(options.multi30k, options.batch_tokens, device=options.device)
    size, dtype = SIZES[options.size], DTYPES[options.dtype]
    trainees = {
        name: (partial(build, work.data.spec, size), packages)
        for name, (build, packages) in CONTENDERS.items()
    }
    comparison = Comparison(
        "train",
        f"train-{options.size}-{options.dtype}",
        [
            Contender(name, partial(training_step, build, dtype), packages, dtype)
            for name, (build, packages) in trainees.items()
        ],
        work.batches,
        work.description | {"size": options.size, **size._asdict()},
        device=options.device,
        flops=step_flops(trainees["nn.Transformer"][0], options.device),
    )
    return compare(comparison, options)
