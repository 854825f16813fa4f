"""One `LightningModule` for each architecture, over one base."""

from seqlearn.models.base import SequenceModule
from seqlearn.models.recipe import Recipe
from seqlearn.models.transformer import Transformer

__all__ = ["Recipe", "SequenceModule", "Transformer"]
