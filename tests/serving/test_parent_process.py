"""A process whose parent has gone ends, and is killed where it does not."""

import os
import signal
import subprocess
import sys
import time

import pytest

from serving.parent_process import SUPERVISOR_PID, ParentProcess


@pytest.fixture
def gone() -> int:
    """The id of a process that has ended."""
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    return ended.pid


def _looking(*, before: str = "", environment: dict[str, str]) -> subprocess.Popen[bytes]:
    """A process that looks after its parent often."""
    code = (
        "import signal, time; from serving.parent_process import SUPERVISOR_PID, ParentProcess; "
        "parent = ParentProcess.named_by(SUPERVISOR_PID, patience_seconds=0.3)\n"
        f"{before}\n"
        "while True: parent.look(); time.sleep(0.02)"
    )
    return subprocess.Popen([sys.executable, "-c", code], env=os.environ | environment)


def test_a_parent_that_had_gone_before_anybody_looked_is_missed(gone: int) -> None:
    process = _looking(environment={SUPERVISOR_PID: str(gone)})

    assert process.wait(30) == -signal.SIGTERM


def test_who_does_not_end_when_told_is_killed(gone: int) -> None:
    process = _looking(
        before="signal.signal(signal.SIGTERM, signal.SIG_IGN)",
        environment={SUPERVISOR_PID: str(gone)},
    )

    assert process.wait(30) == -signal.SIGKILL


@pytest.mark.parametrize("environment", [{}, {SUPERVISOR_PID: str(os.getpid())}])
def test_a_parent_that_is_there_ends_nobody(environment: dict[str, str]) -> None:
    process = _looking(environment=environment)
    time.sleep(1.0)

    assert process.poll() is None
    process.kill()
    process.wait()


def test_without_a_name_the_present_parent_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(SUPERVISOR_PID, raising=False)

    ParentProcess.named_by(SUPERVISOR_PID).look()  # would end this very process
