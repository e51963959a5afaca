"""A real service under load: models change, and it ends, and no request is lost."""

import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from serving.launch import check_port_is_free, free_port, running_service, wait_until_ready
from serving.live import LiveRecord
from serving.model_store import ModelStore

VERSIONS = ("1", "2", "3")
# Of the same intercepts, in the order of the versions; see conftest for what a row adds up to.
INTERCEPTS = (-2.0, 0.0, 1.0)


@dataclass
class Load:
    """What clients got.

    Attributes:
        answers: Of 200s.
        statuses: How often each status came.
        broken: Requests that got no answer though they had been let in.
        n_refused: Connections that were refused.
    """

    answers: list[dict[str, Any]] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)
    broken: list[str] = field(default_factory=list)
    n_refused: int = 0
    ended: threading.Event = field(default_factory=threading.Event)


@contextmanager
def under_load(
    url: str, row: dict[str, Any], *, clients: int = 4, headers: dict[str, str] | None = None
) -> Iterator[Load]:
    """Yield what clients on connections of their own get until the block ends."""
    load = Load()

    def ask(number: int) -> None:
        order = number * 1_000_000
        with httpx.Client(base_url=url, timeout=20) as client:
            while not load.ended.is_set():
                order += 1
                try:
                    response = client.post(
                        "/v1/score", json=row | {"ORDER_ID": order}, headers=headers
                    )
                except httpx.ConnectError:
                    load.n_refused += 1
                    return
                except httpx.HTTPError as error:
                    load.broken.append(f"{type(error).__name__}: {error}")
                    continue
                load.statuses[response.status_code] += 1
                if response.status_code == 200:
                    load.answers.append(response.json())

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(clients)]
    for thread in threads:
        thread.start()
    try:
        yield load
    finally:
        load.ended.set()
        for thread in threads:
            thread.join()


@contextmanager
def served(home: Path, *, workers: int = 1) -> Iterator[tuple[str, psutil.Process]]:
    """A running service for every champion; its address and its supervisor."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    with (
        (home / "service.log").open("w") as log,
        running_service([], port=port, home=home, workers=workers, log=log.fileno()) as process,
    ):
        wait_until_ready(url, timeout=120)
        yield url, psutil.Process(process.pid)


@pytest.fixture
def home(new_home, tmp_path: Path) -> Path:
    """A state folder with three versions of the shop, each with a policy of its number."""
    for version, intercept in zip(VERSIONS, INTERCEPTS, strict=True):
        new_home(tmp_path, version=version, intercept=intercept, live=version == "1")
    return tmp_path


def promote(store: ModelStore, version: str, policy_version: str) -> None:
    record = LiveRecord(version, policy_version, 1)
    store.live.compare_and_swap("shop", store.live.get("shop"), record)


def wait_for(url: str, version: str, policy_version: str) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        described = httpx.get(f"{url}/v1/model", timeout=20).json()
        if (described["version"], described["policy_version"]) == (version, policy_version):
            return
        time.sleep(0.02)
    pytest.fail(f"version {version} does not answer: {described}")


def check_that_nothing_was_lost(load: Load) -> None:
    assert load.broken == []
    assert load.n_refused == 0
    assert set(load.statuses) == {200}
    scores = defaultdict(set)
    for answer in load.answers:
        model = answer["model"]
        scores[model["version"], model["policy_version"]].add(round(answer["risk_score"], 6))
    # One score a version: network, policy and the names of both always belong together.
    assert all(len(found) == 1 for found in scores.values()), scores
    assert len({min(found) for found in scores.values()}) == len({v for v, _ in scores})


def swap(url: str, store: ModelStore, policies: list[tuple[str, str]], n_swaps: int) -> None:
    for turn in range(n_swaps):
        version, policy_version = policies[(turn + 1) % len(policies)]
        promote(store, version, policy_version)
        wait_for(url, version, policy_version)


def test_no_request_fails_while_models_and_policies_change(
    home: Path, new_policy, shop_row
) -> None:
    store = ModelStore(home)
    bundle = store.bundle("shop", "2")
    another = store.add_policy(
        "shop", new_policy(bundle.model_sha256, bundle.golden.logits, review=0.01)
    )
    with served(home) as (url, _), under_load(url, shop_row()) as load:
        swap(url, store, [("1", "1"), ("2", "2"), ("2", another), ("3", "3")], 5)

    check_that_nothing_was_lost(load)
    decided = {(a["model"]["policy_version"], a["decision"]) for a in load.answers}
    assert {("1", "approve"), ("2", "review"), (another, "review"), ("3", "decline")} <= decided


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_hundred_swaps_lose_no_request_and_no_memory(home: Path, shop_row) -> None:
    store = ModelStore(home)
    with served(home) as (url, supervisor), under_load(url, shop_row()) as load:
        (worker,) = supervisor.children()
        versions = [(version, version) for version in VERSIONS]
        swap(url, store, versions, 20)
        resident = worker.memory_info().rss
        swap(url, store, versions, 80)
        grown = worker.memory_info().rss - resident

    check_that_nothing_was_lost(load)
    assert grown < 64 << 20, f"{grown >> 20} MiB more after 80 swaps"


@pytest.mark.parametrize("headers", [None, {"Connection": "close"}], ids=["kept", "new"])
def test_nobody_who_was_let_in_goes_without_an_answer_when_it_ends(
    home: Path, shop_row, headers: dict[str, str] | None
) -> None:
    with (
        served(home, workers=2) as (url, supervisor),
        under_load(url, shop_row(), headers=headers) as load,
    ):
        while len(load.answers) < 40:
            time.sleep(0.02)
        supervisor.terminate()
        supervisor.wait(30)

    assert load.broken == []
    assert set(load.statuses) == {200}
    assert load.n_refused == 4, "each client, once the service has ended"


def test_a_killed_supervisor_takes_its_workers_along_and_nobody_goes_without_an_answer(
    home: Path, shop_row
) -> None:
    with (
        served(home, workers=2) as (url, supervisor),
        under_load(url, shop_row(), headers={"Connection": "close"}) as load,
    ):
        workers = supervisor.children()
        while len(load.answers) < 40:
            time.sleep(0.02)
        supervisor.kill()
        _, alive = psutil.wait_procs(workers, timeout=20)
        check_port_is_free("127.0.0.1", int(url.rsplit(":", 1)[1]))

    assert len(workers) == 2
    assert alive == []
    assert load.broken == []
    assert set(load.statuses) == {200}
    assert load.n_refused == 4, "each client, once the workers have ended"
