"""The served page at ``/docs`` in a real browser, a telephone's too; what it shows works."""

import contextlib
import itertools
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")


class Page:
    """An opened page: asks the browser, and keeps what its console said."""

    def __init__(self, socket: Any) -> None:
        self._socket = socket
        self._numbers = itertools.count(1)
        self.events: list[dict[str, Any]] = []

    def ask(self, method: str, **params: Any) -> dict[str, Any]:
        number = next(self._numbers)
        self._socket.send(json.dumps({"id": number, "method": method, "params": params}))
        while (said := self._heard()).get("id") != number:
            self.events.append(said)
        assert "error" not in said, said
        result: dict[str, Any] = said["result"]
        return result

    def open(self, url: str, *, width: int) -> None:
        for domain in ("Page", "Runtime", "Log"):
            self.ask(f"{domain}.enable")
        self.ask(
            "Emulation.setDeviceMetricsOverride",
            width=width, height=800, deviceScaleFactor=1, mobile=width < 500,
        )  # fmt: skip
        self.ask("Page.navigate", url=url)
        while not any(event.get("method") == "Page.loadEventFired" for event in self.events):
            self.events.append(self._heard())

    def value(self, expression: str) -> Any:
        return self.ask("Runtime.evaluate", expression=expression, returnByValue=True)["result"][
            "value"
        ]

    @property
    def complaints(self) -> list[dict[str, Any]]:
        wanted = ("Log.entryAdded", "Runtime.exceptionThrown", "Runtime.consoleAPICalled")
        return [event for event in self.events if event.get("method") in wanted]

    def _heard(self) -> dict[str, Any]:
        heard: dict[str, Any] = json.loads(self._socket.recv(timeout=30))
        return heard


@pytest.fixture
def page(tmp_path: Path) -> Iterator[Page]:
    from websockets.sync.client import connect

    command = [
        str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run",
        "--disable-background-networking", "--disable-component-update", "--disable-sync",
        f"--user-data-dir={tmp_path / 'profile'}", "--remote-debugging-port=0", "about:blank",
    ]  # fmt: skip
    browser = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        port = _port(tmp_path / "profile" / "DevToolsActivePort")
        with connect(_page_address(port), max_size=None, proxy=None) as socket:
            yield Page(socket)
    finally:
        browser.terminate()
        browser.wait(20)


def _port(file: Path) -> int:
    until = time.monotonic() + 60
    while time.monotonic() < until:
        with contextlib.suppress(OSError, IndexError, ValueError):
            return int(file.read_text().splitlines()[0])
        time.sleep(0.05)
    raise TimeoutError("the browser did not start")


def _page_address(port: int) -> str:
    import httpx

    targets = httpx.get(f"http://127.0.0.1:{port}/json", trust_env=False).json()
    return str(next(each["webSocketDebuggerUrl"] for each in targets if each["type"] == "page"))


@pytest.mark.parametrize("width", [390, 1280])
def test_it_renders_without_complaints_and_fits(page: Page, service_url: str, width: int) -> None:
    page.open(f"{service_url}/docs", width=width)

    headings = page.value("[...document.querySelectorAll('h2')].map(each => each.innerText)")
    assert page.value("window.innerWidth") == width
    shown = page.value("document.documentElement.clientWidth")
    assert page.value("document.documentElement.scrollWidth") <= shown <= width
    assert {"POST /v1/score", "Errors", "Repeated rows", "From Python"} <= set(headings)
    assert page.value("document.querySelectorAll('tr').length") > 40
    assert page.complaints == []


def test_one_click_marks_a_whole_example(page: Page, service_url: str) -> None:
    page.open(f"{service_url}/docs", width=1280)
    page.value("document.querySelector('pre').scrollIntoView()")
    box = page.value("JSON.stringify(document.querySelector('pre').getBoundingClientRect())")
    at = {"x": json.loads(box)["x"] + 40, "y": json.loads(box)["y"] + 20}

    for kind in ("mousePressed", "mouseReleased"):
        page.ask("Input.dispatchMouseEvent", type=kind, button="left", clickCount=1, **at)

    marked = page.value("window.getSelection().toString()")
    assert marked.strip() == page.value("document.querySelector('pre').innerText").strip()


def test_what_is_copied_works(page: Page, service_url: str, tmp_path: Path) -> None:
    page.open(f"{service_url}/docs", width=1280)
    texts = page.value("[...document.querySelectorAll('pre')].map(each => each.innerText)")
    environment = {**os.environ, "SERVICE": service_url, "KEY": ""}
    commands = [text for text in texts if text.startswith("curl") and "decisions" not in text]
    program = next(text for text in texts if "ScoringClient" in text)

    answers = [
        subprocess.run(
            ["bash", "-c", command], env=environment, capture_output=True, text=True, check=True
        ).stdout
        for command in commands
    ]
    by_client = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
    )

    assert len(commands) >= 8
    for command, answer in zip(commands, answers, strict=True):
        assert "error" not in json.loads(answer), command
    assert by_client.stdout.split()[0] in {"approve", "review", "decline"}
