"""The end of the log that an online state may not know: applied again at a start.

Events are told apart by their ids, so that what the state knows already changes nothing.
"""

import logging
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from typing import Any

from features.contract import Contract
from features.online.events import Event, EventReader
from features.online.state import OnlineState
from serving.decisions.layout import opened, state_name
from serving.decisions.log import DecisionLog
from serving.decisions.record import StoredRecord
from serving.decisions.sealing import Unreadable
from serving.decisions.store import LogUnreachable

logger = logging.getLogger(__name__)

_APPLIED_AT_ONCE = 500


def with_tail(
    open_state: Callable[[], OnlineState], contract: Contract, log: DecisionLog
) -> OnlineState:
    """Open a state and apply what the log holds for it and it may lack.

    Args:
        open_state: Opens the state.
        contract: With features over time.
        log: Where its rows were written down.

    Raises:
        StateUnreachable: If the state does not answer.
        StateMismatch: If it was made for another feature set.
    """
    state = open_state()
    try:
        replay_tail(state, contract, log)
    except LogUnreachable as error:
        logger.warning("decisions could not be replayed", extra={"why": str(error)})
    except BaseException:
        state.close()
        raise
    return state


def replay_tail(state: OnlineState, contract: Contract, log: DecisionLog) -> int:
    """Apply what the log holds for a state and it may lack; return how many events that were.

    That is what comes after each writer's mark. A state that lost everything (another file, an
    empty server) gets all that the log still holds.

    Raises:
        LogUnreachable: If the log does not answer.
        StateUnreachable: If the state does not answer.
    """
    name = state_name(contract)
    assert name is not None, "a state is of features over time"
    applied = log.store.applied(name)
    if not applied:
        return 0
    if state.newest() is None:
        applied = dict.fromkeys(applied, 0)
    reached = dict(applied)
    events = _events(contract, log, applied, reached)
    n_applied = 0
    while part := list(islice(events, _APPLIED_AT_ONCE)):
        state.apply(part)
        n_applied += len(part)
    log.marks(name).adopt({writer: at for writer, at in reached.items() if at > applied[writer]})
    if n_applied:
        logger.info(
            "decisions replayed into the online state",
            extra={"contract": contract.name, "n_events": n_applied},
        )
    return n_applied


def _events(
    contract: Contract, log: DecisionLog, applied: Mapping[str, int], reached: dict[str, int]
) -> Iterator[Event]:
    reader = EventReader(contract)
    id_column = contract.columns.id
    n_erased = 0
    for group in log.store.groups(after=applied):
        after = applied[group.writer_id]
        records = [
            record
            for record in group.decoded()
            if record.sequence > after and record.model == contract.name and record.counts
        ]
        keys = log.store.subject_keys([r.subject for r in records if r.subject is not None])
        for record in records:
            row = _row(record, keys, log)
            n_erased += row is None
            if row is not None:
                own_id = None if id_column is None else row.get(id_column)
                event = reader.read(row, own_id or record.decision_id)
                if event is not None:
                    yield event
        reached[group.writer_id] = group.first_sequence + group.n_records - 1
    if n_erased:
        logger.info("decisions of erased entities left out", extra={"n_decisions": n_erased})


def _row(
    record: StoredRecord, keys: Mapping[bytes, bytes], log: DecisionLog
) -> Mapping[str, Any] | None:
    try:
        return opened(record, keys.get(record.subject or b""), log.secret)
    except Unreadable:
        return None
