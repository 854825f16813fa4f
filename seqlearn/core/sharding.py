"""`Sharded`: FSDP2 for any architecture, under Lightning's `ModelParallelStrategy`.

Tensor parallelism, where the parts say how they are divided, is in `tensor_parallel`.

Every layer is a unit whose weights are gathered when it is called and freed afterwards. Everything
else (embeddings, output layer) is one more unit, which is gathered at the start of a step.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any, NamedTuple

import lightning as L
import torch
from lightning.pytorch.callbacks import StochasticWeightAveraging, WeightAveraging
from lightning.pytorch.strategies import (
    DeepSpeedStrategy,
    FSDPStrategy,
    ModelParallelStrategy,
    Strategy,
)
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict
from torch.distributed.fsdp import FSDPModule, fully_shard, register_fsdp_forward_method

from seqlearn.core.atomic_checkpoint import AtomicCheckpointIO
from seqlearn.core.checkpoint import own_class, verify_sharded
from seqlearn.core.lockstep import Lockstep
from seqlearn.core.meshes import clip_one_by_one
from seqlearn.core.recipe import Recipe
from seqlearn.core.recompute import recompute
from seqlearn.core.sharded_checkpoint import is_sharded_folder
from seqlearn.core.tensor_parallel import SameCalls, measure_once, parallelize, unshared

# `WeightAveraging` warns of every module with the hook `configure_model`, also without sharding.
warnings.filterwarnings("ignore", "You're using the WeightAveraging callback with a model that")

STEPS = ("training_step", "validation_step", "test_step", "predict_step")
PARTS = ("forward", "forward_hidden", "compute_loss", "encode", "decode")
"""Methods that use the weights, with or without gradients."""

INFERENCE = ("generate", "score", "classify", "tag", "predict", "generate_batch")
"""Methods in which ranks may call the layers a different number of times."""


class Sharded(L.LightningModule):
    """The part of a module that shards its weights over processes."""

    recipe: Recipe

    def configure_model(self) -> None:
        """Shard the module if the strategy has a device mesh (FSDP2).

        Without one it only applies `Recipe.activation_checkpointing`.

        `L.Trainer(strategy=ModelParallelStrategy(data_parallel_size=…, tensor_parallel_size=1))`
        calls it. Each module of `layers_to_shard()` is sharded by itself, then the rest. Steps and
        inference methods gather the weights. All ranks must call them equally often.

        With `tensor_parallel_size=n`, n ranks are one replica and compute the same batch: before
        the module is sharded, each part with a method `tensor_parallelize` (see
        `seqlearn.nn.TensorParallel`), as in `Transformer`, is divided over them.

        To shard a module in your own way, override it and call `torch.distributed.fsdp.fully_shard`
        on the parts; what it leaves is sharded here. A method of your own that uses the weights and
        is called from outside needs `register_fsdp_forward_method(self, "my_method")`.

        Raises:
            ValueError: If the strategy, or a callback with it, is not supported, or tensor
                parallelism is asked for and no part says how it is divided.
        """
        if self._trainer is not None:
            check_strategy(self, self._trainer.strategy)
            check_callbacks(self._trainer)
            guard_folders(self._trainer)
        if self.recipe.activation_checkpointing:
            recompute(self.layers_to_shard())
        mesh = self.device_mesh
        if mesh is None or "_lockstep" in self.__dict__:
            return
        parts: list[Any] = list(self.modules())
        if any(part._compiled_call_impl or hasattr(part, "_orig_mod") for part in parts):  # noqa: SLF001
            raise ValueError(
                "a compiled module cannot be sharded; train without torch.compile, or with "
                "strategy='ddp'"
            )
        # The decoder layers return keys and values as views; nothing changes these in place.
        warnings.filterwarnings("ignore", r"FSDP2-wrapped module \(FSDP(PreNorm)?DecoderLayer\)")
        data_parallel, tensor_parallel = mesh["data_parallel"], mesh["tensor_parallel"]
        same_calls = None
        if tensor_parallel.size() > 1:
            parallelize(self, own_class(type(self)).__name__, tensor_parallel)
            measure_once(self, data_parallel.get_group())
            same_calls = SameCalls(tensor_parallel)
        layers = self._unshared_layers()
        for layer in layers:
            if not isinstance(layer, FSDPModule):
                fully_shard(layer, mesh=data_parallel, reshard_after_forward=True)
        if not isinstance(self, FSDPModule):
            fully_shard(self, mesh=data_parallel)
        device = torch.device(mesh.device_type)
        lockstep = Lockstep(layers, data_parallel.get_group(), device)
        self._lockstep = lockstep
        for name in (*STEPS, *PARTS, *INFERENCE):
            inference = name in INFERENCE
            _register(self, name, lockstep, same_calls if inference else None, inference)

    def configure_gradient_clipping(
        self,
        optimizer: torch.optim.Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clip the gradients, as the Trainer says, also under tensor parallelism."""
        mesh, algorithm = self.device_mesh, gradient_clip_algorithm or "norm"
        if mesh is None or mesh["tensor_parallel"].size() == 1 or not gradient_clip_val:
            self.clip_gradients(optimizer, gradient_clip_val, gradient_clip_algorithm)
        else:
            parameters = [p for group in optimizer.param_groups for p in group["params"]]
            clip_one_by_one(parameters, gradient_clip_val, algorithm)

    def layers_to_shard(self) -> list[nn.Module]:
        """The modules that are sharded one by one: those in a `ModuleList` of encoder or decoder.

        Of nested ones only the outer. Override it if your layers are elsewhere, or if modules in a
        `ModuleList` are used without being called (`F.linear(x, self.maps[0].weight)`); with an
        empty list all weights are gathered at once.
        """
        halves = [getattr(self, name, None) for name in ("encoder", "decoder")]
        parts = [part for half in halves if isinstance(half, nn.Module) for part in half.modules()]
        listed = [layer for part in parts if isinstance(part, nn.ModuleList) for layer in part]
        inner = {part for layer in listed for part in layer.modules() if part is not layer}
        return [layer for layer in dict.fromkeys(listed) if layer not in inner]

    def _unshared_layers(self) -> list[nn.Module]:
        """The layers with parameters, none of which belongs to a module outside of the layer."""
        return unshared(self, self.layers_to_shard())


class Gathered(NamedTuple):
    """The weights of a sharded module on rank zero; empty on all other ranks.

    Attributes:
        weights: The weights by name, on the CPU; a shared one has one name.
        shared: For each other name of a shared weight its name in `weights`.
    """

    weights: dict[str, Tensor]
    shared: dict[str, str]


def gather_weights(module: nn.Module) -> Gathered:
    """Gather the weights of a sharded module. All ranks must call it."""
    options = StateDictOptions(full_state_dict=True, cpu_offload=True)
    weights: dict[str, Any] = get_model_state_dict(module, options=options)
    kept: dict[Tensor, str] = {}
    same = {
        name: kept[weight]
        for name, weight in module.named_parameters(remove_duplicate=False)
        if kept.setdefault(weight, name) != name and name in weights
    }
    return Gathered({name: each for name, each in weights.items() if name not in same}, same)


def is_sharded(module: nn.Module) -> bool:
    """Whether the weights of a module are sharded over processes."""
    return isinstance(module, FSDPModule)


def check_strategy(module: nn.Module, strategy: Strategy) -> None:
    """Check that a strategy works with the module.

    Raises:
        ValueError: If it does not; the message says what to use.
    """
    name = type(strategy).__name__
    if isinstance(strategy, FSDPStrategy | DeepSpeedStrategy):
        raise ValueError(  # noqa: TRY004 -- a Trainer with an unsupported option
            f"{name} is not supported; use strategy='ddp', or "
            "ModelParallelStrategy(data_parallel_size=…, tensor_parallel_size=1), which is FSDP2"
        )
    if is_sharded(module) and not isinstance(strategy, ModelParallelStrategy):
        raise ValueError(
            f"an earlier run sharded this module, and {name} needs a whole one; load its "
            "checkpoint with load_from_checkpoint"
        )


def check_callbacks(trainer: L.Trainer) -> None:
    """Check that the callbacks work with the strategy.

    Raises:
        ValueError: If one needs a whole module, and the strategy shards it.
    """
    if not isinstance(trainer.strategy, ModelParallelStrategy):
        return
    averaging = (WeightAveraging, StochasticWeightAveraging)
    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        if isinstance(callback, averaging):
            raise ValueError(  # noqa: TRY004 -- as above
                f"{type(callback).__name__} does not work with ModelParallelStrategy, because it "
                "copies the whole module; use strategy='ddp', or leave the callback out"
            )


def guard_folders(trainer: L.Trainer) -> None:
    """Let the strategy verify a sharded checkpoint before it reads it.

    `ModelParallelStrategy` also refuses to continue with the optimizer of an unsharded run: such a
    checkpoint numbers the parameters, and Lightning takes the numbers to be in the order of
    `parameters()`, not of the optimizer's groups.

    Lightning tells no hook which checkpoint it is about to read, so the method of this strategy
    object is replaced.
    """
    strategy: Any = trainer.strategy
    load: Callable[..., dict[str, Any]] = strategy.load_checkpoint
    if hasattr(load, "verifies"):
        return

    @functools.wraps(load)
    def verified(checkpoint_path: Any, *args: Any, **kwargs: Any) -> dict[str, Any]:
        if is_sharded_folder(checkpoint_path):
            if isinstance(strategy, ModelParallelStrategy):
                verify_sharded(checkpoint_path, trainer)
            elif not isinstance(strategy.checkpoint_io, AtomicCheckpointIO):
                raise ValueError(
                    f"{checkpoint_path} is a sharded checkpoint, which {type(strategy).__name__} "
                    "reads with L.Trainer(plugins=[sl.AtomicCheckpointIO()])"
                )
        elif isinstance(strategy, ModelParallelStrategy) and strategy.optimizers:
            _check_numbering(checkpoint_path, strategy)
        return load(checkpoint_path, *args, **kwargs)

    verified.verifies = True  # type: ignore[attr-defined]
    strategy.load_checkpoint = verified


def _check_numbering(path: Any, strategy: ModelParallelStrategy) -> None:
    """Check that a checkpoint in one file numbers the parameters in the order of `parameters()`.

    Raises:
        ValueError: If it does not; those of `ModelParallelStrategy` do.
    """
    checkpoint = torch.load(path, map_location="meta", weights_only=True)
    assert strategy.model is not None
    places = {parameter: place for place, parameter in enumerate(strategy.model.parameters())}
    saved = checkpoint.get("optimizer_states", [])
    for states, optimizer in zip(saved, strategy.optimizers, strict=False):
        expected = [[places[p] for p in group["params"]] for group in optimizer.param_groups]
        numbered = any(isinstance(key, int) for key in states["state"])
        if numbered and [group["params"] for group in states["param_groups"]] != expected:
            raise ValueError(
                f"{path} is of a run that was not sharded, and ModelParallelStrategy would give "
                "its optimizer states to other parameters; continue with the strategy of that run, "
                "or start a new run from its weights, with load_from_checkpoint"
            )


def _register(
    module: Any,
    name: str,
    lockstep: Lockstep,
    same_calls: SameCalls | None,
    always_in_turn: bool,
) -> None:
    """Let a method gather the weights outside of the layers, if no method around it has done so."""
    method: Callable[..., Any] = getattr(module, name)
    register_fsdp_forward_method(module, name)
    gathering: Callable[..., Any] = getattr(module, name)

    @functools.wraps(method)
    def entry(*args: Any, **kwargs: Any) -> Any:
        outermost = not lockstep.entered
        if outermost and same_calls is not None:
            same_calls.check(name, (args, kwargs))
        with ExitStack() as stack:
            if always_in_turn or (outermost and not torch.is_grad_enabled()):
                stack.enter_context(torch.inference_mode(mode=False))
                stack.enter_context(torch.no_grad())
                if outermost:
                    stack.callback(module.reshard)
                stack.enter_context(lockstep.turn())
            if not outermost:
                return method(*args, **kwargs)
            stack.enter_context(lockstep.entry())
            try:
                return gathering(*args, **kwargs)
            except RuntimeError as error:
                if "mixed torch.Tensor and DTensor" not in str(error):
                    raise
                raise RuntimeError(
                    "the weights of a sharded layer were used without calling the layer; override "
                    f"layers_to_shard of {own_class(type(module)).__name__} to leave it out"
                ) from error

    setattr(module, name, entry)
