import pytest
from hypothesis import given
from hypothesis import strategies as st

from transferability.errors import OptionError
from transferability.features.shards import parse_share, pick, plan


@given(n_rows=st.integers(1, 5000), shard_rows=st.integers(1, 2000), n_shares=st.integers(1, 20))
def test_shares_cover_every_row_once(n_rows, shard_rows, n_shares):
    shards = plan(n_rows, shard_rows)
    assert [row for shard in shards for row in shard.rows] == list(range(n_rows))
    assert [shard.number for shard in shards] == list(range(len(shards)))
    shares = [pick(shards, number, n_shares) for number in range(1, n_shares + 1)]
    assert sorted(shard for share in shares for shard in share) == shards
    lengths = [len(share) for share in shares]
    assert max(lengths) - min(lengths) <= 1


def test_share_is_written_i_of_n():
    assert parse_share("3/3") == (3, 3)
    for text in ("0/3", "4/3", "1", "1/0", "a/b", "-1/3", "1/3/5", ""):
        with pytest.raises(OptionError, match=f"must be i/n .* got '{text}'"):
            parse_share(text)
