"""Files that are either whole or absent, and the hashes that name them."""

import hashlib
import json
import os
import re
import shutil
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_BLOCK_BYTES = 1 << 20
_UNFINISHED = re.compile(r"\..+\.(?P<host>[0-9a-f]{8})-(?P<process>\d+)\.[^.]+")


def sha256_file(path: Path | str) -> str:
    """Return the SHA-256 of a file's bytes, in hexadecimal."""
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        while block := stream.read(_BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()


def canonical_json(value: Any) -> str:
    """Return JSON text that is the same for equal values: sorted keys, no spaces, no NaN."""
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )


def sha256_json(value: Any) -> str:
    """Return the SHA-256 of a value's canonical JSON, in hexadecimal."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


@contextmanager
def write_atomically(path: Path | str) -> Iterator[Path]:
    """Yield a temporary path beside ``path`` that takes its place when the block ends well.

    The bytes are on disk before the rename, so a crash leaves the old file or the new one.
    On an error nothing is left behind.
    """
    final = Path(path)
    final.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=_unfinished(final), dir=final.parent)
    os.close(handle)
    staging = Path(name)
    try:
        yield staging
        flush_to_disk(staging)
        staging.chmod(0o644)
        staging.replace(final)
        flush_to_disk(final.parent)
    finally:
        staging.unlink(missing_ok=True)


def write_once(path: Path, content: bytes, *, mode: int = 0o644) -> bool:
    """Write a whole file unless its name is taken, even by another process; say if it was."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=_unfinished(path)) as staging:
        staging.write(content)
        staging.flush()
        Path(staging.name).chmod(mode)
        os.fsync(staging.fileno())
        try:
            # A hard link fails where the name exists, even against another process.
            os.link(staging.name, path)
        except FileExistsError:
            return False
    flush_to_disk(path.parent)
    return True


@contextmanager
def immutable_folder(path: Path | str) -> Iterator[Path]:
    """Yield a staging folder that becomes ``path`` when the block ends well.

    Raises:
        FileExistsError: If ``path`` exists already; what is written once is never replaced.
    """
    final = Path(path)
    final.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=_unfinished(final), dir=final.parent))
    try:
        yield staging
        for file in staging.rglob("*"):
            flush_to_disk(file)
        if final.exists():
            raise FileExistsError(f"{final} exists already and is never overwritten.")
        staging.chmod(0o755)
        staging.rename(final)
        flush_to_disk(final.parent)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def remove_unfinished(folder: Path) -> list[str]:
    """Remove what killed processes of this machine were writing in a folder; return the names.

    What a process that lives is writing stays, and what another machine's is: nobody here can tell.
    """
    found = {path: _UNFINISHED.fullmatch(path.name) for path in folder.glob(".*")}
    left = [
        path
        for path, match in found.items()
        if match is not None
        and match["host"] == _this_host()
        and not _is_alive(int(match["process"]))
    ]
    for path in left:
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
    return sorted(path.name for path in left)


def _unfinished(final: Path) -> str:
    """Return how the name begins of what is to become a file or folder: hidden, and whose it is."""
    return f".{final.name}.{_this_host()}-{os.getpid()}."


def _this_host() -> str:
    return hashlib.sha256(socket.gethostname().encode()).hexdigest()[:8]


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # another user's
        pass
    return True


def flush_to_disk(path: Path) -> None:
    """Return once a file's bytes, or a folder's list of names, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
