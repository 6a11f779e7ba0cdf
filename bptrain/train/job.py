"""The processes of a job that torchrun started: they meet, agree, and tell who failed first.

torchrun gives every process its rank and a store that all of them reach, which outlives each of
them. Over the store they compare what they are about to train before they form a group, and a rank
that fails leaves a word there. Of the others, each finds that an exchange failed. They then call
the roll: a rank that neither left a word nor answers was killed, or hangs.
"""

import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from uuid import uuid4

import torch
import torch.distributed as dist
from torch.distributed.distributed_c10d import PrefixStore, Store
from torch.distributed.rendezvous import rendezvous

from bptrain.errors import BptrainError, RankError, UsageError, shorten
from bptrain.train.ranks import ONE, Ranks, SeveralRanks, reason
from bptrain.train.shards import ShardedRanks

START_S = 600.0  # ranks may read their data at different speeds, and rank 0 a large checkpoint
ROLL_CALL_S = 3.0  # all ranks find a failed exchange at about the same time
POLL_S = 0.05
FIRST_POLL_S = 0.002  # rank 0 has often just come there; each further wait is twice as long
FIRST_FAILED, DONE = "failed first", "first is done"
HINT = "--resume continues from the last checkpoint; torchrun --max-restarts does so by itself"


@dataclass(frozen=True)
class Place:
    """Which process of a job this is; `local` counts on its own machine."""

    rank: int
    local: int
    count: int


def place_in_job() -> Place:
    """Return the place that torchrun, or what sets its variables, has given to this process."""
    count = os.environ.get("WORLD_SIZE", "1")
    if count == "1":
        return Place(0, 0, 1)
    words = [os.environ.get(name, "") for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE")]
    meeting = [os.environ.get(name, "") for name in ("MASTER_ADDR", "MASTER_PORT")]
    if not all(word.isdecimal() for word in words) or not all(meeting):
        raise UsageError(
            f"a job of {shorten(count, 20)} processes (WORLD_SIZE), which torchrun did not start",
            "RANK, LOCAL_RANK, MASTER_ADDR and MASTER_PORT say how the processes meet",
            "torchrun --standalone --nproc-per-node 2 -m bptrain fit CONFIG",
        )
    return Place(*map(int, words))


class Meeting:
    """What the processes of a job tell each other over its store."""

    def __init__(self, store: Store, place: Place) -> None:
        self.store, self.place = store, place
        self._awaited = 0

    def agree(self, facts: Mapping[str, str]) -> None:
        """Raise RankError, naming a rank, unless all ranks have the facts of rank 0."""
        for name, fact in facts.items():
            self.store.set(f"{name} of {self.place.rank}", fact)
        for rank in range(self.place.count):
            for name in facts:
                first, other = (self._value(f"{name} of {each}") for each in (0, rank))
                if first != other:
                    error = RankError(
                        f"rank {rank} has another {name} than rank 0: {other}, {first}",
                        "all processes of a job train the same model on the same data",
                        "the same files, versions and words of the command on every machine",
                    )
                    error.is_told = self.place.rank != 0
                    raise error

    def wait_for_first(self) -> None:
        """Wait until rank 0 comes here as often as this rank has."""
        self._awaited += 1
        if self.place.rank == 0:
            self.store.set(f"{DONE} {self._awaited}", "")
        else:
            self._value(f"{DONE} {self._awaited}")

    def fail(self, what: str) -> None:
        """Leave a word about this rank's failure."""
        self.store.set(f"failure of {self.place.rank}", what)
        self.store.compare_set(FIRST_FAILED, "", str(self.place.rank))

    def is_told_by_first(self, error: BptrainError) -> bool:
        """Return whether rank 0 ends by the same error, and says so."""
        key, limit = "failure of 0", time.monotonic() + ROLL_CALL_S
        while self.place.rank and not self.store.check([key]) and time.monotonic() < limit:
            time.sleep(POLL_S)
        return bool(self.place.rank) and self.store.check([key]) and self._text(key) == error.what

    def lost(self, why: str) -> RankError:
        """Return the error for a rank that no longer answers, after a roll call.

        why  what an exchange failed by
        """
        try:
            return self._roll_call(why)
        except RuntimeError:  # without torchrun the store is rank 0's, and ends with it
            return RankError("rank 0 ended", "the others cannot reach it", HINT)

    def _roll_call(self, why: str) -> RankError:
        self.store.set(f"present {self.place.rank}", "")
        missing, limit = self._missing(), time.monotonic() + ROLL_CALL_S
        while missing and not self.store.check([FIRST_FAILED]) and time.monotonic() < limit:
            time.sleep(POLL_S)
            missing = self._missing()
        if self.store.check([FIRST_FAILED]):
            rank = int(self._text(FIRST_FAILED))
            what, why = f"rank {rank} failed", self._text(f"failure of {rank}")
            is_told = rank == 0 or self.place.rank != 0
        else:
            what = "an exchange between the ranks failed"
            if missing:
                what = f"rank {', '.join(map(str, missing))} was killed or hangs"
                why = f"it does not answer the others: {why}"
            present = set(range(self.place.count)) - set(missing)
            is_told = self.place.rank != min(present)
        error = RankError(what, why, HINT)
        error.is_told = is_told
        return error

    def _missing(self) -> list[int]:
        ranks = range(self.place.count)
        return [rank for rank in ranks if not self.store.check([f"present {rank}"])]

    def _value(self, key: str) -> str:
        """Return a value that another rank sets; raises RankError if it fails before."""
        limit, pause = time.monotonic() + START_S, FIRST_POLL_S
        while not self.store.check([key]):
            has_failed = self.store.check([FIRST_FAILED]) or time.monotonic() > limit
            if has_failed and not self.store.check([key]):  # nor did it set the key before
                raise self.lost(f"no word in {START_S:g} s")
            time.sleep(pause)
            pause = min(2 * pause, POLL_S)
        return self._text(key)

    def _text(self, key: str) -> str:
        return text_of(self.store, key)


def round_of(store: Store, place: Place) -> str:
    """Return a name that all processes of this start of a job share, and no earlier ones had.

    The store answers with the words of the processes before, and torchrun counts the restarts of
    each machine alone: one that joins later counts others. So each process leaves a word of its
    own. Rank 0 publishes all words, again when one turns out to be new, until each process has
    found its own among them and has said so. Raises RankError if one does not come.
    """
    own, published, limit = uuid4().hex, "", time.monotonic() + START_S
    store.set(f"word of {place.rank}", own)
    places = range(place.count)
    while time.monotonic() < limit:
        if place.rank == 0:
            words = [text_of(store, f"word of {rank}") for rank in places]
            if all(words) and ",".join(words) != published:
                published = ",".join(words)
                store.set("words", published)
            if published and all(
                text_of(store, f"{rank} read") == published for rank in places[1:]
            ):
                store.set("begun", published)
                return published
        else:
            found = text_of(store, "words")
            if found.split(",")[place.rank :][:1] == [own]:
                store.set(f"{place.rank} read", found)
                if text_of(store, "begun") == found:
                    return found
        time.sleep(POLL_S)
    raise RankError("the processes of a job did not meet", f"not all came in {START_S:g} s", HINT)


def text_of(store: Store, key: str) -> str:
    """Return the text of a key, "" if there is none."""
    text: str = store.get(key).decode() if store.check([key]) else ""
    return text


class Job:
    """A job, as one of its processes sees it; alone it has nobody to meet.

    ranks  of the run
    """

    def __init__(self, place: Place, meeting: Meeting | None = None) -> None:
        self.place, self._meeting = place, meeting
        self.ranks: Ranks = ONE
        if meeting is not None:
            self.ranks = SeveralRanks(place.rank, place.count, meeting.wait_for_first, meeting.lost)

    def share_weights(self) -> None:
        """Let the processes share one model's weights; a single one holds all of them."""
        place, meeting = self.place, self._meeting
        if meeting is not None:
            self.ranks = ShardedRanks(place.rank, place.count, meeting.wait_for_first, meeting.lost)

    def form(self, facts: Mapping[str, str], device: torch.device, timeout_s: float) -> None:
        """Form the group of all ranks once they agree on the facts; RankError if they do not."""
        if self._meeting is None:
            return
        self._meeting.agree(facts)
        self.ranks.limit = timedelta(seconds=timeout_s)
        try:
            dist.init_process_group(
                "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo",
                timeout=self.ranks.limit,
                store=PrefixStore("group", self._meeting.store),
                rank=self.place.rank,
                world_size=self.place.count,
            )
        except RuntimeError as error:
            raise self._meeting.lost(reason(error)) from error


@contextmanager
def joined() -> Iterator[Job]:
    """Join the job that this process is one of; what ends it here, ends it for all."""
    place = place_in_job()
    if place.count == 1:
        yield Job(place)
        return
    store, _, _ = next(rendezvous("env://", timeout=timedelta(seconds=START_S)))
    # the store may serve several jobs, and outlives a restart: see `round_of`
    own = PrefixStore(f"bptrain {os.environ.get('TORCHELASTIC_RUN_ID', '')} {place.count}", store)
    meeting = Meeting(PrefixStore(round_of(own, place), own), place)
    try:
        yield Job(place, meeting)
    except RankError:  # who failed has left a word, or cannot
        raise
    except BptrainError as error:
        with suppress(RuntimeError):  # the store is gone
            meeting.fail(error.what)
            error.is_told = meeting.is_told_by_first(error)
        raise
    except Exception as error:
        with suppress(RuntimeError):
            meeting.fail(f"{type(error).__name__}: {error}")
        raise
    if dist.is_initialized():
        dist.destroy_process_group()
