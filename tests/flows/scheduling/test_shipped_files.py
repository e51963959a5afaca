"""The deployment files say what the code says, and those who read them take them."""

import configparser
import importlib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from prefect import Flow
from prefect.utilities.templating import apply_values
from rich.console import Console

from flows.scheduling.deployments import Deployments
from flows.scheduling.server import ensure_server

INFRA = Path(__file__).resolve().parents[3] / "infra"
PREFECT_YAML = INFRA / "prefect" / "prefect.yaml"
UNIT = INFRA / "systemd" / "whitecrow-worker.service"


def deployments() -> list[dict[str, Any]]:
    from prefect.cli.deploy._config import _load_deploy_configs_and_actions

    found, _ = _load_deploy_configs_and_actions(PREFECT_YAML, console=Console())
    return found


def test_there_is_a_deployment_for_each_kind_of_work_pool() -> None:
    pools = {each["name"]: each["work_pool"]["name"] for each in deployments()}

    assert pools == {
        "process": "whitecrow",
        "docker": "whitecrow-docker",
        "kubernetes": "whitecrow-kubernetes",
    }


@pytest.mark.parametrize("deployment", deployments(), ids=lambda each: each["name"])
def test_a_deployment_runs_one_of_our_flows_one_at_a_time(deployment) -> None:
    module, _, function = deployment["entrypoint"].rpartition(".")
    flow = getattr(importlib.import_module(module), function)

    assert isinstance(flow, Flow)
    assert deployment["concurrency_limit"]["limit"] == 1
    assert deployment["parameters"].keys() == {"name"}


def test_a_job_of_kubernetes_has_the_state_folder_where_its_flow_looks_for_it() -> None:
    template = json.loads((PREFECT_YAML.parent / "kubernetes-job.json").read_text())
    (deployment,) = (each for each in deployments() if each["name"] == "kubernetes")
    known = template["variables"]["properties"]
    given = deployment["work_pool"]["job_variables"]
    defaults = {name: each["default"] for name, each in known.items() if "default" in each}
    assert given.keys() <= known.keys()

    job = apply_values(template["job_configuration"], defaults | given)["job_manifest"]

    pod = job["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    folders = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    claims = {
        volume["name"]: volume["persistentVolumeClaim"]["claimName"] for volume in pod["volumes"]
    }
    assert (folders["state"], claims["state"]) == (
        given["env"]["WHITECROW_HOME"],
        "whitecrow-state",
    )
    assert folders.keys() == claims.keys()
    assert (container["image"], job["metadata"]["namespace"]) == ("whitecrow:latest", "whitecrow")


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.xdist_group("scheduling")
def test_a_server_takes_every_deployment_by_the_commands_in_the_head_of_the_file(
    served, tmp_path
) -> None:
    url = ensure_server(served)
    commands = re.findall(r"^#   prefect (.+)$", PREFECT_YAML.read_text(), re.MULTILINE)
    assert len(commands) == 4
    shutil.copytree(PREFECT_YAML.parent, tmp_path, dirs_exist_ok=True)

    for command in commands:
        done = subprocess.run(
            [sys.executable, "-m", "prefect", *command.split()],
            check=False,
            cwd=tmp_path,
            env={**os.environ, "PREFECT_API_URL": url},
            capture_output=True,
            text=True,
            timeout=300,
        )
        # The pool of ``whitecrow worker`` is there as soon as anything is scheduled.
        assert done.returncode == 0 or "already exists" in done.stdout, done.stdout + done.stderr

    with Deployments.at(url) as known:
        for wanted in deployments():
            name = f"whitecrow-scheduled-retrain/{wanted['name']}"
            taken = known.client.read_deployment_by_name(name)
            assert taken.work_pool_name == wanted["work_pool"]["name"]
            assert taken.job_variables == wanted["work_pool"]["job_variables"]
            assert taken.entrypoint == wanted["entrypoint"]
            # Nothing is fetched, and no folder of the machine that deployed is looked for.
            assert taken.pull_steps == []
            assert taken.global_concurrency_limit is not None
            assert taken.global_concurrency_limit.limit == 1


def test_the_unit_runs_the_worker_and_lets_it_end_its_runs() -> None:
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read(UNIT)

    service = unit["Service"]
    assert service["ExecStart"].endswith("/whitecrow --verbose worker")
    assert (service["KillMode"], service["Restart"]) == ("mixed", "always")


def test_systemd_understands_every_line_of_the_unit(tmp_path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not on the PATH")
    # It looks for the command, too, which is installed elsewhere here.
    installed = UNIT.read_text().replace("/opt/whitecrow/bin/whitecrow", sys.executable)
    unit = tmp_path / UNIT.name
    unit.write_text(installed)

    done = subprocess.run(
        ["systemd-analyze", "verify", unit], check=False, capture_output=True, text=True, timeout=60
    )

    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
