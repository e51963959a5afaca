"""``whitecrow keys``: a key is shown once, bad input is one line, the ledger hears of it all."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from infra.ledger import Ledger

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def keys(tmp_path: Path) -> Run:
    """Runs the command on a state folder of its own."""

    def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, "-c", "from flows.cli import main; main()", "keys", *arguments],
            capture_output=True, text=True, check=False,
            env={**os.environ, "WHITECROW_HOME": str(tmp_path)},
        )  # fmt: skip

    return run


def test_a_key_lives_from_its_making_to_its_revocation(keys: Run, tmp_path: Path) -> None:
    made = json.loads(
        keys(
            "create", "--scope", "score", "--scope", "label", "--name", "checkout",
            "--rate", "100/s", "--expires", "90d", "--actor", "ada", "--reason", "go live",
            "--json",
        ).stdout
    )  # fmt: skip
    revoked = keys("revoke", made["key_id"], "--actor", "bob", "--reason", "rotated")
    (listed,) = json.loads(keys("list", "--json").stdout)["keys"]

    assert made["key"].startswith(f"wc_{made['key_id']}_")
    assert (made["scopes"], made["rate"], made["state"]) == (["label", "score"], "100/s", "active")
    assert revoked.returncode == 0
    assert listed == {**{k: v for k, v in made.items() if k != "key"}, "state": "revoked"}
    told = [(e.event, e.actor, e.reason) for e in Ledger(tmp_path / "whitecrow.db").entries()]
    assert told == [("api_key_created", "ada", "go live"), ("api_key_revoked", "bob", "rotated")]


def test_people_see_the_key_once_and_then_its_name(keys: Run) -> None:
    shown = keys("create", "--scope", "admin", "--name", "ops", "--reason", "tests").stdout
    listed = keys("list").stdout

    text = shown.split()[0]
    assert "not shown again" in shown
    assert "ops" in listed
    assert text.split("_", 2)[2] not in listed
    assert f"key id is {text.split('_')[1]}," in shown


def test_a_list_that_nobody_sees_on_a_terminal_is_whole(keys: Run) -> None:
    name = "the checkout of the shop, its second site in the north (old ids)"
    made = json.loads(
        keys("create", "--scope", "score", "--scope", "label", "--name", name, "--rate", "100/s",
             "--row-rate", "2000/s", "--expires", "90d", "--reason", "x", "--json").stdout
    )  # fmt: skip

    heading, line = keys("list").stdout.splitlines()

    assert heading.split()[:2] == ["key", "id"]
    assert made["key_id"] in line
    assert name in line
    assert made["expires_at"][:16].replace("T", " ") in line


def test_a_whole_key_is_revoked_without_being_repeated(keys: Run) -> None:
    made = json.loads(keys("create", "--scope", "score", "--reason", "x", "--json").stdout)

    done = keys("revoke", made["key"], "--reason", "lost")
    again = keys("revoke", made["key"], "--reason", "lost")

    assert done.stdout.startswith(f"{made['key_id']} is revoked")
    assert "was revoked at" in again.stderr
    secret = made["key"].split("_", 2)[2]
    assert secret not in done.stdout + done.stderr + again.stdout + again.stderr


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["create", "--scope", "all", "--reason", "x"], "'all' is not one of"),
        (["create", "--scope", "score"], "Missing option '--reason'"),
        (["create", "--scope", "score", "--reason", "x", "--rate", "9"], "Got '9'"),
        (["create", "--scope", "score", "--reason", "x", "--expires", "soon"], "got 'soon'"),
        (["revoke", "nobody", "--reason", "x"], "no key 'nobody'"),
    ],
)
def test_bad_input_is_one_line(keys: Run, arguments: list[str], line: str) -> None:
    done = keys(*arguments)

    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert len(done.stderr.splitlines()) == 1
    assert line in done.stderr
