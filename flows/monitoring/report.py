"""What one look at a model gave: for a person, for a script, and for what starts retrainings."""

import json
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from balancing.metrics.drift import Drift
from flows.monitoring.config import Action
from flows.monitoring.decided_rows import Spans
from flows.monitoring.decision_drift import AlertVolume, DecisionShare
from flows.monitoring.findings import Finding, strongest
from flows.monitoring.input_drift import ColumnDrift, drift_table
from flows.monitoring.label_maturity import Maturity
from flows.monitoring.performance import Performance


@dataclass(frozen=True, slots=True)
class MonitorReport:
    """One look.

    Attributes:
        name: The model.
        model_version: That is held against its reference.
        policy_version: Of what decides now.
        source: Where the rows come from.
        spans: Their periods; None where rows carry no time.
        rows: In the window.
        rows_without_features: Rows whose features take no part in what is said of inputs.
        reference: What they are held against.
        reference_rows: How many.
        columns: Every feature beside its reference.
        scores: How far risk scores have moved; None with too few rows.
        decisions: How often each was made.
        volume: Alerts a day.
        versions: Each version and policy that decided rows of the window.
        monitored: Rows that the monitored version decided, whatever its policy.
        reference_performance: What these are held against.
        segments: By column and value.
        reference_segments: Likewise.
        maturity: The state of labels; None where rows carry no time.
        findings: What went too far, what calls for the most first.
        cautions: What a reader must know before believing the figures.
        folder: Where all of it lies.
    """

    name: str
    model_version: str
    policy_version: str
    source: str
    spans: Spans | None
    rows: int
    rows_without_features: int
    reference: str
    reference_rows: int
    columns: tuple[ColumnDrift, ...]
    scores: Drift | None
    decisions: tuple[DecisionShare, ...]
    volume: AlertVolume
    versions: tuple[Performance, ...]
    monitored: Performance
    reference_performance: Performance
    segments: dict[tuple[str, str], Performance]
    reference_segments: dict[tuple[str, str], Performance]
    maturity: Maturity | None
    findings: tuple[Finding, ...]
    cautions: tuple[str, ...]
    folder: Path

    @property
    def action(self) -> Action:
        """What the findings together call for."""
        return strongest(self.findings)

    @property
    def page(self) -> Path:
        """The page for people."""
        return self.folder / "monitor.html"

    @property
    def record(self) -> Path:
        """All figures, for machines."""
        return self.folder / "monitor.json"

    @property
    def column_table(self) -> Path:
        """The figures of each feature, as Parquet."""
        return self.folder / "columns.parquet"

    @property
    def headline(self) -> str:
        """The outcome in one line."""
        about = f"{self.name}:{self.model_version}"
        if not self.rows:
            return f"{about}: no rows to look at."
        if not self.findings:
            return f"{about}: nothing to report of {self.rows:,} rows."
        n = len(self.findings)
        what = {"notify": "look at it", "retrain": "retrain"}[self.action]
        return f"{about}: {n} {'finding' if n == 1 else 'findings'} in {self.rows:,} rows: {what}."

    def to_json(self) -> dict[str, Any]:
        """Return the report as one JSON object."""
        spans = self.spans
        return {
            "name": self.name,
            "model_version": self.model_version,
            "policy_version": self.policy_version,
            "source": self.source,
            "since": _iso(spans.since) if spans else None,
            "until": _iso(spans.until) if spans else None,
            "as_of": _iso(spans.as_of) if spans else None,
            "rows": self.rows,
            "rows_without_features": self.rows_without_features,
            "reference": {"is": self.reference, "rows": self.reference_rows},
            "action": self.action,
            "findings": [each.to_json() for each in self.findings],
            "columns": drift_table(list(self.columns)).to_dicts(),
            "scores": None if self.scores is None else _drift(self.scores),
            "decisions": [plain(asdict(each)) for each in self.decisions],
            "alerts": plain(asdict(self.volume) | {"ratio": asdict(self.volume.ratio)}),
            "versions": [_performance(each) for each in self.versions],
            "monitored": _performance(self.monitored),
            "reference_performance": _performance(self.reference_performance),
            "segments": [_performance(each) for each in self.segments.values()],
            "maturity": None if self.maturity is None else _maturity(self.maturity),
            "cautions": list(self.cautions),
            "page": str(self.page),
        }


def plain(value: Any) -> Any:
    """Return a value as JSON has it: no NaN, no arrays."""
    if isinstance(value, dict):
        return {name: plain(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return value


def to_text(report: MonitorReport) -> str:
    """Return the report as readable JSON."""
    return json.dumps(report.to_json(), indent=2, ensure_ascii=False, allow_nan=False)


def _performance(found: Performance) -> dict[str, Any]:
    coverage = found.coverage
    shares = {
        "share_of_rows": coverage.share_of_rows,
        "share_of_declines": coverage.share_of_declines,
    }
    whole: dict[str, Any] = plain(asdict(found))
    # The name says it too: nobody should take an estimate for a figure.
    for name in ("estimated", "estimated_labelled"):
        whole[f"{name}_is_estimate"] = True
    return whole | {"coverage": whole["coverage"] | shares, "is_judged": found.judged is not None}


def _maturity(found: Maturity) -> dict[str, Any]:
    whole: dict[str, Any] = plain(asdict(found))
    return whole | {"expected_to_come_is_estimate": True}


def _drift(found: Drift) -> dict[str, Any]:
    return {name: getattr(found, name) for name in ("stability_index", "statistic", "p_value")}


def _iso(moment: datetime) -> str:
    return moment.isoformat()
