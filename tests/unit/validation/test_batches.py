"""Prepared items: each read once, kept as pixels where they are, in a file where they are many."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from transferability.datasets.arrays import picture_arrays
from transferability.encoders.image_input import PictureInput
from transferability.errors import OutputError
from transferability.validation import batches
from transferability.validation.augment import shift_and_zoom
from transferability.validation.batches import PreparedItems

CPU = torch.device("cpu")
ROWS = np.array([7, 3, 150, 0, 21])


class Stub:
    """What an encoder shows of itself here; it counts what it is asked to prepare."""

    def __init__(self, prepare) -> None:
        self.count, self.preprocess = 0, None if prepare is None else self._counted
        self._prepare = prepare

    def _counted(self, item):
        self.count += 1
        return self._prepare(item)


def data(n=160):
    pixels = np.random.default_rng(0).integers(0, 256, (n, 9, 12, 3), dtype=np.uint8)
    return picture_arrays("noise", pixels, np.arange(n) % 2, ["a", "b"], "noise")


def of(prepare, rows=None):
    stub, dataset = Stub(prepare), data()
    return stub, PreparedItems(stub, dataset, np.arange(160) if rows is None else rows, CPU, workers=0)


def taken(items, parts):
    with items.batches(parts) as made:
        return list(made)


PICTURES = [
    PictureInput((8, 8)),
    PictureInput((10, 8), resize=20, fit="stretch", channels="BGR", mean=0.5, std=(0.1, 0.2, 0.3), layout="NHWC"),
    PictureInput((12, 12), channels="L", mean=0.0, std=1.0),
    PictureInput((12, 12), mean=(104 / 255, 117 / 255, 123 / 255), std=1 / 255),
]


@pytest.mark.parametrize("picture", PICTURES)
@pytest.mark.parametrize("budget", [2**30, 0])
def test_pictures_are_kept_as_pixels_and_come_back_as_they_were_prepared(picture, budget, monkeypatch) -> None:
    monkeypatch.setattr(batches, "KEEP_IN_MEMORY", budget)
    mapped, plain = [], np.memmap
    monkeypatch.setattr(batches.np, "memmap", lambda *given, **named: mapped.append(1) or plain(*given, **named))
    stub, items = of(picture.one)
    first, second = taken(items, [ROWS, ROWS[:2]])
    wanted = picture.batch(data().items(ROWS))
    assert items._store.dtype == torch.uint8
    assert len(mapped) == (budget == 0)
    np.testing.assert_allclose(first, wanted, rtol=1e-5, atol=1e-5 * np.abs(wanted).max())
    assert torch.equal(second, first[:2])
    assert stub.count == 160 + 2  # a black and a white picture
    taken(items, [ROWS])
    assert stub.count == 162  # nothing is prepared again


def test_values_that_are_no_scaled_pixels_are_kept_as_they_are() -> None:
    picture = PictureInput((8, 8))
    prepares = (
        lambda item: picture.one(item) ** 2,
        lambda item: picture.one(item) - picture.one(item).mean(),
        lambda item: picture.one(item).astype(np.float16),
        lambda item: picture.one(item)[:, :, :, None],
    )
    for prepare in prepares:
        _, items = of(prepare)
        (batch,) = taken(items, [ROWS])
        np.testing.assert_array_equal(batch, np.stack([prepare(each) for each in data().items(ROWS)]))


def test_one_picture_that_is_no_scaled_pixels_turns_the_store_back() -> None:
    picture = PictureInput((8, 8))

    def prepare(item):
        late = np.asarray(item)[0, 0, 0] == np.asarray(data().items([150])[0])[0, 0, 0]
        return picture.one(item) + np.float32(0.005 * late)

    _, items = of(prepare)
    (batch,) = taken(items, [ROWS])
    assert items._store.dtype == torch.float32
    np.testing.assert_allclose(batch, np.stack([prepare(each) for each in data().items(ROWS)]), atol=1e-5)


def test_pictures_of_different_shapes_are_lists() -> None:
    def prepare(item):
        return np.asarray(item, np.float32)[: 4 + int(np.asarray(item)[0, 0, 0]) % 2]

    _, items = of(prepare)
    (batch,) = taken(items, [ROWS])
    for got, item in zip(batch, data().items(ROWS), strict=True):
        np.testing.assert_array_equal(got, prepare(item))


def test_items_without_a_preparation_come_as_they_are() -> None:
    _, items = of(None, rows=np.arange(30))
    (batch,) = taken(items, [np.array([3, 1])])
    assert [isinstance(each, Image.Image) for each in batch] == [True, True]
    np.testing.assert_array_equal(np.asarray(batch[1]), np.asarray(data().items([1])[0]))


def test_a_disk_without_room_is_told(monkeypatch) -> None:
    monkeypatch.setattr(batches, "KEEP_IN_MEMORY", 0)
    monkeypatch.setattr(batches.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 100}))
    _, items = of(PictureInput((8, 8)).one)
    with pytest.raises(OutputError, match=r"'noise' need 0.0 GB for fine-tuning.*set TMPDIR"), items.batches([ROWS]):
        pass


def test_worker_processes_give_the_same() -> None:
    picture = PictureInput((8, 8))
    items = PreparedItems(type("E", (), {"preprocess": staticmethod(picture.one)})(), data(), np.arange(160), CPU, 1)
    (batch,) = taken(items, [ROWS])
    np.testing.assert_allclose(batch, picture.batch(data().items(ROWS)), atol=1e-5)


@pytest.mark.parametrize("last", [False, True])
def test_augmentation_shifts_and_zooms_by_a_tenth_at_most(last) -> None:
    ramp = torch.linspace(-1, 1, 101).expand(1, 1, 101, 101) * 0.5
    ramp = torch.cat([ramp, ramp.transpose(2, 3)]).repeat(64, 3, 1, 1)  # the value tells where a pixel was
    batch = ramp.movedim(1, -1).contiguous() if last else ramp
    torch.manual_seed(0)
    moved = shift_and_zoom(batch)
    assert moved.shape == batch.shape
    back = moved.movedim(-1, 1) if last else moved
    centre = back[:, :, 50, 50]
    assert 0.05 < centre.abs().max() <= 0.5 * 2 * 0.1 + 1e-3  # shifted by a tenth of the width
    slope = (back[0::2, 0, 50, 60] - back[0::2, 0, 50, 40]) / (ramp[0, 0, 50, 60] - ramp[0, 0, 50, 40])
    assert 0.9 - 1e-3 <= slope.min() < 0.95
    assert 1.05 < slope.max() <= 1.1 + 1e-3
    torch.manual_seed(0)
    assert torch.equal(shift_and_zoom(batch), moved)


def test_augmentation_leaves_other_things_alone() -> None:
    for other in (torch.zeros(4, 3, 8, 8, dtype=torch.uint8), torch.rand(4, 7)):
        assert shift_and_zoom(other) is other
