"""The one file: whole, with every name once, and nothing of ours imported."""

import ast
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from infra.verifier.assembled import assembled


def test_no_two_modules_use_one_name() -> None:
    names: Counter[str] = Counter()
    for node in ast.parse(assembled()).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names[node.name] += 1
        elif isinstance(node, ast.Assign):
            names.update(each.id for each in node.targets if isinstance(each, ast.Name))

    assert [name for name, n in names.items() if n > 1] == []


def test_it_imports_the_standard_library_alone() -> None:
    imported = set()
    for node in ast.walk(ast.parse(assembled())):
        if isinstance(node, ast.ImportFrom):
            imported.add((node.module or "").partition(".")[0])
        elif isinstance(node, ast.Import):
            imported |= {each.name.partition(".")[0] for each in node.names}

    assert imported <= sys.stdlib_module_names


@pytest.mark.parametrize(("arguments", "message"), [
    (["nowhere"], "nowhere is no folder"),
    ([".", "--key", "abc"], "abc is no public key"),
    ([".", "--anchor", "nowhere.json"], "nowhere.json"),
])  # fmt: skip
def test_what_it_cannot_read_is_one_line(
    tmp_path: Path, arguments: list[str], message: str
) -> None:
    file = tmp_path / "verify.py"
    file.write_text(assembled(), "utf-8")

    done = subprocess.run(
        [sys.executable, "-I", "-S", str(file), *arguments],
        capture_output=True, text=True, check=False, cwd=tmp_path,
    )  # fmt: skip

    assert done.returncode == 2
    assert message in done.stderr.splitlines()[-1]


def test_a_folder_without_anything_is_told_as_empty(tmp_path: Path) -> None:
    file = tmp_path / "verify.py"
    file.write_text(assembled(), "utf-8")

    done = subprocess.run(
        [sys.executable, "-I", "-S", str(file), str(tmp_path)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert done.returncode == 0
    assert "0 ledger entries" in done.stdout
