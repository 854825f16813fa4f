"""Training steps of LSTM encoder–decoders with attention, relative to one fused call by hand.

    python -m benchmarks recurrent [--size tiny|base] [--dtype float32|bfloat16] [--multi30k FOLDER]
                                   [--device cuda]

As in `train`, but all have two layers of width `d_model` and a bidirectional encoder. "Input
feeding" runs the decoder in a loop, because the attentional hidden state of a step is an input of
the next.
"""

from __future__ import annotations

from functools import partial

from benchmarks.comparison import Comparison, Contender, arguments, compare
from benchmarks.peers import opennmt, recurrent
from benchmarks.training import step_flops, training_step
from benchmarks.workloads import DTYPES, SIZES, add_arguments, add_device, load

LAYERS = 2
PEERS = {
    "seqlearn": (recurrent.seqlearn, ("seqlearn",)),
    "JoeyNMT": (recurrent.joeynmt, ("joeynmt",)),
    "OpenNMT-py": (opennmt.lstm, ("OpenNMT-py",)),
}


def main() -> int:
    """Compare."""
    parser = arguments(__doc__)
    add_arguments(parser)
    add_device(parser)
    options = parser.parse_args()
    work = load(options.multi30k, options.batch_tokens, device=options.device)
    size, dtype = SIZES[options.size]._replace(num_layers=LAYERS), DTYPES[options.dtype]
    baseline = partial(recurrent.fused_by_hand, work.data.spec, size)
    contenders = [Contender("nn.LSTM by hand", partial(training_step, baseline, dtype), (), dtype)]
    for feeding in (False, True):
        for name, (build, packages) in PEERS.items():
            trainee = partial(build, work.data.spec, size, feeding=feeding)
            full = f"{name}, input feeding" if feeding else name
            step = partial(training_step, trainee, dtype)
            contenders.append(Contender(full, step, packages, dtype))
    comparison = Comparison(
        "recurrent",
        f"recurrent-{options.size}-{options.dtype}",
        contenders,
        work.batches,
        work.description | {"size": options.size, "d_model": size.d_model, "num_layers": LAYERS},
        device=options.device,
        flops=step_flops(baseline, options.device),
    )
    return compare(comparison, options)
