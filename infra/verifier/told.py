"""What the ledger tells of everything else that is checked: gathered in one reading."""

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from infra.verifier.canonical import canonical_bytes
from infra.verifier.findings import Findings
from infra.verifier.ledger_chain import GENESIS_HASH, ToldEntry
from infra.verifier.signatures import Trust

ANCHORED = "decisions.anchored"
RETIRED = ("decisions.retired", "decisions retired")
ERASED = ("entity_erasure_begun", "entity_erased")
_MOST_POINTS = 4_096


@dataclass(frozen=True)
class Point:
    """Where a writer's chain stood, as an anchor tells it.

    Attributes:
        source: Which anchor that was.
    """

    number: int
    last_sequence: int
    digest: str
    source: str


@dataclass
class Told:
    """What the ledger tells.

    Attributes:
        hashes: Of the entries that external anchors name, by sequence.
        points: By writer, in the order of the anchors.
        retired: Details of days that left the decision log; one may take several runs.
        bundles: Details of registrations, by name and version.
        policies: Details of what made a policy, by name and version.
        intents: Of changes of what is live: name and details, by sequence.
        last_change: Sequence of the last intent that was done, by name.
        waiting: What an entry says is to wait as challenger: name and details, by sequence.
        keys: Details of API keys, by id.
        revoked: Moments at which API keys were revoked, by id; None where an entry says none.
        signers: Public keys that were made here, by id.
        rules: Digest of the last file of gate rules, by name.
        erased: Pseudonyms of entities whose key was destroyed, in hexadecimal.
    """

    hashes: dict[int, str] = field(default_factory=dict)
    points: dict[str, list[Point]] = field(default_factory=dict)
    retired: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    bundles: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)
    policies: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)
    intents: dict[int, tuple[str, dict[str, Any]]] = field(default_factory=dict)
    last_change: dict[str, int] = field(default_factory=dict)
    waiting: dict[int, tuple[str, dict[str, Any]]] = field(default_factory=dict)
    keys: dict[str, dict[str, Any]] = field(default_factory=dict)
    revoked: dict[str, list[str | None]] = field(default_factory=dict)
    signers: dict[str, str] = field(default_factory=dict)
    rules: dict[str, str] = field(default_factory=dict)
    erased: set[str] = field(default_factory=set)

    def add_point(self, writer_id: str, point: Point) -> None:
        """Remember where a chain stood; the last one and some thousands before it."""
        points = self.points.setdefault(writer_id, [])
        points.append(point)
        if len(points) > _MOST_POINTS:
            # A digest is over all before it: fewer points only tell less exactly where it broke.
            del points[: _MOST_POINTS // 2 : 2]


def told_by(
    entries: Iterable[ToldEntry],
    trust: Trust,
    findings: Findings,
    *,
    keep_hashes: Iterable[int] = (),
) -> Told:
    """Return what the ledger tells, its chain and its anchors' signatures checked.

    Args:
        entries: Checked ones.
        trust: Whose signatures count.
        findings: What does not hold goes there.
        keep_hashes: Sequences of the entries whose hashes are asked for later.
    """
    told, wanted = Told(), set(keep_hashes)
    last, n_entries, unsigned = GENESIS_HASH, 0, 0
    for entry in entries:
        n_entries += 1
        if entry.problem is not None:
            findings.broken("ledger", f"entry {entry.sequence} ({_words(entry)})", entry.problem)
        if entry.sequence in wanted:
            told.hashes[entry.sequence] = entry.hash
        if entry.event == ANCHORED:
            unsigned += _take_anchor(told, entry, trust, findings)
        else:
            try:
                _take(told, entry)
            except (KeyError, TypeError, AttributeError):
                # Another program's entry, or a changed one, which its hash tells.
                findings.note(f"Ledger entry {entry.sequence} ({_words(entry)}) says too little.")
        last = entry.hash
    told.hashes[n_entries] = last
    findings.count("ledger entries", n_entries)
    if unsigned:
        findings.note(
            f"{unsigned:,} anchors are not signed: the service had no private key. They hold "
            "against changes of the decision log, not against whoever rewrites log and ledger."
        )
    return told


def _words(entry: ToldEntry) -> str:
    return f"{entry.event} {entry.subject}"


def _take(told: Told, entry: ToldEntry) -> None:
    event, name, details = entry.event, entry.subject, entry.details
    if event in RETIRED:
        told.retired.setdefault(name, []).append(details)
    elif event in {"registered", "policy_created"}:
        told.waiting[entry.sequence] = (name, details)
        policy = (name, details["policy_version"])
        if event == "registered":
            told.bundles[name, details["model_version"]] = details
            told.policies.setdefault(policy, details)
        else:
            told.policies[policy] = details
    elif event.endswith(".intent"):
        told.intents[entry.sequence] = (name, details)
    elif event.endswith(".done") and "intent" in details:
        told.last_change[name] = details["intent"]
    else:
        _take_key(told, entry)


def _take_key(told: Told, entry: ToldEntry) -> None:
    event, name, details = entry.event, entry.subject, entry.details
    if event == "api_key_created":
        told.keys[name] = details | {"created_by": entry.actor}
    elif event == "api_key_revoked":
        told.revoked.setdefault(name, []).append(details.get("revoked_at"))
    elif event == "key_created":
        told.signers[name] = details["public_key"]
    elif event == "gate_rule_set" and "file_sha256" in details:
        told.rules[name] = details["file_sha256"]
    elif event in ERASED:
        told.erased.add(details["pseudonym"])


def _take_anchor(told: Told, entry: ToldEntry, trust: Trust, findings: Findings) -> bool:
    """Remember the heads of an anchor; return whether nobody signed it."""
    where = f"ledger entry {entry.sequence}"
    statement, signature = entry.details.get("statement"), entry.details.get("signature")
    if not isinstance(statement, dict):
        findings.broken("anchor", where, "it states nothing")
        return False
    behind = {"sequence": entry.sequence - 1, "hash": entry.previous_hash}
    if statement.get("ledger") != behind:
        findings.broken("anchor", where, "it was made for another place of the ledger")
    if signature is not None:
        signed = canonical_bytes(signature) + b"\n"
        problem = statement_problem(statement, signed, trust)
        if problem is not None:
            findings.broken("anchor", where, problem)
    take_statement(told, statement, where, findings)
    findings.count("anchors")
    return signature is None


def statement_problem(statement: dict[str, Any], signature: bytes, trust: Trust) -> str | None:
    """Return why the signature of an anchor does not count; None where it does."""
    try:
        content, version = canonical_bytes(statement), str(statement["ledger"]["sequence"])
    except (ValueError, KeyError, TypeError):
        return "it states nothing about a ledger"
    return trust.problem("anchor", "ledger", version, content, signature)


def take_statement(told: Told, statement: dict[str, Any], source: str, findings: Findings) -> None:
    """Remember the heads that an anchor states."""
    try:
        for writer_id, (number, last_sequence, digest) in statement["writers"].items():
            told.add_point(writer_id, Point(number, last_sequence, digest, source))
    except (KeyError, TypeError, ValueError, AttributeError):
        findings.broken("anchor", source, "it states no writers' heads")


def take_external(told: Told, name: str, content: bytes, trust: Trust, findings: Findings) -> None:
    """Hold the ledger against an anchor that was kept elsewhere, and remember its heads."""
    try:
        anchor = json.loads(content)
        statement, signature = anchor["statement"], anchor["signature"]
        sequence, own_hash = statement["ledger"]["sequence"], statement["ledger"]["hash"]
    except (ValueError, KeyError, TypeError):
        findings.broken("anchor", name, "it is no anchor: whitecrow audit anchor writes one")
        return
    signed = None if signature is None else canonical_bytes(signature) + b"\n"
    problem = (
        "it is not signed, and only signed ones count"
        if signed is None and trust.public_keys
        else None
        if signed is None
        else statement_problem(statement, signed, trust)
    )
    if problem is not None:
        findings.broken("anchor", name, problem)
        return
    findings.count("anchors kept elsewhere")
    found = told.hashes.get(sequence)
    if found is None:
        last = max(told.hashes, default=0)
        findings.broken(
            "ledger", f"behind entry {last}",
            f"its end is missing: {name} names entry {sequence}",
        )  # fmt: skip
    elif found != own_hash:
        findings.broken("ledger", f"entry {sequence}", f"it is not the one that {name} names")
    take_statement(told, statement, name, findings)


def named_entries(contents: Iterable[bytes]) -> list[int]:
    """Return the sequences of the ledger entries that external anchors name."""
    named = []
    for content in contents:
        try:
            named.append(int(json.loads(content)["statement"]["ledger"]["sequence"]))
        except (ValueError, KeyError, TypeError):
            continue
    return named
