"""Judges a challenger: evidence gathered, held against the rule, told.

The verdict is written first (``gate.html`` and ``gate.json`` in a folder of its own), then the
ledger is told with the digest of the evidence, then MLflow gets its copy. Nothing that is live
changes. Several may judge at the same time: each verdict names the versions that it is about.
"""

import logging
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from flows.gate.checks import all_checks
from flows.gate.consent import GATED
from flows.gate.contenders import find_contenders
from flows.gate.evidence import gather_evidence
from flows.gate.mirror import mirror_verdict
from flows.gate.page import render_verdict
from flows.gate.rows import JudgedRows, Period, judged_rows
from flows.gate.rule import GateRule, rule_of
from flows.gate.verdict import Judgement, Verdict, contender_json, outcome_of
from flows.progress import say
from flows.run_folder import write_json
from flows.workspace import Workspace
from infra.errors import InputError
from infra.ledger import open_ledger
from infra.settings import Settings
from infra.storage import sha256_file, sha256_json, write_atomically

logger = logging.getLogger(__name__)

TEST_ROWS_READ = "test_rows.read"


class JudgeRequestError(InputError):
    """Raised when what is asked for cannot be judged."""


@dataclass(frozen=True, slots=True)
class JudgeRequest:
    """What a person, or a retraining, asks for.

    Attributes:
        name: Of the model.
        data: Paths or URIs of labelled tables of one kind; together they are their own past.
        actor: Who asks; goes to the ledger.
        reason: Why; goes to the ledger.
        as_of: The moment whose knowledge of labels counts; default: the newest event time.
        since: Rows from then on; default: all that neither version has seen.
        until: Rows before then.
        rule: What is wanted; default: the rule that holds for the model.
        challenger: A version's number, with its newest policy; default: what waits as challenger.
        seed: Decides the resamples.
    """

    name: str
    data: tuple[str, ...]
    actor: str
    reason: str
    as_of: datetime | None = None
    since: datetime | None = None
    until: datetime | None = None
    rule: GateRule | None = None
    challenger: str | None = None
    seed: int = 0


def judge_challenger(settings: Settings, request: JudgeRequest) -> Verdict:
    """Hold a challenger against its champion and return the verdict, told to the ledger.

    Rows that are too few, or that nobody can tell to be new, are a verdict too: a person has to
    decide. Where MLflow does not answer, the verdict stands all the same.

    Raises:
        UnknownModel: If there is no champion or no challenger, or they are the same.
        DataError: If a table cannot be read, or does not fit a contract.
        InputError: If the versions do not verify, or the state folder takes no writes.
    """
    _check(request)
    workspace = Workspace.open(settings)
    champion, challenger = find_contenders(settings, request.name, request.challenger)
    say("judging", f"{challenger.words} against {champion.words}")
    rule = request.rule or rule_of(settings, request.name)
    period = Period(request.as_of, request.since, request.until)
    judged = judged_rows(champion, challenger, request.data, period)
    evidence = gather_evidence(settings, champion, challenger, judged, rule, seed=request.seed)
    checks = all_checks(evidence, rule)
    outcome, says = outcome_of(checks, rule)
    judgement = Judgement(
        champion=champion,
        challenger=challenger,
        judged=judged,
        rule=rule,
        evidence=evidence,
        checks=checks,
        outcome=outcome,
        says=says,
        at=datetime.now(UTC),
        actor=request.actor,
        reason=request.reason,
        seed=request.seed,
    )
    verdict = _told(settings, workspace, judgement)
    return replace(verdict, mlflow_run_id=mirror_verdict(settings, verdict))


def _check(request: JudgeRequest) -> None:
    if not request.data:
        raise JudgeRequestError("Judging needs rows. Name a table with labels: --data FILE.")
    bounded = request.since is not None and request.until is not None
    if bounded and request.since >= request.until:  # type: ignore[operator]
        raise JudgeRequestError(
            f"The period must begin before it ends. Got {request.since} to {request.until}."
        )


def _told(settings: Settings, workspace: Workspace, judgement: Judgement) -> Verdict:
    """Write page and JSON, then the ledger."""
    folder = workspace.new_run(f"{judgement.name}-gate")
    verdict = Verdict(judgement, folder, "", 0, None)
    write_json(verdict.table, judgement.to_json())
    with write_atomically(verdict.page) as staging:
        staging.write_text(render_verdict(judgement, folder / "plots"), "utf-8")
    evidence_sha256 = sha256_file(verdict.table)
    _note_test_rows(settings, judgement)
    entry = open_ledger(settings).append(
        GATED,
        judgement.name,
        actor=judgement.actor,
        reason=judgement.reason,
        details={
            "outcome": judgement.outcome,
            "says": judgement.says,
            "champion": contender_json(judgement.champion),
            "challenger": contender_json(judgement.challenger),
            "rule_sha256": sha256_json(judgement.rule.model_dump(mode="json")),
            "evidence_sha256": evidence_sha256,
            "page_sha256": sha256_file(verdict.page),
            "folder": folder.name,
        },
    )
    return replace(verdict, evidence_sha256=evidence_sha256, ledger_sequence=entry.sequence)


def _note_test_rows(settings: Settings, judgement: Judgement) -> None:
    """Write to the ledger that rows of a version's test period were read, where they were."""
    for contender in (judgement.champion, judgement.challenger):
        manifest = contender.scorer.bundle.manifest
        n_rows = _rows_from(judgement.judged, manifest.test_from)
        if n_rows:
            open_ledger(settings).append(
                TEST_ROWS_READ,
                manifest.contract.name,
                actor=judgement.actor,
                reason="champion and challenger on rows newer than the training of both",
                details={
                    "model": judgement.name,
                    "model_version": contender.scorer.model_version,
                    "rows": n_rows,
                },
            )


def _rows_from(judged: JudgedRows, begins: datetime | None) -> int:
    if begins is None:
        return 0
    return int((judged.labelled["event_time"] >= begins).sum())
