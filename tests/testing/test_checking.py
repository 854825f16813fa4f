"""`check_module`: its report, which laws it checks, and its errors."""

from __future__ import annotations

import subprocess
import sys

import jaxtyping
import pytest
import torch
from my_package import MyModel
from testing.broken import BROKEN, MeanOfMeans, SmallTransformer
from torch import nn

import seqlearn as sl
from seqlearn.testing import LAWS, Law, LawsViolated, Outcome, Report, check_module, law
from seqlearn.testing.checking import run_law
from seqlearn.testing.module_under_test import ModuleUnderTest
from seqlearn.testing.trial import LawViolation, NotApplicable, Trial

QUICK = ["shapes", "padding", "causality", "attention weights"]


def gru(spec: sl.SequenceSpec) -> sl.SequenceModule:
    return sl.GRU(spec, d_model=4)


def test_a_report_is_a_table() -> None:
    report = check_module(gru, laws=QUICK, examples=5)
    assert isinstance(report, Report)
    assert report.held == ["shapes", "padding", "causality"]
    assert report.violated == []
    assert report.not_checked == {"attention weights": "it reports no attention weights"}
    lines = str(report).splitlines()
    assert lines[0] == f"GRU: 3 laws held, 0 violated, 1 not checked; {report.cases} cases"
    assert lines[1].startswith("tested on sequence-to-sequence, sequence-to-vector")
    assert [line.split()[:2] for line in lines[3:]] == [
        ["1", "attention"],
        ["2", "shapes"],
        ["3", "padding"],
        ["4", "causality"],
    ]
    assert report.cases >= 15


def test_one_error_lists_all_that_are_broken() -> None:
    with pytest.raises(LawsViolated) as caught:
        check_module(
            BROKEN["MeanOfMeans"],
            laws=[3, "loss additivity", "distributed and accumulation equivalence"],
            examples=6,
        )
    report, words = caught.value.report, str(caught.value)
    assert report.violated == ["loss additivity", "distributed and accumulation equivalence"]
    assert words.startswith(
        "MeanOfMeans violates 2 of 5 laws\nlaw 8, loss additivity: The loss of a batch is"
    )
    assert "\nlaw 10, distributed and accumulation equivalence: " in words
    repeat = (
        "check_module(factory, laws=['loss additivity', "
        "'distributed and accumulation equivalence'], examples=6, seed=0)"
    )
    assert repeat in words
    assert "\n    module  sequence-to-sequence, seed " in words
    assert "\n    batch   [" in words
    with pytest.raises(LawsViolated) as again:
        check_module(
            BROKEN["MeanOfMeans"],
            laws=["loss additivity", "distributed and accumulation equivalence"],
            examples=6,
        )
    assert again.value.report.outcomes["loss additivity"] == report.outcomes["loss additivity"], (
        "the same cases again"
    )


def test_laws_are_chosen_by_what_a_module_can_do() -> None:
    def reader(spec: sl.SequenceSpec) -> sl.SequenceModule:
        if not isinstance(spec.target, sl.ClassesSpec):
            raise ValueError("only classes")  # noqa: TRY004 -- as a constructor refuses a spec
        return gru(spec)

    report = check_module(reader, laws=["shapes", "incremental decoding", "scores"], examples=3)
    assert report.serves == ["sequence-to-vector (classes)"]
    assert report.refuses["sequence-to-sequence"] == "ValueError: only classes"
    assert report.held == ["shapes"]
    assert report.not_checked["scores"].startswith("it serves no target that a decoder generates")
    assert "not tested on sequence-to-sequence (ValueError: only classes)" in str(report)


class NoDecoder(sl.SequenceModule):
    def __init__(self, spec: sl.SequenceSpec) -> None:
        super().__init__(spec, d_model=4)
        self.encoder = sl.GRU(spec, d_model=4).encoder


def test_a_missing_decoder_is_reported() -> None:
    def make(spec: sl.SequenceSpec) -> sl.SequenceModule:
        if spec.source is None:
            raise ValueError("reads")
        return NoDecoder(spec)

    report = check_module(make, laws=["shapes"], examples=3)
    assert report.serves == ["sequence-to-vector (classes)", "sequence-to-vector", "tagging"]
    assert report.refuses["sequence-to-sequence"] == "it has no decoder"


def test_a_stated_maximum_is_kept_to() -> None:
    """A module that accepts at most eight positions is tested on eight, and the report says so."""

    def learned(spec: sl.SequenceSpec) -> sl.SequenceModule:
        return sl.Transformer(spec, d_model=4, num_layers=1, num_heads=1, positions="learned")

    report = check_module(learned, laws=["shapes", "padding"], examples=10)
    assert report.held == ["shapes", "padding"]
    assert "tested on a source of at most 8 tokens, for it refuses 9" in report.notes[0]


class InSinglePrecision(sl.GRU):
    def encode(self, source, source_lengths):
        memory = super().encode(source, source_lengths)
        mixed = memory.pooled @ torch.eye(self.d_model)  # always in float32
        return memory._replace(pooled=mixed)


def test_a_module_that_fails_in_float64_is_tested_in_float32() -> None:
    def make(spec: sl.SequenceSpec) -> sl.SequenceModule:
        if spec.source is None:
            raise ValueError("reads")
        return InSinglePrecision(spec, d_model=4)

    report = check_module(make, laws=["padding"], examples=5)
    assert report.held == ["padding"]
    assert report.notes[0].startswith("tested in float32, for it fails in float64 (Runt")


def test_cases_to_which_a_law_does_not_apply_do_not_count() -> None:
    """They do not count; if there are no others, the law is not checked."""

    def check(trial: Trial) -> None:
        """Does not apply to odd seeds."""
        if trial.seed % 2:
            raise NotApplicable("odd")
        trial.expect(trial.seed % 4 == 0 or not strict, "not by four")

    def never(trial: Trial) -> None:
        """Never applies."""
        raise NotApplicable("nothing")

    subject = ModuleUnderTest(gru)
    strict = False
    found = run_law(Law(1, "even", "", check), subject, 40, 0)
    assert found.status == "held"
    assert 0 < found.cases < 40
    silent = Law(1, "never", "", never)
    assert run_law(silent, subject, 40, 0) == Outcome(silent, "not checked", reason="nothing")
    strict = True  # which an even seed violates, also after an odd one
    assert run_law(Law(1, "even", "", check), subject, 40, 0).status == "violated"


def test_a_counterexample_keeps_its_precision_and_how_to_repeat_it() -> None:
    class Loud(InSinglePrecision):
        def encode(self, source, source_lengths):
            memory = super().encode(source, source_lengths)
            return memory._replace(pooled=memory.pooled + 1)  # for an empty source too

    def make(spec: sl.SequenceSpec) -> sl.SequenceModule:
        if spec.source is None:
            raise ValueError("reads")
        return Loud(spec, d_model=4)

    with pytest.raises(LawsViolated, match=r"zero_gradients=\['no\.such'\]\)") as error:
        check_module(make, laws=["shapes"], examples=5, zero_gradients=["no.such"])
    case = error.value.report.outcomes["shapes"].counterexample
    module, batch = case.build(make)
    assert {case.dtype, next(module.parameters()).dtype} == {torch.float32}
    module(batch)


def test_a_counterexample_has_the_precision_of_its_law() -> None:
    def never(trial: Trial) -> None:
        trial.module(dtype=torch.float32)
        trial.expect(holds=False, message="never")

    outcome = run_law(Law(1, "never", "", never), ModuleUnderTest(gru), 2, 0)
    assert outcome.counterexample.dtype == torch.float32


def test_a_gradient_of_zero_by_mathematics_has_a_name() -> None:
    class Idle(SmallTransformer):
        def __init__(self, spec: sl.SequenceSpec) -> None:
            super().__init__(spec)
            self.idle = nn.Linear(1, 1)

        def encode(self, source, source_lengths):
            memory = super().encode(source, source_lengths)
            nothing = 0 * (self.idle.weight.sum() + self.idle.bias.sum())
            return memory._replace(pooled=memory.pooled + nothing, states=memory.states + nothing)

    def make(spec: sl.SequenceSpec) -> sl.SequenceModule:
        if spec.source is None:
            raise ValueError("reads")
        return Idle(spec)

    with pytest.raises(LawsViolated, match=r"idle\.weight has a gradient of zero"):
        check_module(make, laws=["gradients"])
    assert check_module(make, laws=["gradients"], zero_gradients=[r"^idle\."]).held == ["gradients"]


def test_wrong_arguments() -> None:
    with pytest.raises(
        ValueError, match=r"expected laws by number \(1, 2, 3, 4, 5, 6, 7, 8, 9, 10\), by name"
    ):
        check_module(gru, laws=["causal"])
    with pytest.raises(ValueError, match="got 11"):
        check_module(gru, laws=[11])
    with pytest.raises(TypeError, match="expected a factory that builds a SequenceModule, got L"):
        check_module(lambda _spec: nn.Linear(1, 1))  # type: ignore[arg-type,return-value]

    def nothing(_spec: sl.SequenceSpec) -> sl.SequenceModule:
        raise ValueError("no")

    with pytest.raises(ValueError, match="expected a factory that serves at least one task"):
        check_module(nothing)


def test_numbers_and_names_choose_laws() -> None:
    assert list(check_module(gru, laws=[2], examples=2).outcomes) == ["shapes", "empty target"]
    assert {law.number for law in LAWS} == set(range(1, 11))
    assert len({law.name for law in LAWS}) == len(LAWS)
    assert all(law.says.endswith(".") for law in LAWS)


def test_the_random_state_is_left_alone() -> None:
    before = torch.get_rng_state()
    check_module(gru, laws=["shapes", "resumed", "gradients"], examples=2)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_module_of_a_user_needs_no_care_for_empty_sequences() -> None:
    """`nn.GRU` needs at least one step, and the base never passes zero."""
    report = check_module(lambda spec: MyModel(spec, d_model=6), laws=[2, 3, 4], examples=10)
    assert {"shapes", "empty target", "padding", "causality"} <= set(report.held)


def test_importing_seqlearn_brings_no_hypothesis() -> None:
    code = (
        "import sys, seqlearn; assert not {'hypothesis', 'pytest', 'seqlearn.testing'} & "
        "set(sys.modules); sys.modules['hypothesis'] = None\n"
        "try: import seqlearn.testing\n"
        "except ModuleNotFoundError as error: print(error)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, encoding="utf-8", check=False
    )
    assert done.returncode == 0, done.stderr
    assert "pip install -c constraints.txt '.[testing]'" in done.stdout


def test_importing_uses_no_random_numbers() -> None:
    code = (
        # Imported first: other packages may draw.
        "import random, numpy, torch, babel, huggingface_hub, hypothesis, jaxtyping, lightning, "
        "matplotlib, sacrebleu, tokenizers, torchmetrics; r, n, t = random.getstate(), "
        "numpy.random.get_state(), torch.get_rng_state(); import seqlearn, seqlearn.testing; "
        "assert random.getstate() == r; assert (numpy.random.get_state()[1] == n[1]).all(); "
        "assert torch.equal(torch.get_rng_state(), t)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, encoding="utf-8", check=False
    )
    assert done.returncode == 0, done.stderr


def test_a_report_names_the_class() -> None:
    assert MeanOfMeans.__name__ in str(
        check_module(BROKEN["MeanOfMeans"], laws=["shapes"], examples=2)
    )


def test_a_modules_own_decoding_options_change_no_law() -> None:
    config = sl.GenerationConfig("beam", repetition_penalty=2.0, min_new_tokens=2)
    check_module(
        lambda spec: sl.GRU(spec, d_model=4, dropout=0.0, generation=config),
        laws=["beam 1 equals greedy", "end of sequence", "exhaustive beam"],
    )


def test_what_is_not_a_factory_a_list_of_laws_or_a_law_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # as it is for users

    @law(11, "returns a boolean")
    def returns_a_boolean(trial: Trial) -> bool:
        """Holds."""
        return False

    def factory(spec: sl.SequenceSpec) -> sl.RNN:
        return sl.RNN(spec, d_model=4)

    with pytest.raises(TypeError, match=r"'returns a boolean': .* returns None, got False"):
        check_module(factory, laws=[returns_a_boolean], examples=1)
    for wrong in (returns_a_boolean, "shapes", 1):
        with pytest.raises(TypeError, match=r"expected laws as a list, .* pass laws="):
            check_module(factory, laws=wrong)
    module = factory(sl.SequenceSpec(sl.TextSpec(9, 4), sl.TextSpec(8, 4)))
    with pytest.raises(TypeError, match=r"expected a factory, such as lambda spec: .* got RNN"):
        check_module(module, laws=["shapes"])


@pytest.mark.parametrize(
    ("got", "expected"),
    [(1.0, float("nan")), (float("nan"),) * 2, (1.0, float("inf")), (float("-inf"), float("inf"))],
)
def test_what_is_no_number_is_close_to_nothing(got: float, expected: float) -> None:
    """A tolerance that is relative to NaN or infinity would allow everything."""
    trial = object.__new__(Trial)
    trial.error = 0.0
    with pytest.raises(LawViolation, match="loss: differ by inf"):
        trial.close(torch.tensor([1.0, got]), torch.tensor([1.0, expected]), "loss")
    trial.close(torch.tensor([1.0, -torch.inf]), torch.tensor([1.0, -torch.inf]), "loss")
