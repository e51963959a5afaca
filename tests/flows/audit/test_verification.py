"""What was stored verifies, in files and on a server; and what was changed is named."""

import hashlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from flows.audit.anchors import external_anchor
from flows.audit.evidence import write_evidence
from flows.audit.verification import EvidenceUnreadable, verify
from flows.cli import app
from infra.ledger import open_ledger
from infra.settings import Settings
from infra.signing import Statement, read_signing_key
from infra.storage import canonical_json, sha256_json
from infra.verifier.assembled import assembled
from serving.decisions.opening import open_store
from tests.serving.conftest import make_home

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
    assert n_files == 12


def _run(site: Site, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> Any:
    monkeypatch.setenv("WHITECROW_HOME", str(site.home))
    for name in ("log_uri", "ledger_uri"):
        if (uri := getattr(site.settings, name)) is not None:
            monkeypatch.setenv(f"WHITECROW_{name.upper()}", uri)
    return CliRunner().invoke(app, ["audit", *arguments])


def test_the_commands_say_so_and_exit_by_it(
    site: Site, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    anchor = tmp_path / "anchor.json"

    written = _run(site, monkeypatch, "anchor", "--out", str(anchor))
    printed = _run(site, monkeypatch, "anchor", "--out", "-")
    whole = _run(site, monkeypatch, "verify", "--anchor", str(anchor), "--json")
    site.run("UPDATE log_group SET committed_at = committed_at + 1 WHERE number = 2")
    broken = _run(site, monkeypatch, "verify")

    assert (written.exit_code, whole.exit_code, broken.exit_code) == (0, 0, 1)
    assert json.loads(printed.stdout) == json.loads(anchor.read_text())
    assert json.loads(whole.stdout)["holds"] is True
    assert "BROKEN group: group 2 of writer" in broken.stdout
    assert broken.stdout.endswith("Not everything is as it was written.\n")


def test_the_first_broken_link_of_each_kind_is_named(site: Site) -> None:
    site.run("UPDATE ledger SET actor = 'eve' WHERE sequence IN (3, 5)", ledger=True)
    writer = site.run("SELECT writer_id FROM log_group WHERE number = 4")[0][0]
    site.run("UPDATE log_group SET n_records = 9 WHERE writer_id = ? AND number > 3", writer)
    site.run_file("whitecrow.db", "UPDATE live SET policy_version = '2' WHERE alias = 'champion'")
    policy = site.home / "policies" / "shop" / "2.json"
    policy.write_bytes(policy.read_bytes().replace(b"{", b"{ ", 1))
    (site.home / "models" / "shop" / "1" / "model.onnx").write_bytes(b"x")
    (site.archive / min(path.name for path in site.archive.iterdir())).write_bytes(b"")

    found = verify(site.settings, archive=site.archive)

    assert found.n_broken["ledger"] == 2
    assert found.first["ledger"].where == "entry 3 (policy_created shop)"
    assert found.first["group"].where == f"group 4 of writer {writer}"
    assert found.first["live"].where == "shop@champion"
    assert found.first["policy"].where == "shop policy 2"
    assert str(found.first["bundle"]).endswith("model.onnx was changed after it was written")
    assert "archive" in found.first


def test_an_end_that_is_cut_off_shows_against_the_ledger(site: Site) -> None:
    writer, last = site.run("SELECT writer_id, max(number) FROM log_group GROUP BY 1 ORDER BY 2")[0]
    for table in ("log_decision", "log_group"):
        site.run(f"DELETE FROM {table} WHERE writer_id = ? AND number = ?", writer, last)

    found = verify(site.settings)

    where = f"behind group {last - 1} of writer {writer}"
    assert (found.first["group"].where, "its end is missing" in found.first["group"].what) == (
        where, True,
    )  # fmt: skip


def test_the_ledgers_own_end_shows_against_an_anchor_kept_elsewhere(
    site: Site, tmp_path: Path
) -> None:
    anchor = tmp_path / "anchor.json"
    anchor.write_text(json.dumps(external_anchor(site.settings)), "utf-8")
    site.run("DELETE FROM ledger WHERE sequence > 11", ledger=True)

    assert verify(site.settings).holds
    assert str(verify(site.settings, anchors=[anchor]).first["ledger"]) == (
        "ledger: behind entry 11: its end is missing: anchor.json names entry 12"
    )


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"signature": None}, "it is not signed"),
        ({"statement": {"ledger": {"sequence": 1, "hash": "0" * 64}, "writers": {}}}, "not what"),
        ({"statement": {}}, "it is no anchor"),
    ],
)
def test_an_anchor_that_is_not_ours_is_told(
    new_site: Callable[..., Site], tmp_path: Path, change: dict[str, Any], what: str
) -> None:
    site, anchor = new_site(), tmp_path / "anchor.json"
    anchor.write_text(json.dumps(external_anchor(site.settings) | change), "utf-8")

    assert what in str(verify(site.settings, anchors=[anchor]).first["anchor"])


def test_unsigned_anchors_hold_and_are_noted(new_site: Callable[..., Site]) -> None:
    site = new_site()
    site.decide(range(50, 54), anchored=False)
    store = open_store(site.settings)
    site.anchoring(store, signed=False).anchor()
    store.close()

    found = verify(site.settings)

    assert found.holds
    assert any("1 anchors are not signed" in note for note in found.notes)


def test_an_erased_entity_is_no_damage_and_a_lost_key_is(site: Site) -> None:
    (subject,) = site.run("SELECT subject FROM log_subject_key ORDER BY subject LIMIT 1")[0]
    site.run("DELETE FROM log_subject_key WHERE subject = ?", subject)

    lost = verify(site.settings)
    open_ledger(site.settings).append(
        "entity_erased", "shop", actor="a", reason="r", details={"pseudonym": bytes(subject).hex()}
    )
    erased = verify(site.settings)

    assert lost.first["index"].where == f"subject {bytes(subject).hex()}"
    assert erased.holds
    assert "1 data subjects were erased." in erased.notes


def test_nothing_is_written_by_a_verification(new_site: Callable[..., Site]) -> None:
    site = new_site()
    before = {path: path.read_bytes() for path in site.home.rglob("*") if path.is_file()}

    verify(site.settings)

    after = {path: path.read_bytes() for path in site.home.rglob("*") if path.is_file()}
    # SQLite's index of a write-ahead log is memory that processes share, not content.
    assert {p: c for p, c in after.items() if not p.name.endswith(("-shm", "-wal"))} == {
        p: c for p, c in before.items() if not p.name.endswith(("-shm", "-wal"))
    }


def test_a_service_that_writes_meanwhile_is_no_damage(site: Site) -> None:
    ended = threading.Event()

    def write() -> None:
        number = 1_000
        while not ended.is_set():
            site.decide(range(number, number + 40), size=2)
            number += 40

    writer = threading.Thread(target=write)
    writer.start()
    try:
        found = [verify(site.settings) for _ in range(6)]
    finally:
        ended.set()
        writer.join()

    assert [each.first for each in found] == [{}] * 6
    assert found[-1].counts["decisions"] > 21


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("verify", "--anchor", "nowhere.json"), "--anchor nowhere.json: No such file"),
        (("evidence", "--out", "."), "exists already"),
    ],
)
def test_what_cannot_be_read_or_written_is_one_line(
    new_site: Callable[..., Site],
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    message: str,
) -> None:
    done = _run(new_site(), monkeypatch, *arguments)

    assert message in str(done.exception)
    assert getattr(done.exception, "exit_code", None) == 2


def test_a_damaged_database_is_one_line(new_site: Callable[..., Site]) -> None:
    site = new_site()
    (site.home / "decisions.db").write_bytes(b"no database" * 500)

    with pytest.raises(EvidenceUnreadable, match="decisions.db cannot be read") as refused:
        verify(site.settings)

    assert "\n" not in str(refused.value)


def test_a_server_that_is_away_is_one_line(new_site: Callable[..., Site]) -> None:
    site = new_site()
    settings = Settings(home=site.home, log_uri="postgresql://127.0.0.1:1/none")

    with pytest.raises(EvidenceUnreadable, match="The server does not answer"):
        verify(settings)


def test_the_verifier_is_printed_whole() -> None:
    done = CliRunner().invoke(app, ["audit", "verifier"])

    assert done.stdout == assembled()


def test_a_state_without_releases_of_its_own_holds(tmp_path: Path) -> None:
    make_home(tmp_path / "home")

    found = verify(Settings(home=tmp_path / "home"))

    assert found.holds
    assert "This ledger tells of no release: live records are held against nothing." in found.notes


def test_kept_files_are_held_against_their_bundle(new_site: Callable[..., Site]) -> None:
    """What later policies are made from: gone as a whole is noted, changed is broken."""
    site = new_site()
    folder = site.home / "models" / "shop" / "1"
    manifest = json.loads((folder / "manifest.json").read_bytes())
    manifest["kept_files"] = {"counts.json": sha256_json("kept")}
    content = canonical_json(manifest).encode() + b"\n"
    (folder / "manifest.json").write_bytes(content)
    seal = f"{hashlib.sha256(content).hexdigest()}  manifest.json\n"
    (folder / "bundle.sha256").write_text(seal)
    key = read_signing_key(site.settings.keys)
    assert key is not None
    signed = key.sign(Statement.of("bundle", "shop", "1", seal.encode()))
    (folder / "bundle.sha256.sig").write_bytes(signed)

    gone = verify(site.settings)
    (site.home / "calibration" / "shop" / "1").mkdir(parents=True)
    (site.home / "calibration" / "shop" / "1" / "counts.json").write_text("other")
    changed = verify(site.settings)

    # The bundle itself is not the one that was registered: its signature alone would not tell.
    registered = "bundle: shop:1: it is not the one that the ledger registered"
    assert str(gone.first["bundle"]) == registered
    assert "What later policies of shop:1 are made from is not here." in gone.notes
    assert str(changed.first["bundle"]) == (
        "bundle: shop:1: counts.json was changed after it was written"
    )


@pytest.mark.parametrize("command", [("verify",), ("anchor", "--out", "-"), ("verifier",)])
def test_it_needs_no_training_package(
    new_site: Callable[..., Site], command: tuple[str, ...]
) -> None:
    names = (
        "torch", "prefect", "mlflow", "great_expectations", "sklearn", "scipy", "matplotlib",
        "pandas", "onnx",
    )  # fmt: skip
    program = (
        f"import sys; sys.modules.update(dict.fromkeys({names!r})); "
        f"sys.argv = {['whitecrow', 'audit', *command]!r}; from flows.cli import main; main()"
    )

    done = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | {"WHITECROW_HOME": str(new_site().home)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert (done.returncode, done.stderr) == (0, "")
