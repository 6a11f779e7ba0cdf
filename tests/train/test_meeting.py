"""What the processes of a job tell each other over its store."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from torch.distributed import HashStore

from bptrain.errors import RankError
from bptrain.train.job import DONE, FIRST_FAILED, Meeting, Place, round_of

KEY = f"{DONE} 1"


class Late:
    """A store in which something happens right after a key was looked for in vain."""

    def __init__(self, happens: dict[str, str]) -> None:
        self.store, self.happens = HashStore(), happens

    def check(self, keys: list[str]) -> bool:
        found = self.store.check(keys)
        if keys == [KEY]:
            for name, value in self.happens.items():
                self.store.set(name, value)
            self.happens = {}
        return found

    def __getattr__(self, name: str) -> Any:
        return getattr(self.store, name)


def meeting(happens: dict[str, str]) -> Meeting:
    return Meeting(Late(happens), Place(1, 1, 2))  # type: ignore[arg-type]


def test_what_rank_0_did_before_it_ended_is_done() -> None:
    ends = {KEY: "", "failure of 0": "stopped at step 4", FIRST_FAILED: "0"}
    meeting(ends).wait_for_first()


def test_what_rank_0_did_not_do_is_its_failure() -> None:
    ends = {"failure of 0": "the disk is full", FIRST_FAILED: "0"}
    with pytest.raises(RankError, match="rank 0 failed") as error:
        meeting(ends).wait_for_first()
    assert error.value.why == "the disk is full"


def test_processes_that_start_again_meet_apart_from_those_before() -> None:
    store, rounds = HashStore(), []
    for _ in range(3):
        with ThreadPoolExecutor(3) as pool:  # rank 0 comes first, and finds the words of before
            found = {*pool.map(lambda rank: round_of(store, Place(rank, rank, 3)), range(3))}
        assert len(found) == 1
        rounds += found
    assert len({*rounds}) == 3
