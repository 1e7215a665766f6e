"""A Hugging Face masked language model as a denoiser: it is one of every masking ratio once it is trained as one."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from d3pm.errors import ConfigError, OptionError, require_extra

__all__ = ["MaskedLanguageModel"]


class MaskedLanguageModel(nn.Module):
    """A model of `transformers.AutoModelForMaskedLM`, its own head included. It is not told the time.

    Parameters
    ----------
    n_states : int
        K: the size of its vocabulary, its mask token included.
    config : mapping
        What its config.json holds.
    n_classes : int
        0; it has no place for a class.
    """

    position_axes = (1,)
    head_kernel = 0  # its features are logits already
    time_free = True

    def __init__(self, n_states: int, config: dict[str, Any], n_classes: int = 0) -> None:
        super().__init__()
        if n_classes:
            message = "`data.conditional` must be false for a masked language model, which has no place for a class."
            raise OptionError(message)
        transformers = require_extra("transformers", "huggingface", "net kind 'masked_lm'")
        try:
            options = dict(config)
            parsed = transformers.AutoConfig.for_model(options.pop("model_type"), **options)
            self.model = transformers.AutoModelForMaskedLM.from_config(parsed)
        except (KeyError, TypeError, ValueError) as error:
            message = f"`net.path` must hold a masked language model that transformers knows; {error}."
            raise ConfigError(message) from error
        if parsed.vocab_size != n_states:
            message = (
                f"`net.path` must hold a model of the data's vocabulary; it has {parsed.vocab_size} tokens, the data "
                f"{n_states}. Set data.tokenizer to the model's folder."
            )
            raise ConfigError(message)
        self.width = int(parsed.hidden_size)
        self.layer_names = _layers(self.model, int(parsed.num_hidden_layers))

    def forward(
        self, x_t: Tensor, time: Tensor, condition: Tensor | None = None, attention_mask: Tensor | None = None
    ) -> Tensor:
        """Return logits (B, N, K)."""
        mask = torch.ones_like(x_t) if attention_mask is None else attention_mask.long()
        logits: Tensor = self.model(input_ids=x_t, attention_mask=mask).logits
        return logits


def _layers(model: nn.Module, n_layers: int) -> list[str]:
    """Return the names of the blocks: the list of as many modules as there are hidden layers."""
    for name, module in model.named_modules():
        if isinstance(module, nn.ModuleList) and len(module) == n_layers:
            return [f"model.{name}.{i}" for i in range(n_layers)]
    message = f"`net.path` must hold a model with a list of {n_layers} layers; {type(model).__name__} has none."
    raise ConfigError(message)
