"""`Pretrained`: trained modules as a folder, on disk or on the Hugging Face Hub.

The folder holds `config.json` and `model.safetensors`. Reading them runs no code.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

import torch
from huggingface_hub import HfApi, hf_hub_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError
from safetensors.torch import load_file, load_model, save_file, save_model

from seqlearn.atomic_files import atomic_path
from seqlearn.class_methods import class_only_method
from seqlearn.core.checkpoint import (
    build,
    check_class,
    check_parts,
    check_weights,
    class_name,
    load_weights,
    read_spec,
)
from seqlearn.core.hparams import InitArgsMixin
from seqlearn.core.inference_precision import check_trainable
from seqlearn.core.sharding import Gathered, gather_weights, is_sharded
from seqlearn.core.stored_sizes import stored_in_safetensors
from seqlearn.spec import SequenceSpec

FORMAT = "seqlearn.pretrained/2"
CONFIG, WEIGHTS = "config.json", "model.safetensors"

Kept = TypeVar("Kept", bound="Pretrained")


class Pretrained(InitArgsMixin):
    """The part of a module that is saved to a folder, and loaded from one."""

    spec: SequenceSpec

    def save_pretrained(self, folder: str | os.PathLike[str]) -> None:
        """Write `config.json` and `model.safetensors` into a folder.

        They hold the spec (including tokenizers and labels), the constructor arguments and the
        weights, but not the state of the optimizer. To resume training, use a checkpoint.

        Both files are complete before the first of them replaces an existing file. If the module is
        sharded (FSDP2), all ranks must call it; rank zero writes.

        Args:
            folder: The folder; it is created if it does not exist, and existing files are replaced.

        Raises:
            OSError: If the files cannot be written; the existing files are unchanged.
        """
        check_trainable(self, "save_pretrained")
        if not is_sharded(self):
            self._save_files(Path(folder), "the argument `folder`")
            return
        gathered = gather_weights(self)
        try:
            if gathered.weights:
                self._save_files(Path(folder), "the argument `folder`", gathered)
        finally:
            torch.distributed.barrier()

    def _save_files(self, folder: Path, option: str, gathered: Gathered | None = None) -> None:
        """Write both files; `option` chooses another folder."""
        content = "the files of save_pretrained"
        size = sum(weights.nbytes for weights in self.state_dict().values())
        with (
            atomic_path(folder / CONFIG, content, option, size) as config_part,
            atomic_path(folder / WEIGHTS, content, option, size) as part,
        ):
            part.touch()  # raises the error of the system; safetensors has one of its own
            if gathered is None:
                save_model(self, str(part), metadata={"format": "pt"})
            else:
                save_file(gathered.weights, part, metadata={"format": "pt"} | gathered.shared)
            config = {
                "format": FORMAT,
                "class": class_name(type(self)),
                "spec": self.spec.to_dict(),
                "arguments": self._init_arguments,
                "assigned": self._assigned_options(),
                "sha256": _sha256(part),
            }
            config["sha256 of this file"] = _sum_of(config)
            text = json.dumps(config, ensure_ascii=False, indent=2)
            config_part.write_text(text + "\n", encoding="utf-8")

    @class_only_method
    def from_pretrained(
        cls: type[Kept],
        folder: str | os.PathLike[str],
        *,
        revision: str | None = None,
        **overrides: Any,
    ) -> Kept:
        """Build a module from a folder, with its weights, in eval mode.

        `Trainer.fit` puts it into train mode. To train it with a submodule in eval mode (without
        dropout), call `model.train()` and then, for example, `model.encoder.eval()`.

        Args:
            folder: A folder that `save_pretrained` wrote. If it does not exist: the name of a
                repository on the Hugging Face Hub, `owner/name`.
            revision: A branch, tag or commit of the repository.
            overrides: Constructor arguments that replace the saved ones.

        Raises:
            FileNotFoundError: If neither the folder nor the repository exists, or one of the two
                files is missing.
            ValueError: If a file is damaged, or holds a module of another class (as in
                `load_from_checkpoint`).
            TypeError: If it is called on an instance, which it would not change.
        """
        config_file, weights = (_found(folder, name, revision) for name in (CONFIG, WEIGHTS))
        config = _read(config_file)
        written = config["class"]
        other = check_class(config_file, "module.from_pretrained", written, cls, Pretrained)
        if (sha256 := _sha256(weights)) != config["sha256"]:
            raise ValueError(
                f"{weights}: expected the weights that belong to {CONFIG} (SHA-256 "
                f"{config['sha256']}), got different or damaged weights ({sha256}); download "
                "or save both files again"
            )
        spec = read_spec(config_file, config)
        stored = stored_in_safetensors(weights)
        module = build(cls, config_file, written, spec, config, overrides, stored)
        if other:
            check_weights(config_file, written, module, load_file(weights))
        load_weights(weights, module, lambda: load_model(module, weights))
        module.eval()
        return module

    def push_to_hub(
        self, repo_id: str, *, private: bool | None = None, message: str = "Upload a seqlearn model"
    ) -> str:
        """Upload the files of `save_pretrained` to a repository on the Hugging Face Hub.

        It needs a login (`hf auth login`) or the environment variable `HF_TOKEN`.

        Args:
            repo_id: `owner/name`; the repository is created if it does not exist.
            private: Whether a new repository is private; `None` is the default of the owner.
            message: The commit message.

        Returns:
            The URL of the commit.

        Raises:
            OSError: If the Hub cannot be reached, or denies the request.
            ValueError: If the module is sharded over processes.
        """
        if is_sharded(self):
            raise ValueError(
                "push_to_hub needs a whole module, and this one is sharded; call save_pretrained "
                "on all ranks, and push_to_hub of from_pretrained(folder) in one process"
            )
        api = HfApi(library_name="seqlearn")
        api.create_repo(repo_id, private=private, exist_ok=True)
        with TemporaryDirectory() as folder:
            self._save_files(Path(folder), "the environment variable TMPDIR")
            commit = api.upload_folder(repo_id=repo_id, folder_path=folder, commit_message=message)
        return str(commit.commit_url)


def saved_class(folder: str | os.PathLike[str], revision: str | None = None) -> str:
    """The name of the class that a folder, or a repository on the Hub, holds.

    Raises:
        FileNotFoundError: If neither the folder nor the repository exists, or it has no
            configuration.
        ValueError: If the configuration is damaged.
    """
    return str(_read(_found(folder, CONFIG, revision))["class"])


def _found(folder: str | os.PathLike[str], name: str, revision: str | None) -> Path:
    """The path of one of the files, in the folder or in the cache of the Hub."""
    if Path(folder).is_dir():
        path = Path(folder) / name
        if not path.is_file():
            raise FileNotFoundError(
                f"{folder}: expected {CONFIG} and {WEIGHTS}, as save_pretrained writes them; there "
                f"is no {name}"
            )
        return path
    try:
        return Path(hf_hub_download(str(folder), name, revision=revision, library_name="seqlearn"))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError) as error:
        raise FileNotFoundError(
            f"{folder}: expected a folder of save_pretrained, or a repository on the Hub "
            f"('owner/name') with {name}; found neither ({str(error).strip().splitlines()[0]})"
        ) from error


def _read(path: Path) -> dict[str, Any]:
    """Read and check the configuration."""
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
        right = config["format"] == FORMAT and isinstance(config["class"], str)
    except KeyError as error:
        raise ValueError(
            f"{path}: expected the JSON that seqlearn's save_pretrained writes, got one without "
            f"{error}; load the folder of another library with that library"
        ) from error
    except (ValueError, TypeError) as error:
        raise ValueError(
            f"{path}: expected the JSON that save_pretrained writes, got something else "
            f"({type(error).__name__}: {error})"
        ) from error
    if not right:
        raise ValueError(
            f"{path}: expected the format {FORMAT!r}, got {config['format']!r}; update seqlearn, "
            "or save the model again"
        )
    if _sum_of(config) != config.get("sha256 of this file"):
        raise ValueError(
            f"{path}: expected what save_pretrained wrote, got a changed or damaged file (its "
            "SHA-256 does not fit); save it again, and pass changed arguments to from_pretrained"
        )
    check_parts(path, config)
    return dict(config)


def _sum_of(config: dict[str, Any]) -> str:
    """The SHA-256 of a configuration without the key that holds it."""
    said = {key: value for key, value in config.items() if key != "sha256 of this file"}
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
