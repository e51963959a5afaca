"""A disk that is really full, below the decision log of a running service."""

import contextlib
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from infra.settings import Settings
from serving.decisions.chain import verify_groups
from serving.decisions.opening import open_store
from serving.launch import free_port, running_service, wait_until_ready

_FULL_WITHIN = 200
"""Rows that may still find room in pages that the log has already."""


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of four megabytes; needs the right to mount one."""
    place = tmp_path / "small"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(place)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"cannot mount a small file system: {done.stderr.strip()}")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


@contextlib.contextmanager
def served(settings: Settings) -> Iterator[httpx.Client]:
    """A client of a running service."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    with (
        (settings.root / "service.log").open("w") as log,
        running_service(["shop"], port=port, home=settings.root, log=log.fileno()),
        httpx.Client(base_url=url, timeout=20) as client,
    ):
        wait_until_ready(url, timeout=120)
        yield client


def fill(disk: Path) -> Path:
    """A file that takes all the room that is left."""
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(4096))
    return ballast


def ask_until(
    is_reached: Callable[[httpx.Response], bool],
    client: httpx.Client,
    rows: Iterator[dict[str, Any]],
) -> list[httpx.Response]:
    """The answers up to the one that was waited for."""
    responses: list[httpx.Response] = []
    for row in rows:
        responses.append(client.post("/v1/score", json=row))
        if is_reached(responses[-1]):
            return responses
        if len(responses) > _FULL_WITHIN:
            pytest.fail(f"not reached; the last answer was {responses[-1].text}")
        time.sleep(0.02)
    raise AssertionError("rows never end")


def is_away(response: httpx.Response) -> bool:
    return response.status_code == 503 or response.json()["degraded"]


def is_back(response: httpx.Response) -> bool:
    return not is_away(response)


def wait_until_nothing_waits(client: httpx.Client) -> None:
    deadline = time.monotonic() + 30
    while client.get("/v1/model").json()["decision_log"]["decisions_waiting"]:
        assert time.monotonic() < deadline, "the log does not take what was kept for it"
        time.sleep(0.05)


@pytest.mark.parametrize("on_stall", ["refuse", "degrade"])
def test_rows_are_refused_or_degraded_while_the_disk_is_full_and_answered_again_after_it(
    new_home, shop_row, small_disk: Path, monkeypatch: pytest.MonkeyPatch, on_stall: str
) -> None:
    home, uri = small_disk.parent / "home", str(small_disk / "decisions.db")
    monkeypatch.setenv("WHITECROW_LOG_URI", uri)
    monkeypatch.setenv("WHITECROW_LOG_ON_STALL", on_stall)
    new_home(home)
    settings = Settings(home=home, log_uri=uri)
    rows = (shop_row(ORDER_ID=number) for number in range(1_000_000))

    with served(settings) as client:
        before = ask_until(is_back, client, rows)
        ballast = fill(small_disk)
        fading = ask_until(is_away, client, rows)
        full = [client.post("/v1/score", json=next(rows)) for _ in range(10)]
        told = client.get("/v1/model").json()["decision_log"]
        ballast.unlink()
        back = ask_until(is_back, client, rows)
        wait_until_nothing_waits(client)

    responses = [*before, *fading, *full, *back]
    answered = [each for each in responses if each.status_code == 200]
    blind = [each.json() for each in answered if each.json()["degraded"]]
    refused = {each.json()["error"]["code"] for each in responses if each.status_code != 200}
    assert refused <= {"log_unavailable"}
    assert not told["reachable"]
    if on_stall == "refuse":
        assert [each.status_code for each in full] == [503] * 10
        assert blind == []
    else:
        assert [each.json()["degraded"] for each in full] == [True] * 10
        assert {each["decision"] for each in blind} <= {"review", "decline"}
    store = open_store(settings)
    try:
        groups = list(store.groups())
    finally:
        store.close()
    kept = {record.decision_id: record.answer for group in groups for record in group.decoded()}
    for each in answered:
        assert kept[each.json()["decision_id"]] == each.content
    assert sum(verify_groups(groups).values()) == len(kept)
