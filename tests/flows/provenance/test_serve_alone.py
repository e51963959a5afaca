"""Audits need the extra ``serve`` alone: nothing of training is imported, or has to be there."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[3]
TRAINING_ONLY = (
    "torch", "prefect", "mlflow", "great_expectations", "sklearn", "scipy", "matplotlib", "pandas",
    "onnx",
)  # fmt: skip
# Stands for an environment in which none of them is installed.
PROGRAM = f"""
import importlib.abc, sys
class Absent(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {TRAINING_ONLY!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Absent())
import importlib.util
found = importlib.util.find_spec
importlib.util.find_spec = lambda name, package=None: (
    None if name in {TRAINING_ONLY!r} else found(name, package)
)
from flows.cli import main
main()
"""


@pytest.mark.slow
@pytest.mark.parametrize("command", ["show", "trace", "export"])
def test_it_runs_without_the_training_packages(shop, tmp_path, command) -> None:
    page = tmp_path / "shop.html"
    arguments = {
        "show": ("show", "shop:2"),
        "trace": ("trace", str(shop.data)),
        "export": ("export", "shop:2", "--out", str(page)),
    }[command]

    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, "audit", *arguments],
        check=False, capture_output=True, text=True, cwd=REPOSITORY, timeout=250,
        env={**os.environ, "WHITECROW_HOME": str(shop.home)},
    )  # fmt: skip

    assert done.returncode == 0, done.stderr
    assert "shop:2" in done.stdout
    if command == "export":
        assert "Pictures need matplotlib" in page.read_text()
