"""Random edits of stored values, rows and files: all are found, by both verifiers."""

import importlib.util
import json
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from flows.audit.anchors import external_anchor
from flows.audit.evidence import write_evidence
from flows.audit.verification import verify
from infra.errors import InputError
from infra.verifier.assembled import assembled

from .conftest import Site
from .tampering import Tamperer

SEED = 7


@pytest.fixture(scope="module")
def one_file(tmp_path_factory: pytest.TempPathFactory) -> ModuleType:
    """The verifier for outsiders, as a module; another test runs it without any package."""
    path = tmp_path_factory.mktemp("verifier") / "whitecrow_verify.py"
    path.write_text(assembled(), "utf-8")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    import sys

    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module


def _said_by_us(site: Site, anchor: Path) -> str:
    try:
        return "; ".join(
            map(str, verify(site.settings, anchors=[anchor], archive=site.archive).first.values())
        )
    except InputError as error:
        return str(error)


def _said_elsewhere(site: Site, anchor: Path, one_file: Any, copy: Path) -> str:
    folder = site.home
    if site.on_server:
        try:
            write_evidence(site.settings, copy)
        except InputError as error:
            return str(error)
        folder = copy
    evidence = one_file.Evidence(
        home=folder,
        state=lambda: one_file.sqlite_rows(folder / "whitecrow.db"),
        ledger=lambda: one_file.sqlite_rows(folder / "whitecrow.db"),
        log=lambda: one_file.sqlite_rows(folder / "decisions.db"),
        anchors={anchor.name: anchor.read_bytes()},
        archive=site.archive,
        idempotency_days=7.0,
        now=time.time_ns() // 1_000,
    )
    try:
        trust = one_file.Trust(one_file.keys_of([], folder / "keys"))
        return "; ".join(map(str, one_file.verify_all(evidence, trust).first.values()))
    except one_file.Unreadable as error:
        return str(error)


def _tamper(site: Site, n_edits: int, seed: int, one_file: ModuleType, scratch: Path) -> None:
    anchor = scratch / "anchor.json"
    anchor.write_text(json.dumps(external_anchor(site.settings)), "utf-8")
    tamperer = Tamperer(site, seed, scratch)
    unseen = []
    for number in range(n_edits):
        edit = tamperer.edit()
        said = _said_by_us(site, anchor)
        said_elsewhere = _said_elsewhere(site, anchor, one_file, scratch / f"copy{number}")
        if not said or not said_elsewhere:
            unseen.append((edit, said, said_elsewhere))
        tamperer.restore()
        if number % 50 == 0:
            assert _said_by_us(site, anchor) == ""
    if unseen:
        pytest.fail("\n".join(map(str, unseen)))
    assert _said_by_us(site, anchor) == ""
    assert _said_elsewhere(site, anchor, one_file, scratch / "last") == ""


def test_some_edits_are_found(
    new_site: Callable[..., Site], one_file: ModuleType, tmp_path: Path
) -> None:
    _tamper(new_site(), 30, SEED, one_file, tmp_path)


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_a_thousand_edits_are_found(
    new_site: Callable[..., Site], one_file: ModuleType, tmp_path: Path
) -> None:
    _tamper(new_site(), 1_000, SEED + 1, one_file, tmp_path)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_edits_on_a_server_are_found(
    new_site: Callable[..., Site], database_uri: str, one_file: ModuleType, tmp_path: Path
) -> None:
    _tamper(new_site(uri=database_uri), 100, SEED + 2, one_file, tmp_path)
