"""``whitecrow serve`` starts only where strangers need a key, and says in one line why not."""

import os
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from serving.access.exposure import ServiceExposed
from serving.access.keys import KeyStore, Scope
from serving.launch import free_port, running_service, serve, wait_until_ready
from serving.rule_file import RulesUnusable


@pytest.mark.parametrize(
    ("host", "auth", "line"),
    [
        ("0.0.0.0", "on", "needs API keys, and there is none"),
        ("0.0.0.0", "off", "WHITECROW_AUTH=off is for loopback only"),
    ],
)
def test_strangers_without_keys_stop_the_start(
    new_home, tmp_path: Path, host: str, auth: str, line: str
) -> None:
    new_home(tmp_path)
    done = subprocess.run(
        [sys.executable, "-c", "from flows.cli import main; main()", "serve", "--host", host,
         "--port", str(free_port())],
        capture_output=True, text=True, check=False,
        env={**os.environ, "WHITECROW_HOME": str(tmp_path), "WHITECROW_AUTH": auth},
    )  # fmt: skip

    assert done.returncode == 2
    assert line in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_auth_off_is_refused_even_with_keys_where_strangers_listen(
    new_home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    new_home(tmp_path)
    KeyStore(tmp_path / "whitecrow.db").create([Scope.SCORE], actor="ada", reason="tests")
    monkeypatch.setenv("WHITECROW_AUTH", "off")

    with pytest.raises(ServiceExposed, match="--host 127.0.0.1"):
        serve(["shop"], host="0.0.0.0", port=free_port(), home=tmp_path)


def test_a_service_on_loopback_may_be_started_without_asking_for_keys(
    new_home, shop_row, tmp_path: Path
) -> None:
    new_home(tmp_path)
    KeyStore(tmp_path / "whitecrow.db").create([Scope.SCORE], actor="ada", reason="tests")
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    with (
        (tmp_path / "service.log").open("w") as log,
        running_service(["shop"], port=port, home=tmp_path, auth=False, log=log.fileno()),
    ):
        wait_until_ready(url, timeout=60)
        answer = httpx.post(f"{url}/v1/score", json=shop_row(), timeout=10)
        auth = httpx.get(f"{url}/v1/model", timeout=10).json()["auth"]

    assert (answer.status_code, auth) == (200, "off")


def test_broken_hard_rules_stop_the_start(new_home, tmp_path: Path) -> None:
    new_home(tmp_path)
    rules = tmp_path / "rules" / "shop.toml"
    rules.parent.mkdir()
    rules.write_text("[[deny]]")

    with (
        pytest.raises(RulesUnusable, match=r"shop\.toml: deny\.0\.name: Field required"),
        running_service(["shop"], port=free_port(), home=tmp_path),
    ):
        pytest.fail("it must not start")


def test_without_any_key_loopback_is_open_and_says_so(client: httpx.Client) -> None:
    assert client.get("/v1/model").json()["auth"] == "open on loopback"
