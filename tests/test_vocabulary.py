"""The field's terms: words that the project has retired stay out of the package and the docs.

Each entry of `RETIRED` names a term by a regular expression, and the term that replaced it. Add a
pair here when a public name or a term is renamed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

RETIRED = {
    # data
    r"\blanes?\b|\bLane(Plan|Dataset)\b|\bplan_lanes\b": "streams",
    r"\bcircle of (ids|tokens)\b|\bthe circle\b": "circular token stream",
    r"\blabel_until\b": "label_separator",
    r"\bval_share\b|\bshare_of\b": "val_fraction, fraction_of",
    r"\brefuse_empty\b": "check_not_empty",
    r"\bcodec_name\b": "normalize_encoding",
    r"\bcolumn_place\b": "column_index",
    r"\bundecodable\b": "decode_error_message",
    r"\bdef (locate|shuffled|fixed)\b": "describe_location, epoch, sequential",
    r"\bplan_in_order\b|\b_even_out\b": "plan_sequential, _pad_to_world_size",
    r"\b(MAPPED|CHECKED)_BYTES\b|\b_WORTH_ANOTHER_TRY\b": "MMAP_THRESHOLD, CHECKSUM_LIMIT",
    r"\bdrawing\(": "seeded_rng",
    r"\bRecall\([^)]*\bbefore=": "prefix_length",
    # callbacks and command line
    r"\bundisturbed\b": "eval_context",
    r"\bcallbacks(\.reporting|\.Report)\b": "figure_logger.FigureLogger",
    r"\b(one_line|as_line)\b": "format_error, to_single_line",
    r"\bOVERVIEW\b": "USAGE",
    # instrumentation, batch, spec
    r"\bunheard\b|\bListener\b|\bend_known\b": "muted, ActivationListener, end_teacher_forcing",
    r"\bunknown_seen\b": "unk_in_training",
    r"\bshape_of\(": "task_of",
    r"\brefuse_\w+\b": "check_…",
    r"\btext to text\b|\bnothing to text\b": "sequence-to-sequence, language-modeling",
    # nn, core, models
    r"\bNoPositions\b|\bposition_layer\b": "ScaledEmbedding, make_position_encoding",
    r"\bkeep_bias\b|\bmap_state\b": "gate_bias, tree_map",
    r"\bunread\b|\bAttentiveState\b": "freeze_context_projection, AttentionDecoderState",
    r"\bAnswering\b|\bMeasured\b|\bCarried\b": "SupportsGeneration, LossOutput, CarriedState",
    r"\bkeeping_arguments\b|\bof_all_ranks\b": "capture_init_args, gather",
    r"\bevaluating\b|\bstep_by_step\b": "eval_mode, forward_input_feeding",
    r"\breads_source\b|\bsteps_in_run\b": "has_source, total_steps",
    r"\blonger=": "overflow",
    # decoding
    r"\bone_by_one\b|\bcheck_limit\b": "decode_loop, check_max_new_tokens",
    r"\bgoes_on\b|\bended_at\b": "unfinished, finish_step",
    r"\bnum_return\b": "num_return_sequences",
    # recording and testing
    r"\b(Heard|Keeping|Piece|TopWeights)\b": "Activations, RecordOptions, Slice, TopKWeights",
    r"\bone_after_another\b|\bnothing_like\b": "concat_time, empty_like",
    r"\b(Violated|Tried|Subject)\b": "LawViolation, LawRunner, …",
    r"\b(READS|WRITES|FEW|quietly)\b": "TEXT_SOURCE, silence_lightning, …",
    # pages, and names that they use
    r"^#+ What it can": "Strengths, Limitations",
    r"\bstops? of the road\b": "architecture",
    r"\bby heart\b": "overfit, memorize",
    r"\b[Mm]emory\.summary\b": "Memory.pooled",
    r"\bnothing-to-sequence\b": "language-modeling",
    r"\bcarries_state\b": "stateful",
    r"\blook_(back|at)\(": "causal_self_attention, cross_attention",
    r"\bLawBroken\b|\bcompany of answers\b": "LawsViolated, batch-invariant generation",
    # introspection and laws
    r"\b(flow_verdict|FlowVerdict)\b": "classify_gradient_flow, GradientFlowClass",
    r"\battended_distance\b": "mean_attention_distance",
    r"\bstate_strips\b": "state_heatmap",
    r"\bSaturation\.(shut|open)\b|\buncompiled\(": "saturated_low, saturated_high, force_eager",
    r"\.(fed|answered)\b|\brecording\.times\b": "decoder_input, decoder_output, time_axis",
    r"\b(LawBroken|NotChecked|OneOfSeveral)\b": "LawsViolated, NotApplicable",
    r'["`](by heart|whole beam|beam of one|cached answers|examples apart|no tokens)["`]': "laws",
    r"\b(was|were|is|are) heard\b|\bhears\b|\boffered\b": "record, capture, report, emit",
}
"""For each retired term (a regular expression) the one that replaced it."""


PATTERNS = (
    "seqlearn/**/*.py",
    "seqlearn/**/*.js",
    "benchmarks/*.py",
    "configs/*.yaml",
    "tutorials/*.py",
    "docs/**/*.md",
    "README.md",
    "CONTRIBUTING.md",
)


def texts() -> Iterator[tuple[str, str]]:
    """The sources, configurations and pages, each with its path."""
    found = [path for pattern in PATTERNS for path in sorted(ROOT.glob(pattern))]
    for path in found:
        if path.parent == ROOT / "docs" / "results":  # made by `make docs`, from benchmarks/results
            continue
        yield path.relative_to(ROOT).as_posix(), path.read_text(encoding="utf-8")


TEXTS = dict(texts())


def uses(term: str, texts: dict[str, str]) -> list[str]:
    """Where a term occurs: file and line of each match."""
    return [
        f"{path}:{text.count(chr(10), 0, match.start()) + 1}: {match[0]}"
        for path, text in texts.items()
        for match in re.finditer(term, text, re.MULTILINE)
    ]


@pytest.mark.parametrize("term", RETIRED, ids=RETIRED.values())
def test_a_retired_term_stays_out(term: str) -> None:
    assert uses(term, TEXTS) == [], f"use {RETIRED[term]}"


def test_a_retired_term_is_found() -> None:
    assert uses(r"\blanes?\b", {"a.py": "one\ntwo lanes\n", "b.py": "planes"}) == ["a.py:2: lanes"]
