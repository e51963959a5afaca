"""What MLflow is told of versions: descriptions and tags that are true today, and the ledger.

A copy for people. Each call brings a version's copy up to date, whatever was missed before; where
MLflow does not answer, what was done stands all the same.
"""

import logging
from typing import TYPE_CHECKING

from flows.provenance.gathering import kept_evaluation, lineage_of
from flows.provenance.lineage import Lineage
from flows.provenance.registry_words import (
    LEDGER_FOLDER,
    event_words,
    last_change,
    model_words,
    version_words,
)
from infra.errors import WhitecrowError
from infra.ledger import open_ledger
from infra.settings import Settings
from serving.live import CHALLENGER, CHAMPION
from serving.model_store import ModelStore

if TYPE_CHECKING:
    from infra.tracking import Tracking

logger = logging.getLogger(__name__)

LEDGER_TAG = "whitecrow.ledger."


def mirror_versions(
    settings: Settings, tracking: "Tracking", name: str, *versions: str | None
) -> None:
    """Bring MLflow's words on a model and some of its versions up to date, or warn."""
    try:
        for version in dict.fromkeys(versions):
            if version is not None:
                _mirror_version(settings, tracking, name, version)
        _mirror_model(settings, tracking, name)
    except Exception as error:
        logger.warning(
            "MLflow's descriptions are not up to date; nothing that is served depends on them",
            extra={"model": name, "versions": versions, "why": str(error)},
            exc_info=not isinstance(error, WhitecrowError | ImportError),
        )


def tell_mlflow(settings: Settings, name: str, *versions: str | None) -> None:
    """Do the same on the store that the settings name, where MLflow is installed."""
    try:
        # MLflow takes seconds to import, and is not there where models are only served.
        from infra.tracking import open_tracking

        tracking = open_tracking(settings)
    except Exception as error:
        logger.warning(
            "MLflow was not told; the ledger has it",
            extra={"model": name, "why": str(error)},
            exc_info=not isinstance(error, WhitecrowError | ImportError),
        )
        return
    mirror_versions(settings, tracking, name, *versions)


def _mirror_version(settings: Settings, tracking: "Tracking", name: str, version: str) -> None:
    store = ModelStore.open(settings)
    lineage = lineage_of(settings, f"{name}:{version}", asks_log=False, asks_mlflow=False)
    words = version_words(lineage, kept_evaluation(store, name, version))
    tracking.describe_version(name, version, words)
    tracking.tag_version(name, version, _tags(lineage))
    if lineage.mlflow_run_id is not None:
        events = [each.model_dump(mode="json") for each in lineage.events]
        tracking.log_json(lineage.mlflow_run_id, events, f"{LEDGER_FOLDER}/{name}-{version}.json")


def _mirror_model(settings: Settings, tracking: "Tracking", name: str) -> None:
    store = ModelStore.open(settings)
    live = {alias: store.live.get(name, alias=alias) for alias in (CHAMPION, CHALLENGER)}
    record = live[CHAMPION] or live[CHALLENGER]
    if record is None:
        return
    contract = store.bundle(name, record.model_version).contract
    change = last_change(open_ledger(settings).entries(name), live[CHAMPION])
    tracking.describe_model(name, model_words(contract, live, change))


def _tags(lineage: Lineage) -> dict[str, str]:
    """Return what is searched for, and an entry of the ledger each."""
    precision = lineage.metrics.get("average_precision") or {}
    tags = {
        "whitecrow.strategy": lineage.strategy,
        "whitecrow.contract": lineage.contract["name"],
        "whitecrow.contract_data_sha256": lineage.contract_data_sha256,
        "whitecrow.bundle_sha256": lineage.bundle_sha256,
        "whitecrow.data_sha256": " ".join(each["sha256"] for each in lineage.data),
        "whitecrow.standing": lineage.state,
        "whitecrow.test_average_precision": f"{precision.get('value')}",
    }
    # Numbered so that they sort as they happened.
    return tags | {f"{LEDGER_TAG}{each.sequence:08d}": event_words(each) for each in lineage.events}
