"""The simulated year from its first transaction to its page.

Months of the past train the first champion. From then on the service decides day by day, labels
come in late, and at the begin of each month somebody looks back, retrains, and lets the gate judge.
"""

import json
import resource
import time
from datetime import datetime
from pathlib import Path

from flows.orchestration import prepare_orchestration
from flows.progress import say
from flows.workspace import Workspace
from flows.year.oracles import one_thread, oracles_beside
from flows.year.outcome import YearOutcome
from flows.year.page import write_page
from flows.year.plan import YearPlan
from flows.year.timeline import Timeline
from flows.year.world import make_world
from infra.errors import InputError
from infra.settings import Settings
from infra.storage import write_atomically


def run_year(plan: YearPlan, folder: Path) -> YearOutcome:
    """Simulate a year in production, and write its page and its figures.

    Args:
        plan: What happens when.
        folder: New or empty; the state of the year, its tables and its pages stay in it.

    Raises:
        InputError: If the folder holds something, the year is not over, or a server is named that
            other models may use.
    """
    started, processor_started, of_others = time.monotonic(), time.process_time(), _of_children()
    settings = _own_settings(plan, folder)
    prepare_orchestration(Workspace.open(settings))

    # Prefect reads its settings when it is imported.
    from flows.year.course import compared, first_champion, serve_the_year
    from flows.year.month import Office

    tables = folder / "tables"
    tables.mkdir()
    world = make_world(plan, tables)
    say("simulated", f"{world.stream.height:,} transactions up to the end of {plan.year}")
    office = Office(settings, world, Timeline(), folder)
    oracle_settings = Settings(home=folder / "oracle")
    with one_thread(), oracles_beside(world, oracle_settings) as oracles:
        frozen = first_champion(office)
        serve_the_year(office)
        months, worth, coverage = compared(office, frozen, oracles(), oracle_settings)
    outcome = YearOutcome(
        plan=plan,
        timeline=office.timeline,
        months=months,
        gains=worth,
        coverage=coverage,
        folder=folder,
        seconds=time.monotonic() - started,
        processor_seconds=time.process_time() - processor_started + _of_children() - of_others,
    )
    _write(outcome)
    return outcome


def _own_settings(plan: YearPlan, folder: Path) -> Settings:
    """Return the settings of a state folder that nobody else uses."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"--out: {folder} is not an empty folder. Name a new one.")
    if plan.labels_in > datetime.now(plan.labels_in.tzinfo):
        raise InputError(
            f"The labels of {plan.year} are not all in before {plan.labels_in:%Y-%m-%d}, and a "
            "service takes nothing from the future. Simulate an earlier year."
        )
    settings = Settings(home=folder / "home")
    for name in ("tracking_uri", "state_uri", "log_uri"):
        if getattr(settings, name) is not None:
            raise InputError(
                f"The simulated year keeps its state to itself, and WHITECROW_{name.upper()} names "
                "a server that others may use. Unset it for this command."
            )
    folder.mkdir(parents=True, exist_ok=True)
    return settings


def _of_children() -> float:
    """Return the processor time of processes that this one has begun and that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _write(outcome: YearOutcome) -> None:
    with write_atomically(outcome.record) as staging:
        text = json.dumps(outcome.to_json(), indent=2, ensure_ascii=False, allow_nan=False)
        staging.write_text(text, "utf-8")
    write_page(outcome)
