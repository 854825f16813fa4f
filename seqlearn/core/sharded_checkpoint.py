"""Reading a sharded checkpoint, a folder of `ModelParallelStrategy`, without running code from it.

`meta.pt` holds plain data, `.metadata` (a pickle) says where the parts of each tensor lie in the
files of the ranks, `*.distcp`. torch reads `.metadata` and values that are not tensors with an
unrestricted `pickle`; here only the classes that torch writes are known.
"""

from __future__ import annotations

import io
import pickle
import zipfile
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import Any

import torch
from torch import Tensor
from torch.distributed.checkpoint import filesystem
from torch.distributed.checkpoint import metadata as dcp
from torch.distributed.checkpoint.metadata import Metadata, MetadataIndex, TensorStorageMetadata

META, PARTS = "meta.pt", ".metadata"

_KNOWN: dict[tuple[str, str], Any] = {
    **{
        (dcp.__name__, name): getattr(dcp, name)
        for name in (
            "Metadata",
            "TensorStorageMetadata",
            "BytesStorageMetadata",
            "ChunkStorageMetadata",
            "TensorProperties",
            "MetadataIndex",
            "StorageMeta",
            "_MEM_FORMAT_ENCODING",
        )
    },
    (filesystem.__name__, "_StorageInfo"): filesystem._StorageInfo,  # noqa: SLF001 -- torch's own
    ("torch", "Size"): torch.Size,
    ("torch.serialization", "_get_layout"): lambda _: torch.strided,
    ("collections", "OrderedDict"): dict,
    **{
        (module, name): PurePosixPath
        for module in ("pathlib", "pathlib._local")
        for name in ("PosixPath", "WindowsPath")
    },
}
"""The classes in `.metadata`, by module and name; dtypes are known as well."""


def is_sharded_folder(path: str | Path) -> bool:
    """Whether a path is a sharded checkpoint."""
    return (Path(path) / META).is_file() and (Path(path) / PARTS).is_file()


class _PartsUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in _KNOWN:
            return _KNOWN[module, name]
        if module == "torch" and isinstance(found := getattr(torch, name, None), torch.dtype):
            return found
        raise ValueError(f"{PARTS} names {module}.{name}, which is not plain data")


def read_parts(folder: str | Path) -> Metadata:
    """Read `.metadata` without running code from it.

    Args:
        folder: A sharded checkpoint.

    Raises:
        ValueError: If it is not what torch writes, or refers to files outside of the folder.
    """
    with (Path(folder) / PARTS).open("rb") as file:
        parts = _PartsUnpickler(file).load()
    if not isinstance(parts, Metadata) or not isinstance(parts.storage_data, dict):
        raise ValueError(  # noqa: TRY004 -- the content of a file, not an argument
            f"{PARTS} does not say where the parts of the tensors lie"
        )
    for info in parts.storage_data.values():
        name = info.relative_path
        if Path(name).name != name or info.transform_descriptors:
            raise ValueError(f"{PARTS} refers to the file {name!r}, which torch does not write")
    return parts


def verify_folder(folder: str | Path, rank: int = 0, world_size: int = 1) -> None:
    """Verify a sharded checkpoint before torch reads it: it runs no code, and no file is damaged.

    Args:
        folder: The checkpoint.
        rank: Rank of this process.
        world_size: Number of processes. Each verifies an equal share of the tensors.

    Raises:
        Exception: If it is not what torch writes, or damaged.
    """
    folder = Path(folder)
    torch.load(folder / META, map_location="meta", weights_only=True)
    parts = read_parts(folder)
    shares = list(parts.storage_data.items())[rank::world_size]
    for index, _ in shares:
        _load(folder, parts, index)
    for name, kind in parts.state_dict_metadata.items():
        if not isinstance(kind, TensorStorageMetadata):
            _load(folder, parts, MetadataIndex(name))


def read_folder(folder: str | Path, map_location: Any = None) -> dict[str, Any]:
    """Read a sharded checkpoint as the dictionary that a checkpoint in one file has.

    Args:
        folder: The checkpoint.
        map_location: The device of the tensors, as in `torch.load`; `"meta"` leaves them out.

    Raises:
        Exception: If it is not what torch writes, or damaged.
    """
    folder = Path(folder)
    checkpoint: dict[str, Any] = torch.load(
        folder / META, map_location=map_location, weights_only=True
    )
    if str(map_location) == "meta":
        return checkpoint
    parts = read_parts(folder)
    device = map_location if isinstance(map_location, str | torch.device) else "cpu"
    values: dict[str, Any] = {}
    for name, kind in parts.state_dict_metadata.items():
        if isinstance(kind, TensorStorageMetadata):
            value: Any = _whole(folder, parts, name, kind).to(device)
        else:
            value = _load(folder, parts, MetadataIndex(name))
        values[name] = value
    prefix = "state_dict."
    checkpoint["state_dict"] = {
        name.removeprefix(prefix): value
        for name, value in values.items()
        if name.startswith(prefix)
    }
    count = len({name.partition(".")[0] for name in values if name.startswith("optimizer_")})
    checkpoint["optimizer_states"] = [
        _optimizer_state(values, f"optimizer_{number}.") for number in range(count)
    ]
    return checkpoint


def _load(folder: Path, parts: Metadata, index: MetadataIndex) -> Any:
    """Load one part of a tensor, or a value that is not a tensor, after verifying its checksums."""
    info = parts.storage_data[index]
    with (folder / info.relative_path).open("rb") as file:
        file.seek(info.offset)
        content = io.BytesIO(
            file.read(min(info.length, (folder / info.relative_path).stat().st_size))
        )
    with zipfile.ZipFile(content) as zipped:
        if zipped.testzip() is not None:
            raise ValueError(f"the checksum of {index.fqn} does not fit its content")
    content.seek(0)
    return torch.load(content, map_location="cpu", weights_only=True)


def _whole(folder: Path, parts: Metadata, name: str, kind: TensorStorageMetadata) -> Tensor:
    """Put a tensor together from its parts.

    Raises:
        ValueError: If the parts do not make up the tensor.
    """
    sizes = sum(torch.Size(chunk.sizes).numel() for chunk in kind.chunks)
    if sizes != torch.Size(kind.size).numel():
        raise ValueError(f"the parts of {name} hold {sizes} numbers, not {tuple(kind.size)}")
    loaded = [_load(folder, parts, MetadataIndex(name, chunk.offsets)) for chunk in kind.chunks]
    whole = torch.empty(kind.size, dtype=kind.properties.dtype)
    for chunk, part in zip(kind.chunks, loaded, strict=True):
        if part.shape != chunk.sizes:
            raise ValueError(f"a part of {name} has the shape {tuple(part.shape)}")
        place = whole
        for axis, (start, size) in enumerate(zip(chunk.offsets, chunk.sizes, strict=True)):
            place = place.narrow(axis, start, size)
        place.copy_(part)
    return whole


def _optimizer_state(values: dict[str, Any], prefix: str) -> dict[str, Any]:
    """The state of an optimizer as `torch.optim` has it: parameters are numbered by their groups.

    Names are `state.PARAMETER.KEY` and `param_groups.NUMBER.KEY`.
    """
    own = _with_prefix(values, prefix)
    groups: dict[int, dict[str, Any]] = {}
    for name, value in own.items():
        if name.startswith("param_groups."):
            _, number, key = name.split(".", 2)
            groups.setdefault(int(number), {})[key] = value
    ordered = [groups[number] for number in sorted(groups)]
    numbers = _numbered(each for group in ordered for each in group["params"])
    state: dict[int, dict[str, Any]] = {}
    for name, value in own.items():
        if name.startswith("state."):
            parameter, _, key = name.removeprefix("state.").rpartition(".")
            state.setdefault(numbers[parameter], {})[key] = value
    for group in ordered:
        group["params"] = [numbers[each] for each in group["params"]]
    return {"state": state, "param_groups": ordered}


def _with_prefix(values: dict[str, Any], prefix: str) -> dict[str, Any]:
    """The values whose names start with a prefix, without it."""
    return {
        key.removeprefix(prefix): each for key, each in values.items() if key.startswith(prefix)
    }


def _numbered(names: Iterable[str]) -> dict[str, int]:
    return {name: number for number, name in enumerate(names)}
