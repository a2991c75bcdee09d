"""The train stage as a job of Ray Train: its workers are the processes, on whatever machines the cluster has."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

from steep.advice import explain
from steep.errors import RunError, SteepError
from steep.launch import Training
from steep.runs import Run, hold
from steep.stages import run_stage

LOCAL = "local"
"""In place of an address: a cluster of this machine alone, for as long as the training takes."""


def train_on_ray(training: Training, address: str) -> None:
    """Train with one worker for each device, and wait for them.

    Raises SteepError where no cluster answers, it has too few CPUs or GPUs, or the training failed.
    """
    try:
        import ray
        from ray.train import RunConfig, ScalingConfig
        from ray.train.torch import TorchConfig, TorchTrainer
    except ImportError:
        raise SteepError("`steep launch --ray` needs Ray: pip install 'steep[ray]' 'ray[train]'") from None
    workers = training.train.devices * training.train.nodes
    with hold(training.run):
        try:
            board = False if address == LOCAL else None  # nobody would look at it in so short a life
            ray.init(address, include_dashboard=board, log_to_driver=False, logging_level=logging.ERROR)
        except (OSError, RuntimeError, ValueError) as error:
            raise SteepError(f"no Ray cluster answers at {address!r} ({error}): start it, or take `local`") from None
        try:
            cuda = enough(ray.cluster_resources(), workers)  # type: ignore[no-untyped-call]
            trainer = TorchTrainer(
                work,
                train_loop_config={"folder": str(training.run.folder.resolve())},
                torch_config=TorchConfig(backend="cpu:gloo,cuda:nccl" if cuda else "gloo"),
                scaling_config=ScalingConfig(num_workers=workers, use_gpu=cuda),
                run_config=RunConfig(storage_path=str((training.run.folder / "ray").resolve())),
            )
            _fit(trainer)
        finally:
            ray.shutdown()


def enough(resources: dict[str, float], workers: int) -> bool:
    """Whether the workers get GPUs. Raises SteepError where the cluster has too few of what it has."""
    kind = "GPU" if resources.get("GPU") else "CPU"
    if resources.get(kind, 0) < workers:
        found = int(resources.get(kind, 0))
        raise SteepError(
            f"the Ray cluster has {found} {kind}s, and train.devices x train.nodes asks for {workers}: lower them"
        )
    return kind == "GPU"


def _fit(trainer: Any) -> None:
    from ray.train import TrainingFailedError

    try:
        trainer.fit()
    except TrainingFailedError as error:
        failures = getattr(error, "worker_failures", {}).values()
        said = next((str(one) for one in failures if isinstance(one, SteepError)), str(error))
        raise SteepError(f"the stage train failed on Ray: {said}") from None


def work(config: dict[str, Any]) -> None:
    """One of Ray's workers, which has told torch of the others."""
    folder = Path(config["folder"])
    if not (folder / "run.json").exists():
        raise RunError(f"{folder} is not on {os.uname().nodename}: put the runs on storage that all machines share")
    try:
        run_stage(Run(folder), "train")
    except Exception as error:
        message = explain(error, "train", folder)
        if message is None:
            raise
        raise SteepError(message) from None
