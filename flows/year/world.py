"""The world of the simulated year: its transactions, and how they are read and trained on."""

import json
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import polars as pl

from features.contract import Contract, parse_contract, read_contract
from features.simulation.transactions import simulate_transactions, usual_scenarios_and
from flows.run_config import RunConfig
from flows.year.plan import YearPlan

_FRAUD_RATE = 0.025
_NEW_FRAUD = "relayed_taps"
NEW_FRAUD_CODE = 6
"""``TX_FRAUD_SCENARIO`` of the kind of fraud that appears during the year."""

# Small, so that a year of retrainings fits into minutes; and always across folds, so that the
# newest labelled rows are among those that are learnt from.
_TRAINING = {
    "few_positives": 1_000_000,
    "n_folds": 2,
    "strategy": {
        "kind": "erm",
        "network": {"kind": "mlp", "n_members": 4, "width": 64},
        "training": {
            "learning_rate": 2e-3,
            "max_epochs": 15,
            "evaluations_per_epoch": 1,
            "batch_size": 512,
        },
    },
}
# What passes is promoted by itself. Each lower end holds with 90 %, not with the usual 95 %: in two
# weeks this stream has too few defrauded cards for more.
_GATE_RULE = 'on_pass = "promote"\nconfidence = 0.8\n'
_TEST_SHARE, _ORACLES_TEST_SHARE = 0.1, 0.02


@dataclass(frozen=True, slots=True)
class World:
    """A simulated year on disk.

    Attributes:
        plan: What happens when.
        stream: Every transaction in order of time, with its answer key.
        contract: How a transaction is read.
        contract_file: The same as a file.
        oracle_contract_file: The same with hardly any test rows: no gate judges the oracle, so
            that it learns from all but the last few.
        gate_rule: TOML file of what the gate wants.
        config: How every model of the year is trained.
        folder: Of the tables.
    """

    plan: YearPlan
    stream: pl.DataFrame
    contract: Contract
    contract_file: Path
    oracle_contract_file: Path
    gate_rule: Path
    config: RunConfig
    folder: Path

    def between(self, since: datetime, until: datetime) -> pl.DataFrame:
        """Return the transactions of ``[since, until)``."""
        return self.stream.filter(pl.col("TX_DATETIME").is_between(since, until, closed="left"))

    def table(self, since: datetime, until: datetime) -> Path:
        """Return a file with the transactions of ``[since, until)``."""
        path = self.folder / f"{since:%Y-%m-%d}_{until:%Y-%m-%d}.parquet"
        if not path.exists():
            self.between(since, until).write_parquet(path)
        return path


def make_world(plan: YearPlan, folder: Path) -> World:
    """Simulate the year, and write down how it is read and trained on.

    Args:
        plan: What happens when.
        folder: Empty; tables and configuration are written into it.
    """
    stream = simulate_transactions(
        plan.rows,
        seed=plan.seed,
        start=plan.start.date(),
        days=plan.n_days,
        fraud_rate=_FRAUD_RATE,
        yearly_inflation=0.1,
        yearly_customer_turnover=0.5,
        yearly_terminal_turnover=0.3,
        report_days=plan.report_days,
        scenarios=usual_scenarios_and({_NEW_FRAUD: plan.day_of(plan.new_fraud_month)}),
    )
    contract = _contract(plan, _TEST_SHARE)
    gate_rule = folder / "gate.toml"
    gate_rule.write_text(_GATE_RULE, "utf-8")
    config = RunConfig.model_validate(_TRAINING | {"seed": plan.seed})
    return World(
        plan,
        stream,
        contract,
        _written(contract, folder / "contract.json"),
        _written(_contract(plan, _ORACLES_TEST_SHARE), folder / "oracle_contract.json"),
        gate_rule,
        config,
        folder,
    )


def _contract(plan: YearPlan, test_share: float) -> Contract:
    """Return the shipped contract of such streams, for labels that come as late as these."""
    shipped = read_contract("simulated_stream").model_dump(mode="json")
    # Parts next to each other in time, so that the newest labelled rows are learnt from or judge.
    fractions = [0.9 - test_share, 0.05, 0.05, test_share]
    changed = {
        "label": shipped["label"] | {"delay": f"{plan.report_days[1]}d"},
        "split": shipped["split"] | {"fractions": fractions, "gap": "0s"},
        "policy": shipped["policy"]
        | {"review": {"objective": "alert_budget", "alerts_per_day": plan.alerts_per_day}},
    }
    return parse_contract(shipped | changed, source="the contract of the simulated year")


def _written(contract: Contract, path: Path) -> Path:
    path.write_text(json.dumps(contract.model_dump(mode="json"), indent=2), "utf-8")
    return path
