"""Opening a state: a SQLite file of this machine, or a Redis server for several."""

from datetime import timedelta
from pathlib import Path

from features.contract import Contract
from features.durations import microseconds
from features.online.state import LATENESS, Clock, OnlineState, SkewGuard, system_clock
from features.velocity import velocity_plan
from infra.errors import InputError

_SERVERS = ("redis://", "rediss://", "unix://")


class StateLocationError(InputError):
    """Raised for a state URI that names no kind of store."""


def open_state(
    contract: Contract,
    uri: str | None = None,
    *,
    folder: Path,
    lateness: timedelta = LATENESS,
    clock: Clock = system_clock,
    patience: float | None = None,
) -> OnlineState:
    """Return the state of a contract's feature set, made where there is none yet.

    Args:
        contract: Resolved; with features over time.
        uri: ``redis://…`` or the path of a SQLite file; default: a file in ``folder``.
        folder: Where SQLite files lie (``settings.state_folder``).
        lateness: How long after the longest look-back an event may still arrive.
        clock: The present moment, for ``policy.max_clock_skew``.
        patience: Seconds to wait for a server, or for another process that writes a file;
            default: the store's own. What a Redis URI says comes before it.

    Raises:
        StateMismatch: If what is there was made for another feature set.
        StateUnreachable: If the server does not answer or the file stays locked.
        StateLocationError: If the URI names no kind of store.
    """
    plan = velocity_plan(contract)
    guard = SkewGuard(microseconds(contract.policy.max_clock_skew), clock)
    if uri is not None and is_server(uri):
        # Imported here: needs the extra ``redis``.
        from features.online.redis import RedisState
        from features.online.redis_server import TIMEOUT_S

        timeout = TIMEOUT_S if patience is None else patience
        return RedisState.open(
            uri, contract.name, plan, guard=guard, lateness=lateness, timeout=timeout
        )
    if uri is not None and "://" in uri:
        raise StateLocationError(
            f"The online state must be a redis:// URI or a file. Got {uri.partition('://')[0]}://…"
        )
    from features.online.sqlite import BUSY_TIMEOUT_S, SqliteState

    path = Path(uri) if uri is not None else state_file(folder, contract)
    busy_timeout = BUSY_TIMEOUT_S if patience is None else patience
    return SqliteState.open(
        path, contract.name, plan, guard=guard, lateness=lateness, busy_timeout=busy_timeout
    )


def is_server(uri: str) -> bool:
    """Return whether a URI names a server and not a file of this machine."""
    return uri.startswith(_SERVERS)


def state_file(folder: Path, contract: Contract) -> Path:
    """Return the SQLite file of a contract's feature set."""
    return folder / f"{contract.name}-{velocity_plan(contract).state_key[:12]}.db"
