"""Whether enough labels arrived for a retraining to be worth its while."""

from datetime import datetime

from features.online.events import microseconds_of
from flows.scheduling.book import RunState, ScheduleBook
from flows.scheduling.schedule import Kind, Schedule
from infra.settings import Settings
from serving.model_store import ModelStore
from serving.outcomes import OutcomeBook


def too_few_labels(settings: Settings, schedule: Schedule, moment: datetime) -> str | None:
    """Return why a moment is let pass in a sentence; None where there are labels enough.

    What counts are labels that the service, or ``whitecrow labels import``, took for the model's
    rows, reported after the moment of the last retraining (before the first one: after the
    schedule was made) and by this moment.
    """
    if schedule.kind != Kind.RETRAIN or not schedule.min_new_labels:
        return None
    book = ScheduleBook(settings.database)
    since = book.last(schedule.key, RunState.DONE, before=moment) or schedule.since
    store = ModelStore.open(settings)
    contract = store.bundle(*store.resolve_version(schedule.name)).contract
    first, last = microseconds_of(since), microseconds_of(moment)
    outcomes = OutcomeBook(settings.root).outcomes(contract.name).values()
    n_new = sum(first < outcome.reported_at <= last for outcome in outcomes)
    if n_new >= schedule.min_new_labels:
        return None
    return (
        f"{n_new:,} new labels since {since:%Y-%m-%d %H:%M} UTC; "
        f"a retraining waits for {schedule.min_new_labels:,}"
    )
