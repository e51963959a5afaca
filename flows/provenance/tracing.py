"""Forward from a file: every version that was made from it, and every decision those made."""

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from balancing.calibration.policy import Policy
from features.ingestion.tables import fingerprint
from flows.kept_rows import CALIBRATION_FILE
from flows.provenance.decided import Tally, Versions, count_decisions
from flows.provenance.events import (
    is_dataset,
    is_policy,
    is_registration,
    is_retirement,
    is_verdict,
)
from flows.provenance.lineage import Decided, decided_by
from infra.errors import InputError
from infra.ledger import LedgerEntry, open_ledger
from infra.settings import Settings
from infra.storage import sha256_file
from serving.bundle import ModelBundle
from serving.model_store import ModelStore

_SHA256 = re.compile(r"[0-9a-f]{64}")
_CLOCKS_DIFFER = timedelta(days=2)

Bundles = Mapping[tuple[str, str], ModelBundle]
"""Every verified bundle, by name and version."""


class NothingToTrace(InputError):
    """Raised for what is neither a file nor a digest."""


class _Told(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class TouchedVersion(_Told):
    """A version that something of the file went into.

    Attributes:
        name: Of the model.
        version: Its number.
        how: What the file was to it.
        policies: Its policies that rest on the file.
        live_as: ``champion`` or ``challenger``, where it is live.
        decisions: What it decided, by policy.
    """

    name: str
    version: str
    how: tuple[str, ...]
    policies: tuple[str, ...]
    live_as: str | None
    decisions: tuple[Decided, ...]


class TouchedDataset(_Told):
    """A table built from the decision log that is the file, or holds something of it.

    Attributes:
        model: Whose decisions it holds.
        file: Its name when it was built.
        sha256: Of that file.
        built_at: When.
        ledger_sequence: The entry that tells of it.
        how: Why it is named here.
        versions: ``NAME:version`` of those that were made from it.
    """

    model: str
    file: str
    sha256: str
    built_at: datetime
    ledger_sequence: int
    how: str
    versions: tuple[str, ...]


class Trace(_Told):
    """Where a file went.

    Attributes:
        file: As it was named.
        sha256: Of its bytes; of its rows where it is a database query.
        versions: Made from it, the oldest first.
        datasets: Built from the decision log.
        verdicts: Entries of the ledger in which the gate judged by it.
        decisions: How many the versions made in all.
    """

    file: str
    sha256: str
    versions: tuple[TouchedVersion, ...]
    datasets: tuple[TouchedDataset, ...]
    verdicts: tuple[int, ...]
    decisions: int


def trace(settings: Settings, file: str) -> Trace:
    """Return where a file went.

    Args:
        settings: Where the state is.
        file: Path or URI of a table, a file of another kind, or 64 hexadecimal digits.

    Raises:
        NothingToTrace: If it is neither a file nor a digest.
        DataError: If it is a database query that gives nothing.
        LogUnreachable: If the decision log does not answer.
        BundleMismatch: If a bundle does not verify.
    """
    sha256 = _digest(file)
    store, entries = ModelStore.open(settings), open_ledger(settings).entries()
    counts = count_decisions(settings)
    bundles = {
        (name, version): store.bundle(name, version)
        for name in store.names()
        for version in store.versions(name)
    }
    versions = _versions(store, bundles, entries, counts, sha256)
    return Trace(
        file=file,
        sha256=sha256,
        versions=versions,
        datasets=_datasets(bundles, entries, versions, sha256),
        verdicts=tuple(
            entry.sequence
            for entry in entries
            if is_verdict(entry) and _judged(settings, entry, sha256)
        ),
        decisions=sum(each.decisions for one in versions for each in one.decisions),
    )


def _digest(file: str) -> str:
    if _SHA256.fullmatch(file.lower()):
        return file.lower()
    if Path(file).is_file():
        return sha256_file(Path(file))
    if "://" in file:
        return fingerprint(file).sha256
    raise NothingToTrace(
        f"{file!r} is neither a file nor a SHA-256 of 64 hexadecimal digits. Name the table, or "
        "its digest as `whitecrow audit show` tells it."
    )


def _versions(
    store: ModelStore,
    bundles: Bundles,
    entries: Sequence[LedgerEntry],
    counts: Mapping[Versions, Tally],
    sha256: str,
) -> tuple[TouchedVersion, ...]:
    live = store.live.by_alias()
    found = []
    for (name, version), bundle in bundles.items():
        manifest = bundle.manifest
        how = [_as_what(source) for source in manifest.data if source["sha256"] == sha256]
        if manifest.kept_files.get(CALIBRATION_FILE) == sha256:
            how.append("its held-out rows")
        policies = _policies(store, bundle, entries, version)
        if not how:
            policies = {
                number: one
                for number, one in policies.items()
                if one.calibration_data.fingerprint == sha256
            }
        if not (how or policies):
            continue
        is_live = {
            alias: name in records and records[name].model_version == version
            for alias, records in live.items()
        }
        decided = decided_by(counts, name, version)
        found.append(
            TouchedVersion(
                name=name,
                version=version,
                how=tuple(how) or ("calibrated on",),
                policies=tuple(policies),
                live_as=next((alias for alias, is_so in is_live.items() if is_so), None),
                decisions=tuple(each for each in decided if how or each.policy_version in policies),
            )
        )
    return tuple(found)


def _as_what(source: dict[str, Any]) -> str:
    words = {
        "data": "trained from", "test": "tested on", "labels": "labelled by",
        "source": "rows picked from",
    }  # fmt: skip
    return words.get(source.get("role", "data"), "took in")


def _policies(
    store: ModelStore, bundle: ModelBundle, entries: Sequence[LedgerEntry], version: str
) -> dict[str, Policy]:
    """Return the policies of a version; the ledger tells two versions of one network apart."""
    name = bundle.manifest.name
    told = {
        entry.details["policy_version"]: entry.details["model_version"]
        for entry in entries
        if entry.subject == name and (is_policy(entry) or is_registration(entry))
    }
    found = {}
    for number in store.policy_versions(name):
        policy = store.policy(name, number)
        if policy.model_sha256 == bundle.model_sha256 and told.get(number, version) == version:
            found[number] = policy
    return found


def _datasets(
    bundles: Bundles,
    entries: Sequence[LedgerEntry],
    versions: Sequence[TouchedVersion],
    sha256: str,
) -> tuple[TouchedDataset, ...]:
    segment = next(
        (e for e in entries if is_retirement(e) and sha256 in _files_of(e.details)), None
    )
    found = []
    for entry in entries:
        if not is_dataset(entry):
            continue
        how = _why(entry, versions, segment, sha256)
        if how is not None:
            found.append(
                TouchedDataset(
                    model=entry.subject,
                    file=entry.details["file"],
                    sha256=entry.details["sha256"],
                    built_at=datetime.fromisoformat(entry.at),
                    ledger_sequence=entry.sequence,
                    how=how,
                    versions=_made_from(bundles, entry.details["sha256"]),
                )
            )
    return tuple(found)


def _why(
    entry: LedgerEntry,
    versions: Sequence[TouchedVersion],
    segment: LedgerEntry | None,
    sha256: str,
) -> str | None:
    details = entry.details
    if details["sha256"] == sha256:
        return "is this file"
    if segment is not None and entry.sequence < segment.sequence and _holds(details, segment):
        return "its window holds this day of the log"
    for one in versions:
        first = min((each.first for each in one.decisions), default=None)
        built = datetime.fromisoformat(entry.at)
        if one.name == entry.subject and first is not None and first < built:
            return f"may hold decisions of {one.name}:{one.version}"
    return None


def _files_of(details: dict[str, Any]) -> set[str]:
    return {details["sha256"], details["groups_sha256"]}


def _holds(details: dict[str, Any], segment: LedgerEntry) -> bool:
    """Return whether a data set's window of event times can hold rows committed on a day."""
    begin = datetime.combine(date.fromisoformat(segment.details["segment"]), time(), UTC)
    since, until = (
        None if details[key] is None else datetime.fromisoformat(details[key])
        for key in ("since", "until")
    )
    ends = begin + timedelta(days=1) + _CLOCKS_DIFFER
    return (since is None or since < ends) and (until is None or until > begin - _CLOCKS_DIFFER)


def _made_from(bundles: Bundles, sha256: str) -> tuple[str, ...]:
    return tuple(
        f"{name}:{version}"
        for (name, version), bundle in bundles.items()
        if any(each["sha256"] == sha256 for each in bundle.manifest.data)
    )


def _judged(settings: Settings, entry: LedgerEntry, sha256: str) -> bool:
    """Return whether the gate judged by a file, as far as its evidence is still there."""
    file = settings.root / "runs" / entry.details["folder"] / "gate.json"
    return file.is_file() and f'"{sha256}"' in file.read_text("utf-8")
