"""The list of error codes is what the code raises, and what the documentation tells."""

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from serving.error_codes import ERROR_CODES
from serving.forced_answers import _ERRORS as FORCED

SERVING = Path(__file__).resolve().parents[2] / "serving"
# Named by an argument of the function that raises them.
OF_KEYS = {("missing_key", 401, False), ("unknown_key", 401, False), ("expired_key", 401, False)}


def raised() -> Iterator[tuple[str, int, bool]]:
    for path in SERVING.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if not isinstance(node, ast.Call) or getattr(node.func, "id", "") != "RequestRefused":
                continue
            code: Any = node.args[0]
            if isinstance(code, ast.Constant):
                options = {each.arg: each.value for each in node.keywords}
                status: Any = options.get("status", ast.Constant(422))
                retry: Any = options.get("retry", ast.Constant(False))
                yield code.value, status.value, retry.value


def test_the_list_is_what_the_code_raises() -> None:
    listed = {(each.code, each.status, each.retry) for each in ERROR_CODES}

    assert listed == set(raised()) | OF_KEYS
    assert len({each.code for each in ERROR_CODES}) == len(ERROR_CODES)


def test_forced_errors_are_real_ones() -> None:
    listed = {(each.code, str(each.status), each.retry) for each in ERROR_CODES}

    assert {(code, status, retry) for status, (code, retry) in FORCED.items()} <= listed


def test_the_table_in_the_readme_has_every_code_with_its_status_and_nothing_else() -> None:
    section = (SERVING / "README.md").read_text("utf-8").split("\n## Errors\n")[1].split("\n## ")[0]
    table = [line.split("|") for line in section.splitlines() if line.startswith("| ")][1:]
    told = {
        (code.strip().strip("`"), int(cells[1]), "(retry" in cells[2])
        for cells in table
        for code in cells[2].split("(")[0].split(",")
    }

    assert told == {(each.code, each.status, each.retry) for each in ERROR_CODES}
