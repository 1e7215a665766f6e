"""From a Hugging Face masked language model and back: the same values on either side."""

import shutil

import numpy as np
import pytest
import torch

from d3pm.checkpoint import load_checkpoint
from d3pm.config import Config
from d3pm.data import load_data
from d3pm.encoder import DiffusionEncoder
from d3pm.errors import CheckpointError, ConfigError, DataError, OptionError
from d3pm.evaluation import evaluate
from d3pm.huggingface import export_masked_lm, tokenizer_spec
from d3pm.sampling import sample
from d3pm.training import train
from masked_lms import LINES, MODELS, WORDS, save_masked_lm

transformers = pytest.importorskip("transformers")
tokenizers = pytest.importorskip("tokenizers")


@pytest.fixture(scope="module", params=list(MODELS))
def folder(request, tmp_path_factory):
    return save_masked_lm(tmp_path_factory.mktemp(request.param), request.param)


def settings(folder, tmp_path, steps):
    (tmp_path / "lines.txt").write_text("\n".join(LINES))
    return Config.from_dict(
        {
            "data": {
                "kind": "tokens", "path": str(tmp_path / "lines.txt"), "lines": True, "length": 16,
                "tokenizer": str(folder),
            },
            "process": {"kind": "absorbing", "steps": 20, "schedule": "inverse"},
            "net": {"kind": "masked_lm", "path": str(folder)},
            "loss": {"kind": "masked"},
            "train": {"steps": steps, "batch": 16, "lr": 3e-3, "ema": 0.9, "log_every": 20},
        }
    )  # fmt: skip


def logits_of(folder, texts):
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.AutoModelForMaskedLM.from_pretrained(folder).eval()
    framed = [f"[CLS] {text} [SEP]" for text in texts]
    inputs = tokenizer(framed, padding=True, return_tensors="pt", add_special_tokens=False)
    keys = ("input_ids", "attention_mask")
    with torch.no_grad():
        out = model(**{key: inputs[key] for key in keys}, output_hidden_states=True)
    return inputs["input_ids"], inputs["attention_mask"].bool(), out.logits, out.hidden_states


def test_start_train_export_and_start_again(folder, tmp_path):
    start = train(settings(folder, tmp_path, 0), tmp_path / "start", device="cpu")
    model = load_checkpoint(start)
    texts = ["the quick [MASK] fox", "dog", "[MASK] moon and cat [MASK] over the"]
    ids, real, logits, hidden = logits_of(folder, texts)
    allowed = torch.arange(logits.shape[-1]) != model.process.mask  # type: ignore[attr-defined]
    with torch.no_grad():
        ours = model.denoiser(ids, torch.zeros(3), None, real)
    torch.testing.assert_close(ours[real][:, allowed], logits[real][:, allowed], rtol=1e-5, atol=1e-5)
    assert (ours[..., model.process.mask] < -1e29).all()  # type: ignore[attr-defined]
    # Features are hidden states, read without padding.
    clean = ["the quick fox", "dog"]
    _, real, _, hidden = logits_of(folder, clean)
    features = DiffusionEncoder(model, device="cpu").encode_multi(clean)
    assert len(features) == 2
    for i, found in enumerate(features.values()):
        pooled = (hidden[i + 1] * real[..., None]).sum(1) / real.sum(1, keepdim=True)
        np.testing.assert_allclose(found, pooled.numpy(), rtol=1e-5, atol=1e-5)

    # Trained on as a diffusion model it models better, and goes back to what transformers reads.
    path = train(settings(folder, tmp_path, 60), tmp_path / "run", device="cpu")
    trained, data = load_checkpoint(path), load_data(model.config.data)
    before, after = (evaluate(m, data).bits_per_position for m in (model, trained))
    assert after < before - 0.2
    export_masked_lm(trained, tmp_path / "export")
    ids, real, logits, _ = logits_of(tmp_path / "export", texts)
    with torch.no_grad():
        ours = trained.denoiser(ids, torch.zeros(3), None, real)
    torch.testing.assert_close(ours[real][:, allowed], logits[real][:, allowed], rtol=1e-5, atol=1e-5)
    again = train(settings(tmp_path / "export", tmp_path, 0), tmp_path / "again", device="cpu")
    a, b = load_checkpoint(again).section("ema"), trained.section("ema")
    assert all(torch.equal(a[key], b[key]) for key in b)
    x = sample(trained.process, trained.denoiser, (4, 8), generator=torch.Generator().manual_seed(0))
    assert (x != trained.process.mask).all()  # type: ignore[attr-defined]
    assert trained.spec.decode_text(x[0].numpy())


def test_a_checkpoint_needs_no_folder(folder, tmp_path):
    """The configuration lies in the checkpoint."""
    import shutil

    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    path = train(settings(copy, tmp_path, 1), tmp_path / "run", device="cpu")
    shutil.rmtree(copy)
    assert DiffusionEncoder(path, device="cpu").encode(["the fox"]).shape == (1, 32)


def test_what_does_not_fit_is_refused(folder, tmp_path, run):
    config = settings(folder, tmp_path, 1)
    values = config.to_dict()

    def refused(error, named, **changes):
        changed = {name: {**values[name], **section} for name, section in changes.items()}
        with pytest.raises(error, match=named):
            train(Config.from_dict({**values, **changed}), tmp_path / "run", device="cpu")

    refused(ConfigError, "at most", data={"length": 25})
    refused(DataError, "folder of a Hugging Face", data={"tokenizer": str(tmp_path / "nowhere")})
    refused(DataError, "cannot be read", data={"tokenizer": str(tmp_path)})
    refused(ConfigError, r"net\.path", net={"path": str(tmp_path / "nowhere")})
    refused(ConfigError, "config.json", net={"path": str(tmp_path)})
    cut = shutil.copytree(folder, tmp_path / "cut")
    weights = (cut / "model.safetensors").read_bytes()
    (cut / "model.safetensors").write_bytes(weights[: len(weights) // 2])
    refused(ConfigError, "cannot be read", net={"path": str(cut)})
    refused(ConfigError, "tokenizer", data={"tokenizer": "bpe", "vocabulary": 270, "lines": False})
    refused(ConfigError, "must be an option", net={"width": 8})
    refused(OptionError, "needs masks", process={"kind": "uniform"})
    with pytest.raises(CheckpointError, match="masked_lm"):
        export_masked_lm(load_checkpoint(run), tmp_path / "export")
    assert tokenizer_spec(str(folder), 16).mask == 4


def test_special_tokens_in_a_text_are_its_characters(folder):
    spec = tokenizer_spec(str(folder), 16)
    assert 4 not in spec.encode_text("the [MASK] fox")
    assert spec.decode_text(np.array([5, 4, 3, 6])) == "the·\nquick"


def test_a_run_goes_on_after_its_folder_has_gone(folder, tmp_path):
    """What is in the folder is in the checkpoint: under another name or nowhere, the numbers are the same."""
    whole = train(settings(folder, tmp_path, 4), tmp_path / "whole", device="cpu")
    copy = shutil.copytree(folder, tmp_path / "copy")
    for name, elsewhere in (("moved", tmp_path / "elsewhere"), ("gone", tmp_path / "nowhere")):
        train(settings(copy, tmp_path, 2), tmp_path / name, device="cpu")
        if name == "moved":
            shutil.copytree(folder, elsewhere)
        else:
            shutil.rmtree(copy)
        path = train(settings(elsewhere, tmp_path, 4), tmp_path / name, device="cpu", resume=True)
        a, b = load_checkpoint(whole).section("model"), load_checkpoint(path).section("model")
        assert all(torch.equal(a[key], b[key]) for key in a), name
    # Another model in the new place is another run, and so is another way to make tokens.
    other = shutil.copytree(folder, tmp_path / "other")
    config = (other / "config.json").read_text()
    (other / "config.json").write_text(config.replace('"model_type"', '"note": 1, "model_type"'))
    with pytest.raises(ConfigError, match=r"\[net\] config was"):
        train(settings(other, tmp_path, 5), tmp_path / "gone", device="cpu", resume=True)
    values = settings(folder, tmp_path, 5).to_dict()
    values["data"]["tokenizer"] = "bpe"
    with pytest.raises((ConfigError, DataError)):
        train(Config.from_dict(values), tmp_path / "gone", device="cpu", resume=True)


def test_export_keeps_the_names_of_special_tokens(tmp_path):
    """RoBERTa's tokenizers begin and end by bos_token and eos_token too."""
    special = {"bos": "<s>", "eos": "</s>", "cls": "<s>", "sep": "</s>"}
    special |= {"pad": "<pad>", "unk": "<unk>", "mask": "<mask>"}
    names = list(dict.fromkeys(special.values()))
    vocabulary = {word: i for i, word in enumerate([*names, *WORDS])}
    model = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocabulary, unk_token="<unk>"))
    model.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    named = {f"{role}_token": name for role, name in special.items()}
    transformers.PreTrainedTokenizerFast(tokenizer_object=model, **named).save_pretrained(tmp_path / "start")
    net = transformers.AutoModelForMaskedLM.from_config(MODELS["roberta"](len(vocabulary)))
    net.save_pretrained(tmp_path / "start")
    path = train(settings(tmp_path / "start", tmp_path, 1), tmp_path / "run", device="cpu")
    export_masked_lm(load_checkpoint(path), tmp_path / "export")
    before, after = (transformers.AutoTokenizer.from_pretrained(tmp_path / name) for name in ("start", "export"))
    assert after.special_tokens_map == before.special_tokens_map
    assert {key: getattr(after, key) for key in named} == named


def test_a_model_is_never_overwritten(folder, tmp_path):
    """Neither the one that a run began with, nor another, nor a tokenizer or a run."""
    start = shutil.copytree(folder, tmp_path / "start")
    path = train(settings(start, tmp_path, 1), tmp_path / "run", device="cpu")
    model = load_checkpoint(path)
    (tmp_path / "tokenizer").mkdir()
    shutil.copy(start / "tokenizer.json", tmp_path / "tokenizer")

    def contents():
        return {
            file: file.read_bytes() for part in ("start", "run", "tokenizer") for file in (tmp_path / part).iterdir()
        }

    before = contents()
    for name, named in (("start", "config.json.*model.safetensors"), ("run", "checkpoint"), ("tokenizer", "tokenizer")):
        with pytest.raises(OptionError, match=f"without a model; .*{name} holds .*{named}.*Choose another folder"):
            export_masked_lm(model, tmp_path / name)
    for resume in (False, True):
        with pytest.raises(OptionError, match=r"without another model; .*config\.json is not of a run"):
            train(settings(start, tmp_path, 1), start, device="cpu", resume=resume)
    assert contents() == before
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "README.md").write_text("mine")
    export_masked_lm(model, tmp_path / "notes")
    with pytest.raises(OptionError, match="without a model"):
        export_masked_lm(model, tmp_path / "notes")


def test_a_run_that_was_stopped_before_its_first_checkpoint_begins_again(folder, tmp_path):
    config = settings(folder, tmp_path, 1)
    path = train(config, tmp_path / "run", device="cpu")
    path.unlink()
    assert train(config, tmp_path / "run", device="cpu").is_file()
