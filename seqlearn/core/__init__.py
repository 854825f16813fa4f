"""`SequenceModule` and what it is made of: steps, loss, inference, checkpoints, optimizer."""

from seqlearn.core.atomic_checkpoint import AtomicCheckpointIO
from seqlearn.core.base import SequenceModule
from seqlearn.core.generation_config import GenerationConfig
from seqlearn.core.hparams import BaseOptions
from seqlearn.core.recipe import Recipe

__all__ = ["AtomicCheckpointIO", "BaseOptions", "GenerationConfig", "Recipe", "SequenceModule"]
