"""The oracle: a model for each month that got its labels at once, trained beside the year.

Nothing that it does depends on what the service decides. So a second process trains it, with a
state folder of its own, while the year goes on in the first: one processor for each.
"""

import multiprocessing
import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TypeAlias

import torch

from flows.orchestration import prepare_orchestration
from flows.progress import say
from flows.request import TrainRequest
from flows.workspace import Workspace
from flows.year.plan import ORACLE
from flows.year.world import World
from infra.settings import Settings
from serving.model_references import ResolvedModel
from serving.parent_process import ParentProcess

_DAY = timedelta(days=1)
_LOOK_SECONDS = 1.0

Oracles: TypeAlias = dict[int, ResolvedModel]
"""The oracle's version for each month that is served."""


@contextmanager
def oracles_beside(world: World, settings: Settings) -> Iterator[Callable[[], Oracles]]:
    """Train the oracles during the block; yields what waits for them.

    Where the block fails, what has not begun is left out.

    Args:
        world: What is simulated.
        settings: Of the oracles alone.
    """
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, spawn, _prepare, (settings.home,)) as pool:
        under_way = {
            month: pool.submit(_train, request, settings.home)
            for month, request in _requests(world, settings.actor).items()
        }
        try:
            yield lambda: {month: each.result() for month, each in under_way.items()}
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


@contextmanager
def one_thread() -> Iterator[None]:
    """Let networks train on one thread: they are small, and both processors have their work."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _requests(world: World, actor: str) -> dict[int, TrainRequest]:
    plan = world.plan
    windows = {month: plan.oracle_window(month) for month in plan.months}
    return {
        month: TrainRequest(
            data=str(world.table(plan.past_of(since), until)),
            contract=str(world.oracle_contract_file),
            name=ORACLE,
            config=world.config,
            device="cpu",
            since=since,
            as_of=until + plan.label_delay + _DAY,
            actor=actor,
            reason=f"all labels at once, {until:%B}",
        )
        for month, (since, until) in windows.items()
    }


def _prepare(home: Path) -> None:
    """Set the process up: its own Prefect, one thread, and an end with the year's process."""
    threading.Thread(target=_end_with, args=(ParentProcess(None),), daemon=True).start()
    os.environ.pop("PREFECT_HOME", None)  # the year's own, as this process has inherited it
    prepare_orchestration(Workspace.open(Settings(home=home)))
    torch.set_num_threads(1)


def _end_with(parent: ParentProcess) -> None:
    while True:
        parent.look()
        time.sleep(_LOOK_SECONDS)


def _train(request: TrainRequest, home: Path) -> ResolvedModel:
    # Prefect reads its settings when it is imported.
    from flows.training_run import run_training

    released = run_training(request, Settings(home=home)).released
    say("oracle", f"{request.reason}: {released.name}:{released.version}")
    return ResolvedModel(released.name, released.version, released.policy_version)
