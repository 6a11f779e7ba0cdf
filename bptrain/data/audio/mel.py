"""Log-mel spectrograms: the power in each mel band, frame by frame.

Frame t is centered on sample t * hop, with zeros outside of the recording, so that S samples give
1 + S // hop frames, and padding a recording for a batch does not change its frames.

    mel(f)  = 2595 log10(1 + f / 700)     perceived pitch: O'Shaughnessy, "Speech Communication",
                                          1987; the HTK Book, equation 5.13
    power   = |STFT|^2 under a periodic Hann window
    band m  = sum_f weight_fm power_f     a triangle over f in hertz from edge m to edge m + 2, with
                                          height 1 at edge m + 1; edges lie evenly on the mel scale
    output  = log(band + 1e-6)
"""

from math import log10

import torch
from pydantic import Field
from torch import Tensor

from bptrain.config import StrictConfig
from bptrain.errors import UsageError

FLOOR = 1e-6  # above what 16-bit rounding adds to a band, so that silence is one quiet number


class LogMelConfig(StrictConfig):
    """Log-mel spectrograms: window, hop and mel bands."""

    n_fft: int = Field(
        default=512,
        ge=16,
        le=65_536,
        description="samples per Fourier transform (32 ms at 16 kHz): a larger window separates "
        "frequencies better and moments worse",
    )
    hop: int = Field(
        default=160,
        ge=1,
        le=65_536,
        description="samples from one frame to the next (10 ms at 16 kHz); at most n_fft, and "
        "usually a quarter to a half of it. A larger hop gives shorter sequences",
    )
    mels: int = Field(
        default=40,
        ge=1,
        le=1024,
        description="mel bands, which are the features of each frame; 40 to 80 are usual for "
        "speech",
    )
    fmin: float = Field(
        default=20.0, ge=0, le=1e6, description="lowest frequency of the mel bands in Hz"
    )
    fmax: float | None = Field(
        default=None,
        gt=0,
        le=1e6,
        description="highest frequency of the mel bands in Hz; null is half the sample rate",
    )

    def filter_bank(self, rate: int) -> Tensor:
        """Return the weight of each frequency in each band [n_fft // 2 + 1, mels].

        Raises UsageError if the settings contradict each other or the sample rate.
        """
        top = rate / 2 if self.fmax is None else self.fmax
        if not self.fmin < top <= rate / 2:
            raise UsageError(
                f"data.features: bands from {self.fmin:g} to {top:g} Hz",
                f"{rate:,} samples per second hold frequencies from 0 to {rate / 2:g} Hz",
                "another fmin or fmax",
            )
        if self.hop > self.n_fft:
            raise UsageError(
                f"data.features: hop {self.hop} leaves out samples between frames",
                f"a frame covers n_fft = {self.n_fft} samples",
                "a hop of half of n_fft or less",
            )
        return self._triangles(rate, top)

    def _triangles(self, rate: int, top: float) -> Tensor:
        frequencies = torch.linspace(0, rate / 2, self.n_fft // 2 + 1, dtype=torch.float64)
        mels = torch.linspace(mel(self.fmin), mel(top), self.mels + 2, dtype=torch.float64)
        edges = 700 * (10 ** (mels / 2595) - 1)  # mel, solved for f
        low, center, high = edges[:-2], edges[1:-1], edges[2:]
        rising = (frequencies.unsqueeze(1) - low) / (center - low)
        falling = (high - frequencies.unsqueeze(1)) / (high - center)
        bank = torch.minimum(rising, falling).clamp_(min=0)
        empty = (bank.sum(0) == 0).nonzero().flatten().tolist()
        if empty:
            raise UsageError(
                f"data.features: band {empty[0]} of {self.mels} mels holds no frequency",
                f"with n_fft {self.n_fft}, frequencies are {rate / self.n_fft:.1f} Hz apart",
                "fewer mels, or a larger n_fft",
            )
        return bank.float()


def mel(frequency: float) -> float:
    """Return the mel value of a frequency in Hz."""
    return 2595 * log10(1 + frequency / 700)


def frames_of(samples: int, hop: int) -> int:
    """Return the number of frames of a recording."""
    return 1 + samples // hop


def log_mel(sounds: Tensor, config: LogMelConfig, bank: Tensor) -> Tensor:
    """Return the features [N, T, mels] of sounds [N, S]; `bank` is the config's filter bank."""
    window = torch.hann_window(config.n_fft, dtype=sounds.dtype)
    spectrum = torch.stft(
        sounds,
        config.n_fft,
        config.hop,
        window=window,
        center=True,
        pad_mode="constant",
        return_complex=True,
    )
    power = spectrum.real.square() + spectrum.imag.square()  # [N, bins, T]
    return (power.transpose(1, 2) @ bank).add_(FLOOR).log_()
