"""Tensors that are not plain have a hash of all that they hold, as buffers of a network and anywhere else."""

from __future__ import annotations

import warnings
from itertools import combinations

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from transferability.encoders._torch import weights
from transferability.encoders.identity import identity_of, settings_hash
from transferability.encoders.image_input import PictureInput
from transferability.encoders.networks import PictureNetwork

pytestmark = pytest.mark.filterwarnings("ignore:Sparse:UserWarning", "ignore:.*nested tensors.*:UserWarning")

ENTRIES, VALUES = [[0, 0, 2, 3], [1, 2, 0, 3]], [0.5, 1.0, 2.0, 3.0]
SPARSE = {
    "coo": lambda dense: dense.to_sparse(),
    "csr": lambda dense: dense.to_sparse_csr(),
    "csc": lambda dense: dense.to_sparse_csc(),
    "bsr": lambda dense: dense.to_sparse_bsr((2, 2)),
    "bsc": lambda dense: dense.to_sparse_bsc((2, 2)),
    "hybrid": lambda dense: dense.to_sparse(1),
}
OTHER = {
    "conjugate": lambda dense: (dense * (1 + 2j)).conj(),
    "one dnn": lambda dense: dense.to_mkldnn(),
    "nested": lambda dense: torch.nested.nested_tensor([dense[0], dense[1:].reshape(-1)]),
    "quantised": lambda dense: quantised(dense, 0.5),
    "quantised by channel": lambda dense: torch.quantize_per_channel(
        dense, torch.full((4,), 0.5), torch.zeros(4), 0, torch.quint8
    ),
}


def quantised(dense: Tensor, scale: float) -> Tensor:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.quantize_per_tensor(dense, scale, 0, torch.quint8)


def matrix(values=VALUES, entries=ENTRIES, size=(4, 4)) -> Tensor:
    return torch.sparse_coo_tensor(torch.tensor(entries), torch.tensor(values), size).to_dense()


def with_buffer(tensor: Tensor) -> nn.Module:
    network = nn.Flatten()
    network.register_buffer("graph", tensor)
    return network


def hashes(tensor: Tensor) -> tuple[str, ...]:
    """Return the hash of a tensor as a value, as an attribute and as a weight."""
    network = nn.Flatten()
    network.graph = tensor
    return settings_hash(tensor), settings_hash(network), weights(with_buffer(tensor))


@pytest.mark.parametrize("form", [*SPARSE, *OTHER])
def test_equal_tensors_have_equal_hashes_and_others_different_ones(form: str) -> None:
    make = (SPARSE | OTHER)[form]
    first = hashes(make(matrix()))
    assert hashes(make(matrix())) == first
    others = [matrix([0.5, 1.0, 2.0, 4.0]), matrix(entries=[[0, 0, 2, 3], [1, 2, 0, 2]]), matrix(size=(6, 4))]
    if form not in OTHER:
        others.append(matrix().double())
    if form == "quantised by channel":
        others.pop(2)  # it has more channels than there are scales
    for other in others:
        assert all(a != b for a, b in zip(hashes(make(other)), first, strict=True))


def test_no_two_layouts_and_blocks_are_alike() -> None:
    forms = [matrix(), matrix().t().to_sparse_csr(), matrix().to_sparse_bsr((4, 2)), matrix().to_sparse_bsr((2, 4))]
    forms += [make(matrix()) for make in SPARSE.values()]
    for first, second in combinations(map(hashes, forms), 2):
        assert all(a != b for a, b in zip(first, second, strict=True))


def test_entries_count_in_any_order_and_in_parts() -> None:
    straight = torch.sparse_coo_tensor(torch.tensor(ENTRIES), torch.tensor(VALUES), (4, 4))
    turned = torch.sparse_coo_tensor(torch.tensor(ENTRIES).flip(1), torch.tensor(VALUES).flip(0), (4, 4))
    entries = torch.tensor([[*row, row[-1]] for row in ENTRIES])
    summed = torch.sparse_coo_tensor(entries, torch.tensor([0.5, 1.0, 2.0, 1.0, 2.0]), (4, 4))
    assert not summed.is_coalesced()
    assert hashes(straight) == hashes(straight.coalesce()) == hashes(turned) == hashes(summed)
    assert not summed.is_coalesced()  # it is as it was
    compressed = matrix().to_sparse_csr()
    small = torch.sparse_csr_tensor(
        compressed.crow_indices().int(), compressed.col_indices().int(), compressed.values(), (4, 4)
    )
    assert hashes(small) == hashes(compressed)


def test_values_of_a_sparse_weight_that_change_in_place_change_the_hash() -> None:
    network = with_buffer(matrix().to_sparse().coalesce())
    network.weight = nn.Parameter(matrix().to_sparse_csr())
    seen = [weights(network)]
    network.graph.values().mul_(2)
    seen.append(weights(network))
    network.weight.data.values().mul_(2)
    seen.append(weights(network))
    assert len(set(seen)) == 3
    assert weights(network) == seen[-1]


def test_the_scale_of_quantised_numbers_is_in_the_hash() -> None:
    first, second = hashes(quantised(matrix(), 0.5)), hashes(quantised(2 * matrix(), 1.0))
    assert all(a != b for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize("form", ["coo", "csr"])
def test_a_picture_network_with_a_sparse_buffer_is_an_encoder(form: str) -> None:
    def made(values: list[float]) -> PictureNetwork:
        network = with_buffer(SPARSE[form](matrix(values)))
        network.other = SPARSE[form](matrix(values))
        picture = PictureInput((2, 2), fit="stretch", mean=0.0, std=1.0)

        def compute(batch: Tensor, _: bool) -> tuple[Tensor, None]:
            return (network.graph @ batch[:, 0].flatten(1).T).T, None

        return PictureNetwork("sparse", network, compute, picture.one, {}, "cpu", n_parameters=0, pooling="none")

    encoder = made(VALUES)
    assert identity_of(encoder) == identity_of(made(VALUES))
    assert identity_of(encoder) != identity_of(made([*VALUES[:3], 4.0]))
    pixels = np.random.default_rng(0).integers(256, size=(3, 2, 2, 3), dtype=np.uint8)
    found = encoder.encode([Image.fromarray(each) for each in pixels])
    np.testing.assert_allclose(found, pixels[..., 0].reshape(3, 4) / 255 @ matrix().numpy().T, rtol=1e-5)


@pytest.mark.parametrize("dtype", [torch.int64, torch.float32, torch.bfloat16, torch.bool])
def test_a_single_value_of_any_stride_has_the_hash_of_that_value(dtype) -> None:
    """As converted ONNX graphs hold them: contiguous, of stride zero."""
    value = torch.ones((), dtype=dtype)
    assert value.expand(1).stride() == (0,)
    assert hashes(value.expand(1)) == hashes(value.reshape(1))
    assert hashes(value.expand(1, 1)) == hashes(value.reshape(1, 1).clone())
    assert hashes(torch.arange(2)[1:].to(dtype)) == hashes(value.reshape(1))
    assert hashes(value.expand(1)) != hashes(torch.zeros(1, dtype=dtype))
