"""Public docstrings say which errors are raised and which shapes tensors have."""

from __future__ import annotations

import ast
import importlib.util
import inspect
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from jaxtyping import Float
from torch import Tensor

SCRIPT = Path(__file__).resolve().parent.parent / "docs" / "render_reference.py"
TENSOR, TYPED = re.compile(r"\bTensor\b"), re.compile(r"""\b\w+\[Tensor, ("|')[^"']*\1\]""")
AXES = {
    axis.strip("*")
    for path in SCRIPT.parent.parent.glob("seqlearn/**/*.py")
    for found in re.findall(r'\w+\[Tensor, "([^"]*)"\]', path.read_text(encoding="utf-8"))
    for axis in found.split()
} | {"…"}
"""The names of axes in the package."""
WITHOUT_AXES = re.compile(r"\bscalar|\bany shape|\bsame shape|\bone number|Not used|not used")


def documented() -> Iterator[tuple[str, Any, list[Any]]]:
    """Path, function and the classes it belongs to, the nearest first, of all that is public."""
    spec = importlib.util.spec_from_file_location("render_reference", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    for package in script.PACKAGES:
        for name in script.public_names(package):
            if not name.has_page:
                continue
            if not inspect.isclass(name.value):
                yield name.path, name.value, []
                continue
            for key, value in vars(name.value).items():
                function = value.fget if isinstance(value, property) else value
                function = getattr(function, "__func__", function)
                made = key in ("__init__", "__post_init__", "__new__")
                written = getattr(function, "__module__", "").startswith("seqlearn")
                generated = getattr(inspect.unwrap(function), "__code__", None)
                if generated is None or generated.co_filename.startswith("<"):
                    continue  # by a dataclass
                if inspect.isfunction(function) and written and (made or not key.startswith("_")):
                    yield f"{name.path}.{key}", function, list(name.value.__mro__)


PUBLIC = list(documented())


def doc(item: Any) -> str:
    return inspect.getdoc(item) or ""


def overridden(path: str, classes: list[Any]) -> list[Any]:
    """The methods of that name in a class and those it derives from, the nearest first."""
    name = path.rpartition(".")[2]
    return [vars(cls)[name] for cls in classes if name in vars(cls)]


def docs(path: str, function: Any, classes: list[Any]) -> list[str]:
    """The docstrings that may say it: its own, those of what it overrides, that of its class."""
    ours = [cls for cls in classes if cls.__module__.startswith("seqlearn")]
    return [doc(one) for one in (function, *overridden(path, classes), *ours[:1])]


def raised(function: Any) -> set[str]:
    """The errors that the code of a function raises by name."""
    (node,) = ast.parse(textwrap.dedent(inspect.getsource(inspect.unwrap(function)))).body
    found, pending = set(), list(ast.iter_child_nodes(node))
    while pending:
        one = pending.pop()
        if isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda | ast.ClassDef):
            continue
        if isinstance(one, ast.Raise) and isinstance(one.exc, ast.Call):
            name = ast.unparse(one.exc.func)
            if name[:1].isupper():
                found.add(name)
        pending += ast.iter_child_nodes(one)
    return found


def section(text: str, title: str) -> str:
    return "\n".join(re.findall(rf"^{title}:\n((?:[ ]+.*\n?|\n)*)", text, re.MULTILINE))


def test_each_error_is_documented() -> None:
    missing = {}
    for path, function, classes in PUBLIC:
        said = section("\n\n".join(docs(path, function, classes)), "Raises")
        left = {error for error in raised(function) if not re.search(rf"\b{error}:", said)}
        if left:
            missing[path] = left
    assert missing == {}


def has_shape(path: str, function: Any, classes: list[Any], name: str) -> bool:
    """Whether the shape of an argument (or `return`) is in a type or in words, maybe of a base."""
    methods = [function, *(one for one in overridden(path, classes) if inspect.isfunction(one))]
    types = [str(one.__annotations__.get(name, "")) for one in methods]
    if any(not TENSOR.search(TYPED.sub("", one)) or "Callable" in one for one in types):
        return True
    texts = docs(path, function, classes)
    whole = "\n\n".join(texts)
    if name == "return":
        said = section(whole, "Returns") + section(whole, "Yields")
    else:
        said = " ".join(re.findall(rf"^ +\*?{name}: (.*(?:\n {{6,}}.*)*)", whole, re.MULTILINE))
    said = said or " ".join(text.partition("\n\nArgs:")[0] for text in texts)
    shapes = [code for code in re.findall("`([^`]+)`", said) if set(code.split()) <= AXES]
    return bool(shapes or WITHOUT_AXES.search(said))


def test_each_tensor_has_a_shape() -> None:
    missing = [
        f"{path}: {name}"
        for path, function, classes in PUBLIC
        for name in function.__annotations__
        if not has_shape(path, function, classes, name)
    ]
    assert missing == []


def test_what_is_missing_is_found() -> None:
    def bare(x: Tensor, y: Float[Tensor, "a b"]) -> Tensor:
        """Nothing is said, not even of `x` or `None`."""
        raise ValueError("no")

    def told(x: Tensor) -> Tensor:
        """Pass it on.

        Args:
            x: Any, `batch time`, or `None`.

        Returns:
            The same, `batch time`.
        """
        return x

    assert raised(bare) == {"ValueError"}
    assert [has_shape("bare", bare, [], name) for name in ("x", "y", "return")] == [
        False, True, False
    ]  # fmt: skip
    assert all(has_shape("told", told, [], name) for name in ("x", "return"))
