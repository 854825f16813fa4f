"""`seqlearn compare`: trains several models on one data module and writes a report."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from jsonargparse import ActionConfigFile, Namespace  # type: ignore[attr-defined]
from lightning.pytorch import Trainer

from seqlearn.cli.parser import SequenceParser, check_config_files, expand_help
from seqlearn.cli.plugins import GROUPS, load_plugins
from seqlearn.comparison import compare as compare_models
from seqlearn.core import SequenceModule
from seqlearn.data import SequenceDataModule

_DESCRIPTION = (
    "Train several models on the same data, at an equal number of parameters, each run in a "
    "process of its own, and write a report (HTML, Markdown and JSON) into a folder. The same "
    "command continues after an interruption."
)


_ONLY_FIT = ("ckpt_path", "weights_only", "unknown", "optimizer", "lr_scheduler")
"""Options of `fit` that its configurations hold, and that a comparison has no use for."""


def compare(argv: Sequence[str]) -> None:
    """Compare models; print the table and the path of the report.

    Args:
        argv: The arguments after `seqlearn compare`.

    Raises:
        argparse.ArgumentError: If the arguments are wrong.
        OSError: If the folder cannot be written, or belongs to another comparison.
        ValueError: If an argument is out of range.
    """
    for group in GROUPS:  # an imported class is found by its name
        load_plugins(group, required=[word.rpartition("=")[2] for word in argv])
    parser = make_parser()
    words = expand_help(["compare", *argv])[1:]
    check_config_files(words)
    config = parser.parse_args(words)
    models = list(config.models or [])
    if config.model is not None:
        models.insert(0, _plain(config.model))
    trainer, data = _instantiate(parser, config)
    without_effect = [f"--{name}" for name in _ONLY_FIT if config[name] not in (None, "mark")]
    if without_effect:
        names = ", ".join(without_effect)
        print(f"seqlearn: warning: {names}: no effect in a comparison", file=sys.stderr)
    trainer.pop("default_root_dir", None)  # of a configuration of fit; here it is --directory
    seeds = config.seeds
    if not seeds:
        seeds = [config.seed_everything if type(config.seed_everything) is int else 0]
    parameters = config.parameters
    comparison = compare_models(
        data,
        [_plain(model) for model in models] or None,
        parameters=parameters,
        budget=config.budget,
        seeds=seeds,
        jobs=config.jobs,
        threads=config.threads,
        directory=config.directory,
        trainer=trainer,
    )
    print(comparison)
    print(f"Report: {comparison.folder / 'report.html'}")


def make_parser() -> SequenceParser:
    """The parser: the options of `compare`, and `--data`, `--model` and `--trainer` as in `fit`."""
    parser = SequenceParser(prog="seqlearn compare", description=_DESCRIPTION, exit_on_error=False)
    parser.add_argument("-c", "--config", action=ActionConfigFile, help="as in fit: a YAML file")
    parser.add_argument(
        "--models",
        nargs="+",
        type=str | dict[str, Any],
        help="names of models, or mappings with class_path and init_args (default: all)",
    )
    parser.add_argument(
        "--parameters",
        type=int | str,
        default="first",
        help="trained parameters of each model: a number, 'first' (that of the first model) or "
        "'given' (sizes as they are)",
    )
    parser.add_argument(
        "--budget", type=float | None, help="minutes of training of each run (default: no limit)"
    )
    parser.add_argument("--seeds", nargs="+", type=int, help="seeds of the runs (default: 0)")
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time")
    parser.add_argument("--threads", type=int | None, help="threads of each run")
    parser.add_argument(
        "--directory", type=str, default="runs/compare", help="folder of the runs and the report"
    )
    parser.add_argument("--seed_everything", type=bool | int, default=0, help="as in fit: a seed")
    for name in _ONLY_FIT:
        parser.add_argument(f"--{name}", type=Any, help="not used; configurations of fit have it")
    parser.add_lightning_class_args(SequenceDataModule, "data", subclass_mode=True, required=True)
    parser.add_lightning_class_args(SequenceModule, "model", subclass_mode=True, required=False)
    parser.link_arguments("data.spec", "model.init_args.spec", apply_on="instantiate")
    parser.add_lightning_class_args(Trainer, "trainer")
    return parser


def _instantiate(
    parser: SequenceParser, config: Namespace
) -> tuple[dict[str, Any], SequenceDataModule]:
    """The arguments of the Trainer that differ from its defaults, and the data module."""
    given, defaults = vars(config.trainer), vars(parser.get_defaults().trainer)
    wanted = config.clone()
    wanted.model = None
    made = parser.instantiate(wanted, instantiate_groups=False)
    built = vars(made.trainer)
    return {name: built[name] for name in given if given[name] != defaults[name]}, made.data


def _plain(value: Any) -> Any:
    """A parsed model as plain dictionaries, without its spec."""
    if isinstance(value, Namespace):
        value = value.as_dict()
    if isinstance(value, dict) and isinstance(value.get("init_args"), dict):
        arguments = {k: v for k, v in value["init_args"].items() if k != "spec" and v is not None}
        return {"class_path": value["class_path"], "init_args": arguments}
    return value
