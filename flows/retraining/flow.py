"""The flow of a retraining: pick rows, all that a training does, the gate, and what follows."""

from pathlib import Path
from typing import Any

from prefect import flow, task

from flows.pipeline import TRIED_AGAIN, Fingerprints, settings_of, train_and_release
from flows.progress import say
from flows.promotion import registry_mirror
from flows.release import Released
from flows.request import TrainRequest
from flows.retraining import gating
from flows.retraining.request import RetrainRequest
from flows.retraining.window import pick_rows, picked_from
from flows.run_folder import RunFolder
from flows.run_steps import RunSteps
from infra.tracking import open_tracking


@task(name="pick", **TRIED_AGAIN)
def pick(
    request: TrainRequest, asked: RetrainRequest, data: tuple[str, ...], run: Path
) -> Fingerprints:
    """Write the rows of the window to the run's folder; returns the tables that they are from."""
    file = RunFolder(run).picked
    if request.data != str(file):
        return []
    picked = pick_rows(data, request.read_contract(), file, since=asked.since, until=asked.until)
    undated = f", {picked.undated:,} of them without a readable time" if picked.undated else ""
    past = f", and {picked.history:,} before the window as their past" if picked.history else ""
    say("picked", f"{picked.rows:,} of {picked.of:,} rows{undated}{past}")
    return picked_from(data)


@task(name="judge")
def judge(
    asked: RetrainRequest, data: tuple[str, ...], run: Path, released: Released
) -> dict[str, Any] | None:
    """Hold the new version against the champion."""
    verdict = gating.judge(settings_of(run), asked, data, released)
    if verdict is not None:
        say("judged", verdict["says"])
    return verdict


@task(name="promote")
def promote(
    asked: RetrainRequest,
    data: tuple[str, ...],
    run: Path,
    released: Released,
    verdict: dict[str, Any] | None,
) -> dict[str, Any]:
    """Let the new version answer, where the verdict and the rule say so."""
    settings = settings_of(run)
    mirror = registry_mirror(open_tracking(settings), settings)
    return gating.settle(settings, asked, data, released, verdict, mirror=mirror)


@flow(name="whitecrow-retraining", validate_parameters=False)
def retrain_model(
    request: TrainRequest, asked: RetrainRequest, data: tuple[str, ...], run: Path, run_id: str
) -> tuple[Released, dict[str, Any]]:
    """Train a new version on a window of rows, and let the gate judge it.

    Args:
        request: What to train, on the rows that are picked.
        asked: What was asked for.
        data: Paths and URIs of the tables.
        run: The run's folder, below the state folder.
        run_id: MLflow's name for the run.

    Returns:
        What was released, and what :func:`flows.retraining.gating.settle` says became of it.
    """
    steps = RunSteps.of(run)
    picked = steps.once("pick", lambda: pick(request, asked, data, run))
    released = train_and_release(request, run, run_id, steps=steps, picked=picked)
    verdict = steps.once("judge", lambda: judge(asked, data, run, released))
    return released, steps.once("promote", lambda: promote(asked, data, run, released, verdict))
