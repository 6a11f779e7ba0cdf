"""The files for Slurm, Kubernetes and compose: one command, and what a job needs around it."""

import os
import shlex
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from torch.distributed.run import get_args_parser

from bptrain.cli import app as command_line

ROOT = Path(__file__).parents[1]
SLURM = ROOT / "scripts" / "slurm.sh"
STUBS = {
    "scontrol": 'echo "scontrol $*" >> calls; [ "$1" = requeue ] || printf "node7\\nnode8\\n"',
    "scancel": 'echo "scancel $*" >> calls; touch stop',
    "srun": 'echo "srun $1" >> calls; shift; exec "$@"',
}
JOB = {
    "SLURM_JOB_ID": "41234",
    "SLURM_JOB_NODELIST": "node[7-8]",
    "SLURM_JOB_NUM_NODES": "2",
    "SLURM_CPUS_PER_TASK": "12",
    "SLURM_GPUS_ON_NODE": "4",
}


@pytest.fixture
def job(tmp_path: Path) -> dict[str, str]:
    """Return the environment of a job, with stand-ins for Slurm's commands in the folder bin."""
    (tmp_path / "bin").mkdir()
    for name, body in STUBS.items():
        write_script(tmp_path / "bin" / name, body)
    own = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    path = f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}"
    return {**own, **JOB, "PATH": path, "PYTHON": str(tmp_path / "bin" / "python")}


def write_script(path: Path, body: str) -> None:
    path.write_text(f"#!/usr/bin/env bash\n{body}\n")
    path.chmod(0o755)


def torchrun_words(words: list[str]) -> tuple[Any, list[str]]:
    """Return torchrun's own options, as its parser reads them, and the words of `bptrain`."""
    given = get_args_parser().parse_args(words)
    assert (given.module, given.training_script) == (True, "bptrain")
    return given, given.training_script_args


def assert_fit_resumes(words: list[str], config: str) -> None:
    """Check that the words are of `bptrain fit`, whose parser knows them."""
    assert words[:2] == ["fit", config]
    assert "--resume=auto" in words
    assert any(each.startswith("--run-dir") for each in words)
    import typer

    command = typer.main.get_command(command_line).commands["fit"]
    command.make_context("fit", [*words[1:]])


def test_slurm_starts_one_torchrun_a_node_with_a_process_for_each_gpu(
    job: dict[str, str], tmp_path: Path
) -> None:
    words = 'shift 2; printf "%s\\n" "$@" > words; echo $OMP_NUM_THREADS > threads'
    write_script(tmp_path / "bin" / "python", words)
    config = str(ROOT / "configs" / "digits_mlp.yaml")
    ended = subprocess.run(
        [str(SLURM), config, "optimizer.lr=0.05"],
        cwd=tmp_path,
        env=job,
        capture_output=True,
        text=True,
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    given, fit = torchrun_words((tmp_path / "words").read_text().splitlines())
    assert (given.nnodes, given.nproc_per_node, given.rdzv_id) == ("2", "4", "41234")
    assert (given.rdzv_backend, given.rdzv_endpoint) == ("c10d", "node7:21234")
    assert given.signals_to_handle == "SIGINT"
    assert_fit_resumes(fit, config)
    assert "--run-dir=runs/digits_mlp-41234" in fit
    assert (tmp_path / "threads").read_text() == "3\n"
    calls = (tmp_path / "calls").read_text().splitlines()
    assert calls == ["scontrol show hostnames node[7-8]", "srun --kill-on-bad-exit=1"]


def test_slurm_is_told_of_a_failure_and_without_words_says_how_it_is_used(
    job: dict[str, str], tmp_path: Path
) -> None:
    write_script(tmp_path / "bin" / "python", "exit 7")
    assert subprocess.run([str(SLURM), "c.yaml"], cwd=tmp_path, env=job).returncode == 7
    ended = subprocess.run([str(SLURM)], cwd=tmp_path, env=job, capture_output=True, text=True)
    assert ended.returncode == 2
    assert "usage: sbatch" in ended.stderr


def test_before_the_time_limit_the_run_is_asked_to_save_and_the_job_queued_again(
    job: dict[str, str], tmp_path: Path
) -> None:
    # torchrun ignores the signal: the training processes get it themselves, and it waits for them
    torchrun = "kill -USR1 $$; kill -TERM $$; touch started\n"
    torchrun += "while [ ! -e stop ]; do sleep 0.05; done; exit 1"
    write_script(tmp_path / "bin" / "python", torchrun)
    shell = subprocess.Popen([str(SLURM), "c.yaml"], cwd=tmp_path, env=job)
    deadline = time.monotonic() + 60
    while not (tmp_path / "started").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    shell.send_signal(signal.SIGUSR1)
    assert shell.wait(60) == 1
    calls = (tmp_path / "calls").read_text().splitlines()
    assert calls[2:] == ["scancel --signal=USR1 41234", "scontrol requeue 41234"]


def test_slurm_is_asked_for_time_to_save_and_to_queue_again() -> None:
    assert subprocess.run(["bash", "-n", str(SLURM)]).returncode == 0
    options = [line for line in SLURM.read_text().splitlines() if line.startswith("#SBATCH")]
    assert {"#SBATCH --signal=B:USR1@120", "#SBATCH --requeue", "#SBATCH --ntasks-per-node=1"} <= {
        *options
    }
    assert os.access(SLURM, os.X_OK)


def kubernetes() -> dict[str, dict[str, Any]]:
    text = (ROOT / "scripts" / "kubernetes.yaml").read_text(encoding="utf-8")
    return {each["kind"]: each for each in yaml.safe_load_all(text)}


def test_kubernetes_starts_one_torchrun_a_pod_which_meet_at_the_first() -> None:
    manifests = kubernetes()
    job, service = manifests["Job"]["spec"], manifests["Service"]
    pod = job["template"]["spec"]
    (container,) = pod["containers"]
    environment = {each["name"]: each["value"] for each in container["env"]}
    words = [word for each in container["args"] for word in shlex.split(each)]
    for name, value in environment.items():
        words = [word.replace(f"$({name})", value) for word in words]
    given, fit = torchrun_words(words)
    assert container["command"] == ["python", "-m", "torch.distributed.run"]
    assert int(given.nnodes) == job["completions"] == job["parallelism"]
    assert int(given.nproc_per_node) == container["resources"]["limits"]["nvidia.com/gpu"]
    port = service["spec"]["ports"][0]["port"]
    first = f"{manifests['Job']['metadata']['name']}-0.{service['metadata']['name']}"
    assert given.rdzv_endpoint == f"{first}:{port}"
    assert job["completionMode"] == "Indexed"
    assert pod["subdomain"] == service["metadata"]["name"]
    assert service["spec"]["clusterIP"] == "None"
    assert service["spec"]["selector"] == {"job-name": manifests["Job"]["metadata"]["name"]}
    assert (ROOT / fit[1]).is_file()
    assert_fit_resumes(fit, fit[1])


def test_a_pod_has_time_to_save_a_shared_folder_shared_memory_and_is_not_root() -> None:
    manifests = kubernetes()
    pod = manifests["Job"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert pod["terminationGracePeriodSeconds"] >= 120
    assert pod["restartPolicy"] == "OnFailure"
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert container["securityContext"]["allowPrivilegeEscalation"] is False
    mounts = {each["mountPath"]: each["name"] for each in container["volumeMounts"]}
    volumes = {each["name"]: each for each in pod["volumes"]}
    assert set(mounts.values()) == set(volumes)
    assert volumes[mounts["/dev/shm"]]["emptyDir"]["medium"] == "Memory"
    claim = volumes[mounts["/work/runs"]]["persistentVolumeClaim"]["claimName"]
    assert claim == manifests["PersistentVolumeClaim"]["metadata"]["name"]
    assert manifests["PersistentVolumeClaim"]["spec"]["accessModes"] == ["ReadWriteMany"]


@pytest.mark.parametrize("processes", ["1", "3"])
def test_compose_runs_the_same_command(tmp_path: Path, processes: str) -> None:
    service = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]["cpu"]
    assert service["environment"]["PROCESSES"] == "${PROCESSES:-1}"
    (tmp_path / "bin").mkdir()
    for name in ("bptrain", "python"):
        write_script(tmp_path / "bin" / name, f'echo "{name} $*"')
    environment = {
        "PATH": f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}",
        "CONFIG": "configs/digits_mlp.yaml",
        "RUN": "runs/x",
        "PROCESSES": processes,
    }
    shell, flag, script, name = service["entrypoint"]
    words = [shell, flag, script.replace("$$", "$"), name, "train.epochs=3"]
    ended = subprocess.run(words, env=environment, capture_output=True, text=True)
    assert (ended.returncode, ended.stderr) == (0, "")
    found = shlex.split(ended.stdout)
    if processes == "1":
        assert found.pop(0) == "bptrain"
    else:
        assert found[:3] == ["python", "-m", "torch.distributed.run"]
        given, found = torchrun_words(found[3:])
        assert (given.standalone, given.nproc_per_node) == (True, processes)
    assert_fit_resumes(found, "configs/digits_mlp.yaml")
    assert found[-1] == "train.epochs=3"
