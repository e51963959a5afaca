"""Gathers the lineage of a version from bundle, kept files, ledger, decision log and MLflow."""

import json
import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from flows.provenance.decided import Tally, Versions, count_decisions, version_of_decision
from flows.provenance.events import (
    events_of,
    in_words,
    is_change,
    is_policy,
    is_registration,
    is_retirement,
    is_verdict,
)
from flows.provenance.lineage import Event, Evidence, Lineage, PolicyLineage, decided_by
from flows.provenance.recorded import RunLineage
from infra.errors import InputError, WhitecrowError
from infra.ledger import LedgerEntry, open_ledger
from infra.settings import Settings
from infra.storage import sha256_file
from serving.bundle import SEAL_FILE, ModelBundle
from serving.live import CHALLENGER, CHAMPION
from serving.model_store import ModelStore

logger = logging.getLogger(__name__)

LINEAGE_FILE = "lineage.json"
EVALUATION_FILE = "evaluation.json"
_OLD = "released before this was recorded"
_UUID_CHARACTERS = 36


class UnknownDecision(InputError):
    """Raised for a decision id that the log does not hold."""


def lineage_of(
    settings: Settings, reference: str, *, asks_log: bool = True, asks_mlflow: bool = True
) -> Lineage:
    """Return where a version comes from, and what became of it.

    Args:
        settings: Where the state is.
        reference: ``NAME``, ``NAME@alias``, ``NAME:version``, or a decision's id.
        asks_log: Whether decisions are counted.
        asks_mlflow: Whether MLflow is asked for its run.

    Raises:
        UnknownModel: If there is no such model or version.
        UnknownDecision: If the log holds no such decision.
        BundleMismatch: If bundle or kept files do not verify.
    """
    store = ModelStore.open(settings)
    name, version = _resolved(settings, store, reference)
    bundle, entries = store.bundle(name, version), open_ledger(settings).entries()
    recorded = recorded_lineage(store, name, version)
    events = events_of(entries, name, version, run=None if recorded is None else recorded.run)
    cautions: list[str] = []
    of_name = [entry for entry in entries if entry.subject == name]
    policies = _policies(store, bundle, of_name, version, cautions)
    counts = _counts(settings, cautions) if asks_log else None
    manifest = bundle.manifest
    run_id = manifest.mlflow_run_id
    state, live_policy = _state(store, events, name, version)
    return Lineage(
        name=name,
        version=version,
        state=state,
        live_policy=live_policy,
        created_at=manifest.created_at,
        model_sha256=bundle.model_sha256,
        bundle_sha256=sha256_file(bundle.folder / SEAL_FILE),
        contract=bundle.contract.model_dump(mode="json"),
        contract_data_sha256=bundle.contract.data_hash(),
        feature_set_hash=manifest.feature_set_hash,
        features=bundle.feature_set.names,
        data=tuple({"role": "data", "columns": None} | source for source in manifest.data),
        recorded=recorded,
        strategy=str(manifest.strategy["kind"]),
        config=manifest.training.get("config") or {"strategy": manifest.strategy},
        how=manifest.training.get("how") or {},
        class_counts=manifest.class_counts,
        fitted_until=manifest.fitted_until,
        test_from=manifest.test_from,
        code_revision=manifest.code_revision,
        metrics=manifest.metrics,
        policies=policies,
        evidence=_evidence(settings, events),
        events=tuple(event_of(entry) for entry in events),
        decisions=None if counts is None else decided_by(counts, name, version),
        retired_decisions=sum(e.details["n_decisions"] for e in entries if is_retirement(e)),
        mlflow_run_id=run_id,
        mlflow=_mlflow(settings, run_id, cautions) if asks_mlflow and run_id else None,
        not_recorded=_not_recorded(recorded, events),
        cautions=tuple(cautions),
    )


def recorded_lineage(store: ModelStore, name: str, version: str) -> RunLineage | None:
    """Return what training wrote down of a version; None for one of an earlier release.

    Raises:
        BundleMismatch: If it is not what the version came with.
    """
    path = store.kept(name, version, LINEAGE_FILE)
    if path is None:
        return None
    try:
        return RunLineage.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise InputError(
            f"{path} cannot be read by this build ({error.errors()[0]['msg']}). Use the release "
            "that wrote it."
        ) from None


def kept_evaluation(store: ModelStore, name: str, version: str) -> dict[str, Any] | None:
    """Return the evaluation that was kept with a version; None for one of an earlier release.

    Raises:
        BundleMismatch: If it is not what the version came with.
    """
    path = store.kept(name, version, EVALUATION_FILE)
    return None if path is None else dict(json.loads(path.read_text("utf-8")))


def event_of(entry: LedgerEntry) -> Event:
    """Return an entry of the ledger with its words."""
    return Event.model_validate(
        {
            "sequence": entry.sequence,
            "at": entry.at,
            "event": entry.event,
            "actor": entry.actor,
            "reason": entry.reason,
            "says": in_words(entry),
            "hash": entry.hash,
            "details": entry.details,
        }
    )


def _resolved(settings: Settings, store: ModelStore, reference: str) -> tuple[str, str]:
    if len(reference) == _UUID_CHARACTERS and reference.count("-") == 4:
        found = version_of_decision(settings, reference)
        if found is None:
            raise UnknownDecision(
                f"The log holds no decision {reference}; it may have been retired, or be another "
                "log's (WHITECROW_LOG_URI)."
            )
        return found[:2]
    return store.resolve_version(reference)


def _policies(
    store: ModelStore,
    bundle: ModelBundle,
    entries: Sequence[LedgerEntry],
    version: str,
    cautions: list[str],
) -> tuple[PolicyLineage, ...]:
    """Return the policies of a version: the ledger says whose they are, else the model's digest."""
    name = bundle.manifest.name
    told = {e.details["policy_version"]: e for e in entries if is_policy(e) or is_registration(e)}
    found = []
    for number in store.policy_versions(name):
        entry = told.get(number)
        if entry is not None and entry.details["model_version"] != version:
            continue
        try:
            policy = store.policy(name, number)
        except WhitecrowError as error:
            cautions.append(f"Policy {number} does not verify: {error}")
            continue
        if policy.model_sha256 != bundle.model_sha256:
            continue
        details = {} if entry is None else entry.details
        found.append(
            PolicyLineage(
                version=number,
                parent=details.get("compared_with"),
                ledger_sequence=None if entry is None else entry.sequence,
                calibrated_on=(details.get("calibration") or {}).get("origin"),
                policy=policy,
            )
        )
    return tuple(found)


def _state(
    store: ModelStore, events: Sequence[LedgerEntry], name: str, version: str
) -> tuple[str, str | None]:
    """Return whether a version answers, waits, or did, and the policy that it does so with."""
    for alias in (CHAMPION, CHALLENGER):
        record = store.live.get(name, alias=alias)
        if record is not None and record.model_version == version:
            return alias, record.policy_version
    was = [
        entry.details["after"]["policy_version"]
        for entry in events
        if is_change(entry) and entry.details["after"]["model_version"] == version
    ]
    return ("was champion", was[-1]) if was else ("waits", None)


def _evidence(settings: Settings, events: Sequence[LedgerEntry]) -> tuple[Evidence, ...]:
    found = []
    for entry in events:
        if not is_verdict(entry):
            continue
        sha256, folder = entry.details["evidence_sha256"], entry.details["folder"]
        file = settings.root / "runs" / folder / "gate.json"
        is_verified = sha256_file(file) == sha256 if file.is_file() else None
        evidence = _read(file).get("evidence", {}) if is_verified else {}
        found.append(
            Evidence(
                ledger_sequence=entry.sequence,
                sha256=sha256,
                folder=folder,
                is_verified=is_verified,
                shadow=evidence.get("shadow"),
            )
        )
    return tuple(found)


def _read(file: Path) -> dict[str, Any]:
    return dict(json.loads(file.read_text("utf-8")))


def _counts(settings: Settings, cautions: list[str]) -> Mapping[Versions, Tally] | None:
    try:
        return count_decisions(settings)
    except WhitecrowError as error:
        cautions.append(f"Decisions were not counted: {error}")
        return None


def _mlflow(settings: Settings, run_id: str, cautions: list[str]) -> dict[str, Any] | None:
    """Return what MLflow says of a run; it is a copy for people, and nothing depends on it."""
    # It is asked once here: who audits does not wait a minute for a copy.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "5")
    uri = settings.mlflow_uri
    if uri.startswith("sqlite:///") and not Path(uri.removeprefix("sqlite:///")).is_file():
        return None
    try:
        from infra.tracking import open_tracking

        return open_tracking(settings).run_facts(run_id)
    except ImportError:
        cautions.append("MLflow is not installed here, so its run was not looked at.")
    except Exception as error:  # noqa: BLE001 - whatever MLflow raises, the lineage stands
        cautions.append(f"MLflow was not asked: {next(iter(str(error).splitlines()), 'no answer')}")
    return None


def _not_recorded(recorded: RunLineage | None, events: Sequence[LedgerEntry]) -> tuple[str, ...]:
    missing = []
    if recorded is None:
        missing += [
            f"{what} ({_OLD})"
            for what in (
                "rows and period by part", "label snapshot", "validation and quarantine",
                "environment, hardware and lock", "figures by group and segment",
            )
        ]  # fmt: skip
    elif recorded.lock_sha256 is None:
        missing.append("the lock of dependencies: training ran outside a checkout")
    if not any(is_registration(entry) for entry in events):
        missing.append("its registration in this ledger")
    return tuple(missing)
