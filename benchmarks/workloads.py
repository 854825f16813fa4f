"""Sizes of models and batches of real sentences, the same for all contenders."""

from __future__ import annotations

import argparse
import itertools
from typing import Any, NamedTuple

import torch
from lightning.fabric.utilities import move_data_to_device
from torch import Tensor

import seqlearn as sl
from benchmarks.machine import CPU
from benchmarks.measuring import device_here
from seqlearn.batch import SequenceBatch, length_mask

VOCABULARY = 8000
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


class Size(NamedTuple):
    """The sizes of an encoder–decoder."""

    d_model: int
    num_layers: int  # of the encoder, and of the decoder
    num_heads: int
    d_feedforward: int


SIZES = {"tiny": Size(128, 4, 4, 256), "base": Size(512, 6, 8, 2048)}


class Workload(NamedTuple):
    """Sentences as batches of ids.

    Attributes:
        data: The data module, prepared and set up.
        batches: Batches of the training split in the order of its first epoch.
        description: What they are, for the file of results.
    """

    data: sl.data.SequenceDataModule
    batches: list[SequenceBatch]
    description: dict[str, Any]


def add_arguments(
    parser: argparse.ArgumentParser, *, batch_tokens: int = 4096, dtype: bool = True
) -> None:
    """Add the options of size, data and, if `dtype`, the type."""
    parser.add_argument("--size", choices=list(SIZES), default="tiny")
    if dtype:
        parser.add_argument("--dtype", choices=list(DTYPES), default="float32", help="of products")
    parser.add_argument("--multi30k", metavar="FOLDER", help="train.en.gz and others; else Dates")
    parser.add_argument("--batch-tokens", type=int, default=batch_tokens)


def add_device(parser: argparse.ArgumentParser) -> None:
    """Add the option of the device."""
    parser.add_argument("--device", type=device_here, default=CPU, help="cpu, cuda or cuda:N")


def load(
    multi30k: str | None, batch_tokens: int, count: int = 20, *, device: torch.device = CPU
) -> Workload:
    """Batches of Multi30k (English to German, 8,000 joint pieces), or of `Dates` without a folder.

    Args:
        multi30k: The folder of the captions.
        batch_tokens: The budget of a batch.
        count: The number of batches.
        device: Where the batches are.
    """
    data: sl.data.SequenceDataModule
    if multi30k is None:
        print("no --multi30k FOLDER: the data is Dates, whose texts are cut into characters")
        data = sl.data.Dates("en", "de", batch_tokens=batch_tokens)
        name, pieces = "Dates, English to German, characters", None
    else:
        text = sl.data.Text("bpe", vocab_size=VOCABULARY, lowercase=True)
        data = sl.data.Multi30k(multi30k, ("en", "de"), source=text, batch_tokens=batch_tokens)
        name, pieces = "Multi30k, English to German", VOCABULARY
    data.prepare_data()
    data.setup("fit")
    batches = [
        move_data_to_device(batch, device)
        for batch in itertools.islice(data.train_dataloader(), count)
    ]
    about = {"data": name, "joint_pieces": pieces, "batch_tokens": batch_tokens}
    return Workload(data, batches, about)


class Ids(NamedTuple):
    """A batch as peers take it.

    Attributes:
        source: Source ids, `batch source`.
        mask: True where the source is real, `batch source`.
        lengths: Source lengths, ` batch`.
        inputs: Target ids that the decoder gets, START first, `batch target`.
        labels: Target ids that it predicts, END last, `batch target`.
    """

    source: Tensor
    mask: Tensor
    lengths: Tensor
    inputs: Tensor
    labels: Tensor


def ids_of(batch: SequenceBatch) -> Ids:
    """The tensors of a batch of texts."""
    source, lengths, target = batch.source, batch.source_lengths, batch.target
    assert source is not None
    assert lengths is not None
    mask = length_mask(lengths, source.shape[1])
    return Ids(source, mask, lengths, target[:, :-1], target[:, 1:])
