"""The options of the command `d3pm` that several of its parts share, and those of `d3pm sample`."""

from pathlib import Path
from typing import Annotated

import typer

__all__ = [
    "BlockOption",
    "CheckpointArgument",
    "CorrectionsOption",
    "DataOption",
    "DeviceOption",
    "FinalOption",
    "FirstHittingOption",
    "GridOption",
    "GuidanceOption",
    "LabelOption",
    "LengthOption",
    "MethodOption",
    "NumberOption",
    "ProgressOption",
    "PromptOption",
    "SamplesOption",
    "SeedOption",
    "StepsOption",
    "TemperatureOption",
    "ThreadsOption",
    "TopPOption",
]

CheckpointArgument = Annotated[Path, typer.Argument(help="A checkpoint, or the folder of a training run.")]
DataOption = Annotated[str | None, typer.Option("--data", help="A file or folder in place of the recipe's data.")]
DeviceOption = Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1; CUDA where there is one by default.")]
SeedOption = Annotated[int, typer.Option(min=0, max=2**31 - 1, help="Same seed, same numbers.")]
ThreadsOption = Annotated[int | None, typer.Option(min=1, help="CPU threads.")]

# How samples are drawn.
MethodOption = Annotated[
    str | None, typer.Option(help="ancestral; of masked models also first_hitting, confidence, remasking.")
]
FirstHittingOption = Annotated[bool, typer.Option(help="Short for --method first_hitting.")]
StepsOption = Annotated[int | None, typer.Option(min=1, help="Steps to take, at most T.")]
GridOption = Annotated[str | None, typer.Option(help="Times of the steps: even or cosine.")]
FinalOption = Annotated[str | None, typer.Option(help="The last step: draw or argmax.")]
TemperatureOption = Annotated[
    float | None, typer.Option(min=0, help="Below 1, likely tokens become likelier; 0 takes the likeliest.")
]
TopPOption = Annotated[
    float | None, typer.Option(help="Draw from the likeliest tokens that together have this probability.")
]
CorrectionsOption = Annotated[int | None, typer.Option(min=0, help="Corrector steps after each step (ancestral).")]
BlockOption = Annotated[
    int | None,
    typer.Option(min=0, help="Fill in texts from left to right, in blocks of so many tokens; 0 for all at once."),
]

# What is drawn, and where it goes.
NumberOption = Annotated[int, typer.Option("-n", min=1, help="Number of samples.")]
LengthOption = Annotated[
    int | None,
    typer.Option(min=1, help="Tokens of each text, for models of lines; drawn as in the training data by default."),
]
PromptOption = Annotated[
    str | None,
    typer.Option(help="Text to keep, capitals lowered if the training text's were; `_` marks what to fill in."),
]
LabelOption = Annotated[
    int | None, typer.Option(min=0, help="Class number, for conditional models; all classes in turn by default.")
]
GuidanceOption = Annotated[
    float, typer.Option(min=0, help="Push samples towards their class (classifier-free guidance).")
]
SamplesOption = Annotated[
    Path | None,
    typer.Option(help="A .png or .npz of pictures, a .txt or .npz of text; without it text goes to the screen."),
]
ProgressOption = Annotated[Path | None, typer.Option(help="A .png of the way from noise to pictures.")]
