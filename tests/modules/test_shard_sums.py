import pytest

from mapo.modules.shard_sums import cut_shard, spoilt_shard, sums_of, write_sums


@pytest.fixture
def folder(tmp_path):
    for rank in range(3):
        (tmp_path / f"__{rank}_0.distcp").write_bytes(bytes(range(200)) * (rank + 1))
    write_sums(tmp_path, {name: value for rank in range(3) for name, value in sums_of(tmp_path, rank).items()})
    return tmp_path


def test_each_rank_sums_its_own_shards(folder):
    (folder / "__1_1.distcp").write_bytes(b"more")
    assert list(sums_of(folder, 0)) == ["__0_0.distcp"]
    assert {name: size for name, (size, _) in sums_of(folder, 1).items()} == {"__1_0.distcp": 400, "__1_1.distcp": 4}


def test_whole_shards_are_whole(folder):
    assert cut_shard(folder) is None
    assert spoilt_shard(folder) is None


@pytest.mark.parametrize("left", [0, 599])
def test_a_shard_that_is_cut_is_found_by_its_size(folder, left):
    (folder / "__2_0.distcp").write_bytes(bytes(left))
    assert cut_shard(folder) == f"its shard __2_0.distcp has {left} of 600 bytes"


def test_a_shard_that_is_missing_is_named(folder):
    (folder / "__1_0.distcp").unlink()
    assert cut_shard(folder) == "its shard __1_0.distcp has 0 of 400 bytes"


def test_a_flipped_bit_is_found_by_whoever_reads_that_shard(folder):
    path = folder / "__1_0.distcp"
    data = bytearray(path.read_bytes())
    data[17] ^= 4
    path.write_bytes(data)
    assert cut_shard(folder) is None
    assert spoilt_shard(folder) == "its shard __1_0.distcp does not match its checksum"
    found = [spoilt_shard(folder, part=part, parts=2) for part in range(2)]
    assert found == [None, "its shard __1_0.distcp does not match its checksum"]


def test_shards_without_sums_are_not_judged(tmp_path):
    (tmp_path / "__0_0.distcp").write_bytes(b"of another program")
    assert cut_shard(tmp_path) is None
    assert spoilt_shard(tmp_path) is None
