"""A text has the same row alone and beside any other, whatever the network makes of padding."""

import numpy as np
import pytest
import torch
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers

from transferability.encoders import load_encoder
from transferability.errors import EncoderError

WORDS = ["the", "a", "film", "was", "and", "it", "of", "this", "good", "fine", "nice", "bad", "poor", "sad"]
SMALL = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}


def tokenizer(folder, **special):
    vocabulary = {word: i for i, word in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "<eos>", *WORDS])}
    rules = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    rules.pre_tokenizer = pre_tokenizers.Whitespace()
    fast = transformers.PreTrainedTokenizerFast(tokenizer_object=rules, **{"model_max_length": 64, **special})
    fast.save_pretrained(folder)
    return len(vocabulary)


def make(folder, model_class, config_class, tokens, **config):
    n_tokens = tokenizer(folder, **tokens)
    torch.manual_seed(0)
    model_class(config_class(vocab_size=n_tokens, **config)).eval().save_pretrained(folder)
    return f"hf:{folder}"


PADDED = {"pad_token": "[PAD]", "cls_token": "[CLS]", "sep_token": "[SEP]", "unk_token": "[UNK]"}
GPT2 = {"n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": 64, "bos_token_id": None, "eos_token_id": 4}
NETWORKS = {
    "learned positions, padded on the left": ("GPT2", {"eos_token": "<eos>", "padding_side": "left"}, GPT2),
    "no token to pad with": ("GPT2", {"unk_token": "[UNK]"}, {**GPT2, "eos_token_id": None}),
    "no mask": ("FNet", PADDED, {**SMALL, "num_attention_heads": None, "max_position_embeddings": 64}),
    "convolutions over the padding": ("ConvBert", PADDED, {**SMALL, "embedding_size": 32, "conv_kernel_size": 3}),
    "no token types": ("DistilBert", PADDED, {"dim": 32, "n_layers": 1, "n_heads": 2, "hidden_dim": 64}),
    "no end of positions": ("XLNet", PADDED, {"d_model": 32, "n_layer": 2, "n_head": 2, "d_inner": 64}),
    "a cache of its own": (
        "Jamba",
        PADDED,
        {**SMALL, "num_key_value_heads": 2, "mamba_d_state": 8, "num_experts": 2, "use_mamba_kernels": False},
    ),
    "positions behind padding_idx": ("Roberta", PADDED, {**SMALL, "max_position_embeddings": 66, "pad_token_id": 1}),
}


@pytest.mark.parametrize("kind", NETWORKS)
def test_rows_do_not_depend_on_what_is_beside_them(kind, tmp_path):
    name, tokens, config = NETWORKS[kind]
    config = {key: value for key, value in config.items() if value is not None}
    classes = (getattr(transformers, f"{name}{end}") for end in ("Model", "Config"))
    encoder = load_encoder(make(tmp_path / "model", *classes, tokens, **config), "cpu")  # type: ignore[call-arg]
    texts = ["good film", " ".join(WORDS), "it was sad", " ".join(WORDS * 9), "bad film"]
    for output in (["features"], list(encoder.outputs)):
        together = encoder.forward(texts, output)
        for row, text in enumerate(texts):
            for each, alone in encoder.forward([text], output).items():
                np.testing.assert_allclose(together[each][row], alone[0], rtol=1e-4, atol=1e-5)
    with torch.no_grad():
        np.testing.assert_allclose(encoder.differentiable(texts), encoder.encode(texts), rtol=1e-4, atol=1e-5)


def test_words_of_a_network_without_a_mask(tmp_path):
    _, tokens, config = NETWORKS["no mask"]
    config = {key: value for key, value in config.items() if value is not None}
    encoder = load_encoder(
        make(tmp_path / "model", transformers.FNetModel, transformers.FNetConfig, tokens, **config), "cpu"
    )
    items = [(("good", "film"), 1), (tuple(WORDS), 3), (("good", "film"), 0), (tuple(WORDS), 0)]
    together = encoder.encode(items)
    for row, item in enumerate(items):
        np.testing.assert_allclose(together[row], encoder.encode([item])[0], rtol=1e-4, atol=1e-5)


def test_a_head_on_a_decoder_reads_the_last_token_without_a_padding_token(tmp_path):
    name = make(
        tmp_path / "model",
        transformers.GPT2ForSequenceClassification,
        transformers.GPT2Config,
        {"unk_token": "[UNK]"},
        **GPT2,
        num_labels=3,
    )
    encoder = load_encoder(name, "cpu")
    texts = ["good film", " ".join(WORDS), "sad"]
    shares = encoder.forward(texts, ["probabilities"])["probabilities"]
    model = transformers.GPT2ForSequenceClassification.from_pretrained(tmp_path / "model").eval()
    reader = transformers.AutoTokenizer.from_pretrained(tmp_path / "model")
    for row, text in enumerate(texts):
        with torch.inference_mode():
            expected = model(torch.tensor([reader(text)["input_ids"]])).logits.softmax(-1)[0]
        np.testing.assert_allclose(shares[row], expected, rtol=1e-4, atol=1e-6)


def test_rows_of_a_left_padded_model_are_those_of_the_text_alone(tmp_path):
    name = make(tmp_path / "model", transformers.GPT2Model, transformers.GPT2Config, {"eos_token": "<eos>"}, **GPT2)
    model = transformers.GPT2Model.from_pretrained(tmp_path / "model").eval()
    reader = transformers.AutoTokenizer.from_pretrained(tmp_path / "model")
    with torch.inference_mode():
        expected = model(torch.tensor([reader("good film")["input_ids"]])).last_hidden_state[0].mean(0)
    features = load_encoder(name, "cpu").encode(["good film", " ".join(WORDS)])
    np.testing.assert_allclose(features[0], expected, rtol=1e-4, atol=1e-6)


def test_sentence_models_that_do_not_hide_padding(tmp_path):
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer

    _, tokens, config = NETWORKS["no mask"]
    config = {key: value for key, value in config.items() if value is not None}
    make(tmp_path / "fnet", transformers.FNetModel, transformers.FNetConfig, tokens, **config)
    SentenceTransformer(modules=[Transformer(str(tmp_path / "fnet")), Pooling(32)], device="cpu").save(
        str(tmp_path / "st")
    )
    encoder = load_encoder(f"st:{tmp_path / 'st'}", "cpu")
    texts = ["good film", " ".join(WORDS), "it was sad"]
    for output in (["features"], list(encoder.outputs)):
        together = encoder.forward(texts, output)
        for row, text in enumerate(texts):
            for each, alone in encoder.forward([text], output).items():
                np.testing.assert_allclose(together[each][row], alone[0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("prefix", ["hf", "st"])
def test_a_folder_without_tokeniser_files_is_refused(prefix, tmp_path):
    config = transformers.BertConfig(vocab_size=40, max_position_embeddings=64, **SMALL)
    transformers.BertModel(config).save_pretrained(tmp_path)
    with pytest.raises(EncoderError, match="tokeniser without a vocabulary"):
        load_encoder(f"{prefix}:{tmp_path}", "cpu")


def test_a_tokeniser_larger_than_the_network_is_one_sentence(tmp_path):
    tokenizer(tmp_path, **{**PADDED, "unk_token": "[UNK]"})
    transformers.BertModel(transformers.BertConfig(vocab_size=3, **SMALL, pad_token_id=0)).save_pretrained(tmp_path)
    with pytest.raises(EncoderError, match="cannot encode texts"):
        load_encoder(f"hf:{tmp_path}", "cpu")


def test_an_encoder_published_without_its_decoder(tmp_path):
    config = transformers.T5Config(vocab_size=19, d_model=32, d_kv=8, d_ff=64, num_layers=2, num_heads=2)
    tokenizer(tmp_path, pad_token="[PAD]", eos_token="<eos>", unk_token="[UNK]")
    torch.manual_seed(0)
    model = transformers.T5EncoderModel(config).eval()
    model.save_pretrained(tmp_path)
    encoder = load_encoder(f"hf:{tmp_path}", "cpu")
    reader = transformers.AutoTokenizer.from_pretrained(tmp_path)
    with torch.inference_mode():
        expected = model(torch.tensor([reader("good film")["input_ids"]])).last_hidden_state[0].mean(0)
    np.testing.assert_allclose(encoder.encode(["good film"])[0], expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("prefix", ["hf", "st"])
def test_what_is_cut_off_is_counted(prefix, tmp_path, bert_folder, sentence_folder):
    encoder = load_encoder(f"{prefix}:{bert_folder if prefix == 'hf' else sentence_folder}", "cpu")
    texts = ["cat " * 12, "cat " * 13, "dog", "", "the mat " * 50]
    assert encoder.reading(texts) == (12, 2, False)
    assert encoder.reading(["☹ ☹", "nothing known"]) == (12, 0, True)
    assert encoder.reading([("cat " * 7, "dog " * 7), ("cat", "dog")]) == (12, 1, False)
    assert not encoder.reading([""]).unknown


def test_words_count_by_their_sentence(bert_folder):
    encoder = load_encoder(f"hf:{bert_folder}", "cpu")
    assert encoder.reading([(("cat",) * 13, 0), (("cat", "sat"), 1)]) == (12, 1, False)
