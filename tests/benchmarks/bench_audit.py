"""What proof costs: verifying a million decisions, and what chain, ledger and anchors take.

``verify`` writes a decision log of a million decisions (seed 5, 30 numbers and an id each, groups
of 32, by four writers, an anchor every 200 groups), and verifies it twice: as ``whitecrow audit
verify`` does, and with the one file for outsiders in an interpreter without packages.

``service`` loads one worker of a real service with wrk, in turn as it is and without proof: no
digest over a group, no anchors (``serving_load/without_proof/sitecustomize.py``, which this
benchmark puts on the path of the service; the product has no such switch). The model is the tests'
linear one, as cheap as a model can be, so that the share is what it is at most. What counts is the
processor time of an answer, all processes of the service together: rates of a machine that others
use as well say little.

Run ``python tests/benchmarks/bench_audit.py [verify|service]``; figures are printed.
``--decisions``, ``--rounds`` and ``--seconds`` change the sizes; ``--log-uri postgresql://…`` (an
empty database) verifies on a server.
"""

import argparse
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import msgspec
import psutil

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(REPOSITORY), str(Path(__file__).parent)]

from bench_decisions import contract_of, layout_of, make_scored  # noqa: E402
from serving_load.generators import as_fast_as_it_goes  # noqa: E402

from flows.audit.verification import verify  # noqa: E402
from infra.ledger import open_ledger  # noqa: E402
from infra.settings import Settings  # noqa: E402
from infra.signing import SigningKey, read_signing_key  # noqa: E402
from infra.verifier.assembled import assembled  # noqa: E402
from serving.answers import new_decision_ids  # noqa: E402
from serving.decisions.anchoring import Anchoring  # noqa: E402
from serving.decisions.chain import sealed_group  # noqa: E402
from serving.decisions.group_writer import Entry, GroupWriter  # noqa: E402
from serving.decisions.opening import open_store  # noqa: E402
from serving.decisions.record import Draft  # noqa: E402
from serving.decisions.sealing import read_log_secret  # noqa: E402
from serving.launch import free_port, running_service, wait_until_ready  # noqa: E402
from serving.request_context import RequestContext  # noqa: E402

N_WRITERS, GROUP, GROUPS_PER_ANCHOR = 4, 32, 200
CONNECTIONS = 16


def fill(settings: Settings, n_decisions: int) -> None:
    """Write a decision log through the writer that services use, and anchor it."""
    contract = contract_of(has_id=True, is_private=False)
    layout, samples = layout_of(contract), make_scored(contract, 1_000)
    key = SigningKey.generate()
    key.write_private(settings.keys)
    key.write_public(settings.keys)
    store = open_store(settings)
    secret, ledger = read_log_secret(settings.keys), open_ledger(settings)
    anchoring = Anchoring(
        ledger, lambda: store, lambda: read_signing_key(settings.keys), actor="benchmark"
    )
    context, number = RequestContext(key_id="till"), 0
    for _ in range(N_WRITERS):
        writer = GroupWriter(store, secret, retention_seconds=7 * 86_400)
        for group in range(n_decisions // GROUP // N_WRITERS):
            entries = []
            for decision_id in new_decision_ids(GROUP):
                sample = samples[number % len(samples)]
                row = sample.row | {"ID": str(number)}
                answer = msgspec.structs.replace(
                    sample.answer, decision_id=decision_id, id=row["ID"]
                )
                draft = Draft(
                    layout.identity(row, context, None), context.received_at, "till", row,
                    sample.scored, answer, {"model": 500},
                )  # fmt: skip
                entries.append(Entry(draft, layout))
                number += 1
            writer.commit(entries, [])
            if group % GROUPS_PER_ANCHOR == 0:
                anchoring.anchor(at_once=True)
    anchoring.anchor(at_once=True)
    store.close()


def show_verification(n_decisions: int, log_uri: str | None) -> None:
    """Print how long a verification takes, by each verifier."""
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(home=Path(folder) / "home", log_uri=log_uri)
        begun = time.perf_counter()
        fill(settings, n_decisions)
        print(f"written in {time.perf_counter() - begun:.0f} s", flush=True)
        begun = time.perf_counter(), time.process_time()
        findings = verify(settings)
        clock, core = time.perf_counter() - begun[0], time.process_time() - begun[1]
        assert findings.holds, findings.lines()
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        counts = findings.counts
        print(
            f"audit verify: {counts['decisions']:,} decisions, {counts['groups']:,} groups, "
            f"{counts['anchors']:,} anchors: {clock:.1f} s ({core:.1f} s of one core), "
            f"{peak:,.0f} MiB of memory at most"
        )
        if log_uri is not None:
            return
        file = Path(folder) / "verify.py"
        file.write_text(assembled(), "utf-8")
        begun_at = time.perf_counter()
        subprocess.run([sys.executable, "-I", "-S", str(file), str(settings.root)], check=True)
        print(f"the one file: {time.perf_counter() - begun_at:.1f} s")


def show_parts() -> None:
    """Print the processor time of the parts: a group's digest, by the decision, and an anchor."""
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(home=Path(folder) / "home")
        fill(settings, GROUP * N_WRITERS * 50)
        store = open_store(settings)
        groups = list(store.groups())
        begun = time.thread_time()
        for group in groups:
            sealed_group(group, bytes(32))
        digest = (time.thread_time() - begun) / sum(group.n_records for group in groups)
        ledger, costs = open_ledger(settings), []
        for _ in range(20):
            # As if everything had moved.
            fresh = Anchoring(ledger, lambda: store, lambda: read_signing_key(settings.keys),
                              actor="benchmark")  # fmt: skip
            fresh.anchor()
            begun = time.thread_time()
            fresh._append(store.heads(), store.heads(), ledger.head())
            costs.append(time.thread_time() - begun)
        store.close()
        anchor = statistics.median(costs)
        print(
            f"a digest: {1e6 * digest:.2f} microseconds a decision in groups of {GROUP}; an anchor "
            f"of {N_WRITERS} writers: {1e3 * anchor:.1f} ms, every {settings.anchor_seconds:.0f} s "
            f"{anchor / settings.anchor_seconds:.2%} of a core"
        )


def processor_seconds(pid: int) -> float:
    """Return the processor time of a process and of those that it started and that run."""
    parent = psutil.Process(pid)
    times = [each.cpu_times() for each in (parent, *parent.children(recursive=True))]
    return sum(each.user + each.system for each in times)


def show_service(rounds: int, seconds: int) -> None:
    """Print the rate of answers with and without proof, in turn."""
    from tests.serving.conftest import ROW, make_home

    without = Path(__file__).parent / "serving_load" / "without_proof"
    with tempfile.TemporaryDirectory() as folder:
        home, bodies = Path(folder) / "home", Path(folder) / "bodies.jsonl"
        make_home(home)
        key = SigningKey.generate()
        key.write_private(home / "keys")
        bodies.write_bytes(msgspec.json.encode(ROW | {"ORDER_ID": "@ID@"}) + b"\n")
        rates: dict[str, list[float]] = {"as it is": [], "without proof": []}
        costs: dict[str, list[float]] = {name: [] for name in rates}
        first_id = time.time_ns() // 1_000
        for _ in range(rounds):
            for name, found in rates.items():
                path = [str(REPOSITORY), *([str(without)] if name == "without proof" else [])]
                os.environ["PYTHONPATH"] = os.pathsep.join(reversed(path))
                port = free_port()
                with (
                    (home / "service.log").open("ab") as log,
                    running_service(["shop"], port=port, home=home, log=log.fileno()) as process,
                ):
                    wait_until_ready(f"http://127.0.0.1:{port}")
                    for length in (2, seconds):
                        first_id += 10_000_000
                        before = processor_seconds(process.pid)
                        load = as_fast_as_it_goes(
                            f"http://127.0.0.1:{port}/v1/score", bodies, seconds=length,
                            connections=CONNECTIONS, first_id=first_id, scratch=Path(folder),
                        )  # fmt: skip
                    cost = (processor_seconds(process.pid) - before) / load.n_requests
                assert load.n_failed == 0, load
                found.append(load.rate)
                costs[name].append(1e6 * cost)
                print(f"{name}: {load.rate:,.0f} answers a second, {1e6 * cost:.0f} microseconds "
                      "of a core each", flush=True)  # fmt: skip
        n_anchors = sum(1 for _ in open_ledger(Settings(home=home)).stream())
        for what, measured in (("answers a second", rates), ("microseconds an answer", costs)):
            ratios = [a / b for a, b in zip(*measured.values(), strict=True)]
            medians = {name: statistics.median(found) for name, found in measured.items()}
            print(
                f"{what}, medians of {rounds}: {medians['as it is']:,.0f} as it is, "
                f"{medians['without proof']:,.0f} without proof; ratio of pairs: median "
                f"{statistics.median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f})"
            )
        print(f"{n_anchors} anchors")


def main() -> None:
    """Print each figure on a line of its own."""
    parser = argparse.ArgumentParser()
    parser.add_argument("halves", nargs="*", default=["verify", "service"])
    parser.add_argument("--decisions", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=10)
    parser.add_argument("--log-uri")
    given = parser.parse_args()
    print(f"{os.cpu_count()} cores, {platform.processor() or platform.machine()}, "
          f"Python {platform.python_version()}, load {os.getloadavg()[0]:.1f}")  # fmt: skip
    if "verify" in given.halves:
        show_verification(given.decisions, given.log_uri)
    if "service" in given.halves:
        show_parts()
        show_service(given.rounds, given.seconds)


if __name__ == "__main__":
    main()
