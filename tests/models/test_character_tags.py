"""Tags of characters: trained, saved, asked from Python and from the command line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import lightning as L
import pytest
import torch

import seqlearn as sl
from seqlearn.cli import main
from seqlearn.data import CharacterTags, Tags, Text
from seqlearn.data.module import Split

SPEC = sl.SequenceSpec(sl.TextSpec(9, 8), sl.CharacterTagsSpec(("a", "b", "c")))


class Vowels(sl.data.SequenceDataModule):
    """Which characters are vowels; white space has a tag too."""

    def __init__(self, text: Text, short_by: int = 0, repeat: str | None = None) -> None:
        super().__init__(text, CharacterTags(), batch_tokens=64)
        self.short_by, self.repeat = short_by, repeat

    def examples(self, split: Split) -> Iterator[tuple[str, list[str]]]:
        for text in ("a  cat sat", " on the mat", "é 😀 e", "to and fro ") * 3:
            tags = ["V" if each in "aeiou" else "-" for each in text]
            yield text, tags[self.short_by :]


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEQLEARN_CACHE", str(tmp_path / "cache"))


def test_one_fit_and_one_answer(tmp_path: Path) -> None:
    data = Vowels(Text("char"))
    torch.manual_seed(0)
    recipe = sl.Recipe(lr=0.1, warmup_steps=1)
    model = sl.FeedForward(data.spec, window=1, overflow="truncate", d_model=8, recipe=recipe)
    trainer = L.Trainer(
        max_epochs=8,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=tmp_path,
    )
    trainer.fit(model, data)
    texts = ["the  fat one", " a", "é"]
    expected = [["V" if each in "aeiou" else "-" for each in text] for text in texts]
    assert model.predict(texts) == expected
    assert model.predict([list(text) for text in texts]) == expected
    assert [each.shape for each in model.tag(texts)[1]] == [(12, 2), (2, 2), (1, 2)]
    assert [each[0] for each in model.predict(list("at"))] == ["V", "-"]
    (figures,) = trainer.test(model, data, verbose=False)
    assert figures["test/accuracy"] == 1.0
    model.save_pretrained(tmp_path / "model")
    loaded = sl.FeedForward.from_pretrained(tmp_path / "model")
    assert loaded.spec == data.spec
    assert loaded.predict(texts) == expected


def test_characters_of_longer_tokens_share_a_state() -> None:
    data = Vowels(Text("word"))
    torch.manual_seed(0)
    labels, probabilities = sl.GRU(data.spec, d_model=4).tag(["cat  sat"])
    assert len(labels[0]) == 8
    for begin, end in ((0, 5), (5, 8)):  # white space belongs to the word before it
        assert all(torch.equal(row, probabilities[0][begin]) for row in probabilities[0][begin:end])


def test_the_number_of_tags_is_that_of_characters() -> None:
    message = r"expected one tag for each character, got 10 characters and 9 tags"
    with pytest.raises(ValueError, match=message):
        _ = Vowels(Text("char"), short_by=1).spec


def test_errors_name_the_character() -> None:
    field = CharacterTags()
    with pytest.raises(ValueError, match="one for each character, got str 'abc'"):
        field.check("abc")
    with pytest.raises(ValueError, match="character 2: expected a label"):
        field.check(["a", ""])
    with pytest.raises(ValueError, match="at least one character, got an empty"):
        field.check([])


def test_tags_of_characters_are_a_type_of_their_own() -> None:
    words = sl.SequenceSpec(SPEC.source, sl.TagsSpec(("a", "b", "c")))
    assert sl.SequenceSpec.from_dict(json.loads(json.dumps(SPEC.to_dict()))) == SPEC != words
    assert SPEC.diff(words) == ["target: character-tags against tags"]
    assert SPEC.task == words.task == "tagging"
    assert CharacterTags.from_spec(SPEC.target) == CharacterTags(labels=("a", "b", "c"))
    for field, spec, name in (
        (Tags, SPEC, "TagsSpec"),
        (CharacterTags, words, "CharacterTagsSpec"),
    ):
        with pytest.raises(ValueError, match=f"expected a {name}, got"):
            field().with_spec(spec.target)


def test_predict_writes_a_label_for_each_character(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = ["a  cat", "", " sat "]
    model = sl.GRU(Vowels(Text("char")).spec, d_model=4)
    model.save_pretrained(tmp_path / "model")
    texts, lists = tmp_path / "lines.txt", tmp_path / "lists.jsonl"
    texts.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    lists.write_text("".join(f"{json.dumps(list(line))}\n" for line in lines), encoding="utf-8")
    first, _, last = lines
    expected = [" ".join(tags) for tags in model.predict([first, last])]
    for path in (texts, lists):
        assert main(["predict", str(tmp_path / "model"), str(path), "--device", "cpu"]) == 0
        assert capsys.readouterr().out.splitlines() == [expected[0], "", expected[1]]
    lists.write_text('["a", "bc"]\n', encoding="utf-8")
    assert main(["predict", str(tmp_path / "model"), str(lists)]) == 1
    assert "line 1, character 2: expected one character, got 'bc'" in capsys.readouterr().err
