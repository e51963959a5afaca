"""A look in MLflow: one run a window, brought up to date when it is looked at again."""

import logging

from flows.monitoring.figures import figures_of
from flows.monitoring.report import MonitorReport
from infra.settings import Settings
from infra.storage import sha256_json

_KEY, _WINDOW = "whitecrow.monitor.key", "whitecrow.monitor.window"

logger = logging.getLogger(__name__)


def log_report(settings: Settings, report: MonitorReport) -> None:
    """Log figures and files of a report; where MLflow does not answer, the report stands alone."""
    # Imported here: it takes seconds, and failing is part of what it may do.
    from infra.tracking import open_tracking

    try:
        tracking = open_tracking(settings)
        window = _window(report)
        key = sha256_json(window)
        run_id = tracking.find_run(report.name, tag=_KEY, value=key)
        if run_id is None:
            name = f"monitor-{report.model_version}"
            tags = {_KEY: key, _WINDOW: window}
            run_id = tracking.start_run(report.name, run_name=name, tags=tags)
        found = {figure.name: figure.value for figure in figures_of(report) if not figure.labels}
        tracking.log_metrics(run_id, found)
        for path in (report.page, report.record, report.column_table):
            tracking.log_file(run_id, path)
        tracking.finish_run(run_id, status="FINISHED")
    except Exception as error:  # noqa: BLE001 - whatever MLflow raises, the report is made
        logger.warning(
            "MLflow was not told of the monitoring; its report stands all the same",
            extra={"why": str(error), "page": str(report.page)},
        )


def _window(report: MonitorReport) -> str:
    """Return what tells this look from others: the same again is the same run."""
    spans = report.spans
    period = "all" if spans is None else f"{spans.since.isoformat()}/{spans.until.isoformat()}"
    return f"{report.name}:{report.model_version} {report.source} {period}"
