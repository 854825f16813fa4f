"""An architecture as a user adds it, in `tests/user/sru.py`, gets everything else for nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from sru import SRU, SRULayer

import seqlearn as sl
from seqlearn.batch import SequenceBatch, pad
from seqlearn.cli import main
from seqlearn.core.loss_output import LossOutput

TEXT, WORDS = sl.TextSpec(11, 8), sl.TextSpec(9, 8)
SOURCES = [[4, 5, 6], [7], []]
TARGETS = [[4, 5, 6, 7, 8], [], [8, 8]]
VECTORS = torch.tensor([[0.0, 1.0, 2.0], [1.0, 1.0, 1.0], [-1.0, 0.0, 0.0]])
WRITTEN = pad([[2, *ids, 3] for ids in TARGETS])
TASKS = {
    "sequence-to-sequence": (TEXT, WORDS, SequenceBatch(*pad(SOURCES), *WRITTEN)),
    "sequence-to-class": (
        TEXT,
        sl.ClassesSpec(("a", "b")),
        SequenceBatch(*pad(SOURCES), torch.tensor([1, 0, 1]), None),
    ),
    "sequence-to-vector": (TEXT, sl.VectorSpec(3), SequenceBatch(*pad(SOURCES), VECTORS, None)),
    "vector-to-sequence": (sl.VectorSpec(3), WORDS, SequenceBatch(VECTORS, None, *WRITTEN)),
    "language-modeling": (None, WORDS, SequenceBatch(None, None, *WRITTEN)),
}


def sru(task: str, **sizes: int) -> tuple[SRU, SequenceBatch]:
    """A model whose every weight counts, and its batch."""
    source, target, batch = TASKS[task]
    model = SRU(sl.SequenceSpec(source, target), **({"d_model": 8} | sizes))
    for name, parameter in model.named_parameters():
        if name.endswith(".v"):
            torch.nn.init.normal_(parameter)
    return model, batch


def test_is_short() -> None:
    file = Path(__file__).parents[1] / "user" / "sru.py"
    lines = file.read_text(encoding="utf-8").splitlines()
    assert len([line for line in lines if line.strip()]) < 60


def test_a_layer_is_the_papers_equations() -> None:
    layer = SRULayer(6).double()
    torch.nn.init.normal_(layer.v)
    x, c = torch.randn(5, 6, dtype=torch.float64), torch.randn(6, dtype=torch.float64)
    (w, w_f, w_r), (b, b_f, b_r) = layer.project.weight.chunk(3), layer.project.bias.chunk(3)
    states, (last,) = layer(x[None], (c[None],), None)
    for t in range(5):
        forget = torch.sigmoid(w_f @ x[t] + layer.v[0] * c + b_f)
        reset = torch.sigmoid(w_r @ x[t] + layer.v[1] * c + b_r)
        c = forget * c + (1 - forget) * (w @ x[t] + b)
        h = reset * c + (1 - reset) * 3**0.5 * x[t]
        torch.testing.assert_close(states[0, t], h)
    torch.testing.assert_close(last[0], c)


@pytest.mark.parametrize("task", TASKS)
def test_it_learns_every_task(task: str) -> None:
    model, batch = sru(task)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    losses = []
    for _ in range(10):
        optimizer.zero_grad()
        loss = model.compute_loss(batch).loss
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("task", ["sequence-to-sequence", "language-modeling"])
def test_one_token_at_a_time_equals_all_at_once(task: str) -> None:
    model, batch = sru(task)
    model.eval()
    with torch.no_grad():
        memory = model.encode(batch.source, batch.source_lengths)
        whole, _ = model.decode(batch.target, memory)
        state, steps = None, []
        for token in batch.target.split(1, dim=1):
            step, state = model.decode(token, memory, state)
            steps.append(step)
    torch.testing.assert_close(torch.cat(steps, 1), whole)


def test_padding_and_other_rows_change_nothing() -> None:
    model, batch = sru("sequence-to-sequence")
    model.eval()
    with torch.no_grad():
        memory = model.encode(batch.source, batch.source_lengths)
        garbage = torch.randint(1, 11, (3, 5))
        garbage[:, :3] = torch.where(memory.mask, batch.source, garbage[:, :3])
        padded = model.encode(garbage, batch.source_lengths)
        for row, source in enumerate(SOURCES):
            alone = model.encode(*pad([source]))
            torch.testing.assert_close(alone.pooled[0], memory.pooled[row])
            torch.testing.assert_close(padded.pooled[row], memory.pooled[row])
    assert (memory.pooled[2] == 0).all()


def test_it_generates_with_every_strategy() -> None:
    model, _ = sru("sequence-to-sequence")
    greedy = model.generate(SOURCES, max_new_tokens=5)
    assert greedy == [model.generate([source], max_new_tokens=5)[0] for source in SOURCES]
    assert model.generate(SOURCES, strategy="beam", beam_size=1, max_new_tokens=5) == greedy
    texts, scores = model.generate(
        SOURCES,
        strategy="beam",
        beam_size=3,
        num_return_sequences=2,
        max_new_tokens=5,
        return_scores=True,
    )
    assert [len(found) for found in texts] == [2, 2, 2]
    assert scores.shape == (3, 2)
    assert len(model.generate(SOURCES, strategy="sample", max_new_tokens=5)) == 3
    vectors, _ = sru("vector-to-sequence")
    assert len(vectors.generate(VECTORS, strategy="beam", max_new_tokens=3)) == 3
    language, _ = sru("language-modeling")
    (text,) = language.generate(prompts=[[5, 6]], max_new_tokens=3)
    assert text[:2] == [5, 6]
    labels, probabilities = sru("sequence-to-class")[0].classify(SOURCES)
    assert set(labels) <= {"a", "b"}
    torch.testing.assert_close(probabilities.sum(1), torch.ones(3))


def test_a_language_model_carries_its_state_from_batch_to_batch() -> None:
    model, _ = sru("language-modeling")
    model.eval()
    ids = torch.randint(4, 9, (2, 9))
    lengths = torch.tensor([5, 5])

    def output(first: int, state: object = None) -> LossOutput:
        part = ids[:, first : first + 5]
        return model.compute_loss(SequenceBatch(None, None, part, lengths), state)

    with torch.no_grad():
        whole = model.compute_loss(SequenceBatch(None, None, ids, torch.tensor([9, 9]))).loss
        before = output(0)
        parts = before.loss + output(4, before.state).loss
        forgetful = before.loss + output(4).loss
    torch.testing.assert_close(parts, whole)
    assert (forgetful - whole).abs() > 1e-3


@pytest.mark.filterwarnings("ignore:.*number of training batches")
def test_the_command_line_trains_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("pairs.tsv").write_text("ab\tBA\nba\tAB\naab\tBAA\nb\tB\n", encoding="utf-8")
    words = ["fit", "--model", "sru.SRU", "--model.d_model", "8", "--data", "TextPairs"]
    words += ["--data.source.tokenizer", "char", "--data.target.tokenizer", "char"]
    words += ["--data.train", "pairs.tsv", "--data.val", "pairs.tsv"]
    words += ["--trainer.max_epochs", "1", "--trainer.accelerator", "cpu"]
    words += ["--trainer.logger", "false", "--trainer.enable_progress_bar", "false"]
    assert main(words) == 0
    (path,) = Path("checkpoints").glob("*.ckpt")
    assert isinstance(SRU.load_from_checkpoint(path).generate(["ab"])[0], str)
