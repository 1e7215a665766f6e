"""Small masked language models in folders, as transformers writes them, and lines of their words."""

import numpy as np
import pytest
import torch

transformers = pytest.importorskip("transformers")
tokenizers = pytest.importorskip("tokenizers")

WORDS = ["the", "quick", "brown", "fox", "jumps", "over", "lazy", "dog", "and", "cat", "sees", "moon"]
LINES = [" ".join(np.random.default_rng(i).choice(WORDS, 3 + i % 7)) for i in range(200)]
SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 48}
MODELS = {
    "bert": lambda n: transformers.BertConfig(vocab_size=n, max_position_embeddings=20, **SIZES),
    "roberta": lambda n: transformers.RobertaConfig(
        vocab_size=n, max_position_embeddings=24, pad_token_id=0, bos_token_id=2, eos_token_id=3, **SIZES
    ),
    "distilbert": lambda n: transformers.DistilBertConfig(
        vocab_size=n, dim=32, hidden_dim=48, n_layers=2, n_heads=2, max_position_embeddings=20
    ),
}


def save_masked_lm(path, kind="bert"):
    """Write a small model with random weights and its tokenizer, as save_pretrained does."""
    vocabulary = {word: i for i, word in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS])}
    model = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocabulary, unk_token="[UNK]"))
    model.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    names = {f"{name}_token": f"[{name.upper()}]" for name in ("pad", "unk", "cls", "sep", "mask")}
    transformers.PreTrainedTokenizerFast(tokenizer_object=model, **names).save_pretrained(path)
    torch.manual_seed(0)
    net = transformers.AutoModelForMaskedLM.from_config(MODELS[kind](len(vocabulary)))
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    net.save_pretrained(path)
    return path
