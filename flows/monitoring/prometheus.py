"""Figures as a text file for node_exporter's textfile collector."""

import time
from pathlib import Path

from prometheus_client import CollectorRegistry, Gauge, generate_latest

from flows.monitoring.figures import figures_of
from flows.monitoring.report import MonitorReport
from infra.storage import write_atomically

PREFIX = "whitecrow_monitor_"


def write_metrics(report: MonitorReport, path: Path) -> None:
    """Write every figure of a report, whole or not at all; one file a model."""
    registry, gauges = CollectorRegistry(), dict[str, Gauge]()
    of_model = {"model": report.name, "version": report.model_version}
    for figure in figures_of(report):
        labels = of_model | figure.labels
        if figure.name not in gauges:
            gauges[figure.name] = Gauge(
                PREFIX + figure.name, figure.says, list(labels), registry=registry
            )
        gauges[figure.name].labels(**labels).set(figure.value)
    done = Gauge(
        f"{PREFIX}last_run_timestamp_seconds",
        "When the model was looked at last.",
        list(of_model),
        registry=registry,
    )
    done.labels(**of_model).set(time.time())
    with write_atomically(path) as staging:
        staging.write_bytes(generate_latest(registry))
