"""A bake-off from a table to a page: rows, fits, standings, MLflow."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from balancing.metrics.intervals import Interval
from features.contract import Contract, read_contract
from features.ingestion.tables import fingerprint
from flows import featurization, validation
from flows.bakeoff.members import Member, find_members
from flows.bakeoff.page import write_page
from flows.bakeoff.plan import BakeOffPlan, Job
from flows.bakeoff.schedule import OnDone, run_jobs
from flows.bakeoff.standing import (
    Standing,
    as_auto,
    best_tree,
    difference,
    rows_of_results,
    stand,
)
from flows.run_folder import RunFolder, write_json
from flows.workspace import Workspace
from infra.settings import Settings
from infra.storage import sha256_json, write_atomically
from infra.tracking import Tracking, open_tracking

PLAIN = "erm"
"""The member that every other one is compared with."""

Against = dict[str, dict[str, Interval | None]]


@dataclass(frozen=True, slots=True)
class BakeOff:
    """What a bake-off found, and where it is written.

    Attributes:
        plan: What was compared.
        standings: Every member's, best validation first, the unfinished last.
        against: Gains in average precision by member, over ``erm`` and over the best ``tree``.
        folder: Of everything below.
        page: For people.
        table: One row a member and repetition.
        run_id: MLflow's parent run.
    """

    plan: BakeOffPlan
    standings: tuple[Standing, ...]
    against: Against
    folder: Path
    page: Path
    table: Path
    run_id: str


def run_bakeoff(
    plan: BakeOffPlan,
    settings: Settings,
    *,
    n_cores: int | None = None,
    actor: str,
    on_done: OnDone | None = None,
) -> BakeOff:
    """Compare the members; what was done before in the state folder is not done again.

    Args:
        plan: What to compare.
        settings: Where the state folder and MLflow are.
        n_cores: Fits at once, each on one core; default: all cores.
        actor: Who asks.
        on_done: Told of every fit that ends.

    Raises:
        UnknownMember: If a strategy is neither shipped nor a readable file.
        WhitecrowError: If the data or the contract cannot be used.
    """
    members = find_members(plan.strategies)
    workspace = Workspace.open(settings)
    contract = read_contract(plan.contract)
    sha256 = fingerprint(plan.data).sha256
    folder = workspace.root / "bakeoffs" / f"{contract.name}-{plan.digest(sha256)}"
    features = _features(plan, contract, workspace, folder, sha256)
    jobs = {member.name: _jobs(plan, member, features, folder) for member in members}
    results = run_jobs(
        in_turns([job for each in jobs.values() for job in each]),
        n_parallel=n_cores or os.cpu_count() or 1,
        seconds_cap=plan.seconds_cap,
        on_done=on_done,
    )
    tables = {
        seed: pl.read_parquet(path / featurization.TABLE_FILE, columns=["label"])
        for seed, path in features.items()
    }
    standings = [stand(each, jobs[each.name], results, tables) for each in members]
    if auto := as_auto(standings):
        standings.append(auto)
    standings.sort(key=lambda each: -each.validation if each.runs else 1.0)
    return _written(plan, standings, folder, tracking=open_tracking(settings), actor=actor)


def in_turns(jobs: Sequence[Job]) -> list[Job]:
    """Return the jobs so that every member's defaults come first, then the further trials."""
    return sorted(jobs, key=lambda job: (job.trial, job.seed))


def _features(
    plan: BakeOffPlan, contract: Contract, workspace: Workspace, folder: Path, sha256: str
) -> dict[int, Path]:
    """Return each repetition's feature table; one for all where the split does not change."""
    run = RunFolder(folder)
    folder.mkdir(parents=True, exist_ok=True)
    validated = validation.validate_sources(
        {validation.DATA: plan.data},
        contract,
        run,
        workspace,
        contract_reference=plan.contract,
        as_of=plan.as_of,
    )
    found = {}
    for seed in range(plan.n_seeds):
        resolved = validated.contract
        split = resolved.split
        if plan.split is not None:
            split = split.model_copy(update={"by": plan.split, "cuts": None, "column": None})
        if split.by == "random":
            split = split.model_copy(update={"seed": seed})
        found[seed] = featurization.featurize(
            run.passed_of(validation.DATA),
            resolved.model_copy(update={"split": split}),
            input_types=validated.input_types,
            fingerprints=[sha256],
            root=workspace.feature_tables,
            as_of=plan.as_of,
        )
    return found


def _jobs(
    plan: BakeOffPlan, member: Member, features: Mapping[int, Path], folder: Path
) -> list[Job]:
    return [
        Job(
            member=member.name,
            seed=seed,
            trial=trial,
            strategy=strategy,
            features=features[seed],
            folder=folder / "fits" / member.name / f"seed{seed}-{sha256_json(strategy)[:12]}",
            few_positives=plan.few_positives,
            n_folds=plan.n_folds,
            max_rows=member.max_rows,
        )
        for trial in range(plan.n_trials)
        for strategy in (member.trial(trial, shared=plan.shared),)
        for seed in range(plan.n_seeds)
    ]


def _written(
    plan: BakeOffPlan,
    standings: Sequence[Standing],
    folder: Path,
    *,
    tracking: Tracking,
    actor: str,
) -> BakeOff:
    against = compare(standings)
    results = folder / plan.name
    results.mkdir(exist_ok=True)
    page, table = results / "bakeoff.html", results / "bakeoff.parquet"
    with write_atomically(table) as staging:
        rows_of_results(standings, against).write_parquet(staging)
    write_json(results / "plan.json", plan.model_dump(mode="json"))
    write_page(page, plan, standings, against)
    tags = {"whitecrow.actor": actor, "whitecrow.kind": "bake-off"}
    parent = tracking.start_run(f"{plan.contract}-bakeoff", run_name=folder.name, tags=tags)
    tracking.log_config(parent, plan.model_dump(mode="json"))
    for standing in standings:
        child = tracking.start_child(parent, run_name=standing.member.name, tags=tags)
        if standing.runs:
            tracking.log_config(child, {"strategy": standing.runs[0].result.strategy})
            tracking.log_metrics(child, _metrics(standing, against[standing.member.name]))
        tracking.finish_run(child, status="FINISHED" if standing.runs else "FAILED")
    for file in (table, page):
        tracking.log_file(parent, file)
    tracking.finish_run(parent, status="FINISHED")
    return BakeOff(plan, tuple(standings), against, results, page, table, parent)


def compare(standings: Sequence[Standing]) -> Against:
    """Return each member's gain in average precision over plain training and the best tree."""
    plain = next((each for each in standings if each.member.name == PLAIN), None)
    references = {PLAIN: plain, "tree": best_tree(standings)}
    return {
        ours.member.name: {
            whom: difference(ours, theirs)
            for whom, theirs in references.items()
            if theirs is not None and theirs is not ours
        }
        for ours in standings
    }


def _metrics(standing: Standing, gains: Mapping[str, Interval | None]) -> dict[str, float]:
    metrics: dict[str, Any] = {name: standing.mean(name) for name in standing.runs[0].metrics} | {
        "validation_average_precision": standing.validation
    }
    for whom, gain in gains.items():
        if gain is not None:
            metrics |= {
                f"gain_over_{whom}": gain.value,
                f"gain_over_{whom}_low": gain.low,
                f"gain_over_{whom}_high": gain.high,
            }
    return metrics
