"""Mistakes in a command end in one sentence."""

import sys

import pytest
import torch

from d3pm.cli import main

MISTAKES = [
    (["train", "digit"], 2, "Did you mean 'digits'"),
    (["train", "digits", "--out", "{tmp}/run"], 2, "--resume"),
    (["train", "digits", "--out", "{tmp}/run", "--resume"], 2, "[net] width was 8, now 32"),
    (["train", "digits", "--out", "{tmp}/a", "--set", "train.batch=0"], 2, "train.batch"),
    (["train", "digits", "--out", "{tmp}/a", "--set", "train.lr=-0.1"], 2, "train.lr"),
    (["train", "digits", "--out", "{tmp}/a", "--set", "sample.n_steps=0"], 2, "n_steps"),
    (["train", "digits_uniform", "--out", "{tmp}/a", "--set", "sample.method=confidence"], 2, "absorbing"),
    (["train", "digits_uniform", "--out", "{tmp}/a", "--set", "sample.n_steps=1001"], 2, "T = 1000"),
    (["train", "digits", "--out", "{tmp}/a", "--set", "net.width=15"], 2, "even"),
    (["train", "digits", "--out", "{tmp}/a", "--set", "net.width=wide"], 2, "width"),
    (["train", "digits", "--out", "{tmp}/a", "--set", "net.multipliers=[1,1,1,1,1]"], 2, "divisible"),
    (["train", "digits", "--out", "{tmp}/a", "--set", "net.dropout=2.0"], 2, "dropout"),
    (["train", "digits", "--out", "{tmp}/a", "--device", "cuda:99"], 2, "device"),
    (["train", "digits", "--out", "{tmp}/a", "--device", "gpu0"], 2, "device"),
    (["train", "digits", "--out", "{tmp}/file/run"], 1, "cannot be"),
    (["train", "characters", "--out", "{tmp}/a", "--data", "{tmp}/x.npy"], 1, "array"),
    (["train", "digits", "--out", "{tmp}/a", "--data", "{tmp}/x.npy"], 1, "uint8"),
    (["train", "digits", "--out", "{tmp}/a", "--threads", "0"], 2, "--threads"),
    (["sample", "{tmp}"], 2, "there is none"),
    (["sample", "{tmp}/run"], 2, "`out`"),
    (["sample", "{tmp}/run", "--out", "{tmp}/s.png", "-n", "0"], 2, "-n"),
    (["sample", "{tmp}/run", "--out", "{tmp}/s.png", "--steps", "0"], 2, "--steps"),
    (["sample", "{tmp}/run", "--out", "{tmp}/s.png", "--seed", "-1"], 2, "--seed"),
    (["sample", "{tmp}/run", "--out", "{tmp}/s.png", "--block", "4"], 2, "`block` must be 0"),
    (["train", "digits", "--out", "{tmp}/a", "--set", "sample.block=4"], 2, "`block` must be 0"),
    (["sample", "{tmp}/run", "--out", "{tmp}/s.png", "--device", "cuda:99"], 2, "device"),
    (["sample", "{tmp}/run", "--out", "{tmp}/s.png", "--guidance", "2"], 2, "class-conditional"),
    (["sample", "{tmp}/run", "--out", "{tmp}/s.png", "--method", "confidence", "--first-hitting"], 2, "pass one of"),
    (["sample", "{tmp}/run", "--out", "{tmp}/file/s.npz", "-n", "1", "--steps", "2"], 1, "cannot be"),
    (["encode", "{tmp}/run", "--out", "{tmp}/file/f.npz"], 1, "cannot be"),
    (["evaluate"], 2, "Missing argument"),
    (["evaluate", "{tmp}/run", "--device", "cuda:9"], 2, "device"),
    (["evaluate", "{tmp}/run", "--examples", "-3"], 2, "--examples"),
    (["evaluate", "{tmp}/run", "--step", "0"], 2, "--step"),
    (["evaluate", "{tmp}/run", "--times", "1"], 2, "`evaluate.times`"),
    (["evaluate", "{tmp}/run", "--quality", "4"], 2, "at least 10"),
    (["train", "digits", "--out", "{tmp}/a", "--set", "evaluate.times=1"], 2, "`evaluate.times`"),
    (["encode", "{tmp}/run", "--out", "{tmp}/features.csv"], 2, ".npz"),
    (["encode", "{tmp}/run", "--out", "{tmp}/f.npz", "--n-draws", "0"], 2, "--n-draws"),
    (["encode", "{tmp}/run", "--out", "{tmp}/f.npz", "--device", "cuda:99"], 2, "device"),
    (["encode", "{tmp}/run", "--out", "{tmp}/f.npz", "--pool", "sum"], 2, "pool"),
]


@pytest.mark.parametrize(("arguments", "code", "sentence"), MISTAKES, ids=[" ".join(m[0]) for m in MISTAKES])
def test_mistakes_end_in_one_sentence(small_run, monkeypatch, capsys, arguments, code, sentence):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.setattr(sys, "argv", ["d3pm", *(a.replace("{tmp}", str(small_run)) for a in arguments)])
    threads = torch.get_num_threads()
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == code
    said = capsys.readouterr().err
    assert sentence in said
    assert "Traceback" not in said
    assert len(said.splitlines()) == (1 if said.startswith("d3pm: ") else 4)  # its own errors, and usage in four
    assert torch.get_num_threads() == threads
