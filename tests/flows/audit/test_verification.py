"""What was stored verifies, in files and on a server; and what was changed is named."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from flows.audit.anchors import external_anchor
from flows.audit.evidence import write_evidence
from flows.audit.verification import verify
from infra.verifier.assembled import assembled

from .conftest import Site


def standalone(folder: Path, tmp_path: Path, *arguments: str) -> dict[str, Any]:
    """What the one file says, in an interpreter without packages."""
    file = tmp_path / "verify.py"
    file.write_text(assembled(), "utf-8")
    done = subprocess.run(
        [sys.executable, "-I", "-S", str(file), str(folder), "--json", *arguments],
        capture_output=True, text=True, check=False, cwd="/",
    )  # fmt: skip
    assert done.returncode in (0, 1), done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    assert found["holds"] == (done.returncode == 0)
    return found


def test_what_nobody_changed_holds(site: Site, tmp_path: Path) -> None:
    anchor = tmp_path / "anchor.json"
    anchor.write_text(json.dumps(external_anchor(site.settings)), "utf-8")
    n_files = write_evidence(site.settings, tmp_path / "copy")

    found = verify(site.settings, anchors=[anchor], archive=site.archive)
    alone = standalone(
        tmp_path / "copy", tmp_path, "--anchor", str(anchor), "--archive", str(site.archive)
    )

    assert found.first == {}
    assert found.counts == {
        "ledger entries": 12, "anchors": 3, "anchors kept elsewhere": 1, "retired days": 1,
        "groups": 12, "decisions": 21, "writers": 3, "data subjects": 7, "live records": 2,
        "API keys": 2, "bundles": 1, "policies": 2, "archived files": 2,
    }  # fmt: skip
    assert found.notes == []
    assert alone == found.to_json()
    assert n_files == 11
