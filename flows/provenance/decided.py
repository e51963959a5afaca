"""How many decisions each version made: counted from the decision log, a group at a time."""

import contextlib
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec

from features.online.events import moment_of
from infra.settings import Settings
from serving.decisions.opening import open_store
from serving.decisions.store import DecisionStore


class _Model(msgspec.Struct, frozen=True, gc=False):
    name: str
    version: str
    policy_version: str


class _Said(msgspec.Struct, frozen=True, gc=False):
    """What of an answer is counted."""

    decision: str
    model: _Model


_said = msgspec.json.Decoder(_Said).decode

Versions = tuple[str, str, str]
"""Name, model version and policy version."""


@dataclass(slots=True)
class Tally:
    """The decisions of one version with one policy.

    Attributes:
        decisions: How many.
        by_decision: How many of each.
        first: When the first was asked for, in microseconds since 1970.
        last: The last.
    """

    decisions: int
    by_decision: dict[str, int]
    first: int
    last: int

    def to_json(self) -> dict[str, object]:
        """Return it as JSON values."""
        first, last = (moment_of(each).isoformat() for each in (self.first, self.last))
        return {
            "decisions": self.decisions,
            "by_decision": dict(sorted(self.by_decision.items())),
            "first": first,
            "last": last,
        }


def count_decisions(settings: Settings) -> Mapping[Versions, Tally]:
    """Return what each version with each policy decided; retired days are in the log no more.

    Raises:
        LogUnreachable: If the log does not answer.
        LogMismatch: If it is none, or another secret's.
    """
    found: dict[Versions, Tally] = {}
    with _log(settings) as store:
        for group in store.groups() if store else ():
            for stored in group.decoded():
                said = _said(stored.answer)
                model, at = said.model, stored.received_at
                key = (model.name, model.version, model.policy_version)
                tally = found.setdefault(key, Tally(0, {}, at, at))
                tally.decisions += 1
                tally.by_decision[said.decision] = tally.by_decision.get(said.decision, 0) + 1
                tally.first, tally.last = min(tally.first, at), max(tally.last, at)
    return found


def version_of_decision(settings: Settings, decision_id: str) -> tuple[str, str, str] | None:
    """Return name, version and policy of a logged decision; None where the log has none of it.

    Raises:
        LogUnreachable: If the log does not answer.
        LogMismatch: If it is none, or another secret's.
    """
    try:
        wanted = uuid.UUID(decision_id).bytes
    except ValueError:
        return None
    with _log(settings) as store:
        found = store.find_decision(wanted) if store else None
    if found is None:
        return None
    model = _said(found[1].answer).model
    return model.name, model.version, model.policy_version


@contextlib.contextmanager
def _log(settings: Settings) -> Iterator[DecisionStore | None]:
    """Yield the decision log; None where there is none yet, which asking must not make."""
    uri = settings.log_uri
    file = settings.root / "decisions.db" if uri is None else Path(uri)
    if "://" not in str(uri) and not file.is_file():
        yield None
        return
    with contextlib.closing(open_store(settings)) as store:
        yield store
