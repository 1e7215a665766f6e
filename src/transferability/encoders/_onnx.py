"""ONNX graphs: read, opened with any tensor as output, hashed."""

from __future__ import annotations

import hashlib
import math
import os
from pathlib import Path
from typing import Any

from transferability.errors import (
    EncoderError,
    EncoderNameError,
    OptionError,
    nearest_names,
    no_such_file,
    one_line,
    require_extra,
)

__all__ = ["count_weights", "file_hashes", "open_session", "read_graph"]


def read_graph(path: Path, name: str) -> Any:
    """Read an ONNX file, without weights that it keeps in other files."""
    onnx = require_extra("onnx", "onnx", f"encoder {name!r}")
    if not path.is_file():
        message = f"encoder {name!r} cannot be loaded: {no_such_file(path)}"
        raise EncoderNameError(message)
    try:
        graph = onnx.load(path, load_external_data=False)
    except Exception as error:  # protobuf's DecodeError has no base of its own
        message = f"encoder {name!r} cannot be loaded: {path} is damaged or not an ONNX file ({one_line(error)})."
        raise EncoderError(message) from error
    if not graph.graph.output:
        message = f"encoder {name!r} cannot be loaded: {path} is damaged or not an ONNX file (no graph in it)."
        raise EncoderError(message)
    _weight_files(graph, path, name)
    return graph


def count_weights(graph: Any) -> int | None:
    """Return the number of weights: what initialises the graph, and the constants in which some exporters keep them."""
    import onnx

    floating = (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16, onnx.TensorProto.DOUBLE, onnx.TensorProto.BFLOAT16)
    constants = [each.t for node in graph.graph.node if node.op_type == "Constant" for each in node.attribute]
    weights = [each for each in constants if each.dims and each.data_type in floating]  # others are shapes and bounds
    return sum(math.prod(each.dims) for each in (*graph.graph.initializer, *weights)) or None


def _weight_files(graph: Any, path: Path, name: str) -> list[Path]:
    """Return the files beside a graph that it keeps weights in.

    A graph that comes from somewhere names them: it must not name what is not part of it, such as a file of somebody
    else or a device that is read for ever.
    """
    from onnx.external_data_helper import _get_all_tensors, uses_external_data

    tensors = [tensor for tensor in _get_all_tensors(graph) if uses_external_data(tensor)]
    named = sorted({entry.value for tensor in tensors for entry in tensor.external_data if entry.key == "location"})
    folders = {path.parent.resolve(), path.resolve().parent}  # a hub's cache has links to files beside each other
    files = []
    for location in named:
        file = path.parent / location
        if Path(os.path.normpath(location)).parts[:1] in ((os.pardir,), (os.sep,)) or Path(location).is_absolute():
            reason = "which is outside its folder. Weights must be beside the graph."
        elif not file.exists():
            reason = "which is not there. Copy it beside the graph."
        elif not file.is_file() or not any(file.resolve().is_relative_to(folder) for folder in folders):
            reason = "which is no file of its folder. Weights must be plain files beside the graph."
        else:
            files.append(file)
            continue
        message = f"encoder {name!r} cannot be loaded: {path} keeps weights in {location[:200]!r}, {reason}"
        raise EncoderError(message)
    return files


def open_session(graph: Any, path: Path, outputs: list[str], name: str, device: str | None) -> Any:
    """Return an inference session in which the tensors `outputs`, hidden or not, can be asked for."""
    runtime = require_extra("onnxruntime", "onnx", f"encoder {name!r}")
    import onnx

    declared = {value.name for value in graph.graph.output}
    hidden = [output for output in outputs if output not in declared]
    tensors = {tensor for node in graph.graph.node for tensor in node.output if tensor}
    for output in hidden:
        if output not in tensors:
            message = f"encoder {name!r}: {path} has no tensor {output!r}. {nearest_names(output, declared | tensors)}"
            raise EncoderNameError(message.rstrip())
    if hidden:  # and nothing else, so that what only other outputs need is not computed
        del graph.graph.output[:]
        graph.graph.output.extend(onnx.helper.make_empty_tensor_value_info(output) for output in outputs)
    providers = _providers(device, runtime)
    options = runtime.SessionOptions()
    options.log_severity_level = 3  # its warnings are about graphs that somebody else made
    threads = os.environ.get("OMP_NUM_THREADS", "")
    if threads.isdigit():  # ONNX Runtime has threads of its own, and does not look
        options.intra_op_num_threads = int(threads)
    source: str | bytes = str(path)
    if hidden:
        onnx.load_external_data_for_model(graph, str(path.parent))
        source = graph.SerializeToString()
    try:
        return runtime.InferenceSession(source, options, providers=providers)
    except Exception as error:  # it has many of its own, without a common base
        message = f"encoder {name!r} cannot be loaded: {one_line(error)}."
        raise EncoderError(message) from error


def _providers(device: str | None, runtime: Any) -> list[str]:
    available = runtime.get_available_providers()
    cuda, cpu = "CUDAExecutionProvider", "CPUExecutionProvider"
    if device in (None, "cpu"):
        return [cuda, cpu] if device is None and cuda in available else [cpu]
    if device is not None and device.startswith("cuda") and cuda in available:
        return [cuda, cpu]
    message = f"`device` must be 'cpu' for this ONNX Runtime, which offers {', '.join(available)}; got {device!r}."
    if device is not None and device.startswith("cuda"):
        message += " For CUDA: pip install onnxruntime-gpu"
    raise OptionError(message)


def file_hashes(graph: Any, path: Path, name: str) -> list[str]:
    """Return the hash of the file and of those that it keeps weights in."""
    found = []
    for file in (path, *_weight_files(graph, path, name)):
        with file.open("rb") as stream:
            found.append(hashlib.file_digest(stream, "sha256").hexdigest())
    return found
