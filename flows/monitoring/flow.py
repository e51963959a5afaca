"""Monitoring as a Prefect flow, for schedules and for a Prefect server's pages."""

from typing import Any

from prefect import flow, task

from flows.monitoring.request import MonitorRequest
from flows.monitoring.run import monitor
from infra.settings import Settings


@task(name="monitor")
def look(request: MonitorRequest) -> dict[str, Any]:
    """Look at a model once; returns the report as JSON values."""
    return monitor(Settings(), request).to_json()


@flow(name="whitecrow-monitor", validate_parameters=False)
def monitor_model(request: MonitorRequest) -> dict[str, Any]:
    """Look at a model; what starts a retraining reads ``action`` of what comes back."""
    return look(request)
