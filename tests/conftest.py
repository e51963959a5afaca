"""Fixtures that every test may use."""

import logging
import os
from pathlib import Path

import pytest

from infra.logs import PACKAGES, loggers

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture(autouse=True)
def _loggers_as_imported() -> None:
    """Undo what a command or a server of an earlier test did: ``caplog`` hears the root only."""
    for logger in loggers():
        logger.disabled = False
    for package in PACKAGES:
        logger = logging.getLogger(package)
        logger.handlers.clear()
        logger.setLevel(logging.NOTSET)
        logger.propagate = True


@pytest.fixture(scope="session")
def data_root() -> Path:
    """The folder of real data sets; tests that need it are skipped where it is absent."""
    root = Path(os.environ.get("WHITECROW_DATA_ROOT", REPOSITORY / "../shared/data")).resolve()
    if not root.is_dir():
        pytest.skip(f"no real data: {root} is not a folder (set WHITECROW_DATA_ROOT)")
    return root


@pytest.fixture(scope="session")
def postgresql() -> str:
    """A PostgreSQL server as a URI; tests that need one are skipped where none answers."""
    psycopg = pytest.importorskip("psycopg", reason="psycopg is not installed")
    uri = os.environ.get("WHITECROW_TEST_POSTGRESQL", "postgresql://postgres@127.0.0.1:5432/test")
    try:
        psycopg.connect(uri, connect_timeout=3).close()
    except psycopg.OperationalError as error:
        pytest.skip(f"no PostgreSQL server: {str(error).splitlines()[0]}")
    return uri
