"""One at a time: a lock that the operating system lets go of when its holder dies.

Lock files lie in ``HOME/locks`` and stay there. Beside each one stands who took it last, so that
the next one can say whom it would have to wait for.
"""

import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock, Timeout
from pydantic import BaseModel, ConfigDict, ValidationError

from flows.run_folder import write_json
from infra.errors import Refusal
from infra.settings import Settings

logger = logging.getLogger(__name__)

_LOOKS_EVERY_S = 0.5


class Busy(Refusal):
    """Raised when another process does the same work; says who, since when, and where."""


class Holder(BaseModel):
    """Who holds a lock.

    Attributes:
        actor: Who asked for the work.
        doing: What is being done, in words.
        process: Its number on its machine.
        machine: The machine's name.
        since: When it began, in UTC.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    actor: str
    doing: str
    process: int
    machine: str
    since: datetime


@contextmanager
def one_at_a_time(
    settings: Settings, lock: str, *, doing: str, actor: str, waits: bool = False
) -> Iterator[None]:
    """Hold a lock for the block; it is free again when the process ends, however it ends.

    Args:
        settings: Where the state is.
        lock: Its name.
        doing: What is being done, for whom this one keeps waiting, such as ``retraining mine``.
        actor: Who asked for it.
        waits: Whether another process that holds it is waited for.

    Raises:
        Busy: If another process holds it, and nothing is to be waited for.
    """
    held = _file_lock(settings, lock)
    told = Path(held.lock_file).with_suffix(".json")
    try:
        held.acquire(blocking=False)
    except Timeout:
        busy = _busy(doing, told)
        if not waits:
            raise Busy(busy) from None
        logger.info("waits: %s", busy)
        held.acquire(poll_interval=_LOOKS_EVERY_S)
    try:
        holder = Holder(
            actor=actor,
            doing=doing,
            process=os.getpid(),
            machine=socket.gethostname(),
            since=datetime.now(UTC),
        )
        write_json(told, holder.model_dump(mode="json"))
        yield
    finally:
        held.release()


def is_taken(settings: Settings, lock: str) -> bool:
    """Return whether a process holds a lock at this moment."""
    try:
        with _file_lock(settings, lock).acquire(blocking=False):
            return False
    except Timeout:
        return True


def _file_lock(settings: Settings, lock: str) -> FileLock:
    folder = settings.root / "locks"
    folder.mkdir(parents=True, exist_ok=True)
    return FileLock(folder / f"{lock}.lock")


def _busy(doing: str, told: Path) -> str:
    try:
        holder = Holder.model_validate_json(told.read_bytes())
    except (OSError, ValidationError):
        # It has only just begun, or what it wrote was damaged since.
        return f"{doing}: another process does so already. Wait for it, then try again."
    return (
        f"{doing}: {holder.actor} does so already since {holder.since:%Y-%m-%d %H:%M:%S} UTC, in "
        f"process {holder.process} on {holder.machine}. Wait for it, or end it, then try again."
    )
