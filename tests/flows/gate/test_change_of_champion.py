"""A promotion and the way back, seen from outside: a real service answers all the time."""

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import polars as pl
import pytest

from serving.launch import free_port, running_service, wait_until_ready
from serving.live import CHALLENGER
from serving.model_references import ResolvedModel
from serving.requests import request_rows

WHITECROW = Path(sys.executable).with_name("whitecrow")


@pytest.fixture
def shell(till):
    """Starts commands on the till's state folder as a shell would; MLflow is away."""
    env = {"WHITECROW_HOME": str(till.home), "WHITECROW_TRACKING_URI": "file:/nowhere"}

    def start(*arguments: str) -> "subprocess.Popen[bytes]":
        return subprocess.Popen(
            [WHITECROW, *arguments, "--reason", "tests"],
            env=os.environ | env,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    return start


@pytest.mark.timeout(300)
def test_a_rollback_brings_back_model_and_policy_while_the_service_answers(
    till, shell, later_policy, rows, tmp_path
) -> None:
    policy = later_policy(calibration=None)
    assert shell("promote", "till", "--policy", policy).wait() == 0
    before = ResolvedModel("till", "1", policy)
    assert till.store.resolve("till") == before
    till.release(CHALLENGER, {"SIGNAL": 1.9})
    bundle = till.store.bundle("till", "1")
    table = pl.read_parquet(rows).with_columns(pl.col("ORDER").cast(pl.String))
    sent = iter(request_rows(table, bundle.contract, bundle.feature_set.input_types))
    port = free_port()

    def answer() -> dict[str, Any]:
        response = httpx.post(f"http://127.0.0.1:{port}/v1/score", json=next(sent), timeout=20)
        assert response.status_code == 200, response.text
        found: dict[str, Any] = response.json()
        return found

    def seconds_until(wanted: ResolvedModel) -> float:
        started = time.monotonic()
        while True:
            model = answer()["model"]
            if (model["version"], model["policy_version"]) == (
                wanted.model_version, wanted.policy_version,
            ):  # fmt: skip
                return time.monotonic() - started
            assert time.monotonic() - started < 120, model

    with (
        (tmp_path / "log").open("wb") as log,
        running_service(("till",), port=port, home=till.home, log=log.fileno(), auth=False),
    ):
        wait_until_ready(f"http://127.0.0.1:{port}", timeout=120)
        seconds_until(before)
        there = shell("promote", "till@challenger")
        promoted = seconds_until(ResolvedModel("till", "2", str(int(policy) + 1)))
        assert there.wait() == 0
        back = shell("rollback", "till")
        rolled_back = seconds_until(before)
        assert back.wait() == 0

    assert till.store.resolve("till") == before
    print(
        f"\nfrom the start of the command to the answer: promote {promoted:.2f} s, "
        f"rollback {rolled_back:.2f} s"
    )
