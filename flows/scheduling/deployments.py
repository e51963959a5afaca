"""Schedules as Prefect's deployments: put there, taken away, started and looked up.

The state folder's book is the truth (:mod:`flows.scheduling.book`); a server holds a copy, with one
deployment a schedule, a work queue a model, and one run at a time.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

import httpx
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import DeploymentScheduleCreate, WorkPoolCreate
from prefect.client.schemas.filters import (
    DeploymentFilter,
    DeploymentFilterId,
    FlowRunFilter,
    FlowRunFilterExpectedStartTime,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.client.schemas.responses import DeploymentResponse
from prefect.client.schemas.schedules import CronSchedule
from prefect.client.schemas.sorting import FlowRunSort
from prefect.exceptions import ObjectAlreadyExists, ObjectNotFound, PrefectHTTPStatusError
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.states import AwaitingRetry, Completed, Failed, Scheduled
from prefect.workers.process import ProcessWorker

from flows.scheduling.book import RunState
from flows.scheduling.schedule import POOL, Kind, Schedule, ScheduleKey
from flows.scheduling.server import ServerUnavailable

FLOWS = {Kind.RETRAIN: "whitecrow-scheduled-retrain", Kind.MONITOR: "whitecrow-scheduled-monitor"}
_ENTRYPOINTS = {
    Kind.RETRAIN: "flows.scheduling.flow.retrain",
    Kind.MONITOR: "flows.scheduling.flow.monitor",
}
_LOOKED_AT = 200


def moment_of(schedule: Schedule, run: FlowRun) -> datetime:
    """Return the moment that a run is for: the one it was given, else what it was planned for.

    A run that had to wait for its slot is still for the moment that it was planned for.
    """
    if given := run.parameters.get("moment"):
        return datetime.fromisoformat(given)
    planned = run.expected_start_time or datetime.now(UTC)
    second = datetime.fromtimestamp(int(planned.timestamp()), UTC)
    return (schedule.moments.newest(second) if run.auto_scheduled else None) or second


def ended_state(state: RunState, why: str) -> "State[object]":
    """Return what Prefect shows of a moment that has ended."""
    if state == RunState.FAILED:
        return Failed(message=why)
    name = "Completed" if state == RunState.DONE else state.capitalize()
    return Completed(name=name, message=why or None)


@dataclass(frozen=True, slots=True)
class Deployments:
    """The deployments of one server.

    Attributes:
        client: Asks its API.
    """

    client: SyncPrefectClient

    @classmethod
    @contextmanager
    def at(cls, url: str) -> Iterator["Deployments"]:
        """Yield the deployments of the server at an API's URL.

        Raises:
            ServerUnavailable: If it stops answering.
        """
        with temporary_settings({PREFECT_API_URL: url}), get_client(sync_client=True) as client:
            try:
                yield cls(client)
            except httpx.TransportError as error:
                raise ServerUnavailable(
                    f"Prefect's server at {url} does not answer: {error or type(error).__name__}. "
                    "Try again; what was asked for is written down."
                ) from None

    def put(self, schedule: Schedule) -> UUID:
        """Make the server's copy of a schedule equal to it and return the deployment's id.

        Raises:
            ServerUnavailable: If its work pool does not exist.
        """
        self.ensure_pool(schedule.pool)
        flow_id = self.client.create_flow_from_name(FLOWS[schedule.kind])
        cron = CronSchedule(cron=schedule.cron, timezone=schedule.timezone)
        return self.client.create_deployment(
            flow_id,
            schedule.name,
            schedules=[DeploymentScheduleCreate(schedule=cron, active=True)],
            concurrency_limit=1,
            parameters={"name": schedule.name},
            description=schedule.reason,
            work_pool_name=schedule.pool,
            work_queue_name=schedule.name,
            entrypoint=_ENTRYPOINTS[schedule.kind],
            pull_steps=[],
            paused=schedule.paused,
            enforce_parameter_schema=False,
            tags=["whitecrow"],
        )

    def find(self, key: ScheduleKey) -> DeploymentResponse | None:
        """Return the server's copy of a schedule; None where it has none."""
        try:
            return self.client.read_deployment_by_name(f"{FLOWS[key.kind]}/{key.name}")
        except ObjectNotFound:
            return None

    def remove(self, key: ScheduleKey) -> None:
        """Take the server's copy away, with the runs that it had planned."""
        if deployment := self.find(key):
            self.client.delete_deployment(deployment.id)

    def start(self, schedule: Schedule, moment: datetime) -> FlowRun:
        """Have a moment run as soon as a worker is free; the same moment again is the same run."""
        deployment = self.find(schedule.key)
        deployment_id = deployment.id if deployment else self.put(schedule)
        text = moment.isoformat()
        return self.client.create_flow_run_from_deployment(
            deployment_id,
            parameters={"name": schedule.name, "moment": text},
            state=Scheduled(),
            name=f"{schedule.name} {text}",
            idempotency_key=f"{schedule.kind} {schedule.name} {text}",
        )

    def due_runs(self, deployment_id: UUID, *states: StateType) -> list[FlowRun]:
        """Return the newest runs that are due by now, newest first, or those in some states."""
        wanted = FlowRunFilter(
            expected_start_time=FlowRunFilterExpectedStartTime(before_=datetime.now(UTC)),
            state=FlowRunFilterState(type=FlowRunFilterStateType(any_=list(states)))
            if states
            else None,
        )
        return self.client.read_flow_runs(
            deployment_filter=DeploymentFilter(id=DeploymentFilterId(any_=[deployment_id])),
            flow_run_filter=wanted,
            sort=FlowRunSort.EXPECTED_START_TIME_DESC,
            limit=_LOOKED_AT,
        )

    def is_copied(self, schedule: Schedule, copy: DeploymentResponse) -> bool:
        """Return whether the server's copy says what the schedule says."""
        crons = [each.schedule for each in copy.schedules]
        return (
            [(cron.cron, cron.timezone) for cron in crons if isinstance(cron, CronSchedule)]
            == [(schedule.cron, schedule.timezone)]
            and copy.work_pool_name == schedule.pool
            and copy.entrypoint == _ENTRYPOINTS[schedule.kind]
        )

    def set_paused(self, key: ScheduleKey, *, paused: bool) -> None:
        """Have moments pass by from now on, or no longer."""
        if deployment := self.find(key):
            change = self.client.pause_deployment if paused else self.client.resume_deployment
            change(deployment.id)

    def resume(self, run: FlowRun, why: str) -> None:
        """Have a run that was cut off begin again."""
        self._force(run, AwaitingRetry(message=why))

    def close(self, run: FlowRun, state: RunState, why: str) -> None:
        """Have a run say what became of its moment."""
        self._force(run, ended_state(state, why))

    def _force(self, run: FlowRun, state: "State[object]") -> None:
        self.client.set_flow_run_state(run.id, state, force=True)

    def ensure_pool(self, name: str) -> None:
        """Make the work pool that ``whitecrow worker`` serves, or make sure of another.

        Raises:
            ServerUnavailable: If another one does not exist.
        """
        try:
            self.client.read_work_pool(name)
        except ObjectNotFound:
            if name != POOL:
                raise ServerUnavailable(
                    f"--pool: Prefect has no work pool {name!r}. "
                    f"Make it: prefect work-pool create {name} --type docker"
                ) from None
            template = ProcessWorker.get_default_base_job_template()
            pool = WorkPoolCreate(name=POOL, type="process", base_job_template=template)
            try:
                self.client.create_work_pool(pool)
            except ObjectAlreadyExists:
                return
            except PrefectHTTPStatusError as error:
                if error.response.status_code != httpx.codes.CONFLICT:
                    raise
