"""What a challenger said in the shadow, joined with what a real service answered."""

import httpx
import polars as pl
import pytest

from flows.gate.rule import GateRule
from flows.gate.shadow import shadow_evidence
from infra.settings import Settings
from serving.launch import free_port, running_service, wait_until_ready
from serving.live import CHALLENGER
from serving.model_references import ResolvedModel
from serving.requests import request_rows
from serving.shadow import ShadowDecision
from serving.shadow_log import open_shadow_log, read_shadow_decisions

N_ROWS = 60


def said(number: int, *, version: str = "2", decision: str = "review") -> ShadowDecision:
    return ShadowDecision(
        decision_id=f"{number:032x}",
        model="till",
        model_version=version,
        policy_version=version,
        logits=(-1.5, 1.5),
        risk_score=0.25,
        decision=decision,
        scored_at=1_800_000_000_000_000 + number,
    )


def wanted(version: str = "2") -> dict[str, str]:
    return {"model": "till", "model_version": version, "policy_version": version}


@pytest.fixture(params=["file", "server"])
def place(request, tmp_path):
    """Where a shadow log lies: a file, or a schema of its own on a server."""
    if request.param == "file":
        yield tmp_path / "shadow.db", None
        return
    import psycopg

    server = request.getfixturevalue("postgresql")
    schema = f"shadow_{tmp_path.name.replace('-', '_')}".lower()
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"DROP SCHEMA IF EXISTS {schema} CASCADE")
        connection.execute(f"CREATE SCHEMA {schema}")
        yield tmp_path / "shadow.db", f"{server}?options=-csearch_path%3D{schema}"
        connection.execute(f"DROP SCHEMA {schema} CASCADE")


def test_one_version_is_read_back_as_it_was_written(place) -> None:
    log = open_shadow_log(*place)
    log.record([said(1), said(2, decision="decline"), said(3, version="3")])
    log.close()

    found = read_shadow_decisions(*place, **wanted())

    assert list(found.values()) == [said(1), said(2, decision="decline")]
    assert list(found) == [said(1).decision_id, said(2).decision_id]
    assert read_shadow_decisions(*place, **wanted("4")) == {}


def test_where_nothing_was_shadowed_there_is_nothing(place) -> None:
    assert read_shadow_decisions(*place, **wanted()) == {}


def test_without_a_shadow_log_there_is_no_such_evidence(till) -> None:
    challenger = ResolvedModel("till", "2", "2")

    assert shadow_evidence(till.settings, challenger, confidence=0.9, seed=0) is None
    assert not (till.home / "shadow.db").exists()


def test_decisions_that_no_answer_belongs_to_are_no_evidence(till) -> None:
    log = open_shadow_log(till.home / "shadow.db")
    log.record([said(1)])
    log.close()

    found = shadow_evidence(till.settings, ResolvedModel("till", "2", "2"), confidence=0.9, seed=0)

    assert found is None


@pytest.mark.timeout(300)
def test_a_real_service_answers_and_its_shadow_is_held_against_it(till, rows, tmp_path) -> None:
    till.release(CHALLENGER, review=0.02)
    bundle = till.store.bundle("till", "1")
    table = pl.read_parquet(rows).head(N_ROWS).with_columns(pl.col("ORDER").cast(pl.String))
    sent = request_rows(table, bundle.contract, bundle.feature_set.input_types)
    port = free_port()
    with (
        (tmp_path / "log").open("wb") as log,
        running_service(("till",), port=port, home=till.home, log=log.fileno(), auth=False),
    ):
        url = f"http://127.0.0.1:{port}"
        wait_until_ready(url, timeout=120)
        answers = httpx.post(f"{url}/v1/score/batch", json={"rows": sent}, timeout=60).json()
    # The service has ended: what waited for the shadow was scored before.

    settings = Settings(home=till.home, tracking_uri="file:/nowhere")
    found = shadow_evidence(settings, ResolvedModel("till", "2", "2"), confidence=0.9, seed=0)

    live = [answer["decision"] for answer in answers["results"]]
    shadow = read_shadow_decisions(till.home / "shadow.db", **wanted())
    differs = [
        shadow[answer["decision_id"]].decision != answer["decision"]
        for answer in answers["results"]
    ]
    assert found is not None
    assert (found.decisions, len(live)) == (N_ROWS, N_ROWS)
    assert found.disagreement.value == pytest.approx(sum(differs) / N_ROWS)
    assert sum(found.kinds.values()) == sum(differs) > 0
    rule = GateRule(max_latency_ratio=50.0, min_shadow_decisions=N_ROWS, max_disagreement=0.0)
    verdict = till.judge(rows, rule=rule)
    assert verdict.outcome == "keep"
    assert "live decisions would have been others" in verdict.says
    assert "In the shadow of live traffic" in verdict.page.read_text()
