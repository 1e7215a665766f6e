"""Text to tokens and back, exactly, and words counted in the text itself."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from d3pm.config import load_recipe
from d3pm.corpus import encode_examples
from d3pm.data import load_data
from d3pm.errors import DataError
from d3pm.text import Characters, codec_of, learn_bpe, learn_unigram, words_per_token

LINES = ["The quick brown fox's den, 12 m deep.", "ünïcode → 日本語 🎉", "tab\there  and  two spaces", "a"] * 60


@pytest.fixture(scope="module", params=[learn_bpe, learn_unigram], ids=["bpe", "sentencepiece"])
def codec(request):
    pytest.importorskip("tokenizers" if request.param is learn_bpe else "sentencepiece")
    return codec_of("", request.param(LINES, 400), 0)


# Surrogates are no text in UTF-8; ▁ is how sentencepiece writes a space.
TEXT = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="▁"), max_size=60)


@settings(max_examples=60)
@given(text=TEXT)
def test_any_text_comes_back(codec, text):
    encoded = codec.encode(text)
    assert codec.decode(encoded.ids) == text
    assert words_per_token(text, encoded, codec.end).sum() == len(text.split()) + text.count("\n")


@pytest.mark.parametrize(
    "text", ["two\nlines", "\n", "a\n\n\nb\n", "x</s>y <unk>[MASK]", " lead", "trail \n", "\x85\u2028"]
)
def test_ends_of_lines_and_names_of_tokens_are_text(codec, text):
    encoded = codec.encode(text)
    assert codec.decode(encoded.ids) == text
    assert list(encoded.ids).count(codec.end) == text.count("\n")
    assert (np.diff(encoded.ends) >= 0).all()


def test_masks_show_and_do_not_fuse_words(codec):
    ids = codec.encode("The quick brown").ids
    masked = [*ids, codec.n_tokens, codec.end, *ids]
    assert codec.decode(masked) == "The quick brown·\nThe quick brown"


def test_characters_come_back_in_their_alphabet():
    characters = Characters("abcdefghijklmnopqrstuvwxyz ")
    encoded = characters.encode("The  Quick-brown: foX \n12 É end")
    text = "the quick brown fox end"
    assert characters.decode(encoded.ids) == text
    assert characters.decode(characters.encode(text).ids) == text
    assert words_per_token("The  Quick-brown: foX \n12 É end", encoded, None).sum() == 6
    assert characters.decode([0, 27]) == "a·"
    upper = Characters("Aa ")
    assert upper.decode(upper.encode("aAa").ids) == "aAa"
    for alphabet in ("abc", "aa "):
        with pytest.raises(DataError, match="space"):
            Characters(alphabet)


@pytest.mark.parametrize("tokenizer", ["bpe", "sentencepiece"])
def test_perplexity_counts_the_words_of_the_text(tmp_path, tokenizer):
    """The paper's unit: words and ends of lines of the original text, whatever decoding would make of the tokens."""
    pytest.importorskip("tokenizers" if tokenizer == "bpe" else "sentencepiece")
    rng = np.random.default_rng(0)
    words = np.array(["the", "fox's", "den", "is", "twelve", "metres", "deep"])
    lines = [" ".join(rng.choice(words, rng.integers(3, 9))) + "." for _ in range(400)]
    path = tmp_path / "lm.txt"
    path.write_text("\n".join(lines) + "\n")
    overrides = (
        "data.length=16", "data.vocabulary=300", f"data.path={json.dumps(str(path))}", f"data.tokenizer={tokenizer}",
    )  # fmt: skip
    dataset = load_data(load_recipe("tokens", overrides).data)
    held_out = "\n".join(lines[380:]) + "\n"
    assert dataset.spec.decode_text(dataset.test) == held_out
    n_words = len(held_out.split()) + 20
    assert dataset.test_words.sum() == n_words
    whole = len(dataset.test) // 16
    assert dataset.n_words() == dataset.test_words[: whole * 16].sum()
    assert n_words - dataset.n_words() < 16  # what the last, incomplete piece holds
    # The words of a piece are those that begin in it, so that pieces add up.
    assert dataset.n_words(2) + dataset.test_words[32 : whole * 16].sum() == dataset.n_words()


def test_lines_of_a_vocabulary_have_no_end_to_count(tmp_path):
    """Each is an example of its own, without a token at its end; an empty text is nothing but an end."""
    pytest.importorskip("tokenizers")
    path = tmp_path / "lines.txt"
    path.write_text("\n".join(["one two three", "four", "five six"] * 30))
    overrides = ("data.length=16", "data.lines=true", "data.vocabulary=300", f"data.path={json.dumps(str(path))}")
    dataset = load_data(load_recipe("tokens", overrides).data)
    assert not (dataset.test == dataset.spec.end).any(where=np.arange(16) < dataset.test_lengths[:, None])
    assert dataset.n_words(3) == sum(len(dataset.spec.decode_text(row[:n]).split()) for row, n in first(dataset, 3))
    tokens, lengths, words, _ = encode_examples(dataset.spec, ["five six", "", "five\nsix"])
    assert words.sum(-1).tolist() == [2, 1, 3]  # a line feed within a text has its token
    assert (tokens[1, 0], lengths[1]) == (dataset.spec.end, 1)


def first(dataset, n):
    return zip(dataset.test[:n], dataset.test_lengths[:n], strict=True)


def test_a_vocabulary_that_does_not_fit_is_refused(tmp_path):
    pytest.importorskip("sentencepiece")
    with pytest.raises(DataError, match="vocabulary"):
        learn_unigram(["a b c"], 10)
