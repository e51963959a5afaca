"""The folder of one run: every step reads what the step before wrote here, by name."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infra.storage import write_atomically


@dataclass(frozen=True, slots=True)
class RunFolder:
    """Paths of what a run makes."""

    root: Path

    @property
    def record(self) -> Path:
        """What was asked for, and MLflow's name for the run."""
        return self.root / "run.json"

    @property
    def contract(self) -> Path:
        """The contract that a retraining took over from the champion."""
        return self.root / "contract.json"

    @property
    def steps(self) -> Path:
        """Folder of what each finished step left behind."""
        return self.root / "steps"

    def is_bookkeeping(self, file: Path) -> bool:
        """Return whether a file says what the run is, and is no work of a step."""
        return file in (self.record, self.contract) or self.steps in file.parents

    @property
    def picked(self) -> Path:
        """The rows of a retraining's window, of all its sources."""
        return self.root / "data.parquet"

    def passed_of(self, role: str) -> Path:
        """Rows of a source that passed validation, typed."""
        return self.root / f"{role}_passed.parquet"

    def quarantine_of(self, role: str) -> Path:
        """Rows of a source that failed, with the rules they broke."""
        return self.root / f"{role}_quarantine.parquet"

    @property
    def validation(self) -> Path:
        """Outcome of validation, for machines."""
        return self.root / "validation.json"

    @property
    def validation_page(self) -> Path:
        """Outcome of validation, for people."""
        return self.root / "validation.html"

    @property
    def profile(self) -> Path:
        """Profile of the rows that a later run is compared with."""
        return self.root / "profile.json"

    @property
    def onnx(self) -> Path:
        """The trained network."""
        return self.root / "model.onnx"

    @property
    def search(self) -> Path:
        """Folder of the fits of a search for a strategy."""
        return self.root / "search"

    @property
    def search_record(self) -> Path:
        """Every candidate of the search, and the chosen one."""
        return self.search / "search.json"

    @property
    def training(self) -> Path:
        """How training went: epochs, history, class counts, mean logits."""
        return self.root / "training.json"

    @property
    def calibration(self) -> Path:
        """Logits, labels, amounts and times that the policy is fitted on."""
        return self.root / "calibration.parquet"

    @property
    def training_segments(self) -> Path:
        """How many training rows of each class have which values in segment columns."""
        return self.root / "training_segments.parquet"

    @property
    def fitted_rows(self) -> Path:
        """Digests of the rows the network was fitted on, where rows carry no time."""
        return self.root / "fitted_rows.parquet"

    @property
    def reference(self) -> Path:
        """Features of held-out rows, that monitoring holds later rows against."""
        return self.root / "reference.parquet"

    @property
    def lineage(self) -> Path:
        """What the version was made from, as far as no other file of the bundle says it."""
        return self.root / "lineage.json"

    @property
    def kept(self) -> tuple[Path, ...]:
        """The files that are kept with the version: for policies, for monitoring, for audits."""
        files = (
            self.calibration,
            self.training_segments,
            self.fitted_rows,
            self.reference,
            self.lineage,
            self.evaluation,
        )
        return tuple(file for file in files if file.is_file())

    @property
    def trained_logits(self) -> Path:
        """Logits of the network before export on some rows, for the parity gates."""
        return self.root / "trained_logits.parquet"

    @property
    def policy(self) -> Path:
        """The policy."""
        return self.root / "policy.json"

    @property
    def evaluation(self) -> Path:
        """Metrics with intervals, and curves."""
        return self.root / "evaluation.json"

    @property
    def plots(self) -> Path:
        """Pictures."""
        return self.root / "plots"

    @property
    def bundle(self) -> Path:
        """The model bundle, before it has a version."""
        return self.root / "bundle"

    @property
    def parity(self) -> Path:
        """The parity record."""
        return self.root / "parity.json"

    @property
    def impact(self) -> Path:
        """What a new policy would have done beside the old one, for machines."""
        return self.root / "impact.json"

    @property
    def impact_rows(self) -> Path:
        """Every row of the impact preview with both policies' scores and decisions."""
        return self.root / "impact.parquet"

    @property
    def impact_page(self) -> Path:
        """The impact preview, for people."""
        return self.root / "impact.html"

    @property
    def backfill(self) -> Path:
        """What became of a backfill, and its proof."""
        return self.root / "backfill.json"

    @property
    def report(self) -> Path:
        """The page that tells a person how the model does."""
        return self.root / "report.html"


def write_json(path: Path, value: Any) -> None:
    """Write readable JSON, whole or not at all."""
    with write_atomically(path) as staging:
        staging.write_text(json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False), "utf-8")


def read_json(path: Path) -> Any:
    """Read a JSON file."""
    return json.loads(path.read_text("utf-8"))
