"""Which code ran, and in what environment: what an auditor asks two years later."""

import importlib.metadata
import os
import platform
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

from infra.storage import sha256_file

_REPOSITORY = Path(__file__).resolve().parents[1]
UNKNOWN = "unknown"


@cache
def code_revision() -> str:
    """Return the Git commit of the running code, with ``+changes`` where files differ from it.

    Outside a checkout the installed version stands in; ``WHITECROW_CODE_REVISION`` overrides.
    """
    if named := os.environ.get("WHITECROW_CODE_REVISION"):
        return named
    commit = _git("rev-parse", "HEAD")
    if commit is None:
        return f"whitecrow {importlib.metadata.version('whitecrow')}"
    return f"{commit}+changes" if _git("status", "--porcelain") else commit


def lock_sha256() -> str | None:
    """Return the SHA-256 of the checkout's lock of dependencies; None outside a checkout."""
    lock = _REPOSITORY / "requirements.lock"
    return sha256_file(lock) if lock.is_file() else None


def environment() -> dict[str, Any]:
    """Return the interpreter, the machine and the exact version of every installed package."""
    packages = {item.name: item.version for item in importlib.metadata.distributions()}
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "memory_bytes": _memory_bytes(),
        "packages": dict(sorted(packages.items())),
    }


def _memory_bytes() -> int | None:
    """Return the machine's memory; None where the system does not tell."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return None


def _git(*arguments: str) -> str | None:
    try:
        done = subprocess.run(  # noqa: S603 - fixed arguments
            ["git", "-C", str(_REPOSITORY), *arguments],  # noqa: S607 - git is found on PATH
            capture_output=True,
            text=True,
            check=True,
            timeout=10,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
