"""Law 7: recording, copying, compiling and bf16 leave a module and its outputs as they are."""

from __future__ import annotations

import copy
import io
import pickle
from typing import Any

import torch
from hypothesis import strategies as st
from torch import Tensor

from seqlearn.core import SequenceModule
from seqlearn.introspect.recording._record import record_quietly
from seqlearn.testing.cases import real_outputs
from seqlearn.testing.definition import Law, law
from seqlearn.testing.generation_helpers import generate_arguments, generation_limit, raw_sources
from seqlearn.testing.trial import NotApplicable, Trial


def attributes_and_hooks(module: SequenceModule) -> list[tuple[Any, ...]]:
    """What recording might leave on the submodules: attributes, hooks, modes."""
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
    """Recording changes no output, gradient or random state, and leaves nothing on the module."""
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
    before = attributes_and_hooks(module)
    with record_quietly(module):
        recorded, others, after = run(module)
    trial.same(recorded, outputs, "outputs with and without recording")
    trial.expect(torch.equal(after, state), "recording draws random numbers")
    names = [name for name, _ in module.named_parameters()]
    for name, mine, theirs in zip(names, others, gradients, strict=True):
        trial.expect(
            (mine is None) == (theirs is None), f"recording changes whether {name} has a gradient"
        )
        if mine is not None and theirs is not None:
            trial.same(mine, theirs, f"the gradient of {name} with and without recording")
    trial.expect(
        attributes_and_hooks(module) == before,
        "recording leaves a hook or an attribute on the module",
    )


@law(7, "train and eval mode")
def train_and_eval_mode(trial: Trial) -> None:
    """Inference runs in eval mode and restores the mode of every submodule."""
    drawn = trial.examples(max_size=2)
    module = trial.module()
    parts = list(module.modules())
    count = trial.draw(st.integers(0, 2), "modes of the submodules")
    for number, part in enumerate(parts):  # all in eval, all in training, or mixed
        part.training = count == 1 or (count == 2 and number % 2 == 0)
    before = [part.training for part in parts]

    def outputs() -> Tensor:
        if trial.generates:
            limit = generation_limit(trial, drawn)
            options: dict[str, Any] = {"max_new_tokens": limit, "return_scores": True}
            return module.generate(**generate_arguments(trial, drawn), **options)[1]
        found: list[Tensor] = []
        hook = module.head.register_forward_hook(lambda _, _inputs, output: found.append(output))
        module.predict(raw_sources(trial, drawn))
        hook.remove()
        return torch.cat(found)

    found = outputs()
    after = [part.training for part in parts]
    trial.expect(after == before, "a submodule has another mode after the call than before it")
    module.eval()
    trial.same(found, outputs(), "results in other modes and in eval mode")


@law(7, "copy and pickle")
def copy_and_pickle(trial: Trial) -> None:
    """A deep copy and a pickled copy give the same outputs and share no parameter."""
    module, batch = trial.module(), trial.batch(trial.examples())
    with torch.no_grad():
        expected = module(batch)
        file = io.BytesIO()
        torch.save(module, file, pickle_module=pickle)
        file.seek(0)
        loaded = torch.load(file, weights_only=False)  # written two lines above
        for how, other in (("deep", copy.deepcopy(module)), ("pickled", loaded)):
            trial.same(other(batch), expected, f"outputs of a {how} copy and of the module")
            for parameter in other.parameters():
                parameter.fill_(0.5)
    with torch.no_grad():
        trial.same(module(batch), expected, "outputs before and after a copy has changed")


@law(7, "bf16")
def bf16(trial: Trial) -> None:
    """Outputs under bf16 autocast are close to those in single precision."""
    module, batch = trial.module(dtype=torch.float32), trial.batch(trial.examples(), torch.float32)
    with torch.no_grad():
        exact = real_outputs(trial.spec, batch, module(batch))
        with torch.autocast("cpu", torch.bfloat16):
            rough = real_outputs(trial.spec, batch, module(batch)).float()
    if not exact.numel():
        raise NotApplicable("there is no output")
    trial.expect(rough.isfinite().all(), "outputs under bf16: values that are not finite")
    size = float(exact.square().mean().sqrt())
    off = float((rough - exact).square().mean().sqrt())
    trial.error = max(trial.error, off)
    trial.expect(
        off < 0.05 + 0.1 * size,
        f"outputs under bf16 differ by {off:.2g} (root mean square; outputs {size:.2g})",
    )


@law(7, "compiled", drawn=False)
def compiled(trial: Trial) -> None:
    """A compiled encoder and decoder give the same outputs as uncompiled ones."""
    batch = trial.batch(trial.rich())
    module = trial.module()
    torch.compiler.reset()  # torch stops compiling after too many recompilations
    with torch.no_grad():
        expected = module(batch)
        for half in (module.encoder, module.decoder):
            if isinstance(half, torch.nn.Module):
                half.compile(backend="eager")
        trial.close(module(batch), expected, "outputs of the compiled and the uncompiled module")


LAWS: tuple[Law, ...] = (recording, train_and_eval_mode, copy_and_pickle, bf16, compiled)
