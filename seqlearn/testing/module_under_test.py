"""The module under test: the tasks, the precision and the lengths that it accepts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from random import Random

import torch
from torch import nn

from seqlearn.core import GenerationConfig, SequenceModule
from seqlearn.spec import AlignedSpec, SequenceSpec
from seqlearn.testing.cases import (
    TASKS,
    WIDEST,
    batch_of,
    cut_examples,
    rich_examples,
    short_examples,
)

Factory = Callable[[SequenceSpec], SequenceModule]


class ModuleUnderTest:
    """What a factory builds, and the limits within which it is tested.

    Args:
        factory: Builds the module for a spec; a `ValueError` says that it does not serve the spec.
        zero_gradients: Patterns of names of parameters whose gradient is zero by mathematics.
        tasks: The specs on which it is tested, by name; `TASKS`, if `None`.

    Attributes:
        tasks: The specs on which it is tested, by name.
        serves: The tasks that it serves, by name.
        refuses: By task, why it does not serve it.
        dtype: The dtype of the tests: float64, or float32 where it fails in float64.
        widest_source: Length of the longest padded source that it is tested on.
        widest_target: Length of the longest padded target, with start and end symbol.
        notes: Remarks for the report.

    Raises:
        ValueError: If it serves no task.
        TypeError: If the factory builds anything but a `SequenceModule`.
    """

    def __init__(
        self,
        factory: Factory,
        zero_gradients: tuple[str, ...] = (),
        tasks: Mapping[str, SequenceSpec] | None = None,
    ) -> None:
        self.tasks = dict(TASKS if tasks is None else _check_tasks(tasks))
        if isinstance(factory, nn.Module) or not callable(factory):
            raise TypeError(
                "expected a factory, such as lambda spec: MyModel(spec, d_model=8), got "
                f"{type(factory).__name__}"
            )
        self.factory, self.zero_gradients = factory, zero_gradients
        self.name = ""
        self.serves: list[str] = []
        self.refuses: dict[str, str] = {}
        self.notes: list[str] = []
        self.dtype = torch.float64
        for task, spec in self.tasks.items():
            try:
                module = self.build(spec, 0)
            except ValueError as error:
                self.refuses[task] = f"ValueError: {error}"
                continue
            self.name = type(module).__name__
            if refusal := _refusal(module, spec):
                self.refuses[task] = refusal
            else:
                self.serves.append(task)
        if not self.serves:
            reasons = "; ".join(f"{task}: {reason}" for task, reason in self.refuses.items())
            raise ValueError(f"expected a factory that serves at least one task, got {reasons}")
        self._choose_dtype()
        specs = {task: self.tasks[task] for task in self.serves}
        sequences = [task for task, s in specs.items() if s.source and s.source.is_sequence]
        generated = [task for task, s in specs.items() if s.target.needs_decoder]
        self.widest_source = self._limit("source", sequences)
        self.widest_target = self._limit("target", generated)

    def build(self, spec: SequenceSpec, seed: int) -> SequenceModule:
        """Build the module with a seed, in float32, and with default decoding options."""
        torch.manual_seed(seed)
        module = self.factory(spec)
        if not isinstance(module, SequenceModule):
            raise TypeError(
                f"expected a factory that builds a SequenceModule, got {type(module).__name__}"
            )
        module.generation = GenerationConfig()  # each law passes the decoding options it needs
        return module

    def _choose_dtype(self) -> None:
        """Choose float64 if the module can compute in it."""
        error = self._fails(torch.float64)
        # A failure in both is for the laws to report.
        if error is not None and self._fails(torch.float32) is None:
            self.dtype = torch.float32
            self.notes.append(
                f"tested in float32, for it fails in float64 ({error}); create tensors in the "
                "dtype of the inputs"
            )

    def _fails(self, dtype: torch.dtype) -> str | None:
        for task in self.serves:
            spec = self.tasks[task]
            module = self.build(spec, 0).to(dtype).eval()
            try:
                with torch.no_grad():
                    module(batch_of(spec, short_examples(spec), dtype))
            except Exception as error:  # noqa: BLE001 -- a user's module may raise anything
                return first_line(error)
        return None

    def _limit(self, side: str, tasks: list[str]) -> int:
        """The longest source or target that is tested: shorter if the module refuses more."""
        for task in tasks:
            spec = self.tasks[task]
            module = self.build(spec, 0).to(self.dtype).eval()
            source, target = short_examples(spec)[0]
            for length in range(2, WIDEST + 3):
                if side == "source" and spec.source is not None:
                    source = spec.source.random_value(Random(0), length)
                else:
                    target = spec.target.random_value(Random(0), length - 2)
                batch = batch_of(spec, [(source, target)], self.dtype)
                try:
                    with torch.no_grad():
                        memory = module.encode(batch.source, batch.source_lengths)
                        if side == "target":
                            module.decode(batch.target, memory)
                except ValueError as error:
                    self.notes.append(
                        f"{task}: tested on a {side} of at most {length - 1} tokens, for it "
                        f"refuses {length} ({first_line(error)})"
                    )
                    return length - 1
                except Exception:  # noqa: BLE001 -- the laws will report it
                    break
        return WIDEST + 2


def _check_tasks(tasks: object) -> Mapping[str, SequenceSpec]:
    if isinstance(tasks, Mapping) and all(isinstance(s, SequenceSpec) for s in tasks.values()):
        return tasks
    raise TypeError(
        'expected tasks as specs by name, such as {"series": SequenceSpec(MySpec(2), '
        f"VectorSpec(3))}}, got {tasks!r:.80}"
    )


def _refusal(module: SequenceModule, spec: SequenceSpec) -> str | None:
    """Why a module that was built does not serve the spec; `None` if it does."""
    needs = {"encoder": spec.source is not None, "decoder": spec.target.needs_decoder}
    for half, needed in needs.items():
        if needed and getattr(module, half, None) is None:
            return f"it has no {half}"
    if isinstance(spec.target, AlignedSpec):
        batch = batch_of(spec, cut_examples(spec, rich_examples(spec)[:1], source=2, target=2))
        try:
            with torch.no_grad():
                module.eval()(batch)
        except ValueError as error:  # its encoder has no state for each token
            return first_line(error)
        except Exception:  # noqa: BLE001 -- the laws will report it
            return None
    return None


def first_line(error: BaseException) -> str:
    """The class and the first line of an exception."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


def perturb(module: nn.Module) -> None:
    """Add small random numbers to every parameter, so that no bias is zero."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.1)
