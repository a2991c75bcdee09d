"""A job for Slurm (sbatch): one task on each machine, which starts a process for each GPU.

The job is put back into the queue where it is preempted or its time is up: it is told two minutes before, saves a
checkpoint, and goes on from there.
"""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from steep.errors import INTERRUPTED, SteepError
from steep.launch import PORT, Training

NOTICE = 120
"""Seconds before the end in which a step is finished and a checkpoint written."""


@dataclass(frozen=True, slots=True)
class Allocation:
    """What sbatch is asked for, beside machines and GPUs; None leaves it to the cluster."""

    partition: str | None = None
    time: str | None = None
    account: str | None = None


def script(training: Training, allocation: Allocation) -> str:
    """The text of the job."""
    machines = ["--rdzv-backend=c10d", '--rdzv-id="$SLURM_JOB_ID"', f'--rdzv-endpoint="$first:{PORT}"']
    return "\n".join(
        [
            "#!/bin/bash",
            *(f"#SBATCH --{name}={value}" for name, value in _asked(training, allocation).items()),
            "#SBATCH --requeue",
            "",
            f"cd {shlex.quote(str(Path.cwd()))} || exit 1",
            'first=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)',
            f"srun --kill-on-bad-exit=1 {training.processes(machines)}",
            "code=$?",
            f'if [ "$code" -eq {INTERRUPTED} ]; then  # told to end: a checkpoint is saved, the rest comes later',
            '  scontrol requeue "$SLURM_JOB_ID"',
            "  exit",
            "fi",
            '[ "$code" -eq 0 ] || exit "$code"',
            training.after,
            "",
        ]
    )


def _asked(training: Training, allocation: Allocation) -> dict[str, object]:
    optional = {"partition": allocation.partition, "time": allocation.time, "account": allocation.account}
    return {
        "job-name": f"steep-{training.run.folder.name}",
        "nodes": training.train.nodes,
        "ntasks-per-node": 1,
        "gpus-per-node": training.train.devices,
        "signal": f"INT@{NOTICE}",
        "open-mode": "append",
        "output": training.run.folder.resolve() / "slurm-%j.log",
        **{name: value for name, value in optional.items() if value is not None},
    }


def write(training: Training, allocation: Allocation) -> Path:
    path = training.run.folder / "slurm.sh"
    path.write_text(script(training, allocation), "utf-8")
    path.chmod(0o755)
    return path


def submit(path: Path) -> str:
    """Hand a job to Slurm; returns what to tell of it. Raises SteepError where Slurm does not take it."""
    sbatch = shutil.which("sbatch")
    if sbatch is None:
        return f"Wrote {path}. There is no sbatch here: submit it where there is one, by `sbatch {path}`"
    done = subprocess.run([sbatch, str(path)], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SteepError(f"sbatch does not take {path}: {done.stderr.strip()}")
    number = re.search(r"\d+", done.stdout)
    return f"Submitted {path} as job {number[0] if number else done.stdout.strip()}"
