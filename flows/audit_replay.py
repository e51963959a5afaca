"""Decisions of the past replayed from the log, one or all of a period."""

import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import chain, islice
from pathlib import Path
from typing import Any

import msgspec

from balancing.inference_platform import inference_platform
from flows.answered import deciding_model
from flows.decisions import RETIRED
from flows.retired_segments import RetiredSegments
from infra.errors import InputError, Refusal
from infra.ledger import open_ledger
from infra.settings import Settings
from serving.decisions.chain import Group
from serving.decisions.opening import open_store
from serving.decisions.record import StoredRecord
from serving.decisions.sealing import LogSecret, read_log_secret
from serving.decisions.store import DecisionStore
from serving.kept_rules import KeptRules
from serving.model_store import ModelStore
from serving.replaying.comparison import Verdict
from serving.replaying.logged import opened_decisions
from serving.replaying.models import ArchivedModels
from serving.replaying.replayer import ReplayedDecision, Replayer
from serving.replaying.side_by_side import to_json

OnProgress = Callable[[int, int], None]

_AT_ONCE = 4_096
_MOST_SHOWN = 100


class UnknownDecision(InputError):
    """Raised when no decision has the id that was asked for."""


class LogUnreadable(Refusal):
    """Raised when bytes of the log are no decisions."""


@dataclass(slots=True)
class ReplayedPeriod:
    """What the replay of a period found.

    Attributes:
        platform: Where it ran.
        n_decisions: Replayed, or tried.
        by_verdict: How many came out how.
        missing: How many lack what.
        n_same_platform: How many were decided where the replay ran; the others, and those of which
            the log does not tell, have a tolerance.
        largest_difference: Of all numbers that were compared.
        n_mismatches: How many differ.
        mismatches: The first of them, with what differs.
    """

    platform: str
    n_decisions: int = 0
    by_verdict: Counter[str] = field(default_factory=Counter)
    missing: Counter[str] = field(default_factory=Counter)
    n_same_platform: int = 0
    largest_difference: float = 0.0
    n_mismatches: int = 0
    mismatches: list[dict[str, Any]] = field(default_factory=list)

    def add(self, replayed: ReplayedDecision) -> None:
        """Count one more decision."""
        levels = {
            "features": replayed.features,
            "from_logits": replayed.from_logits,
            "from_features": replayed.from_features,
        }
        verdict = replayed.verdict
        self.n_decisions += 1
        self.by_verdict[verdict] += 1
        self.n_same_platform += replayed.is_same_platform is True
        if verdict is Verdict.EXACT:
            return
        for text in {text for level in levels.values() for text in level.missing}:
            self.missing[text] += 1
        if verdict is not Verdict.DIFFERS:
            found = max(level.largest_difference for level in levels.values())
            self.largest_difference = max(self.largest_difference, found)
            return
        self.n_mismatches += 1
        if len(self.mismatches) < _MOST_SHOWN:
            decision = replayed.decision
            self.mismatches.append(
                {
                    "decision_id": decision.stored.decision_id,
                    "writer_id": decision.writer_id,
                    "sequence": decision.stored.sequence,
                    **{name: list(level.differences) for name, level in levels.items()},
                }
            )

    def to_json(self) -> dict[str, Any]:
        """Return it as one JSON object."""
        return {
            "platform": self.platform,
            "n_decisions": self.n_decisions,
            "by_verdict": {each: self.by_verdict[each] for each in Verdict},
            "missing": dict(self.missing.most_common()),
            "n_same_platform": self.n_same_platform,
            "largest_difference": self.largest_difference,
            "n_mismatches": self.n_mismatches,
            "mismatches": self.mismatches,
        }


def replay_decision(
    settings: Settings, decision_id: str, *, archive: Path | None = None
) -> dict[str, Any]:
    """Return one decision, logged and replayed side by side.

    Args:
        settings: Name the log and the models.
        decision_id: As the answer named it.
        archive: Folder of retired days, to look there, too.

    Raises:
        UnknownDecision: If there is no such decision.
        ArchiveRefused: If the folder holds no retired days, or changed ones.
        LogUnreachable: If the log does not answer.
    """
    try:
        wanted = uuid.UUID(decision_id)
    except ValueError:
        raise UnknownDecision(
            f"A decision's id is a UUID, as the answer gives it. Got {decision_id!r}."
        ) from None
    store, secret = _opened(settings)
    try:
        found = store.find_decision(wanted.bytes)
        if found is None and archive is not None:
            found = _retired(settings, archive).find(str(wanted))
        if found is None:
            raise UnknownDecision(_unknown(store, decision_id, archive))
        (replayed,) = _replayer(settings, secret).replay(opened_decisions([found], store, secret))
    finally:
        store.close()
    return to_json(replayed, platform=inference_platform())


def replay_period(
    settings: Settings,
    *,
    begin: datetime | None = None,
    end: datetime | None = None,
    model: str | None = None,
    archive: Path | None = None,
    on_progress: OnProgress = lambda _done, _total: None,
) -> ReplayedPeriod:
    """Replay what was decided in a period and return what came of it.

    Args:
        settings: Name the log and the models.
        begin: Received from then on.
        end: Received before.
        model: Of this model only.
        archive: Folder of retired days that belong to the period, too.
        on_progress: Told of decisions done and decisions in the period's days.

    Raises:
        ArchiveRefused: If the folder holds no retired days, or changed ones.
        LogUnreachable: If the log does not answer.
        LogUnreadable: If bytes of the log are no decisions.
    """
    # A commit is never before what it commits; the day of the clock may be one off.
    first = None if begin is None else (_utc(begin) - timedelta(days=1)).date().isoformat()
    store, secret = _opened(settings)
    period = ReplayedPeriod(inference_platform())
    replayer = _replayer(settings, secret)
    try:
        total = sum(each.n_records for each in store.segments() if each.name >= (first or ""))
        retired = iter(()) if archive is None else _retired(settings, archive).groups(first=first)
        groups = chain(retired, store.groups(first_segment=first))
        records = _wanted(groups, begin, end, model)
        while part := list(islice(records, _AT_ONCE)):
            for replayed in replayer.replay(opened_decisions(part, store, secret)):
                period.add(replayed)
            on_progress(period.n_decisions, max(total, period.n_decisions))
    finally:
        store.close()
    return period


def _opened(settings: Settings) -> tuple[DecisionStore, LogSecret]:
    secret = read_log_secret(settings.keys, settings.log_secret)
    return open_store(settings, secret), secret


def _replayer(settings: Settings, secret: LogSecret) -> Replayer:
    models = ArchivedModels(ModelStore.open(settings))
    return Replayer(models, KeptRules(settings.root, secret), secret)


def _retired(settings: Settings, archive: Path) -> RetiredSegments:
    return RetiredSegments(archive, open_ledger(settings).entries(event=RETIRED))


def _unknown(store: DecisionStore, decision_id: str, archive: Path | None) -> str:
    message = f"No decision {decision_id}: neither in {store.location}"
    if archive is not None:
        return f"{message} nor in {archive}. Answers to test identities are not written down."
    return (
        f"{message.replace('neither', 'it is not')}. If its day was retired, give the folder: "
        "--archive FOLDER. Answers to test identities are not written down."
    )


def _wanted(
    groups: Iterator[Group], begin: datetime | None, end: datetime | None, model: str | None
) -> Iterator[tuple[str, StoredRecord]]:
    low = float("-inf") if begin is None else _utc(begin).timestamp() * 1e6
    high = float("inf") if end is None else _utc(end).timestamp() * 1e6
    for group in groups:
        try:
            records = group.decoded()
        except (msgspec.MsgspecError, IndexError):
            raise LogUnreadable(
                f"Group {group.number} of writer {group.writer_id} holds no decisions: it was "
                "changed. Run whitecrow audit verify."
            ) from None
        for stored in records:
            is_within = low <= stored.received_at < high
            if is_within and (model is None or deciding_model(stored).name == model):
                yield group.writer_id, stored


def _utc(moment: datetime) -> datetime:
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
