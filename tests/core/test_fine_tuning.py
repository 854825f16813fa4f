"""Fine-tuning: parts of another module, frozen parts, and pretrained word vectors."""

from __future__ import annotations

import codecs
import gzip
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import pytest
import torch
from lightning.pytorch.callbacks import BaseFinetuning
from torch.nn.parallel import DistributedDataParallel

import seqlearn as sl
from seqlearn.core import optimizer as optimizers
from seqlearn.core.word_vectors import read_word_vectors
from seqlearn.testing import check_module

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*does not have many workers", "ignore:.*number of training batches"
)
WORDS = ["eins", "zwei", "Drei", "vier"]
PAIRS = [(f"{a} {b}", f"{b.upper()}") for a in WORDS for b in WORDS]


def pairs() -> sl.data.TextPairs:
    word = sl.data.Text("word")
    return sl.data.TextPairs(PAIRS, PAIRS[:4], source=word, target=sl.data.Text("word"))


def labelled(**options: Any) -> sl.data.LabelledText:
    rows = [(a, "odd" if a.split()[0] in WORDS[::2] else "even") for a, _ in PAIRS[:14]]
    return sl.data.LabelledText(rows, rows[:4], **options)


def trainer(tmp_path: Path, **options: Any) -> L.Trainer:
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    quiet["enable_checkpointing"] = False
    return L.Trainer(
        **{"accelerator": "cpu", "max_epochs": 2, "default_root_dir": tmp_path} | quiet | options
    )


# Parts of another module


def test_a_new_head_on_the_trained_body() -> None:
    trained = sl.GRU(pairs().spec, d_model=8)
    data = labelled()
    data.use_spec(trained.spec, target=False)
    model = sl.GRU(data.spec, d_model=8)
    head = model.head.weight.clone()
    copied = model.load_parts(trained)
    expected = {name for name in trained.state_dict() if name.startswith(("source_emb", "encoder"))}
    assert set(copied) == expected
    for name in copied:
        assert torch.equal(model.state_dict()[name], trained.state_dict()[name]), name
    assert torch.equal(model.head.weight, head)
    text = ["eins zwei"]
    with torch.no_grad():
        ids = [model.spec.source.encode(text), trained.spec.source.encode(text)]
        assert ids[0] == ids[1]
        source, lengths = torch.tensor(ids[0]), torch.tensor([2])
        one, two = model.eval().encode(source, lengths), trained.eval().encode(source, lengths)
    assert torch.equal(one.pooled, two.pooled)


@pytest.mark.usefixtures("unchecked")
def test_what_does_not_fit_is_refused_and_nothing_is_copied() -> None:
    trained = sl.GRU(pairs().spec, d_model=8, num_layers=2)
    data = labelled()
    data.use_spec(trained.spec, target=False)
    model = sl.GRU(data.spec, d_model=8, num_layers=1)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    cases: list[tuple[Any, Any, str]] = [
        (trained, ["source_embedding", "encoder"], "do not fit.*in the trained module; build both"),
        (sl.LSTM(data.spec, d_model=8, num_layers=1), ["encoder"], "do not fit"),
        (trained, ["head"], r"head: the target of this module is not that of the trained one"),
        (trained, ["encodre"], "GRU has no part 'encodre' with weights; it has source_embedding"),
        (sl.GRU(labelled().spec, d_model=8, num_layers=1), ["source_embedding"],
         r"two different tokenizers\); call data.use_spec\(trained.spec, target=False\) first"),
    ]  # fmt: skip
    for other, parts, message in cases:
        with pytest.raises(ValueError, match=message):
            model.load_parts(other, parts)
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]), name
    with pytest.raises(TypeError, match="load it first"):
        model.load_parts("folder")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"pass \['encoder'\]"):
        model.load_parts(trained, "encoder")


# Frozen parts


class Unfreeze(BaseFinetuning):
    """Trains the encoder from the second epoch on, at a rate of its own."""

    def freeze_before_training(self, pl_module: Any) -> None:
        self.freeze([pl_module.source_embedding, pl_module.encoder])

    def finetune_function(self, pl_module: Any, epoch: int, optimizer: Any) -> None:
        if epoch == 1:
            parts = [pl_module.source_embedding, pl_module.encoder]
            self.unfreeze_and_add_param_group(parts, optimizer, lr=1e-3)


class Watch(L.Callback):
    """The weights after each epoch, and the rates of the groups before and after a step."""

    def __init__(self) -> None:
        self.weights: list[dict[str, Any]] = []
        self.rates: list[list[float]] = []

    def on_train_batch_end(self, trainer: Any, pl_module: Any, *_: Any) -> None:
        self.rates.append([group["lr"] for group in trainer.optimizers[0].param_groups])

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        state = pl_module.state_dict()
        self.weights.append({name: value.clone() for name, value in state.items()})


def changed(one: dict[str, Any], two: dict[str, Any]) -> set[str]:
    """The parts whose weights differ."""
    return {name.partition(".")[0] for name in one if not torch.equal(one[name], two[name])}


def test_base_finetuning_freezes_and_unfreezes_with_the_schedule(tmp_path: Path) -> None:
    data = labelled(batch_tokens=20)
    recipe = sl.Recipe(lr=1e-2, warmup_steps=1, schedule="inverse_sqrt")
    model = sl.GRU(data.spec, d_model=8, num_layers=1, recipe=recipe)
    start = {name: value.clone() for name, value in model.state_dict().items()}
    watch = Watch()
    callbacks = [Unfreeze(), watch]
    run = trainer(tmp_path, callbacks=callbacks, max_epochs=3)
    run.fit(model, data)
    first, second, _ = watch.weights
    assert changed(start, first) - {"bleu", "metrics"} == {"head"}
    assert changed(first, second) >= {"source_embedding", "encoder", "head"}
    steps = len(watch.rates) // 3
    before, after = watch.rates[steps], watch.rates[-1]
    assert len(watch.rates[0]) < len(before)
    assert before[-1] == pytest.approx(1e-3, rel=0.2)  # one step after it was added
    # All groups follow one schedule.
    assert after[-1] / before[-1] == pytest.approx(after[0] / before[0])
    # A resumed run has the same groups, rates and weights.
    path = tmp_path / "after.ckpt"
    run.save_checkpoint(path)
    longer, whole = Watch(), Watch()
    resumed = trainer(tmp_path, callbacks=[Unfreeze(), longer], max_epochs=4)
    resumed.fit(sl.GRU(data.spec, d_model=8, num_layers=1, recipe=recipe), data, ckpt_path=path)
    assert len(longer.rates[0]) == len(after)
    assert longer.rates[0][-1] / after[-1] == pytest.approx(longer.rates[0][0] / after[0])
    model.load_state_dict(start)
    trainer(tmp_path, callbacks=[Unfreeze(), whole], max_epochs=4).fit(model, data)
    assert changed(longer.weights[-1], whole.weights[-1]) - {"bleu", "metrics"} == set()
    assert changed(watch.weights[-1], longer.weights[-1]) >= {"source_embedding", "encoder", "head"}


def test_a_frozen_part_does_not_change_and_an_optimizer_must_have_something(
    tmp_path: Path,
) -> None:
    data = labelled()
    model = sl.GRU(data.spec, d_model=8, num_layers=1, recipe=sl.Recipe(weight_decay=0.5))
    model.encoder.requires_grad_(requires_grad=False)
    start = {name: value.clone() for name, value in model.state_dict().items()}
    trainer(tmp_path).fit(model, data)
    assert "encoder" not in changed(start, model.state_dict())
    model.requires_grad_(requires_grad=False)
    with pytest.raises(ValueError, match=r"all parameters of GRU are frozen.*module.head"):
        model.configure_optimizers()


def test_parameters_that_are_unfrozen_but_not_trained_are_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Thaw(L.Callback):
        def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
            if trainer.current_epoch == 1:
                pl_module.encoder.requires_grad_()

    data = labelled()
    model = sl.GRU(data.spec, d_model=8, num_layers=1)
    model.encoder.requires_grad_(requires_grad=False)
    with pytest.raises(RuntimeError, match=r"encoder.*is in no parameter group.*unfreeze it with"):
        trainer(tmp_path, callbacks=[Thaw()]).fit(model, data)
    run = trainer(tmp_path, callbacks=[Unfreeze()])
    monkeypatch.setattr(optimizers, "DistributedDataParallel", sl.GRU)
    assert DistributedDataParallel is not sl.GRU
    with pytest.raises(RuntimeError, match="DDP does not reduce its gradient"):
        run.fit(sl.GRU(data.spec, d_model=8, num_layers=1), data)


def test_a_frozen_part_in_an_optimizer_of_ones_own_stays_frozen(tmp_path: Path) -> None:
    class Own(sl.GRU):
        def make_optimizer(self, groups: Any) -> torch.optim.Optimizer:
            return torch.optim.SGD(self.parameters(), lr=0.1)

    data = labelled()
    model = Own(data.spec, d_model=8, num_layers=1)
    model.encoder.requires_grad_(requires_grad=False)
    start = {name: value.clone() for name, value in model.state_dict().items()}
    run = trainer(tmp_path)
    run.fit(model, data)
    run.save_checkpoint(tmp_path / "own.ckpt")
    again = Own(data.spec, d_model=8, num_layers=1)
    again.encoder.requires_grad_(requires_grad=False)
    trainer(tmp_path, max_epochs=3).fit(again, data, ckpt_path=tmp_path / "own.ckpt")
    for each in (model, again):
        assert "encoder" not in changed(start, each.state_dict())
        assert "head" in changed(start, each.state_dict())


class ThawAndFreeze(Unfreeze):
    """Freezes the encoder again after the third epoch."""

    def finetune_function(self, pl_module: Any, epoch: int, optimizer: Any) -> None:
        super().finetune_function(pl_module, epoch, optimizer)
        if epoch == 2:
            self.freeze(pl_module.encoder)


def test_a_part_that_was_frozen_again_stays_frozen_in_a_resumed_run(tmp_path: Path) -> None:
    data = labelled()
    run = trainer(tmp_path, callbacks=[ThawAndFreeze()], max_epochs=3)
    run.fit(sl.GRU(data.spec, d_model=8, num_layers=1), data)
    run.save_checkpoint(tmp_path / "three.ckpt")
    watch = Watch()
    model = sl.GRU(data.spec, d_model=8, num_layers=1)
    resumed = trainer(tmp_path, callbacks=[ThawAndFreeze(), watch], max_epochs=5)
    resumed.fit(model, data, ckpt_path=tmp_path / "three.ckpt")
    found = changed(watch.weights[0], watch.weights[-1])
    assert "encoder" not in found
    assert found >= {"source_embedding", "head"}


def test_a_run_with_ddp_cannot_continue_in_the_middle_of_an_epoch_what_it_does_not_reduce(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DDP was built while the part was frozen, and the start of the epoch is not repeated."""
    data = labelled(batch_tokens=20)
    data.prepare_data()
    data.setup("fit")
    steps = len(data.train_dataloader())
    assert steps > 1
    run = trainer(tmp_path, callbacks=[Unfreeze()], max_epochs=2, max_steps=2 * steps - 1)
    run.fit(sl.GRU(data.spec, d_model=8, num_layers=1), data)
    run.save_checkpoint(tmp_path / "middle.ckpt")
    monkeypatch.setattr(optimizers, "DistributedDataParallel", sl.GRU)
    again = trainer(tmp_path, callbacks=[Unfreeze()], max_epochs=2)
    with pytest.raises(RuntimeError, match="DDP does not reduce its gradient"):
        again.fit(
            sl.GRU(data.spec, d_model=8, num_layers=1), data, ckpt_path=tmp_path / "middle.ckpt"
        )


class Frozen(sl.GRU):
    """Its encoder does not learn."""

    def __init__(self, spec: sl.SequenceSpec, **base: Any) -> None:
        super().__init__(spec, d_model=8, num_layers=1, **base)
        self.encoder.requires_grad_(requires_grad=False)


def test_a_module_with_a_frozen_part_keeps_the_laws() -> None:
    laws = ["gradients", "resumed", "distributed and accumulation equivalence"]
    check_module(Frozen, laws=laws, examples=2)


# Word vectors


def write_vectors(path: Path, size: int, words: dict[str, float], header: bool = False) -> Path:
    lines = [f"{len(words)} {size}"] if header else []
    lines += [f"{word} " + " ".join([str(value)] * size) for word, value in words.items()]
    text = "\n".join(lines) + "\n"
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(text.encode()))
    else:
        path.write_text(text, encoding="utf-8")
    return path


def write_binary(path: Path, size: int, words: dict[str, float], end: bytes) -> Path:
    content = f"{len(words)} {size}\n".encode()
    for word, value in words.items():
        content += word.encode() + b" " + np.full(size, value, "<f4").tobytes() + end
    path.write_bytes(content)
    return path


VECTORS = {"zwei": 1.0, "drei": 2.0, ". . .": 3.0, "vier": 4.0, "fünf": 5.0}


FORMS = ["glove.txt", "fasttext.vec", "glove.txt.gz", "bom.txt", "bom.vec", "tabs.txt"]


@pytest.mark.parametrize("form", [*FORMS, "w2v.bin", "g.bin"])
def test_forms_of_word_vectors(form: str, tmp_path: Path) -> None:
    path = tmp_path / form
    words = {"zwei", "fünf"} if form.endswith(".bin") else {"zwei", "fünf", ". . ."}
    if form.endswith(".bin"):
        write_binary(path, 3, VECTORS, b"\n" if form == "w2v.bin" else b"")
    else:
        write_vectors(path, 3, VECTORS, header=form.endswith(".vec"))
    if form.startswith("bom"):
        path.write_bytes(codecs.BOM_UTF8 + path.read_bytes())
    if form == "tabs.txt":
        path.write_bytes(path.read_bytes().replace(b" ", b"\t").replace(b".\t.\t.", b". . ."))
    size, found = read_word_vectors(path, words | {"none"})
    assert size == 3
    assert {word: vector.tolist() for word, vector in found.items()} == {
        word: [VECTORS[word]] * 3 for word in words
    }


@pytest.mark.parametrize("side", ["source", "target"])
def test_embeddings_get_the_vectors_of_the_vocabulary(side: Any, tmp_path: Path) -> None:
    words = {word.upper(): value for word, value in VECTORS.items()} | VECTORS
    path = write_vectors(tmp_path / "glove.txt", 8, words)
    model = sl.Transformer(pairs().spec, d_model=8, num_layers=1, num_heads=2)
    layer: Any = getattr(model, f"{side}_embedding")
    before = layer.weight.detach().clone()
    report = model.load_embeddings(path, side, rescale=False)
    assert (report.found, report.total) == (3, 4)
    (missing,) = report.missing
    assert missing.lower() == "eins"
    assert str(report).startswith("pretrained vectors for 3 of 4 tokens (75.0%); 1 keep")
    tokens = model.spec.source.tokens(range(9)) if side == "source" else None
    tokens = tokens or model.spec.target.tokens(range(8))
    for number in range(model.spec.source.vocab_size):
        token = tokens[number].strip()
        if token in words or token.lower() in words:
            value = words.get(token, words.get(token.lower()))
            assert torch.equal(layer.weight[number], torch.full((8,), value)), token
        else:
            assert torch.equal(layer.weight[number], before[number])
    rescaled = sl.GRU(pairs().spec, d_model=8)
    size = rescaled.source_embedding.weight.square().mean()
    rescaled.load_embeddings(path)
    row = rescaled.source_embedding.weight[rescaled.spec.source.encode(["vier"])[0][0]]
    assert 0.5 < row.square().mean() / size < 4


@pytest.mark.usefixtures("unchecked")
def test_word_vectors_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    model = sl.GRU(pairs().spec, d_model=8)
    cases = [
        (write_vectors(tmp_path / "a.txt", 5, VECTORS), r"got 5; build the module with d_model=5"),
        (write_vectors(tmp_path / "b.txt", 8, {"one": 1.0}), "expected vectors of tokens such as"),
        (write_vectors(tmp_path / "c.bin", 8, VECTORS), "a text file must not end in .bin"),
        (tmp_path / "d.txt", "d.txt, line 2: expected a word and 2 numbers"),
        (tmp_path / "e.bin", "expected 2 words, got 1; it is incomplete"),
        (tmp_path / "g.txt", "g.txt: .* got an empty file"),
        (tmp_path / "h.vec", "h.vec: expected 9 words, got 1; it is incomplete"),
        (tmp_path / "f.txt", "expected finite numbers, got .*nan.* for 'zwei'"),
    ]
    (tmp_path / "d.txt").write_text("one 1 2\ntwo 1 x\n", encoding="utf-8")
    (tmp_path / "e.bin").write_bytes(b"2 1\na " + bytes(4) + b"b")
    (tmp_path / "f.txt").write_text(f"zwei {'nan ' * 8}\n", encoding="utf-8")
    (tmp_path / "g.txt").touch()
    (tmp_path / "h.vec").write_text(f"9 8\nzwei {'1 ' * 8}\n", encoding="utf-8")
    for path, message in cases:
        with pytest.raises(ValueError, match=message):
            model.load_embeddings(path)
    with pytest.raises(FileNotFoundError, match="expected a file of word vectors"):
        model.load_embeddings(tmp_path / "none.txt")
    with pytest.raises(ValueError, match="expected side='source' or 'target'"):
        model.load_embeddings(tmp_path / "a.txt", "both")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="need a target that is text with a tokenizer"):
        sl.GRU(labelled().spec, d_model=8).load_embeddings(tmp_path / "a.txt", "target")
