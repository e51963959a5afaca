"""What a retraining gave: for a person on a terminal, for a script, and for a schedule."""

from datetime import datetime
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict
from rich.console import Console

from flows.outcome import metric_table


class RetrainOutcome(BaseModel):
    """A finished retraining.

    Attributes:
        name: Of the model.
        key: What tells this retraining from others.
        run: Name of the run's folder below ``HOME/runs``.
        run_id: MLflow's name for it.
        since: Begin of the window.
        until: End of the window.
        as_of: The moment whose knowledge counted.
        version: What was registered.
        policy_version: Its policy.
        champion: Whether it answers now: the first version of a name, or one that was promoted.
        verdict: The gate's; None for the first version of a name, which has nobody to beat.
        says: The verdict in one sentence, or why nothing was judged.
        page: The verdict's page.
        next_command: What a person may do now.
        strategy: How the imbalance was treated.
        metrics: On the test rows, by name, each with value, low and high.
        report: The run's page.
        is_repeated: Whether it had been done before, and nothing was trained now.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    key: str
    run: str
    run_id: str
    since: datetime | None
    until: datetime | None
    as_of: datetime | None
    version: str
    policy_version: str
    champion: bool
    verdict: Literal["promote", "keep", "person"] | None
    says: str
    page: str | None
    next_command: str | None
    strategy: str
    metrics: dict[str, dict[str, float]]
    report: str
    is_repeated: bool = False

    @classmethod
    def from_json(cls, value: Any) -> Self:
        """Return the outcome that :meth:`to_json` wrote."""
        return cls.model_validate(value)

    def to_json(self) -> dict[str, Any]:
        """Return the outcome as one JSON object."""
        return self.model_dump(mode="json")

    def show(self, console: Console) -> None:
        """Print the headline, the verdict and what to do next."""
        if self.is_repeated:
            console.print(
                "These rows were trained on before; nothing was trained now. --again does it anew."
            )
        else:
            console.print(metric_table(self.metrics))
        state = "champion: it answers" if self.champion else "challenger"
        console.print(
            f"Registered [bold]{self.name}:{self.version}[/] with policy {self.policy_version} "
            f"({state})."
        )
        console.print(self.says)
        if self.page is not None:
            console.print(f"Evidence: {self.page}")
        console.print(f"Report: {self.report}")
        if self.next_command is not None:
            console.print(f"Next: {self.next_command}")
