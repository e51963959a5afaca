"""The verifier as one file, for whoever wants to run it without an installation."""

import ast
from pathlib import Path

_MODULES = (
    "canonical", "findings", "ed25519", "signatures", "group_content", "ledger_chain", "source",
    "told", "log_chain", "log_index", "objects", "live_state", "state_folder", "checks", "command",
)  # fmt: skip
_OWN = "infra.verifier"
_HEAD = '''#!/usr/bin/env python3
"""Verifies what a whitecrow service stored. Standard library only; run it with --help.

Made of whitecrow's infra/verifier by `whitecrow audit verifier`. Apache License 2.0.
"""
'''
_TAIL = """

if __name__ == "__main__":
    sys.exit(main())
"""


def assembled() -> str:
    """Return the source of one file that does what ``infra.verifier.command`` does."""
    folder = Path(__file__).parent
    return _HEAD + "".join(_body(folder / f"{name}.py") for name in _MODULES) + _TAIL


def _body(path: Path) -> str:
    """Return a module without its docstring and without what it imports from its neighbours."""
    text = path.read_text("utf-8")
    tree = ast.parse(text)
    left_out = set(range(tree.body[0].lineno, (tree.body[0].end_lineno or 0) + 1))
    for node in tree.body:
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(_OWN):
            left_out |= set(range(node.lineno, (node.end_lineno or 0) + 1))
    lines = [
        line for number, line in enumerate(text.splitlines(), start=1) if number not in left_out
    ]
    about = "\n".join(f"# {line}".rstrip() for line in _docstring(tree).splitlines())
    return f"\n\n# --- {path.stem}\n{about}\n\n" + "\n".join(lines).strip("\n") + "\n"


def _docstring(tree: ast.Module) -> str:
    return ast.get_docstring(tree) or ""
