"""One look at one model: gather, compare, judge, write, tell."""

import logging
from pathlib import Path

from flows.monitoring.config import Limits, MonitorConfig, read_monitor_config
from flows.monitoring.decision_drift import alert_volume, decision_shares, score_drift
from flows.monitoring.findings import (
    ACTIONS,
    Finding,
    column_findings,
    decision_findings,
    performance_findings,
    segment_findings,
)
from flows.monitoring.gathering import Gathered, gather
from flows.monitoring.input_drift import ColumnDrift, drift_table, input_drift
from flows.monitoring.label_maturity import label_maturity
from flows.monitoring.mirror import log_report
from flows.monitoring.page import write_page
from flows.monitoring.performance import by_segment, by_version, performance_of
from flows.monitoring.prometheus import write_metrics
from flows.monitoring.report import MonitorReport, to_text
from flows.monitoring.request import MonitorRequest
from flows.notifying import Message, Target, notify, read_targets
from flows.workspace import Workspace
from infra.settings import Settings
from infra.storage import write_atomically

logger = logging.getLogger(__name__)


def monitor(settings: Settings, request: MonitorRequest) -> MonitorReport:
    """Look at a model and return what was found; files are written, and people told.

    Raises:
        MonitorConfigError: If the configuration cannot be used.
        TargetUnusable: If one of its targets cannot be; nothing was looked at then.
        UnknownModel: If there is no such model.
        LogUnreachable: If the decision log does not answer.
        DataError: If the table cannot be read, or does not fit the contract.
        WindowUnusable: If no row can lie in the window.
    """
    config = read_monitor_config(request.config)
    targets = read_targets(settings, config.notify)
    workspace = Workspace.open(settings)
    gathered = gather(settings, request, config)
    folder = request.out or workspace.new_run(f"monitor-{gathered.model.name}")
    report = report_on(gathered, config, folder)
    _write(report, gathered, request, config.limits)
    log_report(settings, report)
    _tell(report, targets)
    return report


def report_on(gathered: Gathered, config: MonitorConfig, folder: Path) -> MonitorReport:
    """Return what is to be said of gathered rows."""
    model, window = gathered.model, gathered.window.frame
    reference = gathered.reference.frame
    about = f"{model.name}:{model.model_version}"
    columns = _columns(gathered, config)
    scores = score_drift(window, reference, min_rows=config.min_rows)
    shares = decision_shares(window, reference)
    volume = alert_volume(window, model.policy, gathered.spans)
    own = window.filter(window["model_version"] == model.model_version)
    monitored = performance_of(own, about, with_calibration=True)
    before = performance_of(reference, gathered.reference_says, with_calibration=True)
    segments = by_segment(window, model.segments)
    segments_before = by_segment(reference, model.segments)
    found = [
        *column_findings(columns, config),
        *decision_findings(
            None if scores is None else (scores.stability_index, scores.p_value),
            shares,
            volume,
            config,
            about,
        ),
        *performance_findings(monitored, before, config),
        *segment_findings(segments, segments_before, config),
    ]
    return MonitorReport(
        name=model.name,
        model_version=model.model_version,
        policy_version=model.policy_version,
        source=gathered.source,
        spans=gathered.spans,
        rows=window.height,
        rows_without_features=gathered.window.n_without_features,
        reference=gathered.reference_says,
        reference_rows=reference.height,
        columns=tuple(columns),
        scores=scores,
        decisions=tuple(shares),
        volume=volume,
        versions=tuple(by_version(window, model.name)),
        monitored=monitored,
        reference_performance=before,
        segments=segments,
        reference_segments=segments_before,
        maturity=label_maturity(window, gathered.maturing),
        findings=tuple(_ordered(found)),
        cautions=tuple(_cautions(gathered, config, own.height)),
        folder=folder,
    )


def _columns(gathered: Gathered, config: MonitorConfig) -> list[ColumnDrift]:
    window, reference = gathered.window.features, gathered.reference.features
    if window is None or reference is None:
        return []
    if min(window.n_rows, reference.n_rows) < config.min_rows:
        return []
    return input_drift(window, reference, min_rows=config.min_rows)


def _ordered(findings: list[Finding]) -> list[Finding]:
    """Return findings with what calls for the most first, otherwise in the order of a report."""
    return sorted(findings, key=lambda each: -ACTIONS.index(each.action))


def _cautions(gathered: Gathered, config: MonitorConfig, n_own: int) -> list[str]:
    window, reference = gathered.window, gathered.reference
    found = []
    if window.frame.height < config.min_rows:
        found.append(
            f"With fewer than {config.min_rows:,} rows nothing is called changed: there are "
            f"{window.frame.height:,}."
        )
    if reference.frame.height < config.min_rows:
        found.append(
            f"There are {reference.frame.height:,} rows to hold them against, "
            f"{gathered.reference_says}: nothing is called changed."
        )
    elif reference.features is None:
        found.append(
            "Features are held against nothing: the version was released before held-out features "
            "were kept. Set days under [reference], or train again."
        )
    if n_own < window.frame.height:
        others = window.frame.height - n_own
        found.append(
            f"{others:,} rows were decided by other versions: they count in inputs, scores and "
            "alerts, and are shown by version, but no finding on performance is of them."
        )
    if gathered.short_past is not None:
        found.append(gathered.short_past)
    if window.n_without_features:
        found.append(
            f"The features of {window.n_without_features:,} rows take no part: decided without "
            "their past, or by a version with other features."
        )
    return found


def _write(
    report: MonitorReport, gathered: Gathered, request: MonitorRequest, limits: Limits
) -> None:
    report.folder.mkdir(parents=True, exist_ok=True)
    with write_atomically(report.column_table) as staging:
        drift_table(list(report.columns)).write_parquet(staging)
    write_page(report, gathered, limits)
    with write_atomically(report.record) as staging:
        staging.write_text(to_text(report), "utf-8")
    if request.prometheus is not None:
        write_metrics(report, request.prometheus)


def _tell(report: MonitorReport, targets: tuple[Target, ...]) -> None:
    if report.action == "none":
        return
    lines = tuple(each.says for each in report.findings)
    details = {
        "model": report.name,
        "version": report.model_version,
        "action": report.action,
        "page": str(report.page),
        "findings": [each.to_json() for each in report.findings],
    }
    notify(targets, Message(report.headline, (*lines, f"Page: {report.page}"), details))
