"""What a run says of a model that was made elsewhere."""

from typing import Literal, get_args

from pydantic import BaseModel, ConfigDict, Field

Output = Literal["logits", "log_odds", "probability"]

OUTPUTS: tuple[str, ...] = get_args(Output)


class RegisteredConfig(BaseModel):
    """A user's own model, in the place of a strategy.

    Attributes:
        file: Where it lay.
        sha256: Of the file as it was given.
        output: What it puts out, where its owner said so; None to find out by its values.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["registered"] = "registered"
    file: str
    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    output: Output | None = None
