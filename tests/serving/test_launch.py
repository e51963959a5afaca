"""Starting refuses in one line what cannot work, and stopping leaves nothing behind."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
import psutil
import pytest

from serving.access.keys import KeyStore, Scope
from serving.bundle import BundleMismatch
from serving.launch import (
    PortInUse,
    ServiceNotReady,
    UnknownHost,
    check_port_is_free,
    free_port,
    running_service,
    serve,
    wait_until_ready,
)
from serving.model_references import UnknownModel
from serving.model_store import ModelStore


def _home(store: ModelStore) -> Path:
    return store.bundle_folder("shop", "1").parents[2]


def test_a_port_in_use_is_refused_with_a_way_out(store: ModelStore) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]

        with pytest.raises(PortInUse, match=f"127.0.0.1:{port} .*--port {port + 1}"):
            serve(["shop"], port=port, home=_home(store))


def test_a_free_port_is_free() -> None:
    check_port_is_free("127.0.0.1", free_port())


def test_a_host_without_an_address_is_refused_with_a_way_out(store: ModelStore) -> None:
    with pytest.raises(UnknownHost, match=r"'no\.such\.host\.invalid' .*127\.0\.0\.1"):
        serve(["shop"], host="no.such.host.invalid", port=free_port(), home=_home(store))


def test_an_unknown_model_is_refused_before_anything_starts(store: ModelStore) -> None:
    with pytest.raises(UnknownModel, match="there are: shop"):
        serve(["nope"], port=free_port(), home=_home(store))


def test_a_state_folder_without_a_model_says_how_to_get_one(tmp_path: Path) -> None:
    with pytest.raises(UnknownModel, match="No model is live .*whitecrow train"):
        serve(port=free_port(), home=tmp_path)


def test_what_cannot_start_leaves_nothing_behind(tmp_path: Path) -> None:
    home = tmp_path / "home"

    with pytest.raises(UnknownModel):
        serve(port=free_port(), home=home)

    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("host", "shown"), [("0.0.0.0", "http://0.0.0.0:"), ("127.0.0.1", "http://127.0.0.1:")]
)
def test_the_log_names_the_address(new_home, tmp_path: Path, host: str, shown: str) -> None:
    new_home(tmp_path)
    KeyStore(tmp_path / "whitecrow.db").create([Scope.SCORE], actor="ada", reason="tests")
    port, log = free_port(), tmp_path / "service.log"
    with (
        log.open("w") as file,
        running_service(["shop"], host=host, port=port, home=tmp_path, log=file.fileno()),
    ):
        wait_until_ready(f"http://127.0.0.1:{port}", timeout=60)

    assert f"{shown}{port}" in log.read_text()
    assert "localhost" not in log.read_text()


def test_a_broken_bundle_is_refused_before_anything_starts(new_home, tmp_path: Path) -> None:
    store = new_home(tmp_path)
    model = store.bundle_folder("shop", "1") / "model.onnx"
    content = bytearray(model.read_bytes())
    content[100] ^= 1
    model.write_bytes(content)

    with pytest.raises(BundleMismatch, match=r"model\.onnx"):
        serve(["shop"], port=free_port(), home=tmp_path)


def test_waiting_for_nobody_ends() -> None:
    with pytest.raises(ServiceNotReady, match="not ready after 0.3 s"):
        wait_until_ready(f"http://127.0.0.1:{free_port()}", timeout=0.3)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_a_signal_ends_every_process(store: ModelStore, shop_row, number: int) -> None:
    port = free_port()
    code = (
        "import sys; from pathlib import Path; from serving.launch import serve; "
        f"sys.exit(serve(['shop'], port={port}, home=Path({str(_home(store))!r}), workers=2))"
    )
    launcher = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        wait_until_ready(f"http://127.0.0.1:{port}", timeout=60)
        for _ in range(20):
            answer = httpx.post(f"http://127.0.0.1:{port}/v1/score", json=shop_row())
            assert answer.status_code == 200
        family = psutil.Process(launcher.pid).children(recursive=True)
        assert len(family) >= 3, "a supervisor and two workers"

        launcher.send_signal(number)
        launcher.wait(30)
        _, alive = psutil.wait_procs(family, timeout=20 if number == signal.SIGKILL else 5)
    finally:
        launcher.kill()
        launcher.wait()

    assert not alive
    check_port_is_free("127.0.0.1", port)


def _readiness(url: str) -> int | None:
    """The status of /readyz; None where nobody answers."""
    try:
        return httpx.get(f"{url}/readyz", timeout=0.3).status_code
    except httpx.HTTPError:
        return None


def _writer_of(fifo: Path) -> int | None:
    """A descriptor to write to a pipe with, once somebody reads it."""
    try:
        return os.open(fifo, os.O_WRONLY | os.O_NONBLOCK)
    except OSError:
        return None


def test_readyz_is_not_200_before_rows_can_be_scored(new_home, shop_row, tmp_path: Path) -> None:
    new_home(tmp_path)
    rules, port = tmp_path / "rules" / "shop.toml", free_port()
    url, before, writer = f"http://127.0.0.1:{port}", set(), None
    with (
        (tmp_path / "service.log").open("w") as log,
        running_service(["shop"], port=port, home=tmp_path, log=log.fileno()),
    ):
        # Whoever loads the models reads this, and waits until it has been written.
        rules.parent.mkdir()
        os.mkfifo(rules)
        give_up_at = time.monotonic() + 60
        while writer is None and time.monotonic() < give_up_at:
            before.add(_readiness(url))
            writer = _writer_of(rules)
        assert writer is not None, "the service has not begun to load"
        before |= {_readiness(url) for _ in range(5)}
        rules.unlink()
        rules.touch()
        os.close(writer)
        while _readiness(url) != 200 and time.monotonic() < give_up_at:
            time.sleep(0.02)
        answer = httpx.post(f"{url}/v1/score", json=shop_row(), timeout=10)

    assert 200 not in before
    assert answer.status_code == 200
