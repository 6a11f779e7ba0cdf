"""Recordings as the spectrograms that a model reads: of one length, or each of its own."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad
from torch.nn.utils.rnn import pad_sequence

from bptrain.data.audio.mel import LogMelConfig, frames_of, log_mel
from bptrain.data.audio.wav import decode_wav
from bptrain.errors import DataError
from bptrain.free_memory import free_bytes, in_words

LONGEST_S = 600.0
TOGETHER = 2**20  # samples whose spectra are computed at once: some 30 MB
LEAST_DEVIATION = 1e-5  # of a log: less is what rounding leaves
COPIES = 3  # of the features while they are standardized and divided


@dataclass(frozen=True)
class Form:
    """What every recording is brought to.

    rate      samples a second that it must have
    seconds   length that its middle is cut to or that silence around it fills up; None keeps it
    features  what is computed
    """

    rate: int
    seconds: float | None
    features: LogMelConfig

    def sound(self, content: bytes, place: str) -> Tensor:
        """Return the samples [S] of a WAV file, or raise DataError."""
        rate, samples = decode_wav(content, place)
        if rate != self.rate:
            raise DataError(
                f"{place}: {rate:,} samples a second, data.sample_rate is {self.rate:,}",
                "pitch and pace would be heard wrongly",
                f"data.sample_rate={rate} if all files agree, or "
                f"ffmpeg -i FILE -ar {self.rate} NEW.wav",
            )
        if self.seconds is not None:
            return _centred(samples, max(1, round(self.seconds * rate)))
        if len(samples) > LONGEST_S * rate:
            raise DataError(
                f"{place}: {len(samples) / rate:,.0f} s long",
                f"a sequence of up to {LONGEST_S:g} s is read whole",
                "cut it into shorter ones, or give data.seconds",
            )
        return samples

    def spectrograms(self, sounds: Iterable[Tensor], count: int, source: str) -> list[Tensor]:
        """Return the features [T, F] of each of `count` sounds.

        Raises DataError naming `source` as soon as memory would not hold them.
        """
        bank = self.features.filter_bank(self.rate)
        features: list[Tensor] = []
        for together in _groups(sounds):
            longest = max(len(each) for each in together)
            self._refuse_what_does_not_fit(longest, count, source)
            spectra = log_mel(pad_sequence(together, batch_first=True), self.features, bank)
            for each, spectrum in zip(together, spectra, strict=True):
                # a copy: a view would keep the whole group's memory
                features.append(spectrum[: frames_of(len(each), self.features.hop)].clone())
        return features

    def _refuse_what_does_not_fit(self, longest: int, count: int, source: str) -> None:
        frames = frames_of(longest, self.features.hop)
        needed = COPIES * count * frames * self.features.mels * torch.float32.itemsize
        free = free_bytes()
        if needed > free:
            raise DataError(
                f"{source}: too large: its features take {in_words(needed)}",
                f"{count:,} recordings of up to {longest / self.rate:,.1f} s, "
                f"{in_words(free)} of memory are free",
                "fewer or shorter recordings, or a larger data.features.hop",
            )

    def inputs(
        self, features: Sequence[Tensor], mean: Sequence[float], deviation: Sequence[float]
    ) -> tuple[Tensor, Tensor | None]:
        """Return the standardized features [N, T, F], and their lengths [N] where they differ.

        Padding is 0: the mean of each band.
        """
        centre, width = torch.tensor(mean), torch.tensor(deviation)
        scaled = [(each - centre) / width for each in features]
        lengths = (
            None if self.seconds is not None else torch.tensor([len(each) for each in features])
        )
        return pad_sequence(scaled, batch_first=True), lengths


def constants_of(features: Sequence[Tensor]) -> dict[str, list[float]]:
    """Return each band's mean and deviation over all frames."""
    frames = torch.cat(list(features)).numpy()
    mean = frames.mean(0, dtype=np.float64)
    deviation = frames.std(0, dtype=np.float64)
    deviation[deviation < LEAST_DEVIATION] = 1.0  # a constant band stays constant
    return {"mean": mean.tolist(), "deviation": deviation.tolist()}


def _centred(samples: Tensor, size: int) -> Tensor:
    """Return the middle `size` samples, or all of them with silence on both sides."""
    before = (size - len(samples)) // 2  # negative: what is cut off
    return pad(samples, (before, size - len(samples) - before))


def _groups(sounds: Iterable[Tensor]) -> Iterator[list[Tensor]]:
    """Yield sounds in their order, as many together as are computed at once."""
    group: list[Tensor] = []
    longest = 0
    for sound in sounds:
        longest = max(longest, len(sound))
        if group and longest * (len(group) + 1) > TOGETHER:
            yield group
            group, longest = [], len(sound)
        group.append(sound)
    if group:
        yield group
