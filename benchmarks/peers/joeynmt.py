"""Models of JoeyNMT from configurations of encoder and decoder."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from benchmarks.peers import peer
from benchmarks.workloads import ids_of
from seqlearn.batch import END, PAD, START, UNKNOWN, SequenceBatch

SPECIAL = ["<pad>", "<unk>", "<s>", "</s>"]  # in the order of their ids, which are ours


def joeynmt_model(
    encoder: dict[str, Any], decoder: dict[str, Any], source_size: int, target_size: int
) -> nn.Module:
    """Build a model with its `build_model`.

    Args:
        encoder: The configuration of the encoder.
        decoder: The configuration of the decoder.
        source_size: Size of the source vocabulary.
        target_size: Size of the target vocabulary.
    """
    build_model = peer("joeynmt.model").build_model
    vocabularies = [_vocabulary(size) for size in (source_size, target_size)]
    config = {
        "encoder": encoder, "decoder": decoder, "tied_embeddings": False, "tied_softmax": False,
        "initializer": "xavier_uniform", "embed_initializer": "xavier_uniform",
        "bias_initializer": "zeros", "init_gain": 1.0, "embed_init_gain": 1.0,
    }  # fmt: skip
    return build_model(config, *vocabularies).train()


def joeynmt_loss(model: Any, smoothing: float) -> Callable[[SequenceBatch], Tensor]:
    """A function from a batch to its mean loss, as JoeyNMT's training computes it."""
    model.loss_function = ("crossentropy", smoothing)

    def loss(batch: SequenceBatch) -> Tensor:
        ids = ids_of(batch)
        real = ids.labels != PAD
        total, *_ = model(
            return_type="loss",
            src=ids.source,
            trg=ids.labels,
            trg_input=ids.inputs,
            src_mask=ids.mask[:, None],
            src_length=ids.lengths,
            trg_mask=real[:, None],
        )
        return total / real.sum()

    return loss


def _vocabulary(size: int) -> Any:
    """A vocabulary of this size; the tokens have no meaning."""
    vocabulary = object.__new__(peer("joeynmt.vocabulary").Vocabulary)
    tokens = [*SPECIAL, *(f"t{number}" for number in range(size - len(SPECIAL)))]
    vocabulary.specials, vocabulary.lang_tags = SPECIAL, []
    # Its constructor needs time that is quadratic in the number of tokens.
    vocabulary._itos = tokens
    vocabulary._stoi = {token: number for number, token in enumerate(tokens)}
    vocabulary.pad_index, vocabulary.unk_index = PAD, UNKNOWN
    vocabulary.bos_index, vocabulary.eos_index, vocabulary.sep_index = START, END, None
    return vocabulary
