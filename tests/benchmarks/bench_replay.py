"""Real data replayed as traffic in time order: what monitoring, retraining and the gate make of it.

Run as ``make bench-replay`` or ``python tests/benchmarks/bench_replay.py [NAME ...]``: every figure
of the section "Real data, replayed" of ``flows/README.md``. A first version is trained on the first
part; the rest is decided by the real scoring path period by period, written to the decision log,
and its labels come in late. At the begin of each period what was served is monitored, a version
is trained on all that is known, and the gate's default rule judges it; what passes is promoted at
once. Periods and parts are fixed in ``replay_evidence/streams.py``, the configuration here: nothing
is chosen by what comes out.
"""

import argparse
import json
import logging
import os
import resource
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

from replay_evidence.streams import STREAMS

from flows.orchestration import prepare_orchestration
from flows.run_config import RunConfig
from flows.workspace import Workspace
from infra.settings import Settings

# The default strategy with half its members, folds and, at most, epochs: a dozen trainings fit into
# half an hour. Always across folds, so that all known rows but those that judge are learnt from.
CONFIG = RunConfig.model_validate(
    {
        "few_positives": 1_000_000,
        "n_folds": 2,
        "strategy": {
            "kind": "erm",
            "network": {"kind": "mlp", "n_members": 4},
            "training": {"max_epochs": 20},
        },
    }
)


def main() -> None:
    """Replay the streams that are named, and print each period when it is over."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(STREAMS)}")
    parser.add_argument("--data", type=Path, default=Settings().data_root)
    parser.add_argument("--out", type=Path, help="keep state, pages and figures in this new folder")
    parser.add_argument("--seed", type=int, default=CONFIG.seed)
    given = parser.parse_args()
    names = given.names or list(STREAMS)
    if unknown := sorted(set(names) - set(STREAMS)):
        parser.error(f"there is no {unknown[0]!r}; choose of {', '.join(STREAMS)}")
    logging.disable(logging.WARNING)
    with tempfile.TemporaryDirectory() as scratch:
        folder = given.out or Path(scratch)
        # Prefect reads its settings when it is imported.
        prepare_orchestration(Workspace.open(Settings(home=folder / "orchestration")))
        from replay_evidence.pages import period_line, tables
        from replay_evidence.replay import replay

        config = CONFIG.model_copy(update={"seed": given.seed})
        for name in names:
            print(f"== {name}, seed {given.seed}", flush=True)
            stream = STREAMS[name](given.data)
            found = replay(
                stream,
                folder / name,
                config,
                on_period=lambda each: print(period_line(each), flush=True),
            )
            record = json.dumps(asdict(found), indent=1)
            (folder / name / "replay.json").write_text(record, "utf-8")
            print(tables(found), flush=True)
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    seconds = sum(each.ru_utime + each.ru_stime for each in used)
    print(f"\n{seconds:,.0f} s of a processor, {os.cpu_count()} cores", file=sys.stderr)


if __name__ == "__main__":
    main()
