"""Champion and challenger, and until when each of them has seen rows."""

from dataclasses import dataclass
from datetime import datetime

import polars as pl

from flows.kept_rows import CALIBRATION_FILE
from flows.policy_release import POLICY_CREATED
from infra.ledger import open_ledger
from infra.settings import Settings
from serving.live import CHALLENGER
from serving.model_references import ResolvedModel, UnknownModel
from serving.model_store import ModelStore
from serving.scorer import Scorer
from serving.verification import load_resolved


@dataclass(frozen=True, slots=True)
class Contender:
    """A version with its policy, as the service would load it.

    Attributes:
        scorer: Verified.
        seen_until: Newest event time among the rows that its network or its policy was fitted,
            stopped or calibrated on; None where nobody can tell.
    """

    scorer: Scorer
    seen_until: datetime | None

    @property
    def resolved(self) -> ResolvedModel:
        """Its version and policy."""
        return ResolvedModel(
            self.scorer.name, self.scorer.model_version, self.scorer.policy_version
        )

    @property
    def words(self) -> str:
        """What to call it in a sentence."""
        return f"version {self.scorer.model_version} with policy {self.scorer.policy_version}"


def find_contenders(
    settings: Settings, name: str, challenger: str | None
) -> tuple[Contender, Contender]:
    """Return the champion of a name, and what challenges it.

    Args:
        settings: Where the state is.
        name: Of the model.
        challenger: A version's number, with its newest policy; default: what waits as challenger.

    Raises:
        UnknownModel: If there is no champion or no challenger, or they are the same.
        BundleMismatch: If one of them does not verify.
    """
    store = ModelStore.open(settings)
    reigning = store.resolve(name)
    wanted = store.resolve(f"{name}@{CHALLENGER}" if challenger is None else f"{name}:{challenger}")
    if wanted == reigning:
        raise UnknownModel(
            f"{name} version {wanted.model_version} with policy {wanted.policy_version} is the "
            "champion itself: there is nothing to judge. Train or recalibrate first, or name "
            "another version."
        )
    return _contender(settings, store, reigning), _contender(settings, store, wanted)


def _contender(settings: Settings, store: ModelStore, resolved: ResolvedModel) -> Contender:
    scorer = load_resolved(store, resolved, threads=2)
    fitted = scorer.bundle.manifest.fitted_until
    calibrated = _calibrated_until(settings, store, scorer)
    if fitted is None or calibrated is None:
        return Contender(scorer, None)
    return Contender(scorer, max(fitted, calibrated))


def _calibrated_until(settings: Settings, store: ModelStore, scorer: Scorer) -> datetime | None:
    """Return the newest event time among the rows that a policy was fitted on, where it is known.

    Those are the rows kept with the version, or the rows that the ledger tells of.
    """
    name, version = scorer.name, scorer.model_version
    kept = scorer.bundle.manifest.kept_files.get(CALIBRATION_FILE)
    if kept is not None and kept == scorer.policy.calibration_data.fingerprint:
        path = store.kept(name, version, CALIBRATION_FILE)
        assert path is not None
        newest = pl.read_parquet(path, columns=["event_time"])["event_time"].max()
        return newest if isinstance(newest, datetime) else None
    for entry in reversed(open_ledger(settings).entries(name)):
        details = entry.details
        if entry.event == POLICY_CREATED and details["policy_version"] == scorer.policy_version:
            # Entries of earlier releases do not say it.
            until = details["calibration"].get("until")
            return None if until is None else datetime.fromisoformat(until)
    return None
