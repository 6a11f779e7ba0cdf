"""From the content of recordings to spectrograms, of one length or each of its own."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad
from torch.nn.utils.rnn import pad_sequence

from bptrain.data.audio.mel import LogMelConfig, frames_of, log_mel
from bptrain.data.audio.resampling import middle, resampled
from bptrain.data.audio.sound_file import Sound, decode_sound
from bptrain.errors import DataError
from bptrain.free_memory import format_bytes, free_bytes

LONGEST_S = 600.0
MOST_TIMES = 1_000  # that a rate is raised or lowered: beyond it a header is wrong
GROUP_SAMPLES = 2**20  # whose spectra are computed together: some 30 MB
LEAST_STD = 1e-5  # of a logarithm: less is rounding
COPIES = 3  # of the features while they are standardized and split


@dataclass(frozen=True)
class AudioPreprocessing:
    """The steps from a recording to a model's input.

    rate      samples per second that every recording is converted to
    seconds   length that recordings are cropped or padded to; None keeps their own lengths
    features  settings of the spectrogram
    """

    rate: int
    seconds: float | None
    features: LogMelConfig

    def sound(self, content: bytes, place: str) -> Tensor:
        """Return the samples [S] of a file's content, cropped or padded, or raise DataError."""
        return self.fitted(decode_sound(content, place), place)

    def fitted(self, sound: Sound, place: str) -> Tensor:
        """Return the samples [S] of a recording at the model's rate, cropped or padded.

        Raises DataError, which names the file by `place`, for one that is too long, or whose rate
        is too far from the model's.
        """
        rate, samples = sound
        if max(rate, self.rate) > MOST_TIMES * min(rate, self.rate):
            raise DataError(
                f"{place}: {rate:,} samples per second, data.sample_rate is {self.rate:,}",
                f"rates are converted that differ {MOST_TIMES:,}-fold at most",
                "a file whose header tells its rate, or another data.sample_rate",
            )
        if self.seconds is not None:
            samples = resampled(middle(samples, self.seconds, rate, self.rate), rate, self.rate)
            return _cropped_or_padded(samples, max(1, round(self.seconds * self.rate)))
        if len(samples) > LONGEST_S * rate:
            raise DataError(
                f"{place}: {len(samples) / rate:,.0f} s long",
                f"with data.seconds: null a recording may have {LONGEST_S:g} s",
                "cut it into shorter ones, or set data.seconds",
            )
        return resampled(samples, rate, self.rate)

    def spectrograms(self, sounds: Iterable[Tensor], count: int, source: str) -> list[Tensor]:
        """Return the features [T, F] of each of `count` sounds.

        Raises DataError, which names `source`, as soon as memory would not hold them.
        """
        bank = self.features.filter_bank(self.rate)
        features: list[Tensor] = []
        for group in _groups(sounds):
            longest = max(len(each) for each in group)
            self._refuse_what_does_not_fit(longest, count, source)
            spectra = log_mel(pad_sequence(group, batch_first=True), self.features, bank)
            for each, spectrum in zip(group, spectra, strict=True):
                # a copy: a view would hold on to the whole group's memory
                features.append(spectrum[: frames_of(len(each), self.features.hop)].clone())
        return features

    def _refuse_what_does_not_fit(self, longest: int, count: int, source: str) -> None:
        frames = frames_of(longest, self.features.hop)
        needed = COPIES * count * frames * self.features.mels * torch.float32.itemsize
        free = free_bytes()
        if needed > free:
            raise DataError(
                f"{source}: too large: its features take {format_bytes(needed)}",
                f"{count:,} recordings of up to {longest / self.rate:,.1f} s, "
                f"{format_bytes(free)} of memory are free",
                "fewer or shorter recordings, or a larger data.features.hop",
            )

    def inputs(
        self, features: Sequence[Tensor], mean: Sequence[float], std: Sequence[float]
    ) -> tuple[Tensor, Tensor | None]:
        """Return the standardized features [N, T, F], and their lengths [N] if these vary.

        Padding is 0, which is the mean of each band.
        """
        center, scale = torch.tensor(mean), torch.tensor(std)
        scaled = [(each - center) / scale for each in features]
        lengths = (
            None if self.seconds is not None else torch.tensor([len(each) for each in features])
        )
        return pad_sequence(scaled, batch_first=True), lengths


def band_statistics(features: Sequence[Tensor]) -> dict[str, list[float]]:
    """Return each band's mean and standard deviation over all frames."""
    frames = torch.cat(list(features)).numpy()
    mean = frames.mean(0, dtype=np.float64)
    std = frames.std(0, dtype=np.float64)
    std[std < LEAST_STD] = 1.0  # a constant band stays constant
    return {"mean": mean.tolist(), "std": std.tolist()}


def _cropped_or_padded(samples: Tensor, size: int) -> Tensor:
    """Return the middle `size` samples, or all of them with zeros on both sides."""
    before = (size - len(samples)) // 2  # negative where it is cropped
    return pad(samples, (before, size - len(samples) - before))


def _groups(sounds: Iterable[Tensor]) -> Iterator[list[Tensor]]:
    """Yield sounds in their order, in groups whose spectra are computed together."""
    group: list[Tensor] = []
    longest = 0
    for sound in sounds:
        longest = max(longest, len(sound))
        if group and longest * (len(group) + 1) > GROUP_SAMPLES:
            yield group
            group, longest = [], len(sound)
        group.append(sound)
    if group:
        yield group
