"""The course of the simulated year: a first champion, months of decisions, and a comparison."""

from datetime import datetime, timedelta
from typing import Any

import polars as pl

from flows.backfill import backfill_table, summary
from flows.gate.rule import keep_rule
from flows.outcome import TrainingOutcome
from flows.progress import say
from flows.request import TrainRequest
from flows.training_run import run_training
from flows.year.comparison import (
    ALL_KNOWING,
    FROZEN,
    Gain,
    MonthFigures,
    decided_rows,
    gains,
    monthly_figures,
)
from flows.year.labels import LabelDesk
from flows.year.month import Office
from flows.year.oracles import Oracles
from flows.year.plan import NAME
from flows.year.world import World
from infra.settings import Settings
from serving.in_process import InProcessService
from serving.model_references import ResolvedModel
from serving.model_store import ModelStore
from serving.verification import load_resolved

_INSTANT = timedelta(microseconds=1)
_DAY = timedelta(days=1)


def first_champion(office: Office) -> ResolvedModel:
    """Train on the months before the first one that is served, and give the service their past."""
    settings, world, plan = office.settings, office.world, office.world.plan
    now = plan.begin(plan.first_month)
    past = world.table(plan.start, now)
    outcome = run_training(
        TrainRequest(
            data=str(past),
            contract=str(world.contract_file),
            name=NAME,
            config=world.config,
            device="cpu",
            since=plan.begin(plan.taught_from),
            as_of=now,
            actor=settings.actor,
            reason="first version",
        ),
        settings,
    )
    office.note(now, "trained", "The first champion, trained on the months before.", outcome)
    keep_rule(
        settings, NAME, world.gate_rule, actor=settings.actor, reason="what passes is promoted"
    )
    filled = backfill_table(settings, str(past), str(world.contract_file), as_of=now - _INSTANT)
    say("backfilled", summary(filled))
    return _resolved(outcome)


def serve_the_year(office: Office) -> None:
    """Decide month by month, with what the begin of each month brings; end with every label in."""
    plan = office.world.plan
    desk = LabelDesk(office.world.stream, asked_days=plan.asked_days)
    with InProcessService(office.settings, NAME) as service:
        for month in plan.months:
            now, end = plan.begin(month), plan.begin(month + 1)
            if month == plan.new_fraud_month:
                office.note(now, "new_fraud", "A kind of fraud appears that nobody has seen.")
            if month > plan.first_month:
                office.look_back(month)
            if month >= plan.retrains_from:
                if month == plan.flipped_month:
                    office.retrain(month, flipped=True)
                office.retrain(month)
                service.follow()
            middle = now + (end - now) // 2
            _serve(service, desk, office.world, now, middle)
            if month == plan.rollback_month:
                office.roll_back(middle)
                service.follow()
            _serve(service, desk, office.world, middle, end)
            say("served", f"{now:%B} with {NAME}:{service.version}")
        _take_labels(service, desk, plan.begin(13), plan.labels_in)


def _serve(
    service: InProcessService, desk: LabelDesk, world: World, since: datetime, until: datetime
) -> None:
    """Serve ``[since, until)`` day by day.

    What is reported on a day is handed in before its transactions: features look at reports from
    before their own moment only.
    """
    day = since
    while day < until:
        end = min(day + _DAY, until)
        _take_labels(service, desk, day, end)
        desk.note(_decided(service, world.between(day, end)))
        day = end


def _decided(service: InProcessService, rows: pl.DataFrame) -> pl.DataFrame:
    decisions = [answer.decision for answer in service.decide(rows)]
    return rows.select("TRANSACTION_ID", decision=pl.Series(decisions, dtype=pl.String))


def _take_labels(
    service: InProcessService, desk: LabelDesk, since: datetime, until: datetime
) -> None:
    due = desk.due(since, until)
    if due:
        service.take_labels(due)


def _resolved(outcome: TrainingOutcome) -> ResolvedModel:
    released = outcome.released
    return ResolvedModel(released.name, released.version, released.policy_version)


def compared(
    office: Office, frozen: ResolvedModel, oracles: Oracles, oracle_settings: Settings
) -> tuple[list[MonthFigures], list[Gain], dict[str, Any]]:
    """Return the figures of every month, what retraining was worth, and what they cover."""
    plan = office.world.plan
    served = office.dataset(
        plan.begin(plan.first_month),
        plan.begin(13),
        as_of=plan.labels_in,
        reason="every row of the year",
    )
    own, others = ModelStore.open(office.settings), ModelStore.open(oracle_settings)
    deciders = {
        month: {
            FROZEN: load_resolved(own, frozen),
            ALL_KNOWING: load_resolved(others, oracles[month]),
        }
        for month in plan.months
    }
    key = office.world.stream.select("TRANSACTION_ID", "TX_FRAUD_SCENARIO")
    rows = decided_rows(served.file, key, deciders)
    days = {month: (plan.begin(month + 1) - plan.begin(month)).days for month in plan.months}
    return monthly_figures(rows, days), gains(rows, plan.periods), served.coverage.to_json()
