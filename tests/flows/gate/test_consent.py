"""Who must agree before a version goes live, through the commands."""

from collections.abc import Callable
from typing import Any

import pytest

from flows.gate.rule import GateRule
from infra.ledger import Ledger
from serving.live import CHALLENGER
from serving.model_references import ResolvedModel


@pytest.fixture
def run(till, command, monkeypatch) -> Callable[..., Any]:
    """Runs a command on the till's state folder, whose MLflow is away."""
    monkeypatch.setenv("WHITECROW_TRACKING_URI", "file:/nowhere")
    till.release(CHALLENGER)

    def done(*arguments: Any) -> Any:
        return command(till.home, *arguments)

    return done


@pytest.fixture
def wants(till) -> Callable[[int], None]:
    """Sets how many people must approve."""

    def rule(approvals: int) -> None:
        (till.home / "gates").mkdir(exist_ok=True)
        (till.home / "gates/till.toml").write_text(f"approvals = {approvals}\n")

    return rule


def live(till) -> ResolvedModel:
    return till.store.resolve("till")


def events(till) -> list[tuple[str, str]]:
    return [(e.event, e.actor) for e in Ledger(till.settings.database).entries("till")]


def test_without_a_rule_nobody_else_is_asked(run, till) -> None:
    assert run("promote", "till:2", "--reason", "x", "--actor", "bo").code == 0
    assert live(till) == ResolvedModel("till", "2", "2")


def test_a_promotion_waits_for_the_approval_of_somebody_else(run, till, wants) -> None:
    wants(1)

    alone = run("promote", "till:2", "--reason", "x", "--actor", "bo")
    own = run("approve", "till@challenger", "--reason", "mine", "--actor", "bo")
    still_alone = run("promote", "till:2", "--reason", "x", "--actor", "bo")
    approved = run("approve", "till@challenger", "--reason", "looked", "--actor", "cy")
    done = run("promote", "till:2", "--reason", "x", "--actor", "bo")

    assert (alone.code, own.code, still_alone.code, approved.code, done.code) == (1, 0, 1, 0, 0)
    assert "needs 1 approval of others than bo and has 0" in alone.error
    assert "whitecrow approve till:2 --policy 2 --reason" in alone.error
    assert live(till).model_version == "2"
    assert events(till) == [
        ("approved", "bo"), ("approved", "cy"), ("promoted.intent", "bo"), ("promoted.done", "bo"),
    ]  # fmt: skip
    entries = Ledger(till.settings.database).entries("till")
    assert entries[1].details == {
        "model_version": "2",
        "policy_version": "2",
        "model_sha256": till.store.bundle("till", "2").model_sha256,
        "policy_id": till.store.policy("till", "2").policy_id,
    }
    assert entries[2].details["consent"]["approved_by"] == ["cy"]


def test_two_approvals_are_of_two_people(run, till, wants) -> None:
    wants(2)
    assert run("approve", "till:2", "--reason", "x", "--actor", "cy").code == 0

    again = run("approve", "till:2", "--reason", "x", "--actor", "cy")
    early = run("promote", "till:2", "--reason", "x", "--actor", "bo")
    assert run("approve", "till:2", "--reason", "x", "--actor", "di").code == 0

    assert again.code == 2
    assert "cy has approved till:2 with policy 2 already" in again.error
    assert early.code == 1
    assert "needs 2 approvals of others than bo and has 1 (cy)" in early.error
    assert run("promote", "till:2", "--reason", "x", "--actor", "bo").code == 0


def test_an_approval_is_for_one_policy_and_one_version(run, till, wants) -> None:
    wants(1)
    run("approve", "till:2", "--reason", "x", "--actor", "cy")
    till.release(CHALLENGER, {"SIGNAL": 1.9})

    other = run("promote", "till@challenger", "--reason", "x", "--actor", "bo")

    assert other.code == 1
    assert "till:3 with policy 3 needs 1 approval" in other.error
    assert run("promote", "till:2", "--reason", "x", "--actor", "bo").code == 0


def test_an_approval_is_used_up_by_the_promotion_that_it_allowed(run, till, wants) -> None:
    wants(1)
    run("approve", "till:2", "--reason", "x", "--actor", "cy")
    run("promote", "till:2", "--reason", "x", "--actor", "bo")
    till.store.live.compare_and_swap("till", till.store.live.get("till"), None)
    till.release("champion")

    again = run("promote", "till:2", "--reason", "x", "--actor", "bo")

    assert again.code == 1
    assert "has 0" in again.error


def test_what_is_live_is_not_approved(run) -> None:
    done = run("approve", "till", "--reason", "x", "--json")

    assert done.code == 2
    assert "till:1 with policy 1 is live already" in done.error


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["till:9"], "till has no version 9"),
        (["nope"], "No model 'nope'"),
        (["till:2", "--policy", "9"], "no policy 9"),
        (["till:3", "--policy", "1"], "was made for model"),
    ],
)
def test_what_is_not_there_is_not_approved(run, till, arguments, message) -> None:
    till.release(CHALLENGER, {"SIGNAL": 1.9})

    done = run("approve", *arguments, "--reason", "x")

    assert done.code in (1, 2)
    assert message in done.error
    assert events(till) == []


def test_a_verdict_against_a_version_has_to_be_overruled(run, till, rows) -> None:
    till.release(CHALLENGER, {"NOISE": 1.0})
    assert till.judge(rows, rule=GateRule(max_latency_ratio=50.0)).outcome == "keep"

    refused = run("promote", "till@challenger", "--reason", "x", "--actor", "bo")
    other = run("promote", "till:2", "--reason", "x", "--actor", "bo")
    overruled = run(
        "promote", "till@challenger", "--reason", "demo", "--actor", "bo", "--despite-verdict"
    )

    assert refused.code == 1
    assert "The gate said of till:3 with policy 3: Keep the champion: average pre" in refused.error
    assert "--despite-verdict" in refused.error
    assert (other.code, overruled.code) == (0, 0)
    intent = [
        e for e in Ledger(till.settings.database).entries("till") if e.event == "promoted.intent"
    ][-1]
    assert intent.reason == "demo"
    assert intent.details["consent"] == {
        "approved_by": [], "verdict": "keep",
        "verdict_sequence": intent.details["consent"]["verdict_sequence"],
    }  # fmt: skip


def test_judging_on_the_command_line_says_the_verdict_and_the_next_command(
    run, till, rows, tmp_path
) -> None:
    rule = tmp_path / "rule.toml"
    rule.write_text('on_pass = "promote"\nmax_latency_ratio = 50.0\n')

    person = run("judge", "till", "--data", rows, "--json")
    promote = run("judge", "till", "--data", rows, "--rule", rule, "--actor", "bo")
    kept = run("judge", "till", "--data", rows)

    assert person.code == 1
    assert person.json["outcome"] in ("person", "keep")  # a busy machine may be slow once
    assert promote.code == 0, promote.out
    assert promote.out.startswith("All 9 checks passed: promote the challenger.")
    assert "MLflow does not answer and was not told; the verdict stands." in promote.out
    assert "Next: whitecrow promote till:2 --policy 2 --reason '...'" in promote.out
    assert kept.code == 0  # the rule holds from now on


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["till"], "Missing option '--data'"),
        (["nope", "--data", "ROWS"], "No model 'nope'"),
        (["till", "--data", "none.parquet"], "There is no file none.parquet"),
        (["till", "--data", "ROWS", "--from", "soon"], "--from: write a moment"),
        (["till", "--data", "ROWS", "--rule", "none.toml"], "Cannot read none.toml"),
        (["till", "--data", "ROWS", "--challenger", "7"], "till has no version 7"),
    ],
)
def test_a_bad_request_is_one_line(run, till, rows, arguments, message) -> None:
    done = run("judge", *(str(rows) if each == "ROWS" else each for each in arguments))

    assert done.code == 2
    assert message in done.error
    assert events(till) == []
