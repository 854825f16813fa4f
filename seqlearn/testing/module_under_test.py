"""The module under test: which shapes it serves, in which precision, up to which lengths."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from seqlearn.core import SequenceModule
from seqlearn.spec import SequenceSpec, TextSpec
from seqlearn.testing.cases import SHAPES, WIDEST, batch_of, short_examples

Factory = Callable[[SequenceSpec], SequenceModule]


class ModuleUnderTest:
    """What a factory makes, and what it can do.

    Args:
        factory: Builds the module for a spec; a `ValueError` says that it does not serve the spec.
        zero_gradients: Patterns of names of parameters whose gradient is zero by mathematics.

    Attributes:
        serves: The shapes that it serves, by name.
        refuses: By shape why it does not serve it.
        dtype: In which it is computed: double, or single where it cannot compute in double.
        widest_source: Places of the widest padded source that it is tried on.
        widest_target: Places of the widest padded target, start and end counted.
        notes: What a reader of the report should know.

    Raises:
        ValueError: If it serves no shape.
        TypeError: If the factory makes something else than a `SequenceModule`.
    """

    def __init__(self, factory: Factory, zero_gradients: tuple[str, ...] = ()) -> None:
        self.factory, self.zero_gradients = factory, zero_gradients
        self.name = ""
        self.serves: list[str] = []
        self.refuses: dict[str, str] = {}
        self.notes: list[str] = []
        self.dtype = torch.float64
        for shape, spec in SHAPES.items():
            try:
                module = self.build(spec, 0)
            except ValueError as error:
                self.refuses[shape] = f"ValueError: {error}"
                continue
            self.name = type(module).__name__
            if missing := _missing(module, spec):
                self.refuses[shape] = f"it has no {missing}"
            else:
                self.serves.append(shape)
        if not self.serves:
            reasons = "; ".join(f"{shape}: {reason}" for shape, reason in self.refuses.items())
            raise ValueError(f"expected a factory that serves at least one shape, got {reasons}")
        self._choose_dtype()
        readers = [shape for shape in self.serves if isinstance(SHAPES[shape].source, TextSpec)]
        writers = [shape for shape in self.serves if isinstance(SHAPES[shape].target, TextSpec)]
        self.widest_source = self._limit("source", readers)
        self.widest_target = self._limit("target", writers)

    def build(self, spec: SequenceSpec, seed: int) -> SequenceModule:
        """Build a module as the factory does, from a seed; in single precision."""
        torch.manual_seed(seed)
        module = self.factory(spec)
        if not isinstance(module, SequenceModule):
            raise TypeError(
                f"expected a factory that makes a SequenceModule, got {type(module).__name__}"
            )
        return module

    def _choose_dtype(self) -> None:
        """Double precision, if the module can compute in it."""
        error = self._fails(torch.float64)
        # What fails in both is for the laws to find, and to tell.
        if error is not None and self._fails(torch.float32) is None:
            self.dtype = torch.float32
            self.notes.append(
                f"computed in single precision, for in double it fails ({error}); make tensors in "
                "the dtype of the inputs"
            )

    def _fails(self, dtype: torch.dtype) -> str | None:
        for shape in self.serves:
            spec = SHAPES[shape]
            module = self.build(spec, 0).to(dtype).eval()
            try:
                with torch.no_grad():
                    module(batch_of(spec, short_examples(spec), dtype))
            except Exception as error:  # noqa: BLE001 -- whatever a user's module raises
                return first_line(error)
        return None

    def _limit(self, side: str, shapes: list[str]) -> int:
        """Places of the widest source or target that is tried; fewer, if the module refuses it."""
        for shape in shapes:
            module = self.build(SHAPES[shape], 0).to(self.dtype).eval()
            one = batch_of(SHAPES[shape], short_examples(SHAPES[shape])[:1], self.dtype)
            for places in range(2, WIDEST + 3):
                ids = torch.full((1, places), 4)
                try:
                    with torch.no_grad():
                        if side == "source":
                            module.encode(ids, torch.tensor([places]))
                        else:
                            module.decode(ids, module.encode(one.source, one.source_lengths))
                except ValueError as error:
                    self.notes.append(
                        f"{shape}: tried on a {side} of at most {places - 1} tokens, for it "
                        f"refuses {places} ({first_line(error)})"
                    )
                    return places - 1
                except Exception:  # noqa: BLE001 -- which the laws will find, and tell
                    break
        return WIDEST + 2


def _missing(module: SequenceModule, spec: SequenceSpec) -> str | None:
    """Which half the spec needs and the module lacks."""
    needs = {"encoder": spec.source is not None, "decoder": isinstance(spec.target, TextSpec)}
    for half, needed in needs.items():
        if needed and getattr(module, half, None) is None:
            return half
    return None


def first_line(error: BaseException) -> str:
    """What an exception says, in one line."""
    words = str(error).strip().splitlines()
    return f"{type(error).__name__}: {words[0]}" if words else type(error).__name__


def perturb(module: nn.Module) -> None:
    """Move every parameter a little from where it starts, so that no bias is zero."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.1)
