"""One function that generates: pictures, texts or tokens of a checkpoint, by any of the samplers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from d3pm.conventions import Final, conventions_of
from d3pm.errors import OptionError, check_choice, check_number
from d3pm.losses import Denoiser, ask
from d3pm.net_runs import RunCounter, say_capped, say_first_hitting
from d3pm.processes.absorbing import Absorbing
from d3pm.processes.base import FLOOR, Process
from d3pm.sampler_input import check_given, check_masked, check_says_when
from d3pm.sampling import sample, sample_first_hitting
from d3pm.times import Grid, Watcher, sampling_times
from d3pm.unmasking import Confidence, reveal_surest, sample_remasking

__all__ = ["GenerationConfig", "Sharpened", "generate", "in_blocks"]

Method = Literal["ancestral", "first_hitting", "confidence", "remasking"]


@dataclass(frozen=True)
class GenerationConfig:
    """How to sample: the table `[sample]` of a recipe, stored in its checkpoints.

    Attributes
    ----------
    method : {"ancestral", "first_hitting", "confidence", "remasking"}, default="ancestral"
        See `sample`, `sample_first_hitting`, `sample_confident`, `sample_remasking`; all but the first are for masked
        models. The first two draw from the model that is evaluated, if the rest is left at its defaults: of one law in
        discrete time; in continuous time "first_hitting" is the limit of many steps. It is not for nets of scores,
        which say themselves when a token is revealed.
    n_steps : int, optional
        Runs of the net (per block); T by default (100 in continuous time), and of "confidence" one per token, which is
        the most (`StepsWarning`). "first_hitting" takes at most one per token and, in discrete time, one more for the
        last step (where it is "direct", or for a batch), and at most T, whatever this says.
    grid : {"even", "cosine"}, default="even"
    final : {"draw", "argmax"}, optional
        The model's own by default.
    temperature : float, default=1
        Of p̃: below 1 likely tokens become likelier; 0 takes the likeliest. Scores of a uniform process have none.
    top_p : float, default=1
        Keep the likeliest tokens that together have this probability.
    n_corrections : int, default=0
        Predictor–corrector, of "ancestral".
    n_particles : int, default=16
        Of "ancestral", where tokens are given to a model without masks.
    confidence : {"probability", "margin", "entropy"}, default="probability"
    remasking : float, default=0.1
        `strength` of "remasking".
    block : int, default=0
        Fill in texts from left to right in blocks of so many tokens; 0 for all at once. Masked models of texts only.
    """

    method: Method = "ancestral"
    n_steps: int | None = None
    grid: Grid = "even"
    final: Final | None = None
    temperature: float = 1.0
    top_p: float = 1.0
    n_corrections: int = 0
    n_particles: int = 16
    confidence: Confidence = "probability"
    remasking: float = 0.1
    block: int = 0

    def __post_init__(self) -> None:
        check_choice(self.method, get_args(Method), "method")
        check_choice(self.grid, get_args(Grid), "grid")
        check_choice(self.confidence, get_args(Confidence), "confidence")
        if self.final is not None:
            check_choice(self.final, get_args(Final), "final")
        if self.n_steps is not None:
            check_number(self.n_steps, "n_steps", 1, whole=True)
        check_number(self.temperature, "temperature", 0)
        check_number(self.top_p, "top_p", 0, 1, above=True)
        check_number(self.n_corrections, "n_corrections", 0, whole=True)
        check_number(self.n_particles, "n_particles", 1, whole=True)
        check_number(self.remasking, "remasking", 0, 1)
        check_number(self.block, "block", 0, whole=True)
        if self.method != "ancestral" and (self.n_corrections or self.final is not None):
            message = (
                f"`n_corrections` and `final` must be left out with `method` = {self.method!r}; they are ancestral."
            )
            raise OptionError(message)

    def check(self, process: Process, denoiser: Denoiser, shape: tuple[int, ...] | None = None) -> GenerationConfig:
        """Return self, or raise `OptionError` if the model cannot be sampled so; `generate` asks first.

        `shape` is that of one sample, if it is known.
        """
        conventions = conventions_of(denoiser).check(process)
        if self.method != "ancestral" or self.block:
            check_masked(process, denoiser, f"`method` = {self.method!r}" if self.method != "ancestral" else "blocks")
        if self.method == "first_hitting":
            check_says_when(conventions)
        if conventions.mode == "score" and self.sharpens and not isinstance(process, Absorbing):
            message = (
                f"`temperature` and `top_p` must be 1 for scores of a {process.kind} process, ratios of noisy tokens "
                f"without a p̃ to sharpen; got {self.temperature} and {self.top_p}."
            )
            raise OptionError(message)
        if self.block and shape is not None and len(shape) != 1:
            message = f"`block` must be 0 for samples that are no texts, (B, N): these are of shape {shape} each."
            raise OptionError(message)
        if self.method in ("ancestral", "remasking"):
            sampling_times(process, self.n_steps, self.grid)
        return self

    @property
    def sharpens(self) -> bool:
        """Return whether p̃ is changed by a temperature or cut."""
        return (self.temperature, self.top_p) != (1.0, 1.0)

    def override(self, **options: Any) -> GenerationConfig:
        """Return these settings with the options that are not None in their place.

        Another method than this one begins from its own defaults: corrections, say, are of "ancestral" alone.
        """
        chosen = {name: value for name, value in options.items() if value is not None}
        base = self if chosen.get("method", self.method) == self.method else GenerationConfig()
        return replace(base, **chosen)

    def __str__(self) -> str:
        """Say the method and what is not left at its default: "ancestral, 100 steps, 6 corrections"."""
        words = [self.method] + ([] if self.n_steps is None else [f"{self.n_steps} steps"])
        words += [f"{self.n_corrections} corrections"] if self.n_corrections else []
        shown = ("method", "n_steps", "n_corrections")
        rest = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in shown}
        words += [f"{name} {value}" for name, value in rest.items() if value != getattr(GenerationConfig, name)]
        return ", ".join(words)


def generate(
    process: Process,
    denoiser: Denoiser,
    shape: tuple[int, ...],
    config: GenerationConfig | None = None,
    *,
    condition: Tensor | None = None,
    given: Tensor | None = None,
    keep: Tensor | None = None,
    attention_mask: Tensor | None = None,
    generator: torch.Generator | None = None,
    device: torch.device | str = "cpu",
    watch: Watcher | None = None,
) -> Tensor:
    """Draw samples, (B, …) integers, as a `GenerationConfig` says.

    Parameters
    ----------
    process, denoiser, shape, condition, given, keep, attention_mask, generator, device, watch
        As in `d3pm.sampling.sample`.
    config : GenerationConfig, optional
        By default ancestral sampling of the model as it was trained.

    Examples
    --------
    >>> from d3pm import Absorbing, inverse_betas
    >>> process = Absorbing(3, inverse_betas(10))
    >>> def net(x_t, time, condition): return torch.tensor([0.0, -1e30, -1e30]).expand(*x_t.shape, 3)
    >>> generate(process, net, (2, 4), GenerationConfig(n_steps=2)).tolist()
    [[0, 0, 0, 0], [0, 0, 0, 0]]
    """
    config = (config or GenerationConfig()).check(process, denoiser, shape[1:])
    if config.sharpens:
        denoiser = Sharpened(denoiser, config.temperature, config.top_p)
    common: dict[str, Any] = {
        "condition": condition,
        "attention_mask": attention_mask,
        "generator": generator,
        "device": device,
        "watch": watch,
    }
    block = config.block if config.block < shape[-1] else 0
    if config.method == "first_hitting" and config.n_steps is not None:
        fill = torch.ones(shape, dtype=torch.bool) if attention_mask is None else attention_mask.cpu().bool()
        fill = fill if keep is None else fill & ~keep.cpu().bool()
        last = conventions_of(denoiser).first == "direct"
        say_first_hitting(config.n_steps, fill, block, last, process.n_steps)
    sampler = RunCounter(_sampler(config, denoiser))
    if block:
        x = in_blocks(sampler, process, denoiser, shape, block, given=given, keep=keep, **common)
    else:
        x = sampler(process, denoiser, shape, given=given, keep=keep, **common)
    if config.method == "confidence":
        say_capped(config.n_steps, sampler.most, "a block" if block else "a sample")
    return x


def _sampler(config: GenerationConfig, denoiser: Denoiser) -> Callable[..., Tensor]:
    """Return the sampler of a method, its options filled in."""
    if config.method == "first_hitting":
        return sample_first_hitting
    if config.method == "confidence":
        return lambda *args, **kwargs: reveal_surest(
            *args, n_steps=config.n_steps, confidence=config.confidence, **kwargs
        )
    if config.method == "remasking":
        return lambda *args, **kwargs: sample_remasking(
            *args, n_steps=config.n_steps, grid=config.grid, strength=config.remasking, **kwargs
        )
    own = conventions_of(denoiser)
    conventions = own if config.final is None else replace(own, final=config.final)
    return lambda *args, **kwargs: sample(
        *args,
        n_steps=config.n_steps,
        grid=config.grid,
        conventions=conventions,
        n_corrections=config.n_corrections,
        n_particles=config.n_particles,
        **kwargs,
    )


def in_blocks(
    sampler: Callable[..., Tensor],
    process: Process,
    denoiser: Denoiser,
    shape: tuple[int, ...],
    block: int,
    *,
    given: Tensor | None = None,
    keep: Tensor | None = None,
    device: torch.device | str = "cpu",
    **options: Any,
) -> Tensor:
    """Fill in the last axis of a masked model's samples block by block, each given those before it.

    Semi-autoregressive (compare BD3-LM, arXiv 2503.09573): the blocks to come stay masks meanwhile.
    """
    given, keep = check_given(process, given, keep, shape, device)
    if given is None or keep is None:
        given = torch.zeros(shape, dtype=torch.long, device=device)
        keep = torch.zeros(shape, dtype=torch.bool, device=device)
    x = torch.where(keep, given, process.mask)  # type: ignore[attr-defined]
    position = torch.arange(shape[-1], device=device)
    for start in range(0, shape[-1], block):
        inside = (position >= start) & (position < start + block)
        x = sampler(process, denoiser, shape, given=x, keep=keep | ~inside, device=device, **options)
    return x


class Sharpened:
    """A denoiser whose p̃ is sharper: by a temperature, and cut to the likeliest tokens.

    Parameters
    ----------
    denoiser : callable
    temperature : float, default=1
        Logits are divided by it; 0 leaves the likeliest token alone.
    top_p : float, default=1
        Least probability of the tokens kept, the likeliest first (nucleus sampling).
    """

    def __init__(self, denoiser: Denoiser, temperature: float = 1.0, top_p: float = 1.0) -> None:
        if not temperature >= 0 or not 0 < top_p <= 1:
            message = f"`temperature` must be ≥ 0 and `top_p` in (0, 1]; got {temperature} and {top_p}."
            raise OptionError(message)
        self.denoiser, self.temperature, self.top_p = denoiser, temperature, top_p
        # What samplers ask of a denoiser is the inner one's.
        self.conventions = conventions_of(denoiser)
        self.forbid = getattr(denoiser, "forbid", None)
        self.time_free = bool(getattr(denoiser, "time_free", False))

    def __call__(
        self, x_t: Tensor, time: Tensor, condition: Tensor | None = None, attention_mask: Tensor | None = None
    ) -> Tensor:
        """Return logits (*x_t.shape, K), float64."""
        logits = ask(self.denoiser, x_t, time, condition, attention_mask).double()
        if self.temperature == 0:
            return torch.full_like(logits, FLOOR).scatter(-1, logits.argmax(-1, keepdim=True), 0.0)
        log_p = (logits / self.temperature).clamp(min=FLOOR).log_softmax(-1)
        if self.top_p == 1:
            return log_p
        ordered, index = log_p.sort(-1, descending=True)
        before = ordered.exp().cumsum(-1) - ordered.exp()  # probability of the tokens that are likelier
        return log_p.masked_fill((before >= self.top_p).gather(-1, index.argsort(-1)), FLOOR)
