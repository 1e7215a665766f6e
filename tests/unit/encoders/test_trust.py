"""Nothing that comes with a model is run."""

import json
import os
import pickle

import numpy as np
import pytest
import torch
import transformers

from transferability.encoders import load_encoder
from transferability.errors import EncoderError

CODE = """
import pathlib
pathlib.Path({trace!r}).write_text("ran")
from transformers import PretrainedConfig, PreTrainedModel
import torch
class C(PretrainedConfig):
    model_type = "my"
class M(PreTrainedModel):
    config_class = C
    def __init__(self, config):
        super().__init__(config)
        self.embedding = torch.nn.Embedding(9, 4)
        self.post_init()
    def forward(self, input_ids, attention_mask=None):
        from transformers.modeling_outputs import BaseModelOutput
        return BaseModelOutput(last_hidden_state=self.embedding(input_ids))
"""


@pytest.fixture
def remote(tmp_path, words):
    """Return a folder with code of its own, and the file that this code writes when it runs."""
    folder, trace = tmp_path / "remote", tmp_path / "trace"
    words.save_pretrained(folder)
    mapping = {"AutoConfig": "my_code.C", "AutoModel": "my_code.M"}
    (folder / "config.json").write_text(json.dumps({"model_type": "my", "architectures": ["M"], "auto_map": mapping}))
    (folder / "my_code.py").write_text(CODE.format(trace=str(trace)))
    torch.manual_seed(0)
    from safetensors.torch import save_file

    save_file({"embedding.weight": torch.randn(9, 4)}, folder / "model.safetensors", metadata={"format": "pt"})
    return folder, trace


@pytest.mark.parametrize("prefix", ["hf", "st"])
def test_code_from_a_folder_is_not_run_and_not_asked_about(prefix, remote, monkeypatch):
    folder, trace = remote
    monkeypatch.setattr("builtins.input", lambda _: pytest.fail("asked"))
    with pytest.raises(EncoderError, match=r"needs code from its repository, which is not run.*--trust-remote-code"):
        load_encoder(f"{prefix}:{folder}", "cpu")
    assert not trace.exists()


def test_code_that_is_trusted_is_run(remote, monkeypatch, tmp_path):
    folder, trace = remote
    monkeypatch.setattr(transformers.dynamic_module_utils, "HF_MODULES_CACHE", str(tmp_path / "modules"))
    encoder = load_encoder(f"hf:{folder}", "cpu", trust_remote_code=True)
    assert trace.exists()
    assert encoder.encode(["a cat", "the dog sat"]).shape == (2, 4)


def test_a_module_of_a_sentence_folder_is_not_run(tmp_path, sentence_folder):
    import shutil

    folder = shutil.copytree(sentence_folder, tmp_path / "st")
    trace = tmp_path / "trace"
    (folder / "evil.py").write_text(f"open({str(trace)!r}, 'w')\nclass Pooling: pass\n")
    modules = json.loads((folder / "modules.json").read_text())
    modules[1]["type"] = "evil.Pooling"
    (folder / "modules.json").write_text(json.dumps(modules))
    with pytest.raises(EncoderError, match=r"cannot be loaded"):
        load_encoder(f"st:{folder}", "cpu")
    assert not trace.exists()


class Bomb:
    def __init__(self, trace):
        self.trace = trace

    def __reduce__(self):
        return os.system, (f"touch {self.trace}",)


@pytest.fixture
def bomb(tmp_path):
    trace = tmp_path / "trace"
    return pickle.dumps({"weight": Bomb(trace)}), trace


def test_pickled_weights_are_read_as_tensors_only(tmp_path, vit_folders, pictures, bomb):
    folder, source = tmp_path / "vit", vit_folders["pooler"]
    model = transformers.ViTModel.from_pretrained(source)
    model.config.save_pretrained(folder)
    transformers.ViTImageProcessor.from_pretrained(source).save_pretrained(folder)
    torch.save(model.state_dict(), folder / "pytorch_model.bin")
    same = load_encoder(f"hf:{folder}", "cpu").encode(pictures)
    np.testing.assert_allclose(same, load_encoder(f"hf:{source}", "cpu").encode(pictures), rtol=1e-5, atol=1e-6)
    content, trace = bomb
    (folder / "pytorch_model.bin").write_bytes(content)
    with pytest.raises(EncoderError, match="cannot be loaded"):
        load_encoder(f"hf:{folder}", "cpu")
    assert not trace.exists()


def test_other_pickles_are_not_run(tmp_path, bomb, open_clip_tiny, monkeypatch):
    import timm
    import torchvision

    content, trace = bomb
    (tmp_path / "bad.pt").write_bytes(content)
    timm_folder = tmp_path / "timm"
    timm.models.save_for_hf(timm.create_model("test_resnet"), timm_folder, safe_serialization=True)
    (timm_folder / "model.safetensors").unlink()
    (timm_folder / "pytorch_model.bin").write_bytes(content)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    checkpoints = tmp_path / "hub" / "checkpoints"
    checkpoints.mkdir(parents=True)
    weights = torchvision.models.get_model_weights("squeezenet1_1").DEFAULT
    (checkpoints / weights.url.rpartition("/")[2]).write_bytes(content)
    for name in (
        f"openclip:tiny-clip/{tmp_path / 'bad.pt'}",
        f"timm:local-dir:{timm_folder}",
        "torchvision:squeezenet1_1",
    ):
        with pytest.raises(EncoderError, match="cannot be loaded"):
            load_encoder(name, "cpu")
        assert not trace.exists(), name


def test_a_study_file_cannot_trust_code(tmp_path):
    from transferability.errors import OptionError
    from transferability.study import load_study

    lists = 'encoders = ["hf:x/y"]\nreferences = ["packaged:digits"]\ntargets = ["packaged:mnist"]\n'
    (tmp_path / "s.toml").write_text(f"{lists}[settings]\ntrust_remote_code = true\n")
    with pytest.raises(OptionError, match=r"\[settings\] must hold keys that there are; got 'trust_remote_code'"):
        load_study(tmp_path / "s.toml")


@pytest.mark.parametrize("trust", [False, True])
def test_the_command_runs_code_only_when_told(remote, monkeypatch, tmp_path, trust):
    from typer.testing import CliRunner

    from transferability.cli.app import app
    from transferability.errors import EncoderError

    folder, trace = remote
    monkeypatch.setattr(transformers.dynamic_module_utils, "HF_MODULES_CACHE", str(tmp_path / "modules"))
    (tmp_path / "t.csv").write_text("text\na cat\nthe dog sat\non the mat\n")
    command = ["extract", "--encoder", f"hf:{folder}", "--data", f"csv:{tmp_path / 't.csv'}", "--no-cache"]
    command += ["--device", "cpu", "--out", str(tmp_path / "f.npz"), *(["--trust-remote-code"] if trust else [])]
    done = CliRunner().invoke(app, command)
    assert (done.exit_code == 0) == trust == trace.exists()
    assert trust or isinstance(done.exception, EncoderError)
