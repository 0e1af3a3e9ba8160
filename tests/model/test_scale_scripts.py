"""The scripts of examples/scale, run as they stand: under torchrun, a real SLURM, and as two pods would."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from tests.model.conftest import TINY
from tests.model.test_processes import ROOT, environment, run_together, state_of
from tests.slurm import needs_slurm, slurm

SCRIPTS = ROOT / "examples" / "scale"


@pytest.fixture
def recipe(tmp_path):
    from tumorspread.model.recipe import Recipe

    path = tmp_path / "tiny.toml"
    path.write_text(Recipe.read(None, [*TINY, "run.epochs=2"]).to_toml())
    return path


def longer(out: Path, epochs: int) -> None:
    """As if the training had been cut off: its recipe asks for more epochs than are done."""
    text = (out / "recipe.toml").read_text()
    (out / "recipe.toml").write_text(text.replace("epochs = 2", f"epochs = {epochs}"))


def epochs_done(out: Path) -> list[float]:
    return [row["epoch"] for row in state_of(out)[0]]


@pytest.mark.ddp
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_script_for_one_machine_trains_and_goes_on(tiny_data, tmp_path, recipe):
    out, env = tmp_path / "run", environment(tmp_path) | {"PROCESSES": "2", "PYTHON": sys.executable}
    command = ["sh", str(SCRIPTS / "train_8_gpus.sh"), str(tiny_data), str(out), "--recipe", str(recipe)]
    subprocess.run(command, check=True, env=env, cwd=ROOT)
    assert epochs_done(out) == [1, 2]
    longer(out, 3)
    subprocess.run(command, check=True, env=env, cwd=ROOT)
    assert epochs_done(out) == [1, 2, 3]


@pytest.mark.cluster
@pytest.mark.slow
@pytest.mark.timeout(900)
@needs_slurm
def test_the_script_for_slurm_trains_on_two_nodes(tiny_data, tmp_path, recipe):
    """sbatch --wait on two slurmd, whose names only SLURM knows: the address of the first is given."""
    out, folder = tmp_path / "run", tmp_path / "slurm"
    folder.mkdir()
    with slurm(folder) as found:
        env = environment(tmp_path) | found | {"PYTHON": sys.executable, "MASTER_ADDR": "127.0.0.1"}
        options = ["--wait", "--nodes=2", "--ntasks-per-node=1", "--cpus-per-task=1", "--gpus-per-node=0"]
        where = ["--output", str(tmp_path / "job.log"), "--chdir", str(ROOT)]
        command = ["sbatch", *options, *where, str(SCRIPTS / "train_slurm.sh"), str(tiny_data), str(out)]
        done = subprocess.run([*command, "--recipe", str(recipe)], env=env, capture_output=True, text=True, check=False)
    log = (tmp_path / "job.log").read_text() if (tmp_path / "job.log").is_file() else ""
    assert done.returncode == 0, done.stderr + log
    assert epochs_done(out) == [1, 2]
    assert log.count("epoch 2/2") == log.count("wrote ") == 1


def pods() -> dict:
    service, job = yaml.safe_load_all((SCRIPTS / "train_kubernetes.yaml").read_text())
    assert (service["kind"], job["kind"]) == ("Service", "Job")
    return {"service": service, "job": job, "pod": job["spec"]["template"]["spec"]}


def test_the_pods_of_kubernetes_find_one_another_and_their_volumes():
    found = pods()
    spec, pod, container = found["job"]["spec"], found["pod"], found["pod"]["containers"][0]
    env = {one["name"]: one["value"] for one in container["env"]}
    assert all(isinstance(value, str) for value in env.values())
    assert int(env["NODES"]) == spec["completions"] == spec["parallelism"]
    assert int(env["GPUS"]) == container["resources"]["limits"]["nvidia.com/gpu"]
    assert spec["completionMode"] == "Indexed"
    name = found["job"]["metadata"]["name"]
    assert found["service"]["spec"]["selector"] == {"job-name": name}
    assert env["FIRST"] == f"{name}-0.{found['service']['metadata']['name']}"
    assert pod["subdomain"] == found["service"]["metadata"]["name"]
    assert {mount["name"] for mount in container["volumeMounts"]} == {volume["name"] for volume in pod["volumes"]}
    paths = [mount["mountPath"] for mount in container["volumeMounts"]]
    assert all(any(env[key].startswith(f"{path}/") for path in paths) for key in ("DATA", "OUT"))


@pytest.mark.ddp
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_two_pods_of_kubernetes_train(tiny_data, tmp_path, recipe):
    """The command of the container as it stands, twice, with the variables that its pods would have."""
    container, out = pods()["pod"]["containers"][0], tmp_path / "run"
    env = {one["name"]: one["value"] for one in container["env"]}
    env |= {"GPUS": "1", "FIRST": "127.0.0.1", "DATA": str(tiny_data), "OUT": str(out), "RECIPE": str(recipe)}
    env |= {"PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin", "GLOO_SOCKET_IFNAME": "lo"}
    command = [*container["command"], *container["args"]]
    commands = [["env", f"JOB_COMPLETION_INDEX={number}", *command] for number in range(2)]
    run_together(commands, tmp_path, **env)
    assert epochs_done(out) == [1, 2]
