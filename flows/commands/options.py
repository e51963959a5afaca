"""Options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

Data = Annotated[str, typer.Argument(help="A table: Parquet, CSV, Arrow, JSON lines, or a URI.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")]
Contract = Annotated[
    str, typer.Option("--contract", "-c", help="Contract file, or the name of a shipped one.")
]
Out = Annotated[Path, typer.Option("--out", "-o", help="File to write.")]
Seed = Annotated[int | None, typer.Option(help="Fixes the result.", min=0)]
Actor = Annotated[str | None, typer.Option(help="Who does this; default: the user.")]
Reason = Annotated[str, typer.Option(help="Why; written to the ledger.")]
ModelName = Annotated[
    str | None, typer.Option("--name", help="Model name; default: the contract's.")
]
TestRows = Annotated[
    Path | None, typer.Option("--test", help="Separate test rows; DATA is then all for fitting.")
]
Model = Annotated[str, typer.Option("--model", "-m", help="NAME, NAME@alias or NAME:3.")]
Labels = Annotated[str, typer.Argument(help="Table of ids, labels and when each was reported.")]
AsOf = Annotated[
    str | None, typer.Option("--as-of", help="Know only what was known then (ISO 8601).")
]
Since = Annotated[
    str | None, typer.Option("--from", help="Rows that happened from then on (ISO 8601).")
]
Until = Annotated[str | None, typer.Option("--to", help="Rows that happened before (ISO 8601).")]
PolicyNumber = Annotated[
    int | None, typer.Option("--policy", help="Which policy; default: the newest.", min=1)
]
AcceptDrift = Annotated[
    bool,
    typer.Option("--accept-drift", help="Train on data that lie far from the live version's, too."),
]
SearchBudget = Annotated[
    float | None, typer.Option(help="Minutes that --strategy auto may search.", min=0.01)
]
Include = Annotated[
    str | None, typer.Option(help="trees: LightGBM and XGBoost may be released, too.")
]
