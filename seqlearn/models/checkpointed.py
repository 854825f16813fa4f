"""The checkpoints of a `SequenceModule`: what they hold, and how a module is built from one."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

from seqlearn.models import checkpoint as checkpoints
from seqlearn.models.carrying import Carried
from seqlearn.models.pretrained import Pretrained
from seqlearn.models.recipe import Recipe
from seqlearn.spec import SequenceSpec

Module = TypeVar("Module", bound="Checkpointed")


class Checkpointed(Pretrained):
    """The part of a module that is saved to a checkpoint, and loaded from one."""

    _carried: Carried

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Put the class's name and the spec into the checkpoint, as plain data."""
        checkpoint[checkpoints.KEY] = {
            "class": checkpoints.class_name(type(self)),
            "spec": self.spec.to_dict(),
            "carried": self._carried.of_all_ranks(),
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuse the weights of another class, of a model of other data, or of a damaged file."""
        if self._trainer is not None and self._trainer.ckpt_path is not None:
            checkpoints.refuse_damaged(self._trainer.ckpt_path)
        kept = checkpoint.get(checkpoints.KEY)
        if kept is None:
            raise ValueError(
                f"expected a checkpoint of a seqlearn module, got one without {checkpoints.KEY!r}"
            )
        mine = checkpoints.class_name(type(self))
        if kept["class"] != mine:
            raise ValueError(f"expected a checkpoint of {mine}, got one of {kept['class']}")
        if differences := self.spec.differences(SequenceSpec.from_dict(kept["spec"])):
            raise ValueError(
                f"the checkpoint was trained on other data: {'; '.join(differences)} (this model "
                "against the checkpoint); take the data module and the seed of its training"
            )
        self._carried.resume(kept.get("carried"))

    @classmethod
    def load_from_checkpoint(  # type: ignore[override]
        cls: type[Module],
        checkpoint_path: str | Path,
        map_location: Any = None,
        *,
        strict: bool = True,
        **overrides: Any,
    ) -> Module:
        """Build the module that a checkpoint holds; nothing but the file is needed.

        Only plain data and tensors are read (`weights_only=True`), also from an address.

        Args:
            checkpoint_path: A file, or an address that fsspec can open.
            map_location: Where the tensors go, as in `torch.load`.
            strict: Whether the weights must fit exactly.
            overrides: Constructor arguments that replace those in the checkpoint.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If it is damaged, unsafe, or holds a module of another class.
        """
        checkpoint = checkpoints.read(checkpoint_path, map_location)
        written = checkpoint[checkpoints.KEY]["class"]
        checkpoints.refuse_other_class(
            checkpoint_path, "checkpoint", written, cls, "load_from_checkpoint"
        )
        spec = SequenceSpec.from_dict(checkpoint[checkpoints.KEY]["spec"])
        arguments = checkpoints.hyperparameters(checkpoint)
        arguments["recipe"] = Recipe(**arguments["recipe"])
        module = cls(spec, **(arguments | overrides))
        module.on_load_checkpoint(checkpoint)
        module.load_state_dict(checkpoint["state_dict"], strict=strict)
        return module
