"""Law 7: looking, copying, compiling and bf16 leave a module and its answers as they are."""

from __future__ import annotations

import copy
import io
import pickle
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from hypothesis import strategies as st
from torch import Tensor

from seqlearn.core import SequenceModule
from seqlearn.introspect import Recording
from seqlearn.introspect.recording._record import KINDS, record
from seqlearn.testing.cases import real_outputs
from seqlearn.testing.generation_helpers import asked, longest_answer
from seqlearn.testing.law import TEXT_TARGET, Law, Trial, law


@contextmanager
def recording_of(module: SequenceModule, what: Sequence[str] = KINDS) -> Iterator[Recording]:
    """`record`, for which it is no fault if there is nothing to hear."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"record\(\) captured nothing")
        with record(module, what) as recording:
            yield recording


def traces(module: SequenceModule) -> list[tuple[Any, ...]]:
    """What recording might leave on the parts of a module: attributes, hooks, modes."""
    return [
        (
            name,
            sorted(vars(part)),
            {key: len(value) for key, value in vars(part).items() if key.endswith("_hooks")},
            part.training,
        )
        for name, part in module.named_modules()
    ]


@law(7, "recording")
def recording(trial: Trial) -> None:
    """Recording changes no bit of outputs, gradients and random state, and leaves no trace."""
    drawn = trial.examples()
    training = trial.draw(st.booleans(), "training mode")
    batch = trial.batch(drawn)

    def run(module: SequenceModule) -> tuple[Tensor, list[Tensor | None], Tensor]:
        torch.manual_seed(3)
        outputs = module(batch)
        outputs.sum().backward()
        return outputs, [p.grad for p in module.parameters()], torch.get_rng_state()

    outputs, gradients, state = run(trial.module(training=training))
    module = trial.module(training=training)
    before = traces(module)
    with recording_of(module):
        heard, others, after = run(module)
    trial.same(heard, outputs, "outputs recorded and not")
    trial.expect(torch.equal(after, state), "recording draws random numbers")
    names = [name for name, _ in module.named_parameters()]
    for name, mine, theirs in zip(names, others, gradients, strict=True):
        trial.expect((mine is None) == (theirs is None), f"recording changes whether {name} learns")
        if mine is not None and theirs is not None:
            trial.same(mine, theirs, f"gradients of {name} recorded and not")
    trial.expect(traces(module) == before, "recording leaves a hook or an attribute on the module")


@law(7, "train and eval mode", shapes=(*TEXT_TARGET, "sequence-to-vector (classes)"))
def modes(trial: Trial) -> None:
    """Answering works in eval mode, and leaves each part in the mode in which it was."""
    drawn = trial.examples(max_size=2)
    module = trial.module()
    parts = list(module.modules())
    count = trial.draw(st.integers(0, 2), "kind of modes")
    for number, part in enumerate(parts):  # all in eval, all in training, or mixed
        part.training = count == 1 or (count == 2 and number % 2 == 0)
    before = [part.training for part in parts]

    def answers() -> Tensor:
        if trial.text_target:
            limit = longest_answer(trial, drawn)
            options: dict[str, Any] = {"max_new_tokens": limit, "return_scores": True}
            return module.generate(**asked(trial, drawn), **options)[1]
        sources = [source for source, _ in drawn]
        return module.classify(sources)[1]

    found = answers()
    after = [part.training for part in parts]
    trial.expect(after == before, "some part is in another mode after the call than before it")
    module.eval()
    trial.same(found, answers(), "answers in other modes, and in eval")


@law(7, "copy and pickle")
def copies(trial: Trial) -> None:
    """A deep copy and a pickled copy give the same outputs, and share no parameter."""
    module, batch = trial.module(), trial.batch(trial.examples())
    with torch.no_grad():
        expected = module(batch)
        file = io.BytesIO()
        torch.save(module, file, pickle_module=pickle)
        file.seek(0)
        loaded = torch.load(file, weights_only=False)  # what the line before has written
        for how, other in (("deep", copy.deepcopy(module)), ("pickled", loaded)):
            trial.same(other(batch), expected, f"outputs of a {how} copy and of the module")
            for parameter in other.parameters():
                parameter.fill_(0.5)
    with torch.no_grad():
        trial.same(module(batch), expected, "outputs before and after a copy has changed")


@law(7, "bf16")
def bf16(trial: Trial) -> None:
    """Under autocast to bf16 outputs are close to those in single precision."""
    module, batch = trial.module(dtype=torch.float32), trial.batch(trial.examples(), torch.float32)
    with torch.no_grad():
        exact = real_outputs(batch, module(batch))
        with torch.autocast("cpu", torch.bfloat16):
            rough = real_outputs(batch, module(batch)).float()
    trial.expect(rough.isfinite().all(), "outputs under bf16 that are not finite")
    size = float(exact.square().mean().sqrt())
    off = float((rough - exact).square().mean().sqrt())
    trial.error = max(trial.error, off)
    trial.expect(
        off < 0.05 + 0.1 * size, f"outputs under bf16 of size {size:.2g} are off by {off:.2g}"
    )


@law(7, "compiled", drawn=False)
def compiled(trial: Trial) -> None:
    """A compiled encoder and decoder answer as they do uncompiled."""
    batch = trial.batch(trial.rich())
    module = trial.module()
    torch.compiler.reset()  # or after some modules it would no longer compile
    with torch.no_grad():
        expected = module(batch)
        for half in (module.encoder, module.decoder):
            if isinstance(half, torch.nn.Module):
                half.compile(backend="eager")
        trial.close(module(batch), expected, "outputs compiled and not")


LAWS: tuple[Law, ...] = (recording, modes, copies, bf16, compiled)
