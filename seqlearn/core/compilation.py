"""`Compiles`: `torch.compile` for a `SequenceModule`, one graph per block.

A block is a part without a loop over time, such as a layer of a Transformer. Its sizes are dynamic:
one graph serves every batch size and every length. Recurrent layers already run all steps in one
kernel of torch, which `torch.compile` would unroll to one graph for each length; they are left out.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from typing import Any

import lightning as L
import torch
from lightning.pytorch.utilities.compile import to_uncompiled
from torch import Tensor, nn

from seqlearn.core.eval_mode import is_evaluating
from seqlearn.nn import RecurrentLayer


class Compiles(L.LightningModule):
    """The part of a module that compiles its blocks."""

    def blocks_to_compile(self) -> list[nn.Module]:
        """The parts that `compile` compiles, each to one graph. Override it to choose others.

        By default these are the layers of the encoder and the decoder: their largest parts that
        have parts of their own and no recurrent layer. An encoder or decoder without such parts is
        one block.

        Examples:
            >>> import seqlearn as sl
            >>> side = sl.TextSpec(vocab_size=9, max_length=5)
            >>> model = sl.Transformer(sl.SequenceSpec(side, side), d_model=4, num_layers=1)
            >>> [type(block).__name__ for block in model.blocks_to_compile()]
            ['EncoderLayer', 'DecoderLayer']
        """
        halves = [getattr(self, name, None) for name in ("encoder", "decoder")]
        return [
            block for half in halves if isinstance(half, nn.Module) for block in _blocks_of(half)
        ]

    def compile(self, *, dynamic: bool | None = True, **options: Any) -> None:
        """Compile the blocks in place with `torch.compile`.

        Call it once, before `Trainer.fit`. Training, validation and test losses and `forward` run
        compiled. `generate`, `score`, `classify`, `predict` and recording run the same modules
        uncompiled. Names of parameters and checkpoints do not change: a run may be saved compiled
        and resumed uncompiled, and vice versa. A copy (`copy.deepcopy`, `pickle`) is uncompiled.

        Outputs equal uncompiled ones up to rounding. Dropout draws other random numbers.

        Args:
            dynamic: Whether one graph serves all sizes; as in `torch.compile`.
            options: Other options of `torch.compile`, such as `mode` and `backend`.

        Warns:
            UserWarning: If there is no block to compile, as in `LSTM`.

        Examples:
            >>> import seqlearn as sl
            >>> spec = sl.SequenceSpec(sl.TextSpec(9, 4), sl.TextSpec(9, 4))
            >>> model = sl.Transformer(spec, d_model=8, num_layers=1, num_heads=2)
            >>> model.compile()  # the blocks are compiled in the first step of trainer.fit
        """
        blocks = self.blocks_to_compile()
        if not blocks:
            warnings.warn(
                f"{type(self).__name__}.compile: there is nothing to compile, because recurrent "
                "layers already run in one kernel of torch; the model runs as it is",
                stacklevel=2,
            )
        for block in blocks:
            block._compiled_call_impl = _CompiledCall(block, dynamic=dynamic, **options)  # noqa: SLF001 -- where nn.Module.compile puts it


def check_steps_not_compiled(module: L.LightningModule) -> None:
    """Raise an error if the Trainer was given `torch.compile(module)`.

    Raises:
        TypeError: If so. The module is uncompiled again then.
    """
    if module._compiler_ctx is not None:  # noqa: SLF001 -- the Trainer puts it there
        to_uncompiled(module)
        raise TypeError(
            "expected a module, got torch.compile(module), which would compile the training steps "
            "with their logging; call module.compile(), with the same options, and pass the module"
        )


class _CompiledCall:
    """Calls a block compiled; within `eval_mode`, as in generation, uncompiled."""

    def __init__(self, block: nn.Module, **options: Any) -> None:
        self._block = block
        self._call: Callable[..., Any] = block._call_impl  # noqa: SLF001 -- what __call__ calls
        self._compiled = torch.compile(_traced(self._call, block), **options)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if is_evaluating(self._block):
            return self._call(*args, **kwargs)
        for tensor in _tensors((args, kwargs)):
            _mark_sizes(tensor)
        return self._compiled(*args, **kwargs)


def _traced(call: Callable[..., Any], block: nn.Module) -> Callable[..., Any]:
    """The call of a block in a form that torch traces.

    `torch.compile` silently skips functions of torch itself, such as the forward pass of
    `nn.Sequential`, unless a function from elsewhere calls them.
    """
    if not type(block).forward.__module__.startswith("torch."):
        return call

    def traced(*args: Any, **kwargs: Any) -> Any:
        return block._call_impl(*args, **kwargs)  # type: ignore[no-untyped-call]  # noqa: SLF001

    return traced


def _mark_sizes(tensor: Tensor) -> None:
    """Mark the last axis of floats, a width, as static, and each other axis as dynamic by itself.

    Otherwise sizes that are equal by chance in the first call must be equal in all.
    """
    sizes = list(range(tensor.ndim))
    if tensor.is_floating_point() and sizes:
        torch._dynamo.mark_static(tensor, sizes.pop())  # noqa: SLF001 -- torch documents both
    torch._dynamo.maybe_mark_dynamic(tensor, sizes)  # noqa: SLF001


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, tuple | list | dict):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _tensors(part)


def _blocks_of(half: nn.Module) -> list[nn.Module]:
    found = [block for part in half.children() for block in _largest_blocks(part)]
    return found if found or _is_recurrent(half) else [half]


def _largest_blocks(part: nn.Module) -> list[nn.Module]:
    is_list = isinstance(part, nn.ModuleList | nn.ModuleDict)
    children = list(part.children())
    if children and not is_list and not _is_recurrent(part):
        return [part]
    return [block for child in children for block in _largest_blocks(child)]


def _is_recurrent(part: nn.Module) -> bool:
    """Whether a part loops over time, by itself or within a part of it."""
    return any(isinstance(each, nn.RNNBase | RecurrentLayer) for each in part.modules())
