"""The verifier as a command of its own."""

import argparse
import json
import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from infra.verifier.checks import Evidence, verify_all
from infra.verifier.signatures import Trust
from infra.verifier.state_folder import Unreadable, keys_of, sqlite_rows

_ABOUT = """Verify what a whitecrow fraud-detection service stored: its ledger, decision log,
bundles and policies. Reads the files of a state folder, or of a copy that `whitecrow audit
evidence` made; writes nothing. Needs Python 3.11 or newer and nothing else. Exit code 0: every link
holds; 1: something was changed (the first broken link of each kind is named); 2: bad usage."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Verify what the command line names; return the exit code."""
    parser = argparse.ArgumentParser(description=_ABOUT)
    add = parser.add_argument
    add("folder", type=Path, help="the state folder (WHITECROW_HOME), or a copy of it")
    add("--key", action="append", default=[], help="public key that counts: 64 hexadecimal "
        "digits or a file; may be repeated (default: those in FOLDER/keys)")  # fmt: skip
    add("--anchor", action="append", type=Path, default=[], help="an anchor kept elsewhere")
    add("--archive", type=Path, help="folder of days that left the decision log")
    add("--log", type=Path, help="the decision log (default: FOLDER/decisions.db)")
    add("--ledger", type=Path, help="the ledger (default: FOLDER/whitecrow.db)")
    add("--idempotency-days", type=float, default=7.0, help="WHITECROW_IDEMPOTENCY_DAYS")
    add("--json", action="store_true", help="print one JSON object")
    asked = parser.parse_args(arguments)
    home = asked.folder
    if not home.is_dir():
        parser.error(f"{home} is no folder.")
    try:
        evidence = Evidence(
            home=home,
            state=partial(sqlite_rows, home / "whitecrow.db"),
            ledger=partial(sqlite_rows, asked.ledger or home / "whitecrow.db"),
            log=partial(sqlite_rows, asked.log or home / "decisions.db"),
            anchors={str(path): path.read_bytes() for path in asked.anchor},
            archive=asked.archive,
            idempotency_days=asked.idempotency_days,
            now=time.time_ns() // 1_000,
        )
        findings = verify_all(evidence, Trust(keys_of(asked.key, home / "keys")))
    except (Unreadable, OSError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    shown = json.dumps(findings.to_json()) if asked.json else "\n".join(findings.lines())
    sys.stdout.write(shown + "\n")
    return 0 if findings.holds else 1
