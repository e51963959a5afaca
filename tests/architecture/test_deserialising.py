"""No module of ours turns bytes into code: no pickle, no joblib, no torch.load of whole objects."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
PACKAGES = ("flows", "serving", "features", "balancing", "infra")
FORBIDDEN_MODULES = {
    "pickle", "_pickle", "cPickle", "joblib", "cloudpickle", "dill", "marshal", "shelve",
    "jsonpickle",
}  # fmt: skip
FORBIDDEN_CALLS = {
    ("torch", "load"), ("jit", "load"), ("numpy", "load"), ("np", "load"), ("pd", "read_pickle"),
    ("pandas", "read_pickle"), ("yaml", "load"), ("bentoml", "picklable_model"),
}  # fmt: skip


def offences(source: str) -> Iterator[str]:
    """What in a module's source could run what it reads."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names = {alias.name.partition(".")[0] for alias in node.names}
            yield from FORBIDDEN_MODULES & names
        elif isinstance(node, ast.ImportFrom):
            yield from FORBIDDEN_MODULES & {str(node.module).partition(".")[0]}
            yield from (
                f"{node.module}.{alias.name}"
                for alias in node.names
                if (str(node.module), alias.name) in FORBIDDEN_CALLS
            )
        elif isinstance(node, ast.Attribute):
            owner = node.value.attr if isinstance(node.value, ast.Attribute) else (
                node.value.id if isinstance(node.value, ast.Name) else ""
            )  # fmt: skip
            if (owner, node.attr) in FORBIDDEN_CALLS:
                yield f"{owner}.{node.attr}"
        elif isinstance(node, ast.Call):
            name = node.func.id if isinstance(node.func, ast.Name) else ""
            if name in {"eval", "exec", "__import__"}:
                yield name
            yield from (
                "allow_pickle" for keyword in node.keywords if keyword.arg == "allow_pickle"
            )


@pytest.mark.parametrize("package", PACKAGES)
def test_no_module_turns_bytes_into_code(package: str) -> None:
    found = {
        path.relative_to(REPOSITORY).as_posix(): list(offences(path.read_text("utf-8")))
        for path in (REPOSITORY / package).rglob("*.py")
    }

    assert found, "there are modules"
    assert {path: what for path, what in found.items() if what} == {}


@pytest.mark.parametrize(
    "source",
    [
        "import pickle", "import joblib.numpy_pickle", "from pickle import loads",
        "from torch import load", "torch.load(path)", "torch.jit.load(path)", "np.load(path)",
        "eval(text)", "read(path, allow_pickle=True)",
    ],
)  # fmt: skip
def test_each_way_would_be_found(source: str) -> None:
    assert list(offences(source))
