"""`for_inference`: a copy of a module that computes in bf16, or with weights of eight bits."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable
from typing import Any, Literal, TypeVar, cast, get_args

import torch
from torch import Tensor, nn

from seqlearn.core.sharding import is_sharded
from seqlearn.nn import Int8Linear
from seqlearn.nn.int8_linear import has_vnni

InferencePrecision = Literal["bf16", "int8"]
"""What the products of a copy are computed in."""


Copied = TypeVar("Copied", bound="ReducedPrecision")


class ReducedPrecision:
    """The part of a module that makes faster copies of itself.

    Attributes:
        inference_precision: The precision of a copy that `for_inference` made, otherwise `None`.
    """

    inference_precision: InferencePrecision | None = None

    def for_inference(self: Copied, precision: InferencePrecision) -> Copied:
        """Make a copy that computes in lower precision, for faster inference.

        Everything that a trained module does without gradients works with the copy: `generate`,
        `score`, `classify`, `predict`, `trainer.test`, recordings. Texts may differ where two
        tokens have almost the same probability, so measure the copy (`trainer.test`) before you
        use it. It cannot be trained, saved or exported; keep the module itself for that.

        Args:
            precision: `"bf16"`: all weights and activations in bfloat16, on a GPU or on a CPU with
                instructions for it. `"int8"`: linear layers have weights of eight bits, and their
                inputs are rounded to eight bits row by row (`seqlearn.nn.Int8Linear`); CPU only.
                Recurrent layers, embeddings, softmax and layers with hooks stay in float32.

        Returns:
            The copy, in eval mode, on the same device. The module is not changed.

        Raises:
            ValueError: If there is no such precision; for `"int8"`, if the module is not on the
                CPU or a weight is not finite; if the module is itself such a copy or is sharded.
                Later, if weights are loaded into the copy, if it is moved to another precision,
                or if a gradient of an `"int8"` copy is wanted.

        Warns:
            UserWarning: If the CPU has no instructions for this precision, so that the copy is not
                faster.

        Examples:
            >>> import seqlearn as sl
            >>> spec = sl.SequenceSpec(sl.TextSpec(9, 4), sl.TextSpec(9, 4))
            >>> model = sl.Transformer(spec, d_model=8, num_layers=1, num_heads=2)
            >>> fast = model.for_inference("int8")
            >>> len(fast.generate([[4, 5]], max_new_tokens=3))
            1
        """
        module = cast(nn.Module, self)
        if precision not in get_args(InferencePrecision):
            raise ValueError(f"expected precision 'bf16' or 'int8', got {precision!r}")
        check_trainable(module, "for_inference")
        if is_sharded(module):
            raise ValueError(
                "for_inference needs a whole module, and this one is sharded; call save_pretrained "
                "on all ranks, and for_inference of from_pretrained(folder)"
            )
        made: Any = copy.deepcopy(module).eval().requires_grad_(requires_grad=False)
        if precision == "bf16":
            made = made.to(torch.bfloat16)
        else:
            _quantize(made.float())
        _warn_of_slow(precision, next(module.parameters()).device)
        made.inference_precision = precision
        made.register_load_state_dict_pre_hook(_refuse_weights)
        copied: Copied = made
        return copied

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Any:
        if precision := self.inference_precision:
            dtype = torch.bfloat16 if precision == "bf16" else torch.float32
            result = fn(torch.zeros(1, dtype=dtype))
            if result.dtype != dtype or (precision == "int8" and result.device.type != "cpu"):
                raise ValueError(
                    f"expected the copy of for_inference({precision!r}) to stay in {dtype}"
                    f"{' on the CPU' if precision == 'int8' else ''}, got a conversion to "
                    f"{result.dtype} on {result.device}; convert the module that it was made from, "
                    "or leave out precision= of the Trainer"
                )
        return super()._apply(fn, recurse)  # type: ignore[misc]


def check_trainable(module: nn.Module, what: str) -> None:
    """Check that a module is not a copy of lower precision.

    Args:
        module: The module.
        what: What is to be done with it, for the error.

    Raises:
        ValueError: If it is.
    """
    if precision := getattr(module, "inference_precision", None):
        raise ValueError(
            f"{what} does not work with the copy that for_inference({precision!r}) made; use the "
            "module that it was made from"
        )


def _refuse_weights(module: nn.Module, *_: Any) -> None:
    check_trainable(module, "load_state_dict")


def has_bf16() -> bool:
    """Whether this CPU has instructions for products in bfloat16."""
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())  # noqa: SLF001 -- no public way


def _quantize(module: nn.Module) -> None:
    """Replace all linear layers without hooks; a layer that occurs twice, by the same one."""
    made: dict[nn.Module, Int8Linear] = {}
    for path, parent in list(module.named_modules()):
        for name, child in list(parent._modules.items()):  # noqa: SLF001 -- named_children leaves out a second name
            if type(child) is not nn.Linear or _has_hooks(child):
                continue
            if child not in made:
                try:
                    made[child] = Int8Linear(child)
                except ValueError as error:
                    where = f"{path}.{name}" if path else name
                    raise ValueError(f"for_inference('int8'), layer {where}: {error}") from None
            setattr(parent, name, made[child])


def _has_hooks(layer: nn.Module) -> bool:
    """Whether a layer has hooks, such as those of an adapter, which a new layer would not have."""
    return bool(layer._forward_hooks or layer._forward_pre_hooks)  # noqa: SLF001 -- no public way


def _warn_of_slow(precision: InferencePrecision, device: torch.device) -> None:
    if device.type != "cpu":
        return
    if precision == "bf16" and not has_bf16():
        other = "int8" if has_vnni() else "float32, the module itself"
        warnings.warn(
            f"for_inference('bf16'): this CPU has no instructions for bf16; use {other}",
            stacklevel=3,
        )
    elif precision == "int8" and not has_vnni():
        warnings.warn(
            "for_inference('int8'): this CPU has no instructions for products of eight bits "
            "(VNNI), so the copy needs less memory but is not faster, and its weights have seven "
            "bits; an export to CTranslate2 is faster",
            stacklevel=3,
        )
