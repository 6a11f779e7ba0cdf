"""The rows of the ranks."""

import pytest

from bptrain.train.ranks import ONE, SeveralRanks


def rows_of(samples: int, ranks: int) -> list[list[int]]:
    parts = [SeveralRanks(rank, ranks, lambda: None, pytest.fail) for rank in range(ranks)]
    return [list(range(samples)[each.rows(samples)]) for each in parts]


def test_the_ranks_have_each_row_once_in_order() -> None:
    assert rows_of(7, 3) == [[0, 1, 2], [3, 4], [5, 6]]
    assert rows_of(2, 3) == [[0], [1], []]
    for samples in range(20):
        for ranks in range(1, 6):
            parts = rows_of(samples, ranks)
            assert [row for part in parts for row in part] == list(range(samples))
            assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_one_process_has_all_rows() -> None:
    assert list(range(5)[ONE.rows(5)]) == [0, 1, 2, 3, 4]
