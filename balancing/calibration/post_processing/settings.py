"""What the settings of every post-processing have in common."""

from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict


class PostProcessingSettings(BaseModel):
    """Frozen, misspelt keys refused: these settings are part of a policy's hash."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @property
    def is_segmented(self) -> bool:
        """Whether rows of different segments are treated differently, which re-ranks them."""
        return False


def check_classes(**figures: Sequence[float]) -> None:
    """Refuse figures per class that do not agree on how many classes there are.

    Raises:
        ValueError: If the lengths differ or there are fewer than two classes.
    """
    lengths = {name: len(values) for name, values in figures.items()}
    if len(set(lengths.values())) != 1 or min(lengths.values()) < 2:
        found = ", ".join(f"{name}: {length}" for name, length in lengths.items())
        raise ValueError(f"Figures per class must agree on two or more classes. Got {found}.")
