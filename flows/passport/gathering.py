"""Gathers a passport: the lineage, the kept evaluation, and what the state folder holds besides."""

from datetime import UTC, datetime
from typing import Any

from balancing.part_figures import FOUR_FIFTHS, PartsReport
from flows.passport.changes import changes_since
from flows.passport.document import FairnessFinding, Passport, Performance
from flows.passport.evidence import impacts_of, looks_at, method_of, monitoring_plan
from flows.provenance.gathering import kept_evaluation, lineage_of
from flows.provenance.lineage import Lineage
from infra.revision import code_revision
from infra.settings import Settings
from serving.model_store import ModelStore

_SHARES = {
    "approved": "approved",
    "not_declined": "not declined",
    "approved_good": "approved among those who were not positive",
}


def passport_of(settings: Settings, reference: str) -> Passport:
    """Return the passport of a version.

    Args:
        settings: Where the state is.
        reference: ``NAME``, ``NAME@alias``, ``NAME:version``, or a decision's id.

    Raises:
        UnknownModel: If there is no such model or version.
        UnknownDecision: If the log holds no such decision.
        BundleMismatch: If bundle or kept files do not verify.
    """
    store = ModelStore.open(settings)
    lineage = lineage_of(settings, reference, asks_mlflow=False)
    performance = _performance(kept_evaluation(store, lineage.name, lineage.version))
    return Passport(
        made_at=datetime.now(UTC),
        made_by_code=code_revision(),
        lineage=lineage,
        method=method_of(settings, lineage),
        performance=performance,
        fairness=fairness_findings(performance.parts if performance else None),
        stability=looks_at(settings, lineage),
        impacts=impacts_of(settings, lineage),
        changes=changes_since(_previous(settings, store, lineage), lineage),
        monitoring=monitoring_plan(settings, lineage.name),
    )


def fairness_findings(parts: PartsReport | None) -> tuple[FairnessFinding, ...]:
    """Return the ratios that lie below four fifths, the lowest first."""
    found = [
        FairnessFinding(
            column=column.column,
            group=group.value,
            share=_SHARES[name],
            ratio=ratio.value,
            low=_known(ratio.low),
            high=_known(ratio.high),
            is_certain=ratio.high < FOUR_FIFTHS,
        )
        for column in (parts.groups if parts else ())
        for group in column.groups
        for name, ratio in group.ratios.items()
        if ratio.value < FOUR_FIFTHS
    ]
    return tuple(sorted(found, key=lambda one: one.ratio))


def _performance(evaluation: dict[str, Any] | None) -> Performance | None:
    if evaluation is None:
        return None
    report, parts = evaluation["report"], evaluation.get("parts")
    return Performance(
        rows=report["n_rows"],
        positives=report["n_positives"],
        references=report["references"],
        decided=tuple(evaluation["impact"]),
        parts=None if parts is None else PartsReport.model_validate(parts),
        curves=report["curves"],
    )


def _previous(settings: Settings, store: ModelStore, lineage: Lineage) -> Lineage | None:
    """Return the lineage of the version before; None for the first."""
    earlier = [each for each in store.versions(lineage.name) if int(each) < int(lineage.version)]
    if not earlier:
        return None
    reference = f"{lineage.name}:{earlier[-1]}"
    return lineage_of(settings, reference, asks_log=False, asks_mlflow=False)


def _known(value: float) -> float | None:
    return None if value != value else value  # noqa: PLR0124 - NaN
