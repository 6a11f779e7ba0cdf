"""Recordings of other rates, channels and formats, and those that cannot be read."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from sounds import chunk, digits, encoded, fmt, riff, tone, wav, write_folder

from bptrain.data.audio.audio_folder import AudioFolderConfig
from bptrain.data.audio.mel import LogMelConfig
from bptrain.data.audio.resampling import middle, ratio, resampled
from bptrain.data.audio.sound_file import decode_sound
from bptrain.data.audio.spectrograms import AudioPreprocessing
from bptrain.errors import DataError

RATES = [(8000, 16_000), (44_100, 16_000), (48_000, 8000), (22_050, 24_000), (44_101, 16_000)]


def sine(frequency: float, rate: int, seconds: float = 0.5) -> torch.Tensor:
    return torch.sin(2 * torch.pi * frequency * torch.arange(int(seconds * rate)) / rate)


@pytest.mark.parametrize(("rate", "new_rate"), RATES)
@pytest.mark.parametrize("frequency", [100, 1000, 3000])
def test_a_tone_stays_the_same_tone(rate: int, new_rate: int, frequency: float) -> None:
    found = resampled(sine(frequency, rate), rate, new_rate)
    expected = sine(frequency, new_rate)
    assert found.dtype == torch.float32
    assert abs(len(found) - len(expected)) <= 1
    inside = slice(new_rate // 100, new_rate // 3)  # the ends meet silence
    torch.testing.assert_close(found[inside], expected[inside], atol=5e-3, rtol=0)


@pytest.mark.parametrize(("rate", "new_rate"), [(44_100, 16_000), (48_000, 8000), (16_000, 11_025)])
def test_what_is_too_high_for_the_new_rate_does_not_come_back_as_another_pitch(
    rate: int, new_rate: int
) -> None:
    frequency = 0.6 * new_rate  # above its Nyquist frequency: without a filter, 0.4 of the rate
    found = resampled(sine(frequency, rate), rate, new_rate)
    inside = found[new_rate // 100 : new_rate // 3]
    assert inside.abs().max() < 5e-3


def test_ratios_are_exact_where_they_are_small_and_near_where_they_are_not() -> None:
    assert ratio(44_100, 16_000) == (160, 441)
    assert ratio(16_000, 44_100) == (441, 160)
    up, down = ratio(44_101, 16_000)
    assert max(up, down) <= 10_000
    assert up / down == pytest.approx(16_000 / 44_101, rel=1e-6)


def test_the_middle_of_a_long_recording_is_resampled_alone() -> None:
    sound = torch.randn(100_000, generator=torch.Generator().manual_seed(0))
    part = middle(sound, 0.1, 44_100, 16_000)
    assert len(part) < 4410 + 200
    assert middle(sound, 0.1, 16_000, 16_000) is sound
    assert middle(sound[:3000], 0.1, 44_100, 16_000).equal(sound[:3000])
    start = (100_000 - len(part)) // 2
    assert part.equal(sound[start : start + len(part)])


def test_a_recording_of_another_rate_has_the_same_spectrogram() -> None:
    features = LogMelConfig(n_fft=256, hop=80, mels=20, fmin=50)
    preprocessing = AudioPreprocessing(8000, 0.25, features)

    def spectrogram(rate: int) -> torch.Tensor:
        content = wav(0.5 * sine(700, rate).numpy(), rate=rate)
        return preprocessing.spectrograms([preprocessing.sound(content, "x")], 1, "x")[0][3:-3]

    usual = spectrogram(8000)
    loud = usual > usual.max() - 8  # elsewhere it is what rounding to 16 bits adds
    for rate in (16_000, 44_100):
        torch.testing.assert_close(spectrogram(rate)[loud], usual[loud], atol=0.05, rtol=0)


def test_rates_that_no_recording_has_are_refused() -> None:
    preprocessing = AudioPreprocessing(16_000, 1.0, LogMelConfig())
    with pytest.raises(DataError, match="1 samples per second"):
        preprocessing.sound(wav(tone(400), rate=1), "x.wav")


@pytest.mark.parametrize("channels", [3, 6, 100])
def test_all_channels_are_mixed_down(channels: int) -> None:
    sound = tone(440)
    each = np.stack([(number + 1) * sound / channels for number in range(channels)], 1)
    content = riff(fmt(channels=channels), chunk(b"data", encoded(each.ravel())))
    _, samples = decode_sound(content, "x.wav")
    assert samples.numpy() == pytest.approx(each.mean(1), abs=1e-4)


CONFIG = """
data:
  {kind: audio_folder, path: 'calls', pattern: '{label}_{speaker}_{index}.wav', sample_rate: 8000,
   seconds: 0.25, features: {n_fft: 256, hop: 80, mels: 20}, validation_fraction: 0.2}
model: {kind: mlp, hidden: []}
train: {steps: 2}
"""


def write_calls(root: Path) -> None:
    """Write recordings, one of them at twice the rate, and three that cannot be read."""
    files = digits(8)
    files["0_a_0.wav"] = wav(np.repeat(tone(300), 2), rate=16_000)
    files |= {"3_a_2.wav": b"", "4_b_1.wav": files["4_b_1.wav"][:-1], "5_a_4.wav": b"no sound"}
    write_folder(root / "calls", files)


def test_bad_recordings_are_all_said_at_once_or_left_out_and_stored(
    bptrain: Callable, tmp_path: Path
) -> None:
    write_calls(tmp_path)
    (tmp_path / "c.yaml").write_text(CONFIG)
    refused = bptrain("fit", "c.yaml")
    assert refused.exit_code == 3
    for said in ("3 files below calls", "3_a_2.wav", "4_b_1.wav", "5_a_4.wav", "on_bad_file: skip"):
        assert said in refused.stderr
    skipped = bptrain("fit", "c.yaml", "data.on_bad_file=skip", "--run-dir", "run")
    assert skipped.exit_code == 0, skipped.stderr
    assert "left out: 3 of 80 files (data.on_bad_file: skip)" in skipped.stdout
    assert "resampled: 1 recording of 16,000 Hz to 8,000 Hz" in skipped.stdout
    (tmp_path / "calls" / "7_a_2.wav").write_bytes(b"")  # another bad one: not the run's data
    assert bptrain("evaluate", "run").exit_code == 3
    judged = bptrain("evaluate", "run", "calls")
    assert judged.exit_code == 3
    assert "4 files below calls" in judged.stderr


def test_other_recordings_are_split_as_if_none_were_bad(tmp_path: Path) -> None:
    write_folder(tmp_path / "calls", digits(8))
    settings = AudioFolderConfig(
        path=str(tmp_path / "calls"),
        pattern="{label}_{speaker}_{index}.wav",
        sample_rate=8000,
        seconds=0.25,
        features=LogMelConfig(n_fft=256, hop=80, mels=20, fmin=50),
        on_bad_file="skip",
    )
    whole = settings.build(0)
    (tmp_path / "calls" / "3_a_2.wav").write_bytes(b"")
    found = settings.build(0)
    splits = ("train", "validation", "test")
    counts = [len(getattr(found, name)) - len(getattr(whole, name)) for name in splits]
    assert sorted(counts) == [-1, 0, 0]
    same = splits[counts.index(0)]
    assert getattr(found, same).targets.equal(getattr(whole, same).targets)
    assert found.prepared["left_out_files"] == ["3_a_2.wav"]
    for path in (tmp_path / "calls").glob("6_*"):
        path.write_bytes(b"")
    with pytest.raises(DataError, match="no training recording of class '6'"):
        settings.build(0)
