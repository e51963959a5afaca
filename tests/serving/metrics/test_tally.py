"""What requests count, and how it reaches Prometheus."""

import gc
import json
import logging
from typing import Any

import pytest

from infra.logs import configure_logs
from serving.answers import Answer, AtThisScore, ModelName, RepeatedAnswer
from serving.metrics.collections import count_collections
from serving.metrics.published import PublishedMetrics
from serving.metrics.queues import CommitLag
from serving.metrics.recorder import RequestRecorder
from serving.metrics.tally import Distribution, ServiceTally
from serving.request_trace import RequestTrace, begin_trace, current_trace, finish_stage


def answer(kind: type[Answer] = Answer, **changes: Any) -> Answer:
    fields: dict[str, Any] = {
        "decision_id": "d1", "id": "17", "risk_score": 0.5, "decision": "review", "reasons": (),
        "flags": (), "at_this_score": AtThisScore(0.1, 1.0), "model": ModelName("shop", "1", "2"),
        "degraded": False,
    }  # fmt: skip
    return kind(**fields | changes)


def ended(**changes: Any) -> RequestTrace:
    trace = RequestTrace()
    trace.route, trace.status = "/v1/score", 200
    for name, value in changes.items():
        setattr(trace, name, value)
    return trace


def page(tally: ServiceTally) -> dict[str, float]:
    lines = PublishedMetrics(tally).page()[1].decode().splitlines()
    return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2])
            for line in lines if not line.startswith("#")}  # fmt: skip


def test_a_value_counts_in_the_interval_that_it_closes() -> None:
    values = Distribution((0.1, 0.2))
    for value in (0.05, 0.1, 0.15, 5.0):
        values.observe(value)

    assert values.counts == [2, 1, 1]
    assert values.total == pytest.approx(5.3)


def test_a_request_counts_by_route_status_and_code_and_its_decisions_by_version() -> None:
    tally = ServiceTally()
    tally.record(ended(answers=[answer(degraded=True)]))
    tally.record(ended(status=422, code="missing_field"))
    tally.record(ended(route="/v1/score/batch", answers=[answer(), answer(decision="decline")],
                       refused=["missing_field"]))  # fmt: skip

    found = page(tally)
    assert found['whitecrow_requests_total{code="",route="/v1/score",status="200"}'] == 1
    assert (
        found['whitecrow_requests_total{code="missing_field",route="/v1/score",status="422"}'] == 1
    )
    labels = 'model="shop",policy_version="2",version="1"'
    assert found[f'whitecrow_decisions_total{{decision="review",{labels}}}'] == 2
    assert found[f'whitecrow_decisions_total{{decision="decline",{labels}}}'] == 1
    assert found['whitecrow_degraded_answers_total{model="shop"}'] == 1
    assert found['whitecrow_refused_rows_total{code="missing_field"}'] == 1
    assert found['whitecrow_risk_score_count{model="shop"}'] == 3
    assert found['whitecrow_risk_score_sum{model="shop"}'] == pytest.approx(1.5)


def test_first_answers_sent_again_and_test_identities_are_no_decisions() -> None:
    tally = ServiceTally()
    tally.record(ended(answers=[answer(RepeatedAnswer, content=b"{}")]))
    tally.record(ended(answers=[answer(flags=("test_identity",))]))

    assert dict(tally.decisions) == {}
    assert dict(tally.repeated_answers) == {"shop": 1}


def test_publishing_twice_adds_only_what_is_new() -> None:
    tally = ServiceTally()
    published = PublishedMetrics(tally)
    tally.record(ended())
    published.publish()
    tally.record(ended())
    published.publish()

    text = published.page()[1].decode()
    assert 'whitecrow_requests_total{code="",route="/v1/score",status="200"} 2.0' in text
    assert 'whitecrow_stage_seconds_count{stage="total"} 2.0' in text


def test_the_stage_that_took_longest_is_named_for_slow_requests_only() -> None:
    tally = ServiceTally()
    slow, quick = ended(), ended()
    slow.seconds = {"parse": 0.001, "model": 0.020, "answer": 0.002}
    slow._mark = slow.started + 0.023
    quick.seconds = {"parse": 0.001, "model": 0.002}
    quick._mark = quick.started + 0.003

    assert [tally.record(slow), tally.record(quick)] == [True, False]
    assert {stage: n for stage, n in tally.slow_requests.items() if n} == {"model": 1}


def test_stages_add_up_to_the_whole() -> None:
    trace = begin_trace()
    for stage in ("parse", "model", "parse"):
        finish_stage(stage)

    assert current_trace() is trace
    assert list(trace.seconds) == ["parse", "model"]
    assert sum(trace.seconds.values()) == pytest.approx(trace.total)


def test_an_ordinary_request_leaves_no_line_and_others_one_with_the_decision(
    capsys: pytest.CaptureFixture[str],
) -> None:
    configure_logs(level="INFO", as_json=True)
    recorder = RequestRecorder(ServiceTally())
    for change, late in (({}, 0.0), ({}, 0.05), ({"status": 503, "code": "overloaded"}, 0.0)):
        trace = recorder.begin()
        trace.route, trace.status, trace.code = "/v1/score", 200, ""
        for name, value in change.items():
            setattr(trace, name, value)
        trace.answers = [] if trace.code else [answer()]
        trace.started -= late
        trace._mark -= late
        recorder.end(trace)

    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [(line["event"], line["level"]) for line in lines] == [
        ("slow request", "info"), ("request failed", "warning"),
    ]  # fmt: skip
    assert [line["decision_id"] for line in lines] == ["d1", None]
    assert (lines[0]["slowest"], lines[1]["code"]) == ("answer", "overloaded")
    assert recorder.tally.n_under_way == 0


def test_a_failed_batch_names_its_first_decisions(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    recorder = RequestRecorder(ServiceTally())
    trace = recorder.begin()
    trace.status = 500
    trace.answers = [answer(decision_id=f"d{at}") for at in range(9)]
    recorder.end(trace)

    (record,) = caplog.records
    assert (record.n_rows, record.first_decision_ids) == (9, ["d0", "d1", "d2", "d3", "d4"])


def test_what_broke_is_one_line_with_its_cause(caplog: pytest.LogCaptureFixture) -> None:
    recorder = RequestRecorder(ServiceTally())
    trace = recorder.begin()
    trace.status, trace.code = 500, "internal_error"
    cause = trace.error = ZeroDivisionError("the cause")
    recorder.end(trace)

    (record,) = caplog.records
    assert (record.levelno, record.message, record.code) == (
        logging.ERROR, "request failed", "internal_error",
    )  # fmt: skip
    assert record.exc_info is not None
    assert record.exc_info[1] is cause
    assert trace.error is None


def test_collections_are_counted_until_that_is_ended() -> None:
    tally = ServiceTally()
    end = count_collections(tally)
    gc.collect()
    end()
    gc.collect()

    assert sum(tally.collections["2"].counts) == 1


def test_the_version_that_answered_before_answers_no_more() -> None:
    tally = ServiceTally()
    published = PublishedMetrics(tally)
    tally.versions = {"shop": ("1", "1")}
    published.publish()
    tally.versions, tally.failed_models = {"shop": ("2", "1")}, frozenset({"outlet"})

    text = published.page()[1].decode()
    assert 'whitecrow_model_serving{model="shop",policy_version="1",version="1"} 0.0' in text
    assert 'whitecrow_model_serving{model="shop",policy_version="1",version="2"} 1.0' in text
    assert 'whitecrow_model_failed{model="outlet"} 1.0' in text
    assert 'whitecrow_model_failed{model="shop"} 0.0' in text


def test_lag_is_the_time_for_which_nothing_that_waits_is_written() -> None:
    class Log:
        n_waiting, n_kept, n_committed = 0, 0, 0

    log, now = Log(), [100.0]
    lag = CommitLag(log, now=lambda: now[0])
    found = [lag()]
    for waiting, kept, committed, moment in (
        (3, 0, 0, 101.0), (3, 0, 0, 104.0), (3, 0, 2, 105.0), (0, 3, 2, 107.0), (0, 0, 5, 108.0),
    ):  # fmt: skip
        log.n_waiting, log.n_kept, log.n_committed, now[0] = waiting, kept, committed, moment
        found.append(lag())

    assert found == [0.0, 0.0, 3.0, 0.0, 2.0, 0.0]
