"""Log lines on standard error: readable for people, JSON for machines."""

import json
import logging
import sys
from collections.abc import Iterator
from datetime import UTC, datetime

PACKAGES = ("flows", "serving", "features", "balancing", "infra")

_STANDARD_ATTRIBUTES = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime"}


class _JsonFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": record.getMessage(),
            **_facts(record),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str, ensure_ascii=False)


class _TextFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        facts = " ".join(f"{key}={value}" for key, value in _facts(record).items())
        return f"{super().format(record)}  {facts}".rstrip()


def configure_logs(*, level: str = "WARNING", as_json: bool = False) -> None:
    """Send this project's log records to standard error; called by entry points only."""
    handler = logging.StreamHandler(sys.stderr)
    text = _TextFormatter("%(asctime)s %(levelname)-7s %(name)s: %(message)s", "%H:%M:%S")
    handler.setFormatter(_JsonFormatter() if as_json else text)
    for package in PACKAGES:
        logger = logging.getLogger(package)
        logger.handlers[:] = [handler]
        logger.setLevel(level)
        logger.propagate = False
    for logger in loggers():
        # BentoML's own logging set-up disables every logger that exists before it.
        logger.disabled = False


def loggers() -> Iterator[logging.Logger]:
    """Return this project's loggers, the packages' and those of their modules."""
    for name in list(logging.root.manager.loggerDict):
        if name.partition(".")[0] in PACKAGES:
            yield logging.getLogger(name)


def _facts(record: logging.LogRecord) -> dict[str, object]:
    return {k: v for k, v in vars(record).items() if k not in _STANDARD_ATTRIBUTES}
