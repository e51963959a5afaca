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
AsOf = Annotated[
    str | None, typer.Option("--as-of", help="Know only what was known then (ISO 8601).")
]
