"""What an encoder costs, written and read back."""

from dataclasses import asdict

from transferability.ranking.entry import EncoderCost


def test_a_cost_comes_back_from_its_record() -> None:
    cost = EncoderCost(12.5, 64, "8 × 8", 10**6, "MIT", 0.1, 0.2, 0.3)
    assert EncoderCost.from_dict(asdict(cost)) == cost
    assert EncoderCost.from_dict(asdict(cost) | {"of a later version": 1}) == cost
    assert EncoderCost.from_dict({"dimension": 64}) == EncoderCost(dimension=64)
    assert EncoderCost.from_dict(None) == EncoderCost()
