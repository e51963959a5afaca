"""The Redis server of an online state: how it is reached, and what must hold of it."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from features.online.state import StateUnreachable, mismatch
from infra.errors import InputError

logger = logging.getLogger(__name__)

TIMEOUT_S = 1.0
"""Seconds to wait for the server, unless the URI says otherwise (``?socket_timeout=0.2``)."""

# Raise it when keys or members come to mean something else.
_FORMAT = "1"


class StateServerError(InputError):
    """Raised for a Redis server that cannot hold a state: wrong URI, wrong settings, no client."""


def connect(uri: str, *, timeout: float = TIMEOUT_S) -> Any:
    """Return a client (``redis.Redis``) of a server, which has not been spoken to yet.

    Args:
        uri: Of the server.
        timeout: Seconds to wait for it, unless the URI says otherwise.

    Raises:
        StateServerError: If the URI is none, or redis-py is not installed.
    """
    try:
        import hiredis  # noqa: F401  # for features.online.redis_link
        import redis
        from redis.backoff import NoBackoff
        from redis.retry import Retry
    except ModuleNotFoundError:
        raise StateServerError(
            "Online state on Redis needs redis-py and hiredis: pip install 'whitecrow[redis]'."
        ) from None
    try:
        client = redis.Redis.from_url(
            uri,
            socket_timeout=timeout,
            socket_connect_timeout=timeout,
            # Once more and at once, on a new connection: the server may have been started anew.
            retry=Retry(NoBackoff(), 1, supported_errors=(redis.ConnectionError,)),
        )
        # An unknown option in the URI is noticed when a connection is made, not opened.
        pool = client.connection_pool
        pool.connection_class(**pool.connection_kwargs)
    except (ValueError, TypeError) as error:
        raise StateServerError(
            f"The URI of the online state is not one of Redis: {error}. "
            "Write for example redis://host:6379/0."
        ) from None
    return client


def claim(client: Any, key: bytes, state_key: str) -> None:
    """Note what a state's keys are for, or check that they are for this feature set.

    Args:
        client: Of the server.
        key: Where the note is kept.
        state_key: The plan's key.

    Raises:
        StateMismatch: If they are for another one, or from another release.
        StateServerError: If the server may drop keys when its memory is short.
    """
    _check_settings(client)
    wanted = {"format": _FORMAT, "state_key": state_key}
    pipeline = client.pipeline(transaction=True)
    for name, value in wanted.items():
        pipeline.hsetnx(key, name, value)
    pipeline.hgetall(key)
    found = {name.decode(): value.decode() for name, value in pipeline.execute()[-1].items()}
    for name, value in wanted.items():
        if found.get(name) != value:
            raise mismatch(location_of(client), found.get(name, "unknown"), value)


def location_of(client: Any) -> str:
    """Return host, port and database of a client, without user and password."""
    options = client.connection_pool.connection_kwargs
    database = options.get("db") or 0
    if "path" in options:
        return f"unix://{options['path']}?db={database}"
    return f"redis://{options.get('host', 'localhost')}:{options.get('port', 6379)}/{database}"


@contextmanager
def reachable(location: str) -> Iterator[None]:
    """Turn what goes wrong with a server into one line.

    Raises:
        StateUnreachable: If the server is gone, silent, full, or does not let anybody write.
    """
    from redis.exceptions import RedisError

    try:
        yield
    except RedisError as error:
        raise unreachable(location, error) from error


def unreachable(location: str, error: Exception) -> StateUnreachable:
    """Return the one line for what redis-py said."""
    return StateUnreachable(
        f"The online state on {location} does not answer: {_reason(error)}. "
        "Start or repair the server, or correct WHITECROW_STATE_URI."
    )


def _reason(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(" .") if lines else type(error).__name__


def _check_settings(client: Any) -> None:
    """Refuse a server that forgets by itself; warn of one that forgets when it ends."""
    from redis.exceptions import NoPermissionError

    try:
        memory, persistence = client.info("memory"), client.info("persistence")
    except NoPermissionError:
        return
    policy = memory.get("maxmemory_policy", "noeviction")
    if memory.get("maxmemory") and policy != "noeviction":
        raise StateServerError(
            f"The Redis server {location_of(client)} drops keys when its memory is short "
            f"(maxmemory-policy {policy}). Set maxmemory-policy noeviction."
        )
    if not persistence.get("aof_enabled"):
        logger.warning(
            "the Redis server keeps no append-only file: what it holds may be lost when it ends",
            extra={"server": location_of(client)},
        )
