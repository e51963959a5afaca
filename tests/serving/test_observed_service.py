"""The metrics of a real service of two processes, and the dashboard and alerts made of them."""

import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from serving.launch import free_port, running_service, wait_until_ready
from serving.live import CHALLENGER, LiveRecord
from serving.model_store import ModelStore

DASHBOARDS = Path(__file__).parents[2] / "infra" / "dashboards"
N_SCORED = 40


@pytest.fixture(scope="module")
def home(new_home, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder: Path = tmp_path_factory.mktemp("observed")
    new_home(folder)
    new_home(folder, version="2", intercept=1.0, live=False)
    store = ModelStore(folder)
    store.live.compare_and_swap("shop", None, LiveRecord("2", "2", 1), alias=CHALLENGER)
    return folder


@pytest.fixture(scope="module")
def url(home: Path) -> Iterator[str]:
    """A service of two processes that has been asked for something of everything."""
    port = free_port()
    with (
        (home / "service.log").open("w") as log,
        running_service([], port=port, home=home, workers=2, log=log.fileno()),
    ):
        url = f"http://127.0.0.1:{port}"
        wait_until_ready(url, timeout=120)
        yield url


@pytest.fixture(scope="module")
def metrics(url: str, home: Path, shop_row) -> dict[str, float]:
    """What Prometheus finds afterwards, by name and labels."""
    for at in range(N_SCORED):
        # A connection each: the kernel spreads them over the processes.
        response = httpx.post(
            f"{url}/v1/score", json=shop_row(ORDER_ID=at, AMOUNT=300.0), timeout=20
        )
        assert response.status_code == 200
    httpx.post(f"{url}/v1/score", json=shop_row(ORDER_ID=0, AMOUNT=300.0), timeout=20)
    httpx.post(f"{url}/v1/models/shop/score/batch", json={"rows": [{}]}, timeout=20)
    for path in ("/nothing", "/nothing/else", "/v1/models/none/score"):
        httpx.post(url + path, json={}, timeout=20)
    # What does not verify, so that failures are there too.
    live = ModelStore(home).live
    live.compare_and_swap("shop", live.get("shop"), LiveRecord("9", "9", 1))
    # Each process adds its numbers once a second.
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        found = scraped(url)
        if found.get('whitecrow_model_changes_total{model="shop",outcome="failed"}') == 2:
            time.sleep(1.5)
            return scraped(url)
        time.sleep(0.1)
    pytest.fail(f"no failure was counted: {found}")


def scraped(url: str) -> dict[str, float]:
    lines = httpx.get(f"{url}/metrics", timeout=20).text.splitlines()
    return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2])
            for line in lines if not line.startswith("#")}  # fmt: skip


def total(metrics: dict[str, float], name: str, **labels: str) -> float:
    wanted = [f'{label}="{value}"' for label, value in labels.items()]
    named = {series: value for series, value in metrics.items() if series.split("{")[0] == name}
    return sum(value for series, value in named.items() if all(each in series for each in wanted))


def test_both_processes_count_into_one_page(metrics: dict[str, float]) -> None:
    assert (
        total(metrics, "whitecrow_requests_total", route="/v1/score", status="200") == N_SCORED + 1
    )
    assert total(metrics, "whitecrow_decisions_total", decision="review") == N_SCORED
    assert total(metrics, "whitecrow_repeated_answers_total", model="shop") == 1
    assert total(metrics, "whitecrow_risk_score_count", model="shop") == N_SCORED
    assert total(metrics, "whitecrow_model_serving", model="shop", version="1") == 2


def test_every_stage_of_a_request_is_timed(metrics: dict[str, float]) -> None:
    for stage in ("receive", "parse", "features", "model", "reasons", "log", "answer"):
        assert total(metrics, "whitecrow_stage_seconds_count", stage=stage) >= N_SCORED, stage


def test_strange_paths_are_one_label(metrics: dict[str, float]) -> None:
    routes = {match for series in metrics for match in re.findall(r'route="([^"]*)"', series)}

    assert not any("nothing" in route or "none" in route for route in routes), routes
    assert total(metrics, "whitecrow_requests_total", route="other", status="404") == 2
    assert total(metrics, "whitecrow_requests_total", route="/v1/models/{name}/score") == 1
    assert not any(series.startswith("bentoml") for series in metrics)


def test_what_the_challenger_scored_is_counted(metrics: dict[str, float]) -> None:
    assert total(metrics, "whitecrow_shadow_rows_total", outcome="scored") == N_SCORED


def test_every_panel_and_every_alert_asks_for_metrics_that_there_are(
    metrics: dict[str, float],
) -> None:
    there = {series.partition("{")[0] for series in metrics}
    # Counted by model only once it happened.
    there |= {"whitecrow_degraded_answers_total", "whitecrow_explored_rows_total"}
    for source, expression in [*dashboard_queries(), *alert_queries()]:
        names = set(re.findall(r"whitecrow_\w+", expression))

        assert names, source
        assert names <= there, f"{source}: {names - there}"


def test_no_line_of_an_ordinary_request_is_in_the_log(
    metrics: dict[str, float], home: Path
) -> None:
    lines = [json.loads(line) for line in (home / "service.log").read_text().splitlines()
             if line.startswith("{")]  # fmt: skip
    about_requests = [line for line in lines if "route" in line]

    assert all(line["event"] in ("slow request", "request failed") for line in about_requests)
    assert all("decision_id" in line for line in about_requests)


def dashboard_queries() -> list[tuple[str, str]]:
    dashboard = json.loads((DASHBOARDS / "scoring.json").read_text())
    return [(panel["title"], target["expr"])
            for panel in dashboard["panels"] for target in panel["targets"]]  # fmt: skip


def alerts() -> list[dict[str, Any]]:
    groups = yaml.safe_load((DASHBOARDS / "alerts.yml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def alert_queries() -> list[tuple[str, str]]:
    """Rules over a service's own metrics; those of monitoring are over its text file."""
    return [(rule["alert"], rule["expr"]) for rule in alerts()
            if "whitecrow_monitor_" not in rule["expr"]]  # fmt: skip


def test_the_dashboard_is_one_that_grafana_can_load() -> None:
    dashboard = json.loads((DASHBOARDS / "scoring.json").read_text())
    panels = dashboard["panels"]

    assert dashboard["uid"]
    assert dashboard["schemaVersion"] >= 36
    assert len({panel["id"] for panel in panels}) == len(panels)
    assert all(panel["datasource"]["uid"] == "${datasource}" for panel in panels)
    places = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in panels]
    assert len(set(places)) == len(places)


def test_every_alert_says_what_to_do() -> None:
    names = [rule["alert"] for rule in alerts()]

    assert len(set(names)) == len(names)
    for rule in alerts():
        assert set(rule) == {"alert", "expr", "for", "labels", "annotations"}, rule["alert"]
        assert rule["labels"]["severity"] in ("page", "warn", "info")
        assert set(rule["annotations"]) == {"summary", "action"}
        assert re.fullmatch(r"\d+[smh]", rule["for"])
        assert rule["expr"].count("(") == rule["expr"].count(")")
