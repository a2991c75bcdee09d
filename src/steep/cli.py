"""The command line: one thin function per verb."""

from __future__ import annotations

import json
import os
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NoReturn

import typer

from steep.errors import DISK_FULL, INTERRUPTED, GateError, SteepError, UsageError
from steep.terminal import QUIET, accept_any_text

if TYPE_CHECKING:
    from rich.console import Console

    from steep.pipeline import Note

DEMO_PORT = 8017

app = typer.Typer(
    help="From a website, a feed or files to a fine-tuned language model, with evidence that it is better.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

StageName = Literal["gather", "clean", "prepare", "train", "evaluate"]
RecipePath = Annotated[Path, typer.Argument(help="A recipe: see docs/recipe.md.", show_default=False)]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(metavar="[KEY=VALUE]...", help="Overrides, e.g. train.epochs=1.", show_default=False),
]
Runs = Annotated[Path, typer.Option(help="Folder that holds the runs.")]
Limit = Annotated[int | None, typer.Option(min=1, help="At most this many documents of each source: for a first look.")]
Ray = Annotated[str | None, typer.Option(help="Address of a Ray cluster to clean on; `local` starts one here.")]


def main() -> None:
    """The console script. Exit codes: 0 done, 1 a stage failed, 2 recipe or command line wrong, 130 interrupted."""
    accept_any_text()
    os.environ.update({**QUIET, **os.environ})
    try:
        app()
    except SteepError as error:
        _end(error, error.exit_code)
    except OSError as error:
        if error.errno in DISK_FULL:
            _end("no space left on the disk: free some, and the same command goes on from here", 1)
        if not error.filename:
            raise
        _end(f"{error.filename}: {error.strerror}", 1)
    except SystemExit as end:  # typer ends so on Ctrl-C
        if end.code == INTERRUPTED:
            again = "the same command, without --force," if "--force" in sys.argv else "the same command"
            print(f"\nInterrupted. What was finished is kept: {again} goes on from here.", file=sys.stderr)  # noqa: T201
        raise


def _end(message: object, code: int) -> NoReturn:
    sys.stdout.flush()
    print(message, file=sys.stderr)  # noqa: T201
    sys.exit(code)


def _version(value: bool) -> None:
    if value:
        from importlib.metadata import version

        typer.echo(f"steep {version('steep')}")
        raise typer.Exit


@app.callback()
def _top(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    pass


@app.command()
def run(
    recipe: RecipePath,
    overrides: Overrides = None,
    start: Annotated[StageName | None, typer.Option("--from", help="Run this stage and those after it again.")] = None,
    until: Annotated[StageName, typer.Option(help="Stop after this stage.")] = "evaluate",
    force: Annotated[bool, typer.Option("--force", help="Run every stage again.")] = False,
    limit: Limit = None,
    ray: Ray = None,
    runs: Runs = Path("runs"),
) -> None:
    """Run a recipe from its sources to the report. Unchanged stages are skipped."""
    from steep.pipeline import Options

    _run(recipe, _with(overrides, limit, ray), Options(start, until, force), runs)


def _with(overrides: list[str] | None, limit: int | None, ray: str | None) -> list[str]:
    """Options that are only a shorter way to say an override."""
    short = {"limit": limit, "cluster": ray}
    return [*(overrides or ()), *(f"{key}={value}" for key, value in short.items() if value is not None)]


def _run(recipe: Path, overrides: list[str] | None, options: Any, runs: Path, command: str | None = None) -> None:
    from steep.overview import print_result
    from steep.pipeline import run_recipe
    from steep.runs import Run
    from steep.terminal import console

    out = console()
    note = _stage_note(out)
    try:
        folder = run_recipe(recipe, overrides or (), runs=runs, options=options, note=note, command=command)
    except GateError as error:
        print_result(Run(error.folder), out)
        raise
    print_result(Run(folder), out)


def _stage_note(out: Console) -> Note:
    """Prints a line on each stage as it is done."""
    from rich.markup import escape

    from steep.overview import stage_line
    from steep.runs import Run

    def note(folder: Path, stage: str, event: str, seconds: float | None) -> None:
        if event == "running":
            out.print(f"  {stage:<9} …", end="\r" if out.is_terminal else "\n")
        else:
            mark, time = ("[green]✓[/]", f"{seconds:.1f} s") if seconds is not None else ("[dim]=[/]", "unchanged")
            said = escape(stage_line(Run(folder), stage, brief=seconds is None))
            out.print(f"{mark} {stage:<9} {time:>9}  {said}")

    return note


def _stage_command(name: StageName, help_: str) -> Callable[..., None]:
    def command(
        recipe: RecipePath,
        overrides: Overrides = None,
        limit: Limit = None,
        ray: Ray = None,
        runs: Runs = Path("runs"),
    ) -> None:
        from steep.pipeline import Options

        _run(recipe, _with(overrides, limit, ray), Options(name, name), runs)

    command.__doc__ = help_
    return command


for _name, _help in {
    "gather": "Fetch the text of a recipe's sources.",
    "prepare": "Make training and test examples of what was cleaned.",
    "train": "Train on what was prepared; goes on from the last checkpoint where it was interrupted.",
}.items():
    app.command(_name)(_stage_command(_name, f"{_help} This stage alone; those before it must be finished."))  # type: ignore[arg-type]


@app.command()
def clean(
    recipe: RecipePath,
    overrides: Overrides = None,
    explain: Annotated[
        str | None, typer.Option(help="Show what each step did to one document: its id or its address.")
    ] = None,
    limit: Limit = None,
    ray: Ray = None,
    runs: Runs = Path("runs"),
) -> None:
    """Clean what was gathered."""
    from steep.pipeline import Options

    words = _with(overrides, limit, ray)
    if explain is None:
        _run(recipe, words, Options("clean", "clean"), runs)
        return
    from steep.config import read_recipe
    from steep.explain import explain as explained
    from steep.explain import print_changes
    from steep.runs import Run
    from steep.terminal import console

    read = read_recipe(recipe, words)
    print_changes(*explained(Run(runs / read.recipe.name), read.recipe, read.folder, explain), console())


@app.command()
def evaluate(
    recipe: RecipePath,
    overrides: Overrides = None,
    model: Annotated[
        str | None,
        typer.Option(help="Measure this model instead of the trained one: a folder, a hub name or tiny."),
    ] = None,
    limit: Limit = None,
    ray: Ray = None,
    runs: Runs = Path("runs"),
) -> None:
    """Measure the base model and the trained one on the held-out examples. The stages before it must be finished."""
    from steep.pipeline import Options

    words = _with(overrides, limit, ray)
    if model is None:
        _run(recipe, words, Options("evaluate", "evaluate"), runs)
        return
    from steep.other_model import evaluate_other_model
    from steep.overview import print_evaluation
    from steep.terminal import console

    run, folder = evaluate_other_model(recipe, words, model, runs=runs)
    print_evaluation(folder, console(), run.read()["recipe"])
    typer.echo(f"\nIn {folder}; beside the run: steep compare {run.folder} {folder}")


@app.command()
def demo(
    port: Annotated[
        int, typer.Option(help="Where the made-up company's website is served, on this machine only.")
    ] = DEMO_PORT,
    runs: Runs = Path("runs"),
) -> None:
    """Crawl a made-up company's website and fine-tune a small model to its voice, on this machine's CPU."""
    from steep.demo import RECIPE, serve_site
    from steep.pipeline import Options

    words = ["steep", "demo"]
    words += ["--port", str(port)] if port != DEMO_PORT else []
    words += ["--runs", str(runs)] if runs != Path("runs") else []
    with serve_site(port) as address:
        _run(RECIPE, [f"gather.0.web={address}/"], Options(), runs, shlex.join(words))


@app.command()
def check(recipe: RecipePath, overrides: Overrides = None, runs: Runs = Path("runs")) -> None:
    """Find the mistakes of a recipe, and say what it would do, without doing it."""
    from steep.check import print_plan
    from steep.config import read_recipe

    print_plan(read_recipe(recipe, overrides or ()), runs)


@app.command()
def schema(
    markdown: Annotated[bool, typer.Option("--markdown", help="As a page to read.")] = False,
    scores: Annotated[bool, typer.Option("--scores", help="That of scores.json instead.")] = False,
) -> None:
    """Print the JSON Schema of recipes, for editors."""
    from steep.reference import recipe_reference, recipe_schema
    from steep.scores import Scores

    if scores:
        typer.echo(json.dumps(Scores.model_json_schema(), indent=2))
        return
    typer.echo(recipe_reference() if markdown else json.dumps(recipe_schema(), indent=2), nl=not markdown)


@app.command()
def show(
    recipe: RecipePath,
    overrides: Overrides = None,
    count: Annotated[int, typer.Option("-n", min=1, help="How many examples.")] = 3,
    html: Annotated[Path | None, typer.Option(help="Write them to this page; by default into the run folder.")] = None,
    runs: Runs = Path("runs"),
) -> None:
    """Show training examples token by token: trained, masked, special. Runs the stages up to prepare where needed."""
    from steep.pipeline import Options, run_recipe
    from steep.stages import show_examples

    folder = run_recipe(recipe, overrides or (), runs=runs, options=Options(until="prepare"))
    show_examples(folder, count, html or folder / "examples.html")


@app.command()
def view(
    path: Annotated[
        Path, typer.Argument(help="A run's folder, a stage's (runs/NAME/clean), or a Parquet file.", show_default=False)
    ],
    dropped: Annotated[bool, typer.Option("--dropped", help="What cleaning dropped, with the reasons.")] = False,
) -> None:
    """Page through the documents that a stage left; into a pipe, print them all."""
    from steep.terminal import console
    from steep.view import view as show_documents

    show_documents(path, console(), dropped=dropped)


@app.command()
def compare(
    folders: Annotated[
        list[Path],
        typer.Argument(help="Runs, or evaluations of other models (runs/NAME/evaluations/MODEL).", show_default=False),
    ],
    html: Annotated[Path, typer.Option(help="Write the page there.")] = Path("comparison.html"),
    as_json: Annotated[bool, typer.Option("--json", help="Print it as JSON instead; no page is written.")] = False,
) -> None:
    """Set runs side by side that were evaluated on the same held-out texts, each against the first."""
    from steep.compare import compare_runs
    from steep.compare.page import write_page
    from steep.compare.printing import print_comparison
    from steep.terminal import console

    found = compare_runs(folders)
    if as_json:
        typer.echo(json.dumps(found.as_json(), indent=1, ensure_ascii=False))
        return
    print_comparison(found, console())
    typer.echo(f"\nPage: {write_page(found, html)}")


@app.command()
def power(
    run: Annotated[Path, typer.Argument(help="A run's folder whose evaluation is finished.", show_default=False)],
    metric: Annotated[str | None, typer.Option(help="One measure, such as rougeL; by default all.")] = None,
    difference: Annotated[
        float | None, typer.Option(help="The difference to prove; by default one as large as the run's.")
    ] = None,
    probability: Annotated[float, typer.Option("--power", help="With which probability.")] = 0.8,
) -> None:
    """Say how many held-out texts it takes to prove a difference, by the spread that a run has shown."""
    from steep.power import plan, print_plan
    from steep.terminal import console

    print_plan(plan(run, metric, difference, probability), console())


@app.command()
def score(
    predictions: Annotated[
        Path, typer.Option(help="One text a line, or JSON lines (.jsonl): see docs/score.md.", show_default=False)
    ],
    references: Annotated[
        Path, typer.Option(help="Their references, in the same order; as JSON lines also several.", show_default=False)
    ],
    json_: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
    stem: Annotated[bool, typer.Option("--stem", help="ROUGE: words of one English stem are equal.")] = False,
    skip: Annotated[
        int, typer.Option(min=-1, help="ROUGE-S and -SU: words between the two of a pair; -1 for any number.")
    ] = 4,
    several: Annotated[
        Literal["best", "average"], typer.Option(help="ROUGE: the best of a text's references, or their average.")
    ] = "best",
    lowercase: Annotated[bool, typer.Option("--lowercase", help="BLEU: capitals make no difference.")] = False,
) -> None:
    """Compare texts with their references by wording: BLEU, chrF and ROUGE, with intervals. Needs no run."""
    from steep.scoring import Counting, print_scores, score_files
    from steep.terminal import console

    counting = Counting(None if skip < 0 else skip, stem, several, lowercase)
    found = score_files(predictions, references, counting)
    if json_:
        typer.echo(json.dumps(found.as_dict(), indent=1))
    else:
        print_scores(found, console())


@app.command()
def generate(
    model: Annotated[
        str, typer.Argument(help="A run's folder, a model's folder, a hub name, or tiny.", show_default=False)
    ],
    prompt: Annotated[str | None, typer.Argument(help="Text to continue.", show_default=False)] = None,
    input_: Annotated[Path | None, typer.Option("--input", help="JSON lines, one prompt a line.")] = None,
    output: Annotated[
        Path | None, typer.Option(help="JSON lines, one answer a line; continued where it stopped.")
    ] = None,
    base: Annotated[bool, typer.Option("--base", help="The untuned model of the run.")] = False,
    max_tokens: Annotated[int, typer.Option(min=1, help="Longest answer.")] = 256,
    temperature: Annotated[float, typer.Option(min=0.0, help="0 always takes the likeliest token.")] = 0.7,
    top_p: Annotated[float, typer.Option(min=0.01, max=1.0, help="Share of the probability to choose from.")] = 0.9,
    seed: Annotated[int, typer.Option(help="Same seed, same text.")] = 0,
) -> None:
    """Continue a prompt, or every prompt of a file, with a run's tuned model or any other."""
    from steep.speaking import Decoding, answer_file, answer_prompt

    decoding = Decoding(max_tokens, temperature, top_p, seed)
    if input_ and output and prompt is None:
        count = answer_file(model, input_, output, decoding, base=base)
        typer.echo(f"{count:,} new answer{'' if count == 1 else 's'} in {output}")
    elif prompt is not None and not input_ and not output:
        for piece in answer_prompt(model, prompt, decoding, base=base):
            typer.echo(piece, nl=False)
        typer.echo()
    else:
        raise UsageError("give a prompt, or --input FILE and --output FILE")


@app.command()
def sweep(
    recipe: RecipePath,
    words: Annotated[
        list[str],
        typer.Argument(
            metavar="KEY=VALUES...",
            help="What to try: train.learning_rate=1e-4..1e-3, train.lora.rank=8,16,32; one value is an override.",
            show_default=False,
        ),
    ],
    trials: Annotated[int, typer.Option(min=1, help="How many; more than before goes on with a sweep.")] = 20,
    metric: Annotated[str, typer.Option(help="A measurement on the validation examples.")] = "eval_loss",
    jobs: Annotated[int, typer.Option(min=1, help="Trials at the same time; they share the GPUs.")] = 1,
    runs: Runs = Path("runs"),
) -> None:
    """Train a recipe with other values, and find those with the smallest validation loss."""
    from steep.sweep import sweep as search
    from steep.sweep.printing import print_result, trial_line
    from steep.terminal import console

    out = console()
    tell = (_stage_note(out), trial_line(out))
    print_result(search(recipe, words, runs=runs, metric=metric, trials=trials, jobs=jobs, tell=tell), out)


@app.command("compare-methods")
def compare_methods(
    recipe: RecipePath,
    overrides: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[KEY=VALUE]...",
            help="Overrides, and learning rates of methods, e.g. full.learning_rate=1e-5.",
            show_default=False,
        ),
    ] = None,
    methods: Annotated[str, typer.Option(help="Which.")] = "full,lora,adalora,adaption-prompt,qlora-8,qlora-4",
    runs: Runs = Path("runs"),
) -> None:
    """Train a recipe by each method on the same tokens, and compare quality, time, memory and size."""
    from steep.methods import train_methods
    from steep.methods.choice import chosen_methods
    from steep.methods.writing import write_methods
    from steep.terminal import console

    out = console()

    def told(method: str, said: str) -> None:
        out.print(f"{method}: {said}" if said else f"\n{method}", style="bold", markup=False)

    tell = (_stage_note(out), told)
    folder, outcomes = train_methods(recipe, overrides or (), chosen_methods(methods), runs=runs, tell=tell)
    page = write_methods(folder, outcomes, out)
    typer.echo(f"\nPage: {page}" if page else "\nNo page: fewer than two methods were trained.")
    if failed := [one.method for one in outcomes if one.failed]:
        raise SteepError(f"failed: {', '.join(failed)}. The same command tries them again")


@app.command("runs")
def list_(
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
    runs: Runs = Path("runs"),
) -> None:
    """List the runs with verdict, method, base model and training, newest first."""
    from steep.listing import list_runs
    from steep.listing.printing import print_listing
    from steep.terminal import console

    found = list_runs(runs)
    if as_json:
        typer.echo(json.dumps(found.as_json(), indent=1, ensure_ascii=False))
    else:
        print_listing(found, runs, console())


@app.command("verify-resume")
def verify(
    recipe: RecipePath,
    overrides: Overrides = None,
    steps: Annotated[int, typer.Option(min=4, help="How long to train.")] = 20,
    kills: Annotated[int, typer.Option(min=1, max=20, help="How often it is killed.")] = 3,
    runs: Runs = Path("runs"),
) -> None:
    """Show that a training that is killed and goes on ends with the weights of one that was left alone."""
    from steep.errors import ModelError
    from steep.resuming import verify_resume
    from steep.terminal import console

    if kills >= steps:
        raise UsageError(f"--kills {kills} needs more than {kills} steps; --steps is {steps}")
    out = console()
    tell = lambda text: out.print(text, markup=False)  # noqa: E731
    found = verify_resume(
        recipe, overrides or (), runs=runs, steps=steps, kills=kills, note=_stage_note(out), tell=tell
    )
    said = "equal to the last bit" if found.difference == 0 else f"up to {found.difference:.2g} of the largest apart"
    after = ", ".join(map(str, found.kills))
    typer.echo(f"{found.steps} steps, killed after {after}: {found.tensors} tensors of weights are {said}")
    if not found.passed:
        raise ModelError("training does not resume exactly: keep the folder, and report it")
