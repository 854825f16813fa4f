"""The callbacks on a LightningModule that wraps somebody else's network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from lightning.pytorch.loggers import CSVLogger
from torch import Tensor
from torch.nn import functional

from seqlearn.callbacks import AttentionMonitor, GradientFlow, SampleLogger, StateMonitor

transformers = pytest.importorskip("transformers")

Batch = dict[str, Tensor]


class LanguageModel(L.LightningModule):
    """A small random GPT-2 of Hugging Face, which knows nothing of seqlearn."""

    def __init__(self) -> None:
        super().__init__()
        config = transformers.GPT2Config(
            vocab_size=20, n_positions=16, n_embd=8, n_layer=2, n_head=2,
            bos_token_id=1, eos_token_id=2,
        )  # fmt: skip
        self.network = transformers.GPT2LMHeadModel(config)

    def forward(self, batch: Batch) -> Any:
        return self.network(**batch)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        return self.network(**batch, labels=batch["input_ids"]).loss

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        self(batch)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def batch() -> Batch:
    ids = torch.randint(3, 20, (3, 6), generator=torch.Generator().manual_seed(0))
    mask = torch.arange(6) < torch.tensor([6, 5, 6])[:, None]
    return {"input_ids": ids, "attention_mask": mask.long()}


def last_loss(module: LanguageModel, probe: Batch) -> tuple[Tensor, Tensor]:
    """The loss of the last token but padding, and the embeddings it was computed from."""
    embedded = module.network.transformer.wte(probe["input_ids"])
    logits = module.network(inputs_embeds=embedded, attention_mask=probe["attention_mask"]).logits
    row, last = torch.arange(len(embedded)), probe["attention_mask"].sum(1) - 1
    labels = probe["input_ids"][row, last]
    return functional.cross_entropy(logits[row, last - 1], labels, reduction="none"), embedded


def continued(module: LanguageModel, probe: Batch) -> list[tuple[str, str]]:
    answers = module(probe).logits.argmax(-1)
    return [
        (str(ids), str(answer)) for ids, answer in zip(probe["input_ids"], answers, strict=True)
    ]


def test_attention_is_recorded_with_nothing_but_a_batch(fit, tmp_path: Path) -> None:
    logger = CSVLogger(tmp_path, name="csv")
    model = LanguageModel()
    fit(model, [batch()] * 2, AttentionMonitor(examples=2), logger=logger)
    names = sorted(path.name for path in Path(logger.log_dir, "attention").iterdir())
    assert names == [
        f"network.transformer.h.{layer}.attn-step00000{step}.png"
        for layer in (0, 1)
        for step in (2, 4)
    ]
    header = (
        Path(logger.log_dir, "metrics.csv").read_text(encoding="utf-8").splitlines()[0].split(",")
    )
    assert [tag for tag in header if tag.startswith("attention_entropy/")] == [
        f"attention_entropy/network.transformer.h.{layer}.attn/head{head}"
        for layer in (0, 1)
        for head in (0, 1)
    ]


def test_gradients_of_its_embeddings(fit) -> None:
    flow = GradientFlow(probe=batch(), run=last_loss)
    fit(LanguageModel(), [batch()] * 2, flow)
    assert list(flow.curves) == [2, 4]
    assert len(flow.curves[4]) == 5  # The last token is answered, not read.
    assert (flow.curves[4] > 0).all()


def test_samples_as_its_callable_writes_them(fit, tmp_path: Path) -> None:
    fit(LanguageModel(), [batch()], SampleLogger(run=continued, columns=("read", "answered")))
    text = (tmp_path / "samples" / "samples-step000002.txt").read_text(encoding="utf-8")
    assert text.startswith(f"read:     {batch()['input_ids'][0]}\nanswered: tensor([")


def test_states_are_not_recorded_and_the_error_says_how(fit, tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match=r"nothing from LanguageModel.*sl\.probe") as caught:
        fit(LanguageModel(), [batch()], StateMonitor())
    # Once in two epochs.
    assert sum("captured nothing" in str(warning.message) for warning in caught) == 1
    assert list(tmp_path.rglob("*.png")) == []
