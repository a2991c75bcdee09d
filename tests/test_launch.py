"""The train stage in several processes and on several machines: how it is started, interrupted and ended."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess

import pytest

from conftest import Started, steep
from steep.config import read_recipe
from steep.errors import RecipeError, SteepError, UsageError
from steep.launch import begin, by_hand
from steep.launch.slurm import Allocation, script, submit, write
from steep.pipeline import Options, fingerprints, run_recipe
from steep.preflight import examine
from steep.runs import Run

TWO = ("train.devices=2", "train.batch_size=1")


@pytest.fixture
def run(copied_run):
    """Prepared, and not yet trained."""
    found = Run(copied_run / "small")
    found.discard(("train", "evaluate"))
    shutil.rmtree(found.stage("train"))
    return found


@pytest.fixture
def started(small_recipe, run):
    """`steep run` while two processes train."""
    metrics = run.partial("train") / "metrics.jsonl"
    command = ("run", small_recipe, *TWO, "--until", "train", "--runs", run.folder.parent)
    return Started(*command, cwd=run.folder).when(lambda: metrics.exists() and metrics.read_bytes().count(b"\n") >= 25)


def ranks(started):
    return [one for one in started.processes if one.ppid() != started.process.pid]


def losses(folder):
    return [json.loads(line)["loss"] for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_ctrl_c_saves_a_checkpoint_of_all_processes_from_which_one_goes_on(small_recipe, small_run, run, started):
    assert len(ranks(started)) == 2
    code, output = started.send(signal.SIGINT, group=False)
    assert code == 130
    assert "Traceback" not in output
    assert output.count("saving a checkpoint at the end of this step") == 1
    steps = len(losses(run.partial("train")))
    assert 25 <= steps < 200
    assert (run.partial("train") / f"checkpoint-{steps}" / "complete").exists()
    done = steep("run", small_recipe, "--until", "train", "--runs", run.folder.parent, cwd=run.folder)
    assert done.returncode == 0, done.stderr
    uninterrupted = losses(small_run.cwd / "runs" / "small" / "train")  # at this rate, sums in another order grow apart
    assert losses(run.stage("train"))[:50] == pytest.approx(uninterrupted[:50], abs=1e-4, rel=0)


def test_no_process_outlives_a_killed_run(started):
    assert started.send(signal.SIGKILL, group=False)[0] == -signal.SIGKILL


def test_a_killed_process_ends_the_others_and_is_explained_once(started):
    ranks(started)[1].kill()
    code, output = started.ended()
    assert code == 1
    assert output.count("the stage train was killed from outside (SIGKILL)") == 1
    assert "Traceback" not in output


def test_an_error_of_all_processes_is_said_once(small_recipe, run):
    words = [*TWO, "train.learning_rate=1e20", "train.warmup_ratio=0"]
    done = steep("run", small_recipe, *words, "--until", "train", "--runs", run.folder.parent, cwd=run.folder)
    assert done.returncode == 1
    assert done.stderr.count("training diverged") == 1
    assert "Traceback" not in done.stderr


# ---------------------------------------------------------------------------- before any work


def test_how_the_rows_of_a_step_are_shared_out_makes_no_other_training(small_recipe):
    def print_(*words):
        return fingerprints(read_recipe(small_recipe, words))["train"]

    assert (
        print_()
        == print_("train.devices=2", "train.batch_size=1")
        == print_("train.batch_size=auto", "train.global_batch_size=2")
    )
    assert print_() != print_("train.devices=2")


@pytest.fixture
def two_gpus(monkeypatch, tmp_path):
    (tmp_path / "nvidia-smi").write_text("#!/bin/sh\necho Big GPU\necho Big GPU\n")
    (tmp_path / "nvidia-smi").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


@pytest.mark.usefixtures("two_gpus")
def test_more_devices_than_the_machine_has_is_an_error_before_any_work(small_recipe):
    with pytest.raises(RecipeError, match=r"devices: this machine has 2 GPUs \(Big GPU\): lower it to that"):
        examine(read_recipe(small_recipe, ["train.devices=4"]))
    examine(read_recipe(small_recipe, ["train.devices=2"]))


@pytest.mark.usefixtures("two_gpus")
def test_hidden_gpus_do_not_count(small_recipe, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    with pytest.raises(RecipeError, match="this machine has 1 GPU "):
        examine(read_recipe(small_recipe, ["train.devices=2"]))


def test_several_machines_need_steep_launch(small_recipe, run):
    with pytest.raises(
        UsageError, match=r"train.nodes is 2, and `steep run` trains on this machine alone: `steep launch"
    ):
        run_recipe(small_recipe, ["train.nodes=2", "train.batch_size=1"], runs=run.folder.parent)
    words = ["train.nodes=2", "train.batch_size=1"]
    run_recipe(small_recipe, words, runs=run.folder.parent, options=Options(until="prepare"))


# ---------------------------------------------------------------------------- several machines

MACHINES = ("train.nodes=2", "train.batch_size=1", "train.max_steps=20")


def test_the_commands_by_hand_train_on_two_machines(small_recipe, run):
    training = begin(small_recipe, MACHINES, run.folder.parent)
    said = by_hand(training)
    commands = [shlex.split(line) for line in said.splitlines() if "--node-rank=" in line]
    assert len(commands) == 2
    local = [[word.replace("=FIRST", "=127.0.0.1") for word in words] for words in commands]
    machines = [subprocess.Popen(words, stdout=subprocess.PIPE, text=True) for words in local]
    for machine in machines:
        assert machine.communicate(timeout=300)[0] == ""
        assert machine.returncode == 0
    assert run.summary("train")["devices"] == 2
    assert begin(small_recipe, MACHINES, run.folder.parent) is None


def on_path(folder, monkeypatch, **programs):
    """Stand-ins for a cluster's programs, found before any other."""
    for name, text in programs.items():
        (folder / name).write_text(f"#!/bin/bash\n{text}\n")
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")


def test_the_job_for_slurm_asks_for_machines_gpus_and_a_warning(small_recipe, run):
    words = ["train.nodes=2", "train.devices=4", "train.batch_size=1"]
    training = begin(small_recipe, words, run.folder.parent)
    text = script(training, Allocation(partition="big", time="12:00:00"))
    assert {
        "#SBATCH --job-name=steep-small",
        "#SBATCH --nodes=2",
        "#SBATCH --ntasks-per-node=1",
        "#SBATCH --gpus-per-node=4",
        "#SBATCH --signal=INT@120",
        "#SBATCH --partition=big",
        "#SBATCH --time=12:00:00",
        "#SBATCH --requeue",
    } < set(text.splitlines())
    assert "--account" not in text
    assert subprocess.run(["bash", "-n"], input=text, text=True).returncode == 0


def test_the_job_for_slurm_trains_and_evaluates(small_recipe, run, tmp_path, monkeypatch):
    on_path(tmp_path, monkeypatch, srun='shift\nexec "$@"', scontrol="echo localhost")
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.setenv("SLURM_JOB_NODELIST", "localhost")
    path = write(begin(small_recipe, ["train.max_steps=20"], run.folder.parent), Allocation())
    done = subprocess.run([path], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert {"train", "evaluate"} < run.read()["stages"].keys()
    assert run.summary("train")["steps"] == 20


def test_a_job_that_was_told_to_end_is_put_back_into_the_queue(small_recipe, run, tmp_path, monkeypatch):
    on_path(tmp_path, monkeypatch, srun="exit 130", scontrol='echo "$@" >> ' + str(tmp_path / "asked"))
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.setenv("SLURM_JOB_NODELIST", "a")
    path = write(begin(small_recipe, TWO, run.folder.parent), Allocation())
    assert subprocess.run([path]).returncode == 0
    assert "requeue 7" in (tmp_path / "asked").read_text().splitlines()
    assert "train" not in run.read()["stages"]


def test_a_job_is_submitted_where_slurm_is_and_named_where_not(tmp_path, monkeypatch):
    job = tmp_path / "slurm.sh"
    assert submit(job) == f"Wrote {job}. There is no sbatch here: submit it where there is one, by `sbatch {job}`"
    on_path(tmp_path, monkeypatch, sbatch="echo Submitted batch job 4711")
    assert submit(job) == f"Submitted {job} as job 4711"
    on_path(tmp_path, monkeypatch, sbatch="echo invalid partition >&2; exit 1")
    with pytest.raises(SteepError, match=f"sbatch does not take {job}: invalid partition"):
        submit(job)


def test_two_workers_of_a_local_ray_train(small_recipe, run):
    pytest.importorskip("ray.train")
    from steep.launch.ray import train_on_ray

    training = begin(small_recipe, [*TWO, "train.max_steps=20"], run.folder.parent)
    train_on_ray(training, "local")
    assert run.summary("train")["devices"] == 2
    assert len(losses(run.stage("train"))) == 20


def test_an_error_on_ray_is_said_as_it_is(small_recipe, run):
    pytest.importorskip("ray.train")
    from steep.launch.ray import train_on_ray

    training = begin(small_recipe, [], run.folder.parent)
    (run.folder / "run.json").unlink()
    with pytest.raises(
        SteepError, match=r"the stage train failed on Ray: .*small is not on .*: put the runs on storage"
    ):
        train_on_ray(training, "local")


def test_more_workers_than_a_ray_cluster_has_cpus_or_gpus_is_an_error():
    from steep.launch.ray import enough

    with pytest.raises(SteepError, match=r"the Ray cluster has 2 CPUs, and train.devices x train.nodes asks for 3"):
        enough({"CPU": 2.0}, 3)
    with pytest.raises(SteepError, match=r"the Ray cluster has 1 GPUs, and train.devices x train.nodes asks for 2"):
        enough({"CPU": 8.0, "GPU": 1.0}, 2)
    assert enough({"CPU": 8.0, "GPU": 2.0}, 2), "the workers get GPUs"
    assert not enough({"CPU": 2.0}, 2)


def test_a_worker_of_ray_explains_what_users_can_cause(run, monkeypatch):
    from steep.launch import ray

    def full(*args):
        raise MemoryError

    monkeypatch.setattr(ray, "run_stage", full)
    with pytest.raises(SteepError, match=r"out of memory: lower train\.batch_size"):
        ray.work({"folder": str(run.folder)})
