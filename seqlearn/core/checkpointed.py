"""`Checkpointed`: saving a `SequenceModule` to a checkpoint, and loading it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

import lightning as L
from lightning.pytorch.callbacks import WeightAveraging
from lightning.pytorch.plugins.precision import DoublePrecision
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities import rank_zero_info

from seqlearn.class_methods import class_only_method
from seqlearn.core import checkpoint as checkpoints
from seqlearn.core.atomic_checkpoint import AtomicCheckpointIO
from seqlearn.core.inference_precision import check_trainable
from seqlearn.core.pretrained import Pretrained
from seqlearn.core.stored_sizes import stored_in_checkpoint
from seqlearn.core.tbptt import CarriedState
from seqlearn.data.position import rewind_to_last_step
from seqlearn.plain_data import to_builtin

Module = TypeVar("Module", bound="Checkpointed")

LOADED = "checkpoint.load_from_checkpoint"
"""The loaded object and the method that loads it, for errors."""


CURRENT_STATE = "current_model_state"
"""The key of a checkpoint for the trained weights, if `state_dict` is a mean of them; Lightning's
`WeightAveraging` uses it, too."""


EMA_STATE = "averaging_state"
"""The key by which Lightning's `WeightAveraging` finds its own state."""


class Checkpointed(Pretrained):
    """The part of a module that is saved to a checkpoint, and loaded from one."""

    _carried: CarriedState
    _frozen: frozenset[str]
    _unfrozen: frozenset[str] = frozenset()  # before the checkpoint that was loaded

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add the class name, the spec and the constructor arguments, as plain data.

        A checkpoint that is saved within an accumulation group resumes at the start of the group.
        """
        check_trainable(self, "saving a checkpoint")
        trainer = self._trainer
        if trainer is not None and "callbacks" not in checkpoint:
            _put_average(trainer, self, checkpoint)
        for key in ("hyper_parameters", "datamodule_hyper_parameters"):  # as assigned since
            if key in checkpoint:
                checkpoint[key] = to_builtin(checkpoint[key])
        start = None if trainer is None else rewind_to_last_step(trainer, checkpoint)
        checkpoint[checkpoints.KEY] = {
            "class": checkpoints.class_name(type(self)),
            "spec": self.spec.to_dict(),
            "arguments": self._init_arguments,
            "assigned": self._assigned_options(),
            "carried_state": self._carried.gather(start),
            "unfrozen": [
                name
                for name, parameter in self.named_parameters()
                if name in self._frozen and parameter.requires_grad
            ],
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Check that the checkpoint fits this module.

        Raises:
            ValueError: If the file is damaged, or was written by another class or with another
                spec.
        """
        where: Any = "the checkpoint"
        if self._trainer is not None and self._trainer.ckpt_path is not None:
            where = self._trainer.ckpt_path
            if not isinstance(self._trainer.strategy.checkpoint_io, AtomicCheckpointIO):
                checkpoints.verify_checksum(where)  # which the plugin does before it loads
        kept = checkpoint.get(checkpoints.KEY)
        if kept is None:
            raise ValueError(
                f"expected a checkpoint of a seqlearn module, got one without {checkpoints.KEY!r}"
            )
        checkpoints.check_parts(where, kept, ("class", "spec"))
        written = kept["class"]
        other = checkpoints.check_class(where, LOADED, written, type(self), Pretrained)
        if differences := self.spec.diff(checkpoints.read_spec(where, kept)):
            raise ValueError(
                f"the checkpoint was trained on other data: {'; '.join(differences)} (this model "
                "against the checkpoint); take the data module and the seed of its training"
            )
        if other and "state_dict" in checkpoint:  # shards are checked where they are read
            checkpoints.check_weights(where, written, self, checkpoint["state_dict"])
        self._carried.resume(kept.get("carried_state"))
        self._unfrozen = frozenset(map(str, kept.get("unfrozen", ())))
        if self._trainer is not None and isinstance(
            self._trainer.precision_plugin, DoublePrecision
        ):
            self.double()  # Lightning does so only after loading, which would round the weights
        if self._trainer is not None and _resumes_without_average(self._trainer, checkpoint):
            rank_zero_info(
                f"{where} also holds a mean of the weights, and no callback of this run continues "
                "it; training goes on with the trained weights"
            )
            checkpoint["state_dict"] = checkpoint[CURRENT_STATE]

    @class_only_method
    def load_from_checkpoint(  # type: ignore[override]
        cls: type[Module],
        checkpoint_path: str | Path,
        map_location: Any = None,
        *,
        strict: bool = True,
        **overrides: Any,
    ) -> Module:
        """Build a module from a checkpoint alone.

        Only plain data and tensors are read (`weights_only=True`).

        Args:
            checkpoint_path: A file, or a URL that fsspec can open.
            map_location: The device of the module, as in `torch.load`; the CPU by default.
            strict: Whether the weights must fit exactly. If not, the sizes among the arguments
                cannot be checked against them before the module is built.
            overrides: Constructor arguments that replace those in the checkpoint.

        Raises:
            FileNotFoundError: If the file does not exist.
            ValueError: If it is damaged or unsafe, its arguments describe a module that its weights
                do not fill, or it holds a module of another known class. If the
                class is unknown (renamed, moved or defined in `__main__`), and arguments and
                weights fit, this class is loaded, with a warning.
            TypeError: If it is called on an instance, which it would not change.
        """
        # By default not the device of the training, which this machine may not have.
        device = "cpu" if map_location is None else map_location
        checkpoint = checkpoints.read_checkpoint(checkpoint_path, device)
        kept = checkpoint[checkpoints.KEY]
        written, spec = kept["class"], checkpoints.read_spec(checkpoint_path, kept)
        checkpoints.check_class(checkpoint_path, LOADED, written, cls, Pretrained)
        try:
            stored = stored_in_checkpoint(checkpoint.get("state_dict"))
        except ValueError as error:
            raise ValueError(
                f"{checkpoint_path}: expected the weights of a module, got others ({error})"
            ) from error
        module = checkpoints.build(
            cls, checkpoint_path, written, spec, kept, overrides, stored if strict else None
        )
        module.on_load_checkpoint(checkpoint)
        checkpoints.load_weights(
            checkpoint_path,
            module,
            lambda: module.load_state_dict(checkpoint["state_dict"], strict=strict),
        )
        if map_location is not None:
            module.to(next(iter(checkpoint["state_dict"].values())).device)
        return module


def _resumes_without_average(trainer: L.Trainer, checkpoint: dict[str, Any]) -> bool:
    """Whether a run is resumed without the callback that averaged its weights."""
    continued = any(
        EMA_STATE in checkpoint if isinstance(each, WeightAveraging) else True
        for each in _averaging_callbacks(trainer)
    )
    return trainer.state.fn == TrainerFn.FITTING and CURRENT_STATE in checkpoint and not continued


def _averaging_callbacks(trainer: L.Trainer) -> list[Any]:
    callbacks: list[Any] = trainer.callbacks  # type: ignore[attr-defined]
    return [
        each
        for each in callbacks
        if getattr(each, "averages_weights", isinstance(each, WeightAveraging))
    ]


def _put_average(trainer: L.Trainer, module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
    """Save the mean of the weights in a checkpoint that has only weights.

    For such a checkpoint, Lightning calls the hook of no callback.
    """
    for each in _averaging_callbacks(trainer):
        each.on_save_checkpoint(trainer, module, checkpoint)
    for key in (CURRENT_STATE, EMA_STATE):
        checkpoint.pop(key, None)
