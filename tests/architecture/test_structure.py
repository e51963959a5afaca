"""The shape of the project, held by tests."""

import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
PACKAGES = ("flows", "serving", "features", "balancing", "infra")
VAGUE_NAMES = {"utils", "util", "common", "helpers", "helper", "core", "manager", "misc"}
TRAINING_ONLY = (
    "torch", "prefect", "mlflow", "great_expectations", "sklearn", "scipy", "matplotlib", "pandas",
)  # fmt: skip


def source_files() -> list[Path]:
    return [path for package in PACKAGES for path in (REPOSITORY / package).rglob("*.py")]


def test_imports_go_down_only() -> None:
    """The layers of pyproject.toml hold: flows, serving, features | balancing, infra."""
    import importlinter.cli

    # In this process: the linter's own command exits with 0 when every contract is kept.
    assert importlinter.cli.lint_imports(str(REPOSITORY / "pyproject.toml"), no_cache=True) == 0


def test_no_module_is_named_after_nothing() -> None:
    named = {part for path in source_files() for part in (path.stem, path.parent.name)}

    assert named.isdisjoint(VAGUE_NAMES)


def test_every_package_folder_says_what_it_is() -> None:
    for path in source_files():
        if path.name == "__init__.py":
            text = path.read_text("utf-8").strip()
            assert text.startswith('"""'), path
            assert text.endswith('"""'), path


def test_only_tracking_imports_mlflow() -> None:
    importers = {
        path.relative_to(REPOSITORY).as_posix()
        for path in source_files()
        if "import mlflow" in path.read_text("utf-8") or "from mlflow" in path.read_text("utf-8")
    }

    assert importers == {"infra/tracking.py", "infra/tracking_registry.py"}


@pytest.mark.parametrize(
    "module", ["serving.scorer", "serving.http", "serving.service", "flows.cli"]
)
def test_serving_starts_without_the_training_packages(module: str) -> None:
    program = f"import sys, {module}; print(sorted(set({TRAINING_ONLY!r}) & set(sys.modules)))"

    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=REPOSITORY
    )

    assert done.stdout.strip() == "[]"
