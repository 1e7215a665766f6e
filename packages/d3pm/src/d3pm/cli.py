"""The command `d3pm`: train, sample, evaluate, encode, export."""

from __future__ import annotations

import dataclasses
import sys
import warnings
from pathlib import Path
from typing import Annotated, TextIO

import typer

from d3pm.cli_options import (
    BlockOption,
    CheckpointArgument,
    CorrectionsOption,
    DataOption,
    DeviceOption,
    FinalOption,
    FirstHittingOption,
    GridOption,
    GuidanceOption,
    LabelOption,
    LengthOption,
    MethodOption,
    NumberOption,
    ProgressOption,
    PromptOption,
    SamplesOption,
    SeedOption,
    StepsOption,
    TemperatureOption,
    ThreadsOption,
    TopPOption,
)
from d3pm.errors import ConfigError, D3PMError, D3PMWarning, NoSuchFileError, OptionError

app = typer.Typer(
    help="Discrete diffusion: train, sample, evaluate, encode, export.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # a wrong option is one line, not a box
)


@app.command()
def train(
    recipe: Annotated[str, typer.Argument(help="A recipe's name, or a TOML file; `d3pm recipes` lists the names.")],
    out: Annotated[Path, typer.Option(help="Folder for checkpoint and metrics.")] = Path("runs/d3pm"),
    data: DataOption = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="Change a setting of the recipe: section.key=value; repeatable.")
    ] = None,
    resume: Annotated[bool, typer.Option(help="Continue the run in --out.")] = False,
    compile_: Annotated[
        bool, typer.Option("--compile", help="torch.compile net and loss; as train.compile=true.")
    ] = False,
    tensorboard: Annotated[bool, typer.Option(help="Write TensorBoard events too.")] = False,
    distributed: Annotated[
        bool, typer.Option(help="One of several processes: accelerate launch -m d3pm train.")
    ] = False,
    threads: ThreadsOption = None,
    device: DeviceOption = None,
) -> None:
    """Train a denoiser by a recipe."""
    from d3pm.config import load_recipe
    from d3pm.metrics import progress_line
    from d3pm.training import train as run

    _threads(threads)
    overrides = list(set_ or [])
    if compile_:
        overrides.append("train.compile=true")
    config = load_recipe(recipe, tuple(overrides))
    if data is not None:
        config = dataclasses.replace(config, data=dataclasses.replace(config.data, path=data))

    def report(step: int, values: dict[str, float]) -> None:
        _say(progress_line(config.loss.kind, step, config.train.steps, values))

    path = run(
        config,
        out,
        device=device,
        resume=resume,
        distributed=distributed,
        tensorboard=tensorboard,
        report=report,
    )
    typer.echo(str(path))


@app.command()
def recipes() -> None:
    """List the recipes that come with the package.

    Each with its data, process, net and sampler. Those marked --data need a file or folder.
    """
    from d3pm.config import load_recipe, recipe_names

    for name in recipe_names():
        config = load_recipe(name)
        data = config.data.kind + ("" if config.data.kind in ("digits", "mnist") else " (--data)")
        typer.echo(f"{name:32} {data:16} {config.process.kind:18} {config.net['kind']:13} {config.sample}")


@app.command()
def sample(
    checkpoint: CheckpointArgument,
    out: SamplesOption = None,
    n: NumberOption = 16,
    method: MethodOption = None,
    steps: StepsOption = None,
    grid: GridOption = None,
    final: FinalOption = None,
    temperature: TemperatureOption = None,
    top_p: TopPOption = None,
    corrections: CorrectionsOption = None,
    block: BlockOption = None,
    first_hitting: FirstHittingOption = False,
    length: LengthOption = None,
    prompt: PromptOption = None,
    label: LabelOption = None,
    guidance: GuidanceOption = 0.0,
    progress: ProgressOption = None,
    seed: SeedOption = 0,
    threads: ThreadsOption = None,
    device: DeviceOption = None,
) -> None:
    """Draw samples from a checkpoint.

    Options that are left out are those of its recipe's table [sample].
    """
    from d3pm.show import choose_method, run_sample

    _threads(threads)
    options = {
        "method": choose_method(method, first_hitting),
        "n_steps": steps,
        "grid": grid,
        "final": final,
        "temperature": temperature,
        "top_p": top_p,
        "n_corrections": corrections,
        "block": block,
    }
    run_sample(
        checkpoint,
        out,
        n=n,
        options=options,
        length=length,
        prompt=prompt,
        label=label,
        guidance=guidance,
        progress=progress,
        seed=seed,
        device=device,
        say=typer.echo,
    )


@app.command()
def evaluate(
    checkpoint: CheckpointArgument,
    data: DataOption = None,
    examples: Annotated[
        int | None, typer.Option(min=0, help="Number of test examples; 0 for all. The recipe's by default.")
    ] = None,
    times: Annotated[
        int | None, typer.Option(min=0, help="Random times per example; 0 for all T. The recipe's by default.")
    ] = None,
    step: Annotated[
        int | None, typer.Option(min=1, help="Steps taken at once: the bound of a sampler of T / STEP steps.")
    ] = None,
    seed: SeedOption = 0,
    quality: Annotated[int, typer.Option(min=0, help="Samples to measure IS and FID with; 0 for none.")] = 0,
    sample_steps: Annotated[
        int | None, typer.Option(min=1, help="Steps that the bound is of, and the samples of --quality; at most T.")
    ] = None,
    final: Annotated[str | None, typer.Option(help="draw or argmax at the last step of --quality's samples.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on the standard output.")] = False,
    threads: ThreadsOption = None,
    device: DeviceOption = None,
) -> None:
    """Bound the negative log-likelihood of test data, in bits."""
    from d3pm.evaluate_command import run_evaluate, text_of
    from d3pm.metrics import to_json

    _threads(threads)
    chosen = {"examples": examples, "times": times, "step": step}
    options = {"n_steps": sample_steps, "final": final}
    values = run_evaluate(
        checkpoint, data, chosen=chosen, seed=seed, quality=quality, options=options, device=device, say=_say
    )
    for line in [to_json(values)] if as_json else text_of(values, sample_steps is not None):
        typer.echo(line)


@app.command()
def encode(
    checkpoint: CheckpointArgument,
    out: Annotated[Path | None, typer.Option(help="An .npz of features, labels and names of rows.")] = None,
    data: DataOption = None,
    layer: Annotated[str | None, typer.Option(help="Layer; two thirds of the depth by default.")] = None,
    t: Annotated[float, typer.Option(help="Noise added to the data, as a share of T.")] = 0.0,
    n_draws: Annotated[int, typer.Option(min=1, help="Noisy copies to average over.")] = 1,
    pool: Annotated[str | None, typer.Option(help="mean, max or grid; grid for pictures by default.")] = None,
    part: Annotated[
        str | None, typer.Option(help="train, test or all; all of --data in its order, else test by default.")
    ] = None,
    list_layers: Annotated[bool, typer.Option("--layers", help="Print the layers' names and stop.")] = False,
    threads: ThreadsOption = None,
    device: DeviceOption = None,
) -> None:
    """Write the features of a layer.

    `transferability` reads the .npz of features and labels.
    """
    from d3pm.encoder import DiffusionEncoder
    from d3pm.show import run_encode

    _threads(threads)
    encoder = DiffusionEncoder(checkpoint, layer=layer, t=t, n_draws=n_draws, pool=pool, device=device)  # type: ignore[arg-type]
    if list_layers:
        typer.echo("\n".join(encoder.layers))
        return
    if out is None:
        message = "`out` must name the .npz to write. Add --out FILE.npz."
        raise OptionError(message)
    run_encode(encoder, out, data, part)
    typer.echo(str(out))


@app.command()
def export(
    checkpoint: CheckpointArgument,
    out: Annotated[Path, typer.Option(help="Folder for the model and its tokenizer, without a model yet.")],
) -> None:
    """Write a Hugging Face masked language model.

    The checkpoint must have started from one (recipe masked_lm).
    """
    from d3pm.checkpoint import load_checkpoint
    from d3pm.huggingface import export_masked_lm

    typer.echo(str(export_masked_lm(load_checkpoint(checkpoint), out)))


def _threads(n: int | None) -> None:
    if n is not None:
        import torch

        torch.set_num_threads(n)


def _say(text: str) -> None:
    """Progress goes to the standard error, results to the standard output."""
    from rich.console import Console

    Console(stderr=True, highlight=False).print(text, soft_wrap=True)  # a step is one line, however long


def main() -> None:
    """Run the command; an error is one sentence and exit code 1, or 2 for a wrong option, recipe or name of a file."""
    warnings.showwarning = _show_warning
    try:
        app()
    except D3PMError as error:
        sys.stderr.write(f"d3pm: {error}\n")
        raise SystemExit(2 if isinstance(error, OptionError | ConfigError | NoSuchFileError) else 1) from None
    except OSError as error:
        where = f" ({error.filename})" if error.filename else ""
        sys.stderr.write(f"d3pm: a file cannot be read or written{where}: {error.strerror or error}.\n")
        raise SystemExit(1) from None


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """Show what is said of the caller's data as one sentence, other warnings as Python does."""
    ours = issubclass(category, D3PMWarning)
    text = str(message) if ours else warnings.formatwarning(message, category, filename, lineno, line)
    sys.stderr.write(f"d3pm: {text.rstrip()}\n")


if __name__ == "__main__":
    main()
