"""What reaches standard error, and what it looks like."""

import json
import logging
import logging.config

import pytest

from infra.logs import configure_logs


def test_a_machine_reads_one_json_object_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs(level="INFO", as_json=True)
    logging.getLogger("serving.http").info("request answered", extra={"decision_id": "d-1"})

    line = json.loads(capsys.readouterr().err)
    assert line["event"] == "request answered"
    assert (line["level"], line["logger"]) == ("info", "serving.http")
    assert line["decision_id"] == "d-1"


def test_a_person_reads_the_facts_behind_the_event(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs(level="WARNING")
    logging.getLogger("features.labels").info("not shown")
    logging.getLogger("features.labels").warning("rows without a label", extra={"n_rows": 3})

    assert capsys.readouterr().err.endswith("features.labels: rows without a label  n_rows=3\n")


def test_loggers_that_another_library_switched_off_speak_again(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """BentoML's logging set-up does this to every logger made before it."""
    logger = logging.getLogger("balancing.evaluation")
    logging.config.dictConfig({"version": 1, "disable_existing_loggers": True})
    assert logger.disabled

    configure_logs()
    logger.warning("heard again")

    assert "heard again" in capsys.readouterr().err
