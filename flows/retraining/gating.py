"""What becomes of a retrained version: judged, then promoted, kept waiting, or left to a person."""

import shlex
from typing import Any

from features.ingestion.database import without_password
from flows.gate.judging import JudgeRequest, judge_challenger
from flows.gate.verdict import KEEP, PERSON, PROMOTE
from flows.interrupted_changes import finish_interrupted_change
from flows.promotion import Mirror, promote
from flows.release import Released
from flows.retraining.request import RetrainRequest
from infra.errors import Refusal
from infra.settings import Settings
from serving.model_store import ModelStore


def judge(
    settings: Settings, asked: RetrainRequest, data: tuple[str, ...], released: Released
) -> dict[str, Any] | None:
    """Return the gate's verdict on a new version; None where there is no champion to beat.

    Raises:
        WhitecrowError: If the versions or the rows cannot be judged at all.
    """
    live = ModelStore.open(settings).live.get(released.name)
    if live is None or live.model_version == released.version:
        return None
    verdict = judge_challenger(
        settings,
        JudgeRequest(
            name=released.name,
            data=data,
            actor=asked.actor,
            reason=asked.reason,
            as_of=asked.knows_until,
            until=asked.until,
            challenger=released.version,
        ),
    )
    return {
        "outcome": verdict.outcome,
        "says": verdict.says,
        "page": str(verdict.page),
        "approvals": verdict.judgement.rule.approvals,
        "champion": [live.model_version, live.policy_version],
    }


def settle(
    settings: Settings,
    asked: RetrainRequest,
    data: tuple[str, ...],
    released: Released,
    verdict: dict[str, Any] | None,
    *,
    mirror: Mirror,
) -> dict[str, Any]:
    """Promote a version if the verdict says so, and return what became of it.

    A verdict counts against the champion that it was held against: where another one answers by
    now, a person has to decide.

    Returns:
        ``champion``, ``verdict``, ``says``, ``page`` and ``next_command`` of
        :class:`flows.retraining.outcome.RetrainOutcome`.
    """
    name, version = released.name, released.version
    live = ModelStore.open(settings).live.get(name)
    if live is not None and live.model_version == version:
        finish_interrupted_change(settings, name, mirror)
        return _champion(name, verdict)
    assert verdict is not None, "without a champion the first version has become it"
    command = _command_for(name, version, verdict)
    if verdict["outcome"] != PROMOTE:
        return _challenger(verdict, command)
    if live is None or [live.model_version, live.policy_version] != verdict["champion"]:
        why = "Another champion answers by now: nothing was promoted."
        return _left_to_a_person(verdict, why, _judge_command(name, data))
    try:
        promote(
            settings,
            f"{name}:{version}",
            policy=released.policy_version,
            actor=asked.actor,
            reason=f"{asked.reason}: {verdict['says']}",
            mirror=mirror,
        )
    except Refusal as refused:
        # What the rule wants beside the verdict, or somebody else who was quicker.
        return _left_to_a_person(verdict, f"Not promoted: {refused}", command)
    return _champion(name, verdict)


def _champion(name: str, verdict: dict[str, Any] | None) -> dict[str, Any]:
    if verdict is None:
        return {
            "champion": True,
            "verdict": None,
            "says": "The first version of its name answers without a verdict.",
            "page": None,
            "next_command": f"whitecrow serve --model {name}",
        }
    return {
        "champion": True,
        "verdict": verdict["outcome"],
        "says": verdict["says"],
        "page": verdict["page"],
        "next_command": f"whitecrow rollback {name} --reason '...', should it do worse",
    }


def _challenger(verdict: dict[str, Any], command: str | None) -> dict[str, Any]:
    return {
        "champion": False,
        "verdict": verdict["outcome"],
        "says": verdict["says"],
        "page": verdict["page"],
        "next_command": command,
    }


def _left_to_a_person(verdict: dict[str, Any], why: str, command: str | None) -> dict[str, Any]:
    said = {"outcome": PERSON, "says": f"{verdict['says']} {why}"}
    return _challenger(verdict | said, command)


def _command_for(name: str, version: str, verdict: dict[str, Any]) -> str | None:
    """Return what a person may do about a verdict; nothing where the champion is to stay."""
    if verdict["outcome"] == KEEP:
        return None
    word = "approve" if verdict["approvals"] else "promote"
    return f"whitecrow {word} {name}:{version} --reason '...'"


def _judge_command(name: str, data: tuple[str, ...]) -> str:
    sources = [word for source in data for word in ("--data", without_password(source))]
    return shlex.join(["whitecrow", "judge", name, *sources])
