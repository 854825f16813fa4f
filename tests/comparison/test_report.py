"""The report of invented results: verdicts, sections, Markdown and the page."""

from __future__ import annotations

import copy
import re
from pathlib import Path
from typing import Any

import pytest

import seqlearn as sl
from seqlearn.comparison import Comparison
from seqlearn.comparison.blocks import Text, Viewer
from seqlearn.comparison.claims import claims
from seqlearn.comparison.figures import answers_nothing
from seqlearn.comparison.sections import sections


def a_run(
    seed: int, *, recurrent: bool, attention: bool, rate: float, flow: str, fall: float
) -> dict[str, Any]:
    groups = [
        {"low": 1, "high": 4, "examples": 10, "loss": 0.1, "right": 0.9},
        {"low": 5, "high": 9, "examples": 10, "loss": 0.2, "right": 0.9 - fall},
    ]
    curve = [1.0, 0.1, 1e-4] if flow == "vanishing" else [1.0, 0.9, 0.8]
    return {
        "seed": seed,
        "split": "test",
        "roles": {"recurrent": recurrent, "attention": attention},
        "training": {
            "seconds": 1000 * rate,
            "tokens": 1000,
            "device": "cpu",
            "steps": 40,
            "losses": [[1, 1.0, 3.0], [2, 2.0, 1.0 + seed]],
            "validations": [[20, 500 * rate, {"loss": 2.0}], [40, 1000 * rate, {"loss": 1.0}]],
        },
        "figures": {"exact_match": 0.8 + 0.04 * seed, "bleu": 50.0, "loss": 0.5},
        "gradient_before": {"curve": curve, "class": flow},
        "gradient": {"curve": curve, "class": flow},
        "by_length": {"groups": groups, "examples": 20},
        "samples": [["a <b>", "b", "b"]],
        "folder": "runs/none",
    }


MODELS = {
    "RNN": dict(recurrent=True, attention=False, rate=3e-3, flow="vanishing", fall=0.5),
    "Attention": dict(recurrent=True, attention=True, rate=4e-3, flow="stable", fall=0.1),
    "Transformer": dict(recurrent=False, attention=True, rate=1e-3, flow="stable", fall=0.2),
}
GROWTH = {"RNN": 3.0, "Attention": 2.0, "Transformer": 1.1}


def content(seeds: int = 2, **changes: Any) -> dict[str, Any]:
    """Results in which the four claims hold; `changes` are those of single models."""
    models: list[dict[str, Any]] = []
    for name, about in MODELS.items():
        given = about | changes.get(name, {})
        runs = [a_run(seed, **given) for seed in range(seeds)]
        size = {"parameters": 100, "note": "", "init_args": {"d_model": 8}}
        models.append({"label": name, "class_path": name, "runs": runs} | size)
    times = {name: [[8, 10.0, 9.0, 11.0], [64, 10.0 * g, 9.0, 40.0]] for name, g in GROWTH.items()}
    about_times = {
        "threads": 1,
        "device": "cpu",
        "tokens": 2048,
        "rounds": 7,
        "denormals_are_zero": True,
    }
    settings = {"parameters": "first", "budget": None, "seeds": [*range(seeds)], "jobs": 1}
    machine = {"processor": "P", "accelerator": "", "cores": 2, "capability": "AVX2"}
    machine |= {"system": "Linux", "python": "3.11", "versions": {"torch": "2"}, "date": "today"}
    return {
        "data": {"class": "Dates", "text": "Dates()", "split": "test", "generated": True},
        "settings": settings | {"threads": 1, "trainer": {"max_epochs": 3}},
        "machine": machine,
        "models": models,
        "times": {"times": times} | about_times,
    }


def stated(found: dict[str, Any]) -> list[Text]:
    """What is said of each claim: the first block of its section."""
    blocks = [section.blocks[0] for section in claims(found)]
    texts = [block for block in blocks if isinstance(block, Text)]
    assert len(texts) == len(blocks)
    return texts


def verdicts(found: dict[str, Any]) -> list[str]:
    return [text.verdict for text in stated(found)]


def test_claims_that_hold() -> None:
    found = content()
    assert verdicts(found) == ["holds"] * 4
    texts = [text.text for text in stated(found)]
    assert "RNN and Attention took 3,000 to 4,000 µs per token, Transformer 1,000 µs" in texts[0]
    assert "It vanishes in RNN. Of the other models it vanishes in none." in texts[1]
    assert "It is 44.4% with one context vector (RNN), and 77.8 to 88.9% with attention" in texts[2]
    assert "It grows by × 2 to 3 for RNN and Attention, and by × 1.1 for Transformer" in texts[3]


def test_claims_that_do_not_hold() -> None:
    found = content(RNN={"rate": 1e-4, "flow": "stable", "fall": 0.0}, Attention={"rate": 1e-4})
    found["times"]["times"]["Transformer"][1][1] = 40.0
    assert verdicts(found) == ["fails"] * 4
    text = stated(found)[1].text
    assert "It does not vanish in RNN. Of the other models it vanishes in none." in text


def test_claims_that_hold_for_some() -> None:
    found = content(Attention={"rate": 1e-4, "fall": 0.6})
    found["times"]["times"]["Attention"][1][1] = 10.5
    assert verdicts(found) == ["mixed", "holds", "mixed", "mixed"]


def test_a_gradient_that_vanishes_with_one_seed_decides_nothing() -> None:
    found = content()
    (rnn,) = [model for model in found["models"] if model["label"] == "RNN"]
    again = copy.deepcopy(rnn["runs"][0])
    again["gradient"]["class"] = "stable"
    rnn["runs"].append(again)
    said = stated(found)[1]
    assert (said.verdict, "Holds for some models only" in said.text) == ("mixed", True)
    assert "It vanishes with some seeds, and not with others, in RNN." in said.text


def test_runs_with_other_numbers_of_threads_are_said() -> None:
    found = content()
    found["models"][0]["runs"][0]["threads"] = 1
    found["models"][1]["runs"][0]["threads"] = 2
    text = Comparison(found, ".").to_markdown()
    assert "1 and 2 threads, so their times do not compare" in text


def test_claims_without_models_are_not_tested() -> None:
    found = content()
    found["models"] = [m for m in found["models"] if m["label"] == "Transformer"]
    assert verdicts(found) == ["open"] * 4
    found["models"][0]["runs"] = [{"seed": 0, "failed": "no"}]
    assert verdicts(found) == ["open"] * 4


def test_attention_of_ones_own_is_attention() -> None:
    """The recording has weights over the source; no module is one of attention."""
    found = content(Attention={"attention": False})
    assert "one context vector (RNN and Attention)" in stated(found)[2].text
    for run in found["models"][1]["runs"]:
        run["recording"] = {"file": "recording.safetensors", "row": 0, "attends": True}
    assert "one context vector (RNN)" in stated(found)[2].text


def test_a_low_start_does_not_hide_the_bottleneck() -> None:
    """From 48% to 0% is a smaller fall than from 94% to 32%, and it is everything."""
    found = content()
    for model, ends in zip(found["models"], [(0.48, 0.0), (0.94, 0.32), (0.9, 0.4)], strict=True):
        for run in model["runs"]:
            for group, right in zip(run["by_length"]["groups"], ends, strict=True):
                group["right"] = right
    bottleneck = stated(found)[2]
    assert bottleneck.verdict == "holds"
    assert "It is 0% with one context vector (RNN), and 34 to 44.4%" in bottleneck.text


def test_a_model_that_has_learned_nothing_does_not_test_the_bottleneck() -> None:
    found = content()
    for run in found["models"][0]["runs"]:
        for group in run["by_length"]["groups"]:
            group["right"] = 0.01
    assert "no model with one context vector has learned the task" in stated(found)[2].text
    found["data"]["generated"] = False
    assert "no texts to be generated" in stated(found)[2].text


def test_intervals_are_shown_or_said_to_be_missing() -> None:
    """Of 0.80 and 0.84 the deviation is 0.0283; times 12.706 / √2 it is 0.254."""
    two = Comparison(content(), ".")
    assert "82.0% ± 25.4" in two.to_markdown()
    assert "Means over 2 seeds with 95% intervals" in two.to_markdown()
    one = Comparison(content(seeds=1), ".")
    assert "There is one seed, hence no interval" in one.to_markdown()
    assert "±" not in one.to_markdown()


def test_sections_that_are_left_out_say_why() -> None:
    found = content()
    for model in found["models"]:
        for run in model["runs"]:
            run["by_length"] = {"error": "all examples have the length 3"}
            del run["samples"]
    found["times"] = {"error": "examples have no length"}
    text = Comparison(found, ".").to_markdown()
    for reason in (
        "Left out: all examples have the length 3",
        "no answer depends on something at a known distance",
        "Left out: examples have no length",
        "Left out: the data is a stream without single examples",
        "Left out: nothing was recorded",
    ):
        assert reason in text, reason


def test_memory_by_distance_with_a_model_that_cannot_read_so_far() -> None:
    found = content()
    for model in found["models"]:
        for run in model["runs"]:
            far = {"error": "ValueError: too long"} if model["label"] == "RNN" else 0.25
            run["memory"] = {"points": [[0, 1.0], [5, far]], "trained": 0, "examples": 200}
    text = Comparison(found, ".").to_markdown()
    assert "| RNN | 100.0% ± 0.0 | – |" in text
    assert "| Transformer | 100.0% ± 0.0 | 25.0% ± 0.0 |" in text
    assert "RNN: not measured from a distance of 5 on (ValueError: too long)" in text


def test_the_text_of_the_data_is_shown_as_text(tmp_path: Path) -> None:
    comparison = Comparison(content(), tmp_path)
    assert "a \\<b\\>" in comparison.to_markdown()
    assert "a &lt;b&gt;" in comparison.to_html(tmp_path / "a.html").read_text(encoding="utf-8")


def test_the_content_is_not_changed() -> None:
    found = content()
    before = copy.deepcopy(found)
    sections(found, None)
    assert found == before


def test_the_page_fits_a_narrow_screen_and_asks_no_host(tmp_path: Path) -> None:
    path = Comparison(content(), tmp_path).to_html(tmp_path / "report.html")
    page = path.read_text(encoding="utf-8")
    assert not re.findall(r"https?:", page)
    assert "#0a0b" not in page
    chromium = pytest.importorskip("chromium", reason="needs tornado to speak to a browser")
    if chromium.found() is None:
        pytest.skip(f"needs one of {chromium.NAMES}")
    with chromium.page() as browser:
        for width in (390, 1280):
            browser.open(path, width=width)
            assert browser.run("document.documentElement.scrollWidth") <= width
        assert browser.wrong == []


@pytest.mark.parametrize(
    ("figures", "nothing"),
    [
        ({"exact_match": 0.0, "bleu": 25.0}, False),
        ({"exact_match": 0.0, "bleu": 3.0}, True),
        ({"exact_match": 0.0, "token_accuracy": 0.95, "f1": 0.9}, False),
        ({"accuracy": 0.0, "f1": 0.6}, False),
        ({"accuracy": 0.0, "f1": 0.0}, True),
    ],
)
def test_answers_that_are_right_in_part(figures: dict[str, float], *, nothing: bool) -> None:
    assert answers_nothing({"figures": figures}) is nothing


def test_a_model_without_a_right_answer_is_not_drawn(tmp_path: Path) -> None:
    data = sl.data.Synthetic("copy", 3, train_examples=40, held_out_examples=8)
    model = sl.RNN(data.spec, d_model=8)
    with sl.introspect.record(model) as recording:
        model(next(iter(data.train_dataloader())))
    found = content(seeds=1)
    found["models"][0]["runs"][0]["figures"]["bleu"] = 3.0
    for each in found["models"]:
        (run,) = each["runs"]
        run["folder"] = each["label"]
        run["recording"] = {"file": "recording.safetensors"}
        (tmp_path / each["label"]).mkdir()
        recording.save(tmp_path / each["label"] / "recording.safetensors")
    for group in found["models"][0]["runs"][0]["by_length"]["groups"]:
        group["right"] = 0.0
    with pytest.warns(UserWarning, match="captured nothing"), sl.introspect.record(model) as empty:
        pass
    empty.save(tmp_path / "Transformer" / "recording.safetensors")
    (shown,) = [part for part in sections(found, tmp_path) if part.title == "Inside the models"]
    assert [b.title for b in shown.blocks if isinstance(b, Viewer)] == ["Attention"]
    assert [block.text for block in shown.blocks if isinstance(block, Text)] == [
        "Transformer has neither attention nor states.",
        "Not drawn: RNN. No measured answer is right.",
    ]
