"""All checks over one state: what a verification is."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from infra.verifier.canonical import sha256_hex
from infra.verifier.findings import Findings
from infra.verifier.group_content import places_of
from infra.verifier.ledger_chain import LEDGER_ENTRIES, checked_entries
from infra.verifier.live_state import check_keys, check_live, state_rows
from infra.verifier.log_chain import check_chains
from infra.verifier.log_index import LogIndex
from infra.verifier.objects import check_objects
from infra.verifier.signatures import Trust
from infra.verifier.source import Decode, OpenSource
from infra.verifier.told import Told, named_entries, take_external, told_by


@dataclass(frozen=True)
class Evidence:
    """What is to be verified.

    Attributes:
        home: The state folder: bundles, policies and public keys.
        state: Opens the database of live records and API keys.
        ledger: Opens the ledger's database.
        log: Opens the decision log's database.
        anchors: Content of anchors that were kept elsewhere, by their names.
        archive: Folder of days that left the log; None where it is not at hand.
        idempotency_days: For how long a repeated row gets the first answer.
        now: The present moment, in microseconds since 1970-01-01 UTC.
    """

    home: Path
    state: OpenSource
    ledger: OpenSource
    log: OpenSource
    anchors: Mapping[str, bytes]
    archive: Path | None
    idempotency_days: float
    now: int


def verify_all(evidence: Evidence, trust: Trust, *, decode: Decode = places_of) -> Findings:
    """Return what was checked and what does not hold.

    The order lets a service go on writing: what the ledger is told of first is read before the
    ledger, what it is told of afterwards behind it, and a database as it is at one moment.

    Args:
        evidence: What is to be verified.
        trust: Whose signatures count.
        decode: Returns the decisions of a group's bytes.
    """
    findings = Findings()
    with evidence.state() as state:
        live, keys = state_rows(state)
    with evidence.ledger() as ledger:
        rows = ledger.rows(f"{LEDGER_ENTRIES} ORDER BY sequence")
        told = told_by(
            checked_entries(rows), trust, findings,
            keep_hashes=named_entries(evidence.anchors.values()),
        )  # fmt: skip
    for name, content in evidence.anchors.items():
        take_external(told, name, content, trust, findings)
    with evidence.log() as log:
        index = LogIndex(
            log, decode, now=evidence.now, idempotency_days=evidence.idempotency_days,
            findings=findings,
        )  # fmt: skip
        check_chains(log, told, findings, index.take)
        index.check(told)
    check_live(live, told, findings)
    check_keys(keys, told, findings)
    check_objects(evidence.home, told, trust, findings)
    _check_archive(evidence.archive, told, findings)
    for key_id in sorted(trust.public_keys.keys() - told.signers.keys()):
        findings.note(f"Key {key_id} is trusted, and this ledger does not tell of its making.")
    return findings


def _check_archive(archive: Path | None, told: Told, findings: Findings) -> None:
    """Hold the files of days that left the log against the digests in the ledger."""
    if archive is None:
        if told.retired:
            findings.note(f"{len(told.retired):,} days left the log; their files were not named.")
        return
    parts = [(segment, details) for segment, parts in told.retired.items() for details in parts]
    for segment, details in parts:
        for name, digest in (("file", "sha256"), ("groups_file", "groups_sha256")):
            path = archive / str(details.get(name))
            try:
                found = sha256_hex(path.read_bytes())
            except OSError:
                findings.broken("archive", path.name, f"it is missing, for {segment}")
                continue
            if found != details.get(digest):
                findings.broken("archive", path.name, "it was changed after it was written")
            findings.count("archived files")
