"""The viewer's page: its data, and that every token is shown as text."""

from __future__ import annotations

import base64
import json
import math
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import seqlearn as sl
from seqlearn.introspect import DETAILED, Recording, Tokens
from seqlearn.introspect.plots.attention import escape_label
from seqlearn.introspect.viewer import to_html, to_html_fragment
from seqlearn.introspect.viewer.layer_names import readable_name, readable_names
from seqlearn.introspect.viewer.payload import page_data
from seqlearn.introspect.viewer.quantise import (
    MAX_KEPT,
    MAX_UNITS,
    pack_scores,
    pack_vectors,
    pack_weights,
)
from seqlearn.introspect.viewer.token_texts import guessed_pieces, unit_of
from seqlearn.spec import SequenceSpec, TextSpec

NASTY = [
    "</script><img src=x onerror=alert(1)>",
    "<!--<script>",
    "]]>&lt;&#60;'\"`${alert(1)}",
    "\u2028\u2029\x00\r\n\t",
    "\ud800",
    "\udfff x",
    "שלום \u202eabc",
    "👩‍👩‍👧",
    "FRAGMENT",
    "TITLE",
    "\ufffe\uffff",
]
any_text = st.one_of(st.sampled_from(NASTY), st.text(st.characters(exclude_categories=())))


class Reader(HTMLParser):
    """The elements of a page, and the text of its first script."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, tuple[str, ...]]] = []
        self.data: list[str] = []
        self.title = ""
        self.inside = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, tuple(sorted(f"{name}={value}" for name, value in attrs))))
        self.inside = tag
        if tag == "script":
            self.data.append("")

    def handle_endtag(self, tag: str) -> None:
        self.inside = ""

    def handle_data(self, data: str) -> None:
        if self.inside == "script":
            self.data[-1] += data
        if self.inside == "title":
            self.title += data


def read(page: str) -> Reader:
    reader = Reader()
    reader.feed(page)
    reader.close()
    return reader


def of(tokens: list[str], *, name: str = "cross") -> Recording:
    """One head of cross-attention with these tokens as target and source."""
    weights = torch.rand(1, 1, len(tokens), len(tokens)).softmax(-1)
    return Recording(
        {name: weights}, tokens=[Tokens(tokens, tokens, tokens)], axes={name: ("target", "source")}
    )


@given(st.lists(any_text, min_size=1, max_size=6), any_text)
def test_tokens_are_text_and_nothing_else(tokens: list[str], title: str) -> None:
    plain, page = (
        read(to_html_fragment(of(t), title=s)) for t, s in ((["a"], "b"), (tokens, title))
    )
    assert page.tags == plain.tags
    assert page.data[1] == plain.data[1]
    shown = json.loads(page.data[0])
    assert shown["examples"][0]["source"] == [escape_label(token) for token in tokens]
    assert page.data[0].isascii()
    assert not set("<>&") & set(page.data[0])


@pytest.mark.parametrize("title", [*NASTY, "a title"])
def test_a_page_shows_any_title(title: str, tmp_path: Path) -> None:
    path = to_html(of(["a"], name="cross <b>"), tmp_path / "page.html", title=title)
    reader = read(path.read_text("utf-8"))
    assert [tag for tag, _ in reader.tags] == [
        *["html", "head", "meta", "meta", "meta", "meta", "title", "style", "body", "main"],
        *["div", "script", "noscript", "script"],
    ]
    assert reader.title == json.loads(reader.data[0])["title"]
    assert sorted(file.name for file in tmp_path.iterdir()) == ["page.html"]
    policy = next(
        about for _, about in reader.tags if "http-equiv=Content-Security-Policy" in about
    )
    assert "default-src 'none'" in policy[0]


def test_a_fragment_stands_in_markdown_and_beside_others() -> None:
    text = to_html_fragment(of(["a"]))
    assert "\n\n" not in text.strip()
    assert text.startswith('<div class="seqlearn-viewer">')
    assert "id=" not in "".join("".join(about) for _, about in read(text).tags)


def test_an_empty_recording_is_refused_and_no_file_is_left(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least one example, got an empty one"):
        to_html(Recording(), tmp_path / "page.html")
    assert list(tmp_path.iterdir()) == []


def test_the_picture_that_opens_and_the_speed_are_chosen() -> None:
    made = of(["a", "b"])
    shown = json.loads(read(made.to_html_fragment(opens="all_heads", speed=2)).data[0])
    assert (shown["opens"], shown["speed"]) == ("all_heads", 2.0)
    assert json.loads(read(made.to_html_fragment()).data[0])["opens"] is None
    with pytest.raises(ValueError, match=r"a picture \(.*gates.*\), got 'gate'; .*all_heads"):
        made.to_html_fragment(opens="gate")
    with pytest.raises(ValueError, match=r"'gates' cannot be drawn .*can be drawn: .*all_heads"):
        made.to_html_fragment(opens="gates")
    for speed in (0, -1, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="expected speed as a positive number"):
            made.to_html_fragment(speed=speed)


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("decoder.layers.1.cross_attention", "Decoder layer 2, cross-attention"),
        ("encoder.recurrence.layers.0.backward_layer", "Encoder layer 1, backwards"),
        ("decoder.attentional_hidden.attention", "Decoder attention"),
        ("decoder.attentional_hidden", "Decoder attentional state"),
        ("encoder.context", "Encoder context vector"),
        ("bert.encoder.layer.11.attention.self", "Bert encoder layer 12, attention self"),
        ("transformer.h.3.attn", "Transformer h 3 attn"),
        ("0", "0"),
        ("", "The model"),
        ("my_mixer", "My mixer"),
    ],
)
def test_modules_are_named_in_words(name: str, label: str) -> None:
    assert readable_name(name) == label


def test_two_modules_of_one_readable_name_keep_their_own() -> None:
    names = ["encoder.recurrence.layers.0", "encoder.layers.0", "encoder.layers.1"]
    assert readable_names(names) == dict(zip(names, [*names[:2], "Encoder layer 2"], strict=True))


def array(packed: Any, dtype: str) -> np.ndarray:
    return np.frombuffer(base64.b64decode(packed), dtype)


def weights_of(packed: dict[str, Any], rows: int) -> np.ndarray:
    codes = array(packed["codes"], "<u2").reshape(rows, -1).astype(float)
    part = np.where(codes == 0, 0.0, np.exp(((codes - 1) / 65533 - 1) * 40))
    return part * array(packed["top"], "<f4")[:, None]


def test_packed_weights_give_back_weights_and_scores() -> None:
    scores = 6 * torch.randn(7, 30)
    weights = scores.softmax(-1)
    weights[2, 3:] = 0
    weights[5] = 0
    back = weights_of(pack_weights(weights), 7)
    np.testing.assert_allclose(back, weights.numpy(), rtol=4e-4, atol=0)
    relative = np.log(back[0] / back[0].max())
    np.testing.assert_allclose(relative, (scores[0] - scores[0].max()).numpy(), atol=4e-4)


def test_a_large_map_stores_the_largest_weights_and_the_sum_of_the_others() -> None:
    weights = torch.randn(200, 300).softmax(-1)
    packed = pack_weights(weights)
    kept = weights_of(packed, 200)
    best = weights.topk(MAX_KEPT)
    np.testing.assert_allclose(kept, best.values.numpy(), rtol=4e-4)
    keys = array(packed["keys"], "<u4").reshape(200, MAX_KEPT)
    assert (keys == best.indices.numpy()).mean() > 0.99  # nearly equal weights may swap
    rest = array(packed["rest"], "<f4")
    np.testing.assert_allclose(kept.sum(1) + rest, np.ones(200), rtol=1e-3)
    rows, columns = packed["coarse_shape"]
    coarse = array(packed["coarse"], "u1").reshape(rows, columns) / 255 * packed["coarse_top"]
    assert coarse.mean() == pytest.approx(1 / 300, rel=0.02)


def test_numbers_that_are_not_finite_have_their_own_code() -> None:
    weights = torch.tensor([[0.5, float("nan"), 0.5], [float("inf"), 1.0, 0.0]])
    codes = array(pack_weights(weights)["codes"], "<u2").reshape(2, 3)
    assert (codes == 65535).tolist() == [[False, True, False], [True, False, False]]
    packed = pack_vectors(torch.tensor([[1.0, float("nan")], [float("-inf"), -4.0]]))
    assert array(packed["codes"], "i1").tolist() == [32, -128, -128, -127]
    assert packed["scale"] == 4


@pytest.mark.parametrize("mask", [-1e9, -1e4, torch.finfo(torch.float32).min, -math.inf])
def test_a_masked_score_leaves_the_others_as_they_are(mask: float) -> None:
    scores = torch.tensor([[2.0, -3.0, mask], [0.5, mask, mask], [mask, mask, mask]])
    packed = pack_scores(scores)
    codes = array(packed["codes"], "<i2").reshape(3, 3)
    assert ((codes == -32768) == (scores == mask).numpy()).all()
    back = codes / 32000 * packed["scale"]
    np.testing.assert_allclose(back[0, :2], [2, -3], atol=1e-4)
    np.testing.assert_allclose(back[1, 0], 0.5, atol=1e-4)


def test_scores_of_rows_far_apart_are_kept() -> None:
    scores = torch.tensor([[1500.0, 1499.0], [0.0, 1.0], [-1e9, -1e9]])
    codes = array(pack_scores(scores)["codes"], "<i2").reshape(3, 2)
    assert (codes == -32768).tolist() == [[False, False], [False, False], [True, True]]


def test_positions_keep_all_units_for_their_cosines() -> None:
    made = Recording(tokens=[Tokens(list("abc"))])
    made.extra = {kind: {"encoder": torch.rand(1, 3, 300)} for kind in ("positions", "mine")}
    made.extra_axes = {kind: {"encoder": ("source",)} for kind in made.extra}
    units = [len(one["units"]) for one in page_data(made, "")["examples"][0]["extra"]]
    assert units == [300, MAX_UNITS]


@pytest.mark.parametrize(("rows", "columns"), [(0, 0), (0, 5), (4, 0), (1, 20000)])
def test_maps_of_any_shape_are_packed(rows: int, columns: int) -> None:
    json.dumps(pack_weights(torch.zeros(rows, columns)), allow_nan=False)


def test_wide_vectors_store_evenly_spaced_units() -> None:
    vectors = torch.arange(1000.0).repeat(3, 1)
    packed = pack_vectors(vectors)
    units = packed["units"]
    assert isinstance(units, list)
    assert (packed["width"], len(units)) == (1000, MAX_UNITS)
    assert set(np.diff(units)) <= {15, 16}
    codes = array(packed["codes"], "i1").reshape(3, MAX_UNITS)
    np.testing.assert_allclose(codes[1] / 127 * packed["scale"], units, atol=4)


def kinds(recording: Recording) -> list[str]:
    return [picture["kind"] for picture in page_data(recording, "")["examples"][0]["pictures"]]


def test_the_pictures_follow_from_the_recorded_kinds() -> None:
    tokens = [Tokens(list("abcd"), list("xyz"), list("yz."))]
    steps, fed, one = torch.rand(1, 4, 6), torch.rand(1, 3, 6), torch.rand(1, 1, 6)
    times = {"encoder.layers.0": "source", "decoder.layers.0": "target"}
    states = {"encoder.layers.0": steps, "decoder.layers.0": fed}
    cross, many = torch.rand(1, 1, 3, 4), torch.rand(1, 2, 3, 4)
    gates = dict.fromkeys(("reset", "update", "candidate"), steps)
    assert kinds(Recording(states=states, tokens=tokens, time_axis=times)) == ["unrolled_rnn"]
    passed = states | {"encoder.context": one}
    found = kinds(Recording(states=passed, tokens=tokens, time_axis=times))
    assert found == ["context_vector", "unrolled_rnn"]
    found = kinds(Recording(gates={"encoder.layers.0": gates}, tokens=tokens, time_axis=times))
    assert found == ["gates"]
    attend = Recording({"decoder.mix.attention": cross}, states, tokens=tokens, time_axis=times)
    attend.axes = {"decoder.mix.attention": ("target", "source")}
    assert kinds(attend) == [
        *["cross_attention_steps", "all_states", "unrolled_rnn", "any_attention", "all_heads"]
    ]
    # A Transformer block records states too, but is not recurrent.
    blocks = Recording(
        {"decoder.layers.0.cross_attention": many}, states, tokens=tokens, time_axis=times
    )
    blocks.axes = {"decoder.layers.0.cross_attention": ("target", "source")}
    blocks.time_axis = {"decoder.layers.0": "target"}
    assert kinds(blocks) == ["multi_head_per_token", "any_attention", "all_heads"]
    # The tokens of another library's model are not known.
    assert kinds(Recording({"bert": torch.rand(2, 2, 5, 5)})) == [
        "multi_head_per_token",
        "any_attention",
        "all_heads",
    ]


def test_a_notebook_shows_the_viewer_with_the_picture_that_is_asked_for() -> None:
    tokens = [Tokens(list("abcd"), None, None)]
    times = {"encoder.layers.0": "source"}
    states = {"encoder.layers.0": torch.rand(1, 4, 6)}
    recording = Recording(states=states, tokens=tokens, time_axis=times)
    shown = recording.view(opens="unrolled_rnn", title="One text")._repr_html_()
    assert shown == recording.to_html_fragment(opens="unrolled_rnn", title="One text")
    with pytest.raises(ValueError, match="'gates' cannot be drawn of this recording"):
        recording.view(opens="gates")


DETAILS = {
    "rnn": lambda spec: sl.RNN(spec, d_model=8, num_layers=1, bidirectional=True),
    "lstm": lambda spec: sl.LSTM(spec, d_model=8, num_layers=1),
    "attention": lambda spec: sl.AttentionSeq2Seq(spec, d_model=8),
    "transformer": lambda spec: sl.Transformer(spec, d_model=8, num_layers=1, num_heads=2),
}


@pytest.mark.parametrize("name", DETAILS)
def test_the_nine_pictures_of_the_textbook(name: str) -> None:
    """Each can be opened of a recording of its model, and holds the numbers that were recorded."""
    torch.manual_seed(0)
    model = DETAILS[name](SequenceSpec(TextSpec(9, 6), TextSpec(9, 6))).eval()
    with sl.record(model, what=DETAILED) as recording:
        model.generate([[4, 5, 6]], max_new_tokens=3)
    example = page_data(recording, "")["examples"][0]
    found = {picture["kind"]: picture for picture in example["pictures"]}
    expected = {
        "rnn": {"rnn_cell", "unrolled_rnn", "context_vector"},
        "lstm": {"lstm_chain", "gates", "unrolled_rnn", "context_vector"},
        "attention": {"all_states", "any_attention", "cross_attention_steps", "gates"},
        "transformer": {"multi_head_per_token", "query_key_value", "positions", "any_attention"},
    }
    assert found.keys() >= expected[name]
    if name in ("rnn", "attention"):
        layer = "encoder.layers.0"
        both = [f"{layer}.forward_layer", f"{layer}.backward_layer"]
        assert found["context_vector"]["directions"] == both
        assert found["unrolled_rnn"]["joined"] == [layer]
        assert found["context_vector"]["attends"] == (name == "attention"), "not drawn; it says so"
    if name == "lstm":
        assert found["context_vector"]["directions"] is None
    for one in example["attention"]:
        scores = recording["scores"][one["name"]][0]
        for head, packed in enumerate(one["scores"]):
            codes = array(packed["codes"], "<i2").reshape(one["rows"], one["columns"])
            back = np.where(codes == -32768, -np.inf, codes / 32000 * packed["scale"])
            np.testing.assert_allclose(back, scores[head].numpy(), atol=packed["scale"] / 6e4)


def test_the_answer_of_a_model_without_a_decoder(tmp_path: Path) -> None:
    """The label with its probability, the labels of words, the numbers of a vector."""
    torch.manual_seed(0)
    labels = sl.ClassesSpec(("bad", "good"))
    model = sl.GRU(SequenceSpec(TextSpec(9, 6), labels), d_model=4).eval()
    sources = [[4, 5, 6], [7], [4, 4, 4, 4, 4]]
    with sl.record(model) as recording:
        found, probabilities = model.classify(sources)
    recording.save(tmp_path / "recording")
    for kept in (recording, Recording.load(tmp_path / "recording")):
        answers = [example["answer"] for example in page_data(kept, None)["examples"]]
        for answer, label, (bad, good) in zip(answers, found, probabilities.tolist(), strict=True):
            parts = sorted([(bad, f"bad {bad:.1%}"), (good, f"good {good:.1%}")], reverse=True)
            assert answer == ", ".join(text for _, text in parts)
            assert answer.startswith(label)
    tagger = sl.GRU(SequenceSpec(TextSpec(9, 6), sl.TagsSpec(("noun", "verb"))), d_model=4).eval()
    with sl.record(tagger) as recording:
        tags, _ = tagger.tag([[4, 5], [6]])
    assert [tokens.answer for tokens in recording.tokens] == [" ".join(each) for each in tags]
    vectors = sl.GRU(SequenceSpec(TextSpec(9, 6), sl.VectorSpec(2)), d_model=4).eval()
    with sl.record(vectors) as recording:
        (vector,) = vectors.predict([[4, 5]])
    assert recording.tokens[0].answer == vectors.spec.target.describe(vector)


def test_the_file_of_a_model_with_a_decoder_is_as_before(tmp_path: Path) -> None:
    """It holds no field for a prediction, which older versions would refuse."""
    path = tmp_path / "recording"
    Recording({"cross": torch.ones(1, 1, 1, 1)}, tokens=[Tokens(["a"], ["<s>"], ["b"])]).save(path)
    assert b"decoder_output" in path.read_bytes()
    assert b"answer" not in path.read_bytes()
    assert Recording.load(path).tokens == [Tokens(["a"], ["<s>"], ["b"])]


def test_the_title_is_the_text_of_the_only_example() -> None:
    def title(*tokens: Tokens) -> str:
        weights = torch.ones(len(tokens), 1, 1, 1)
        return page_data(Recording({"cross": weights}, tokens=list(tokens)), None)["title"]

    pair = Tokens(["a", "red", "fox"], ["<s>", "ein"], ["ein", "</s>"])
    assert title(pair) == "a red fox → ein"
    assert title(Tokens(list("May␣1"))) == "May 1"
    assert title(pair, pair) == title(Tokens()) == title(Tokens(["1", "2", "3"])) == "seqlearn"
    long = title(Tokens(["word"] * 40))
    assert len(long) <= 80
    assert long.endswith("word…")
    assert page_data(Recording({"cross": torch.ones(1, 1, 1, 1)}), "")["title"] == ""


def test_a_large_map_holds_no_scores() -> None:
    made = Recording({"cross": torch.rand(1, 1, 200, 200).softmax(-1)})
    made.extra = {"scores": {"cross": torch.rand(1, 1, 200, 200)}}
    assert "scores" not in page_data(made, "")["examples"][0]["attention"][0]


def test_rotary_positions_add_nothing_so_there_is_no_map_of_them() -> None:
    model = sl.Transformer(
        SequenceSpec(TextSpec(9, 6), TextSpec(9, 6)), d_model=8, num_heads=2, positions="rotary"
    ).eval()
    with sl.record(model, what=["positions", "attention"]) as recording:
        model.generate([[4, 5]], max_new_tokens=2)
    assert "positions" not in kinds(recording)


@pytest.mark.parametrize(
    ("tokens", "text", "unit"),
    [
        (list("a b."), "a b.", "character"),
        (["Two", "males", ",", "(", "young", ")", "run", "."], "Two males, (young) run.", "word"),
        (["the", "read", "##er", "</s>"], "the reader", "token"),
        (["▁the", "▁read", "er", "</s>"], "the reader", "token"),
        (["Ġthe", "Ġread", "er", "!"], "the reader!", "token"),
        (["the", "read@@", "er"], "the reader", "token"),
        (["1", "2", "3"], "123", "step"),
        ([], "", "token"),
    ],
)
def test_tokens_are_joined_as_they_belong(tokens: list[str], text: str, unit: str) -> None:
    pieces = guessed_pieces(tokens)
    assert "".join(pieces).strip() == text
    assert unit_of(tokens, pieces) == unit


@pytest.mark.parametrize("kind", ["char", "word", "bpe"])
def test_the_pieces_of_a_recorded_text_are_the_text(kind: str, tmp_path: Path) -> None:
    text = "the reader reads, native readers reread"
    field = sl.data.Text(kind, vocab_size=270 if kind == "bpe" else None)
    pairs = [(text, text)] * 4
    data = sl.data.TextPairs(train=pairs, val=pairs, source=field, target=field)
    model = sl.GRU(data.spec, d_model=4, num_layers=1).eval()
    with sl.record(model) as recording:
        model.score([text], [text])
    (tokens,) = recording.tokens
    for pieces in (tokens.source_pieces, tokens.output_pieces):
        assert pieces is not None
        assert "".join(pieces).strip() == text
    units = {"char": "character", "word": "word", "bpe": "token"}
    (example,) = page_data(recording, "")["examples"]
    assert example["units"] == dict.fromkeys(("source", "target"), units[kind])
    assert ("source" in example["texts"]) is (kind != "char")


def test_examples_are_cut_to_their_lengths_and_others_left_out() -> None:
    tokens = [Tokens(list("abcd"), list("xyz"), list("yz.")), Tokens(["a"], ["x"], ["."])]
    recording = Recording(
        {"cross": torch.rand(2, 1, 3, 4), "other": torch.rand(5, 1, 2, 2)},
        {"states": torch.rand(2, 4, 6)},
        tokens=tokens,
        axes={"cross": ("target", "source")},
        time_axis={"states": "source"},
    )
    first, second = page_data(recording, "")["examples"]
    assert [one["name"] for one in first["attention"]] == ["cross"]
    assert [(e["attention"][0]["rows"], e["attention"][0]["columns"]) for e in (first, second)] == [
        (3, 4),
        (1, 1),
    ]
    assert [e["states"][0]["steps"] for e in (first, second)] == [4, 1]
