"""One way to each online state, however many models of a service look through it."""

import logging
import threading
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import NamedTuple

from features.contract import Contract
from features.online.opening import open_state
from features.online.state import OnlineState, StateUnreachable
from features.velocity import velocity_plan
from serving.decisions.layout import state_name
from serving.decisions.log import DecisionLog
from serving.decisions.replay import with_tail
from serving.state_link import StateLink

logger = logging.getLogger(__name__)

# Read and written once each for an answer, which must leave within BentoML's time-out of 2 s.
_PATIENCE_SECONDS = 0.5
_MOST_HOT_NAMED = 5


class _StateKey(NamedTuple):
    """What makes two models share a state, and the limit that it was opened with."""

    contract: str
    state_key: str
    max_clock_skew: timedelta


class StateLinks:
    """Hands out links to online states; a model that is swapped goes on with the same one.

    Args:
        folder: Where SQLite files lie.
        state_uri: A server or a file instead.
        log: Its end is applied to a state that is opened.
    """

    def __init__(
        self, folder: Path, state_uri: str | None = None, *, log: DecisionLog | None = None
    ) -> None:
        self._log = log
        self._folder = folder
        self._state_uri = state_uri
        self._lock = threading.Lock()
        self._links: dict[_StateKey, StateLink] = {}
        self._n_users: dict[_StateKey, int] = {}

    def take(self, contract: Contract) -> StateLink:
        """Return the link of a contract with features over time, to be given back.

        Raises:
            StateMismatch: If the state was made for another feature set.
            StateLocationError: If the URI names no kind of store.
        """
        key = _state_key(contract)
        with self._lock:
            if key not in self._links:
                self._links[key] = self._open(contract)
            self._n_users[key] = self._n_users.get(key, 0) + 1
            return self._links[key]

    def give_back(self, contract: Contract) -> None:
        """Close the link of a contract if nobody else has it."""
        key = _state_key(contract)
        with self._lock:
            self._n_users[key] -= 1
            unused = self._links.pop(key) if not self._n_users[key] else None
        if unused is not None:
            unused.close()
            self._settle(contract, unused)

    def _settle(self, contract: Contract, link: StateLink) -> None:
        """Remember that a state holds all that it was given: it was closed."""
        name = state_name(contract)
        if self._log is None or name is None:
            return
        marks = self._log.marks(name)
        if not link.n_kept and not link.has_lost_some:
            marks.kept_are_applied()
        marks.settle()

    def _open(self, contract: Contract) -> StateLink:
        open_it: Callable[[], OnlineState] = partial(
            open_state,
            contract,
            self._state_uri,
            folder=self._folder,
            patience=_PATIENCE_SECONDS,
        )
        if self._log is not None:
            open_it = partial(with_tail, open_it, contract, self._log)
        link = StateLink(open_it)
        try:
            newest = link.ask(lambda state: state.newest())
            hottest = link.ask(lambda state: state.hot_entities(_MOST_HOT_NAMED))
        except StateUnreachable:
            # Logged by the link. The policy says what becomes of rows until it is back.
            return link
        if newest is None:
            logger.warning(
                "online state is empty: features over time start from nothing; "
                "fill it from history with whitecrow backfill DATA --contract %s",
                contract.name,
            )
        for hot in hottest:
            logger.warning(
                "hot entity: each of its rows costs more than most; is it one customer or "
                "terminal?",
                extra={"entity": "_".join(hot.entity), "key": hot.key, "n_events": hot.n_events},
            )
        return link


def _state_key(contract: Contract) -> _StateKey:
    plan = velocity_plan(contract)
    return _StateKey(contract.name, plan.state_key, contract.policy.max_clock_skew)
