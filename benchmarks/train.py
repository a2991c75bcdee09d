"""Speed of training: steep beside TRL, TRL with Liger's kernels and Unsloth, on the same rows in one run.

python benchmarks/train.py [--gpus 4] [--minutes 9] [--only WORK ...] [--engines ENGINE ...] [--json FILE]
python benchmarks/train.py --only growth ...            over the length and the number of rows, which no run does else
python benchmarks/train.py --quick                      steep and TRL on a CPU, 1 minute; their losses must agree
python benchmarks/train.py --plot benchmarks/results/train.json     the table of docs/performance.md and its pictures

Works and settings are in `training_works.py`, what a process does in `training_engines.py`. The models have the shapes
of Llama 3 8B and Llama 3.2 1B and random weights, which are written once to --folder (19 GB). Each setting is a
training in a process of its own, one at a time on each GPU, the most telling ones first. With --json, a row is written
when its process ends, also where it failed; rows of the same machine that are there already stay, so a run may be
continued. Peers that need other packages than steep get them from --peer-site, a folder that is put before PYTHONPATH.
"""

from __future__ import annotations

import argparse
import json
import os
import queue
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import parallel
import training_page
from training_engines import rows_file, rows_in, train, versions, write_rows
from training_results import faults, loss_gap, results
from training_works import MORE, QUICK, WORKS, Setting, Work, ordered, short_lengths

PLACE = Path("/tmp/steep-train")
LIMIT = 170
"""Seconds for a setting, loading and all."""
LEAST = 35
"""A setting is not begun with fewer seconds left."""
BOOT = Path("/proc/sys/kernel/random/boot_id")
ENVIRONMENT = {
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "WANDB_DISABLED": "true",
    "UNSLOTH_DISABLE_STATISTICS": "1",
    "PYTHONUNBUFFERED": "1",
}


def main() -> None:
    options = arguments()
    if options.plot:
        return training_page.write(json.loads(options.plot.read_text("utf-8")))
    if options.one:
        return one(*options.one, options)
    if options.make:
        return make(options.make, options)
    if options.versions:
        return print(json.dumps(versions()))
    with tempfile.TemporaryDirectory() as fresh:
        options.folder = options.folder or (Path(fresh) if options.quick else PLACE)
        return run_all(options)


def run_all(options: argparse.Namespace) -> None:
    options.folder.mkdir(parents=True, exist_ok=True)
    jobs = [(work, setting) for work, setting in ordered(chosen(options)) if not engine_left_out(setting, options)]
    run = Run(options, results=Results.of(options))
    shapes = sorted({work.shape for work, _ in jobs}, reverse=True)
    run.all_of(shapes)
    if failed := [shape for shape in shapes if not (made_in(shape, options) / "result.json").exists()]:
        raise SystemExit(f"models that could not be made: {failed}; see log.txt in {made_in(failed[0], options)}")
    run.all_of(jobs)
    return verdict(run.results.rows) if options.quick else None


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="*", default=[], help="works, by their names' beginnings")
    parser.add_argument("--engines", nargs="*", default=[], help="steep, trl, trl-liger, unsloth; by default all")
    parser.add_argument("--gpus", type=int, help="by default all that are there")
    parser.add_argument("--minutes", type=float, default=60, help="for all together")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--folder", type=Path, help=f"of models, rows and logs, by default {PLACE}")
    parser.add_argument("--peer-site", type=Path, help="folder with the packages of the peers")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--plot", type=Path, help="a file of results")
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--begun", type=float, help=argparse.SUPPRESS)
    parser.add_argument("--make", help=argparse.SUPPRESS)
    parser.add_argument("--versions", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


def chosen(options: argparse.Namespace) -> list[Work]:
    if options.quick:
        return list(QUICK)
    if not options.only:
        return list(WORKS)
    return [work for work in (*WORKS, *MORE) if work.name.startswith(tuple(options.only))]


def engine_left_out(setting: Setting, options: argparse.Namespace) -> bool:
    return bool(options.engines) and setting.engine not in options.engines


# ------------------------------------------------------------------------------------------------------------- results


@dataclass
class Results:
    """What was measured, on disk after each row."""

    path: Path | None
    header: dict[str, Any]
    rows: list[dict[str, Any]] = field(default_factory=list)

    @classmethod
    def of(cls, options: argparse.Namespace) -> Results:
        """With the rows that this machine has measured since it was started."""
        header = machine(options)
        path = options.json
        old = json.loads(path.read_text("utf-8")) if path and path.exists() else {}
        same = old.get("machine", {}).get("boot") == header["machine"]["boot"]
        return cls(path, header, old["rows"] if same else [])

    def add(self, row: dict[str, Any]) -> None:
        key = ("work", "setting")
        self.rows = [old for old in self.rows if any(old[name] != row[name] for name in key)] + [row]
        print(line(row), flush=True)
        if self.path:
            content = {**self.header, "results": results(self.rows), "rows": self.rows}
            self.path.write_text(json.dumps(content, indent=1) + "\n", "utf-8")


def machine(options: argparse.Namespace) -> dict[str, Any]:
    boot = BOOT.read_text("utf-8").strip()[:8] if BOOT.exists() else str(os.getpid())
    found = {
        "boot": boot,
        "devices": ["cpu"] if options.quick else [parallel.device_names()[int(place)] for place in places(options)],
        "cores": len(os.sched_getaffinity(0)),
    }
    own = {name: versions_of(name, options) for name in ("steep", "peers")}
    return {"machine": found, "versions": own, "made": time.strftime("%Y-%m-%d")}


def places(options: argparse.Namespace) -> list[str]:
    """The GPUs to use, of those that CUDA_VISIBLE_DEVICES leaves."""
    there = os.environ.get("CUDA_VISIBLE_DEVICES") or ",".join(map(str, range(len(parallel.device_names()))))
    return there.split(",")[: options.gpus]


def versions_of(engine: str, options: argparse.Namespace) -> dict[str, str]:
    command = [sys.executable, str(Path(__file__).resolve()), "--versions"]
    done = subprocess.run(command, env=environment(engine, options), capture_output=True, text=True, check=True)
    found: dict[str, str] = json.loads(done.stdout)
    return found


def line(row: dict[str, Any]) -> str:
    where = f"{row['work']:<18} {row['setting']:<34}"
    if "error" in row:
        return f"{where} FAILED after {row['seconds']:.0f} s: {row['error']}"
    said = [f"{row['tokens_per_second']:>8,.0f} tokens/s", f"±{row['spread'] / 2:.1%}", f"{row['peak_gib']:6.1f} GiB"]
    said += [f"loss {row['losses'][0]:.4f} to {row['loss']:.4f}", f"gradient {row['grad_norms'][0]:.3f} to"]
    said += [f"{row['grad_norm']:.3f}", f"({row['seconds_to_first_step']:.0f} s to the first step)"]
    return " ".join([where, *said])


def verdict(rows: list[dict[str, Any]]) -> None:
    """Ends with an error where the engines of the quick run did not train alike."""
    if found := faults(rows):
        raise SystemExit("\n".join(found))
    print(f"losses differ by at most {loss_gap(*rows):.1e}")


# ----------------------------------------------------------------------------------------------------------- processes


class Run:
    """Jobs on a queue, a thread for each GPU."""

    def __init__(self, options: argparse.Namespace, results: Results) -> None:
        self.options, self.results = options, results
        self.end = time.monotonic() + options.minutes * 60
        self.lock = threading.Lock()
        self.places = [""] if options.quick else places(options)

    def all_of(self, jobs: Iterable[Any]) -> None:
        waiting: queue.SimpleQueue[Any] = queue.SimpleQueue()
        for job in jobs:
            waiting.put(job)
        threads = [threading.Thread(target=self._work, args=(waiting, place)) for place in self.places]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _work(self, waiting: queue.SimpleQueue[Any], place: str) -> None:
        while self.end - time.monotonic() > LEAST:
            try:
                job = waiting.get_nowait()
            except queue.Empty:
                return
            if isinstance(job, str):
                command = ["--make", job, *common(self.options), "--only", *self.options.only]
                started(command, made_in(job, self.options), environment("steep", self.options, place), self.end)
                continue
            row = measured(*job, place, self.end, self.options)
            with self.lock:
                self.results.add(row)


def made_in(shape: str, options: argparse.Namespace) -> Path:
    folder: Path = options.folder / f"make-{shape}"
    return folder


def measured(work: Work, setting: Setting, place: str, end: float, options: argparse.Namespace) -> dict[str, Any]:
    """What a setting's process left, or why it left nothing."""
    begin, folder = time.perf_counter(), options.folder / "runs" / work.name / setting.name
    command = ["--one", work.name, setting.name, *common(options), "--begun", str(time.time())]
    words = started(command, folder, environment(setting.engine, options, place), end)
    found = {"work": work.name, "setting": setting.name, **described(work, setting)}
    found["seconds"] = round(time.perf_counter() - begin, 1)
    path = folder / "result.json"
    return {**found, **json.loads(path.read_text("utf-8"))} if path.exists() else {**found, "error": reason(words)}


def described(work: Work, setting: Setting) -> dict[str, Any]:
    said = asdict(setting)
    train = said.pop("train")
    said["quantization"] = setting.quantization or work.quantization
    return {**said, "length": work.length, "shape": work.shape, "method": work.method, "options": train}


def common(options: argparse.Namespace) -> list[str]:
    return ["--folder", str(options.folder.resolve()), *(["--quick"] if options.quick else [])]


def reason(words: str) -> str:
    lines = [text for text in words.strip().splitlines() if text.strip()] or ["it said nothing"]
    return next((text for text in reversed(lines) if "OutOfMemoryError" in text or "Error:" in text), lines[-1])[:400]


def environment(engine: str, options: argparse.Namespace, place: str = "") -> dict[str, str]:
    """Compiled code is kept for the engine's next process, as it is for a user's next run."""
    found = {**ENVIRONMENT, **os.environ, "CUDA_VISIBLE_DEVICES": place}
    found.setdefault("OMP_NUM_THREADS", "1" if options.quick else "8")
    found["TORCHINDUCTOR_CACHE_DIR"] = str(options.folder.resolve() / "compiled" / engine)
    if engine != "steep" and options.peer_site:
        found["PYTHONPATH"] = f"{options.peer_site.resolve()}{os.pathsep}{found.get('PYTHONPATH', '')}"
    return found


def started(arguments: list[str], folder: Path, environment: dict[str, str], end: float) -> str:
    """Run this file for LIMIT seconds at most, in ``folder``, which begins empty; returns what it printed."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    log, command = folder / "log.txt", [sys.executable, str(Path(__file__).resolve()), *arguments]
    with log.open("w", encoding="utf-8") as out:
        child = subprocess.Popen(
            command, stdout=out, stderr=subprocess.STDOUT, env=environment, cwd=folder, start_new_session=True
        )
        try:
            child.wait(min(LIMIT, max(1.0, end - time.monotonic())))
        except subprocess.TimeoutExpired:
            os.killpg(child.pid, signal.SIGKILL)
            child.wait()
            out.write("\nError: not done in time")
    return log.read_text("utf-8", errors="replace")


# ------------------------------------------------------------------------------------------- in a process of its own


def one(work_name: str, setting_name: str, options: argparse.Namespace) -> None:
    work = next(work for work in (*WORKS, *MORE, *QUICK) if work.name == work_name)
    setting = next(setting for setting in work.settings if setting.name == setting_name)
    found = train(work, setting, options.folder, options.begun)
    Path("result.json").write_text(json.dumps(found), "utf-8")


def make(shape: str, options: argparse.Namespace) -> None:
    """A model, and the rows of the works with it; more rows begin as fewer do."""
    parallel.make(shape, options.folder)
    longest: dict[int, Work] = {}
    for work in sorted(chosen(options), key=lambda work: work.rows):
        if work.shape == shape:
            longest[work.length] = work
    for work in longest.values():
        if rows_in(rows_file(options.folder, work)) < work.rows:
            write_rows(work, options.folder, lengths(work), random.Random(work.length))
    Path("result.json").write_text("{}", "utf-8")


def lengths(work: Work) -> list[int]:
    return [work.length] * work.rows if work.length else short_lengths(work.rows)


if __name__ == "__main__":
    main()
