"""The same job as BentoML's documentation begins: ``@bentoml.api``, default settings."""

from typing import Any

import bentoml

from serving_load.reference_job import ReferenceJob


@bentoml.service(name="stock")
class Stock:
    """Nothing but the job."""

    def __init__(self) -> None:
        self.job = ReferenceJob()

    @bentoml.api(route="/v1/score")
    def score(self, row: dict[str, Any]) -> dict[str, float]:
        """Return the log odds of a row."""
        return {"log_odds": self.job.log_odds(row)}
