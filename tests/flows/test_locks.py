"""One at a time: the second is told who holds the lock, and a killed holder holds nothing."""

import logging
import os
import subprocess
import sys
import threading

import pytest

from flows.locks import Busy, is_taken, one_at_a_time
from infra.settings import Settings

HOLD = """
import sys, time
from pathlib import Path
from flows.locks import one_at_a_time
from infra.settings import Settings

settings = Settings(home=Path(sys.argv[1]))
with one_at_a_time(settings, "retrain-x", doing="retraining x", actor="ana"):
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def settings(tmp_path) -> Settings:
    return Settings(home=tmp_path)


@pytest.fixture
def holder(tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.communicate()


def test_the_second_is_told_who_holds_it_and_since_when(settings, holder) -> None:
    with (
        pytest.raises(Busy) as refused,
        one_at_a_time(settings, "retrain-x", doing="retraining x", actor="bo"),
    ):
        pass

    told = str(refused.value)
    assert told.startswith("retraining x: ana does so already since 20")
    assert f"in process {holder.pid} on " in told
    assert refused.value.exit_code == 1


def test_a_killed_holder_holds_nothing(settings, holder) -> None:
    assert is_taken(settings, "retrain-x")

    holder.kill()
    holder.wait()

    assert not is_taken(settings, "retrain-x")
    with one_at_a_time(settings, "retrain-x", doing="retraining x", actor="bo"):
        pass


def test_who_waits_is_told_for_whom_and_comes_next(settings, holder, caplog) -> None:
    threading.Timer(1, holder.kill).start()

    with (
        caplog.at_level(logging.INFO, "flows.locks"),
        one_at_a_time(settings, "retrain-x", doing="retraining x", actor="bo", waits=True),
    ):
        assert is_taken(settings, "retrain-x")

    assert holder.wait() != 0
    (record,) = caplog.records
    assert record.message.startswith("waits: retraining x: ana does so already since 20")


def test_another_name_is_another_lock(settings, holder) -> None:
    with one_at_a_time(settings, "retrain-y", doing="retraining y", actor="bo"):
        pass


def test_within_one_process_too(settings) -> None:
    with (
        one_at_a_time(settings, "z", doing="z", actor="bo"),
        pytest.raises(Busy, match=f"in process {os.getpid()}"),
        one_at_a_time(settings, "z", doing="z", actor="cy"),
    ):
        pass
    with one_at_a_time(settings, "z", doing="z", actor="cy"):
        pass


def test_a_damaged_note_of_the_holder_hides_no_lock(settings, holder) -> None:
    (settings.root / "locks" / "retrain-x.json").write_text("{")

    with (
        pytest.raises(Busy, match="another process"),
        one_at_a_time(settings, "retrain-x", doing="retraining x", actor="bo"),
    ):
        pass
