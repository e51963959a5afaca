"""Files that are either whole or absent."""

import hashlib
import os
import signal
import subprocess
import sys

import pytest

from infra.storage import (
    canonical_json,
    immutable_folder,
    remove_unfinished,
    sha256_file,
    write_atomically,
)


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path) -> None:
    path = tmp_path / "policy.json"
    path.write_text("old")

    def fail() -> None:
        with write_atomically(path) as staging:
            staging.write_text("half")
            raise RuntimeError("killed")

    with pytest.raises(RuntimeError):
        fail()

    assert path.read_text() == "old"
    assert [item.name for item in tmp_path.iterdir()] == ["policy.json"]


def test_a_write_replaces_the_old_file(tmp_path) -> None:
    path = tmp_path / "deep" / "policy.json"

    with write_atomically(path) as staging:
        staging.write_text("new")

    assert path.read_text() == "new"
    assert path.stat().st_mode & 0o777 == 0o644


def test_an_immutable_folder_is_never_overwritten(tmp_path) -> None:
    final = tmp_path / "models" / "1"
    with immutable_folder(final) as staging:
        (staging / "a").write_text("first")

    def write_again() -> None:
        with immutable_folder(final) as staging:
            (staging / "a").write_text("second")

    with pytest.raises(FileExistsError):
        write_again()

    assert (final / "a").read_text() == "first"
    assert [item.name for item in final.parent.iterdir()] == ["1"]


def test_a_folder_that_fails_half_way_is_absent(tmp_path) -> None:
    def fail() -> None:
        with immutable_folder(tmp_path / "1") as staging:
            (staging / "a").write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()

    assert list(tmp_path.iterdir()) == []


def test_sha256_of_a_file_is_that_of_its_bytes(tmp_path) -> None:
    path = tmp_path / "data"
    path.write_bytes(b"x" * 3_000_000)

    assert sha256_file(path) == hashlib.sha256(b"x" * 3_000_000).hexdigest()


def test_canonical_json_does_not_depend_on_key_order() -> None:
    assert canonical_json({"b": 1, "a": [2]}) == canonical_json({"a": [2], "b": 1})
    with pytest.raises(ValueError, match="JSON compliant"):
        canonical_json(float("nan"))


@pytest.mark.parametrize("writes", ["write_atomically", "immutable_folder"])
def test_what_a_killed_process_was_writing_is_removed_when_it_is_gone(tmp_path, writes) -> None:
    program = (
        f"import sys, time; from pathlib import Path; from infra.storage import {writes}\n"
        f"with {writes}(Path({str(tmp_path)!r}) / 'policy.1') as staging:\n"
        "    print(staging.name, flush=True); time.sleep(600)"
    )
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    name = process.stdout.readline().strip()
    (tmp_path / ".hidden").touch()

    assert remove_unfinished(tmp_path) == []
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()

    assert remove_unfinished(tmp_path) == [name]
    assert [item.name for item in tmp_path.iterdir()] == [".hidden"]


def test_what_another_machine_was_writing_stays(tmp_path) -> None:
    (tmp_path / ".1.json.00000000-4194303.abc").touch()

    assert remove_unfinished(tmp_path) == []
