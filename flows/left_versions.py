"""Versions that a killed release registered and nobody heard of: taken back by the next release."""

import logging
from pathlib import Path

from flows.locks import Busy, one_at_a_time
from flows.registry import STAGED, STATE_TAG
from flows.run_folder import RunFolder
from flows.run_record import NothingToResume, read_record
from flows.workspace import Workspace
from infra.ledger import open_ledger
from infra.settings import Settings
from infra.tracked import TrackedVersion
from infra.tracking import Tracking
from serving.model_store import ModelStore

logger = logging.getLogger(__name__)

REGISTERED = "registered"
"""Of the ledger: from then on a version is known."""


def run_lock(run: Path) -> str:
    """Return the name of the lock that the process of a run holds."""
    return f"run-{run.name}"


def withdraw_left_versions(
    settings: Settings, tracking: Tracking, store: ModelStore, name: str, *, but: str
) -> list[str]:
    """Take back what killed runs of this state folder have left half registered.

    A run that goes on later registers anew. What runs at this moment is left alone, and so is
    what another state folder has in the same registry.

    Args:
        settings: Where the state is.
        tracking: The registry.
        store: Bundles and policies.
        name: Of the model.
        but: MLflow's name for the run that is released now.

    Returns:
        The versions that were taken back.
    """
    staged = [
        known
        for known in tracking.versions(name)
        if known.tags.get(STATE_TAG) == STAGED and known.run_id != but
    ]
    if not staged:
        return []
    told = {
        entry.details.get("mlflow_run_id")
        for entry in open_ledger(settings).entries(name)
        if entry.event == REGISTERED
    }
    return [
        known.version
        for known in staged
        if known.run_id not in told and _withdrawn(settings, tracking, store, name, known)
    ]


def _withdrawn(
    settings: Settings, tracking: Tracking, store: ModelStore, name: str, known: TrackedVersion
) -> bool:
    run = RunFolder(Workspace(settings).runs / tracking.run_name(known.run_id))
    try:
        if read_record(run).mlflow_run_id != known.run_id:
            return False
        doing = f"taking back {name}:{known.version}"
        with one_at_a_time(settings, run_lock(run.root), doing=doing, actor=settings.actor):
            store.withdraw(name, known.version)
            tracking.discard_version(name, known.version)
    except (NothingToResume, Busy):
        return False
    logger.warning(
        "half a version was taken back: its release had been killed",
        extra={"model": name, "version": known.version, "run": run.root.name},
    )
    return True
