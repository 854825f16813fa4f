"""State dict names that do not depend on `torch.compile`.

`model.encoder = torch.compile(model.encoder)` adds `_orig_mod.` to the names of the weights. With
this prefix removed, checkpoints of compiled modules load into uncompiled ones, and vice versa.
"""

from __future__ import annotations

from typing import Any

from torch import nn

WRAPPER = "_orig_mod."
"""What `torch.compile` puts into the names of the weights of a module that it wraps."""


def keep_plain_names(module: nn.Module) -> None:
    """Remove the prefix of `torch.compile` from the names in `state_dict`.

    Args:
        module: The module; `state_dict` and `load_state_dict` are changed. Its submodules may be
            compiled later.

    Examples:
        >>> import torch
        >>> module = nn.Sequential(nn.Linear(1, 1, bias=False))
        >>> keep_plain_names(module)
        >>> module[0] = torch.compile(module[0], backend="eager")
        >>> list(module.state_dict())
        ['0.weight']
    """
    module.register_state_dict_post_hook(_to_plain_names)  # type: ignore[no-untyped-call]
    module.register_load_state_dict_pre_hook(_to_own_names)  # type: ignore[no-untyped-call]


def _to_plain_names(_: nn.Module, state: dict[str, Any], prefix: str, _metadata: Any) -> None:
    plain = {name: _plain(name, prefix) for name in state}
    _rename(state, plain)


def _to_own_names(module: nn.Module, state: dict[str, Any], prefix: str, *_: Any) -> None:
    named = [*module.named_parameters(remove_duplicate=False), *module.named_buffers()]
    own = {_plain(prefix + name, prefix): prefix + name for name, _ in named}
    _rename(state, {name: own.get(_plain(name, prefix), name) for name in state})


def _plain(name: str, prefix: str) -> str:
    return prefix + name[len(prefix) :].replace(WRAPPER, "") if name.startswith(prefix) else name


def _rename(state: dict[str, Any], names: dict[str, str]) -> None:
    for old, new in names.items():
        if old != new:
            state[new] = state.pop(old)
