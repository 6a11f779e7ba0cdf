"""Recordings: decoding, features, splits, transcripts and SpecAugment."""

from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from struct import pack

import numpy as np
import pytest
import soundfile
import torch
from sounds import FLOAT, PCM, RATE, chunk, digits, encoded, fmt, riff, tone, wav, write_folder
from sounds import zipped as zip_of

from bptrain.data.audio.audio_folder import AudioFolderConfig
from bptrain.data.audio.file_name_pattern import NamePattern
from bptrain.data.audio.mel import LogMelConfig, frames_of, log_mel, mel
from bptrain.data.audio.recordings import FieldConfig, FractionConfig
from bptrain.data.audio.sound_file import decode_sound
from bptrain.data.audio.spec_augment import SpecAugmentConfig
from bptrain.data.hashed_random import Draws
from bptrain.errors import UsageError

PATTERN = "{label}_{speaker}_{index}.wav"
GUID = bytes.fromhex("000000001000800000aa00389b71")  # of every standard subformat
SMALL = LogMelConfig(n_fft=256, hop=80, mels=20, fmin=50)
WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


def config(path: Path, **changes: object) -> AudioFolderConfig:
    given = {
        "path": str(path),
        "pattern": PATTERN,
        "test": FieldConfig(field="index", values=[0, "1"]),
        "sample_rate": RATE,
        "seconds": 0.25,
        "features": SMALL,
        "validation_fraction": 0.2,
    }
    return AudioFolderConfig(**{**given, **changes})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_folder(tmp_path / "digits", digits())


@pytest.mark.parametrize(
    ("bits", "kind", "error"),
    [(8, PCM, 1e-2), (16, PCM, 1e-4), (24, PCM, 1e-6), (32, PCM, 1e-7), (32, FLOAT, 1e-7)],
)
def test_every_width_of_sample_holds_the_same_sound(bits: int, kind: int, error: float) -> None:
    sound = tone(440)
    rate, samples = decode_sound(wav(sound, bits, kind), "x.wav")
    assert rate == RATE
    assert samples.dtype == torch.float32
    assert samples.numpy() == pytest.approx(sound, abs=error)


def test_the_extremes_of_each_width_are_full_scale() -> None:
    least = {8: b"\0", 16: b"\0\x80", 24: b"\0\0\x80", 32: b"\0\0\0\x80"}
    for bits, content in least.items():
        _, samples = decode_sound(riff(fmt(bits=bits), chunk(b"data", content)), "x.wav")
        assert samples.tolist() == [-1.0]


def test_two_channels_are_averaged() -> None:
    both = np.stack([tone(440), -tone(440)], 1).ravel()
    _, samples = decode_sound(riff(fmt(channels=2), chunk(b"data", encoded(both))), "x.wav")
    assert samples.shape == (2400,)
    assert samples.abs().max() < 1e-4


def test_other_chunks_odd_sizes_and_streamed_headers_are_read() -> None:
    sound = chunk(b"data", encoded(tone(440)))
    plain = riff(fmt(), sound)
    around = riff(chunk(b"LIST", b"odd"), fmt(), chunk(b"bext", b""), sound, chunk(b"id3 ", b"x"))
    streamed = b"RIFF" + b"\xff" * 4 + plain[8:]
    piped = riff(fmt(), chunk(b"data", encoded(tone(440)), 2**32 - 1))
    padded = plain + b"\0"
    for content in (around, streamed, piped, padded):
        assert decode_sound(content, "x.wav").samples.equal(decode_sound(plain, "x.wav").samples)


def test_an_extensible_format_is_read_by_its_subformat() -> None:
    true = pack("<HHIIHH", 0xFFFE, 1, RATE, RATE * 4, 4, 32) + pack("<HHIH", 22, 32, 4, FLOAT)
    content = riff(chunk(b"fmt ", true + GUID), chunk(b"data", encoded(tone(440), kind=FLOAT)))
    assert decode_sound(content, "x.wav").samples.numpy() == pytest.approx(tone(440), abs=1e-6)


FORMATS = [  # ending, format, subtype, and what its loss of detail may change
    (".wav", "WAV", "ULAW", 0.05),
    (".wav", "WAV", "DOUBLE", 1e-6),
    (".wav", "RF64", "PCM_16", 1e-4),
    (".flac", "FLAC", "PCM_16", 1e-4),
    (".ogg", "OGG", "VORBIS", 0.1),
    (".opus", "OGG", "OPUS", 0.2),
    (".mp3", "MP3", "MPEG_LAYER_III", 0.1),
]


def in_format(sound: np.ndarray, format: str, subtype: str) -> bytes:
    buffer = BytesIO()
    soundfile.write(buffer, sound, RATE, format=format, subtype=subtype)
    return buffer.getvalue()


@pytest.mark.parametrize(("ending", "format", "subtype", "error"), FORMATS)
def test_every_format_holds_the_same_sound(
    ending: str, format: str, subtype: str, error: float
) -> None:
    sound = tone(440)
    rate, samples = decode_sound(in_format(sound, format, subtype), "x")
    assert rate == RATE
    assert len(samples) == len(sound)
    middle = slice(400, 2000)  # lossy formats smear the ends
    assert samples[middle].numpy() == pytest.approx(sound[middle], abs=error)


@pytest.mark.parametrize(("ending", "format", "subtype", "error"), FORMATS[3:])
def test_the_ending_of_the_pattern_selects_the_files(
    tmp_path: Path, ending: str, format: str, subtype: str, error: float
) -> None:
    files = {
        f"{word}/{n}{ending}": in_format(tone(frequency), format, subtype)
        for word, frequency in (("no", 300), ("yes", 900))
        for n in range(4)
    }
    path = write_folder(tmp_path, {**files, "no/other.wav": wav(tone(300))})
    test = FractionConfig(fraction=0.5)
    dataset = config(path, pattern=f"{{label}}/{{name}}{ending}", test=test).build(0)
    assert len(dataset.train) + len(dataset.validation or []) + len(dataset.test) == 8


def test_an_mp3_file_without_a_length_is_read_to_its_end() -> None:
    buffer = BytesIO()
    sound = tone(440, 80_000) * (np.arange(80_000) > 40_000)
    options = {"bitrate_mode": "VARIABLE", "compression_level": 0.5}
    soundfile.write(buffer, sound, RATE, format="MP3", subtype="MPEG_LAYER_III", **options)
    whole = buffer.getvalue()
    without_length = whole[whole.index(whole[:2], 10) :]  # the first frame tells the length
    assert b"Xing" in whole
    assert b"Xing" not in without_length
    assert len(decode_sound(whole, "x.mp3").samples) == 80_000
    assert len(decode_sound(without_length, "x.mp3").samples) >= 80_000


def test_a_tone_is_loudest_in_the_band_of_its_pitch() -> None:
    bank = SMALL.filter_bank(RATE)
    edges = np.linspace(mel(50), mel(4000), SMALL.mels + 2)
    for frequency in (200, 1000, 3000):
        sound = torch.from_numpy(tone(frequency)).float().unsqueeze(0)
        loudest = log_mel(sound, SMALL, bank)[0, 5:-5].mean(0).argmax()
        nearest = np.abs(edges[1:-1] - mel(frequency)).argmin()
        assert abs(int(loudest) - int(nearest)) <= 1


def test_the_filters_are_triangles_that_add_up_to_one() -> None:
    bank = LogMelConfig(n_fft=4096, mels=10, fmin=100, fmax=3000).filter_bank(RATE)
    frequencies = torch.linspace(0, RATE / 2, 2049)
    assert bank.max(0).values.min() > 0.95
    edges = [700 * (10 ** (m / 2595) - 1) for m in np.linspace(mel(100), mel(3000), 12)]
    between = (frequencies > edges[1]) & (frequencies < edges[-2])
    torch.testing.assert_close(bank[between].sum(1), torch.ones(int(between.sum())))
    assert bank[(frequencies <= 100) | (frequencies >= 3000)].abs().max() == 0
    assert mel(1000) == pytest.approx(1000, abs=0.1)  # the scale's anchor


def test_features_of_a_recording_do_not_depend_on_padding() -> None:
    bank, sound = SMALL.filter_bank(RATE), torch.from_numpy(tone(440, 1000)).float()
    alone = log_mel(sound.unsqueeze(0), SMALL, bank)[0]
    filled = torch.nn.functional.pad(sound, (0, 5000)).unsqueeze(0)
    assert len(alone) == frames_of(1000, SMALL.hop)
    torch.testing.assert_close(log_mel(filled, SMALL, bank)[0, : len(alone)], alone)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"fmax": 5000.0}, "5000"),
        ({"fmin": 4000.0}, "4000 to 4000"),
        ({"hop": 512}, "leaves out samples"),
        ({"n_fft": 64, "hop": 32, "mels": 80}, "holds no frequency"),
    ],
)
def test_impossible_features_are_refused(changes: dict, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        LogMelConfig(**{"n_fft": 256, "hop": 80, **changes}).filter_bank(RATE)


@pytest.mark.parametrize(
    ("pattern", "name", "fields"),
    [
        (PATTERN, "7_jackson_32.wav", {"label": "7", "speaker": "jackson", "index": "32"}),
        (PATTERN, "7_a_b_32.wav", {"label": "7", "speaker": "a", "index": "b_32"}),
        (PATTERN, "7_jackson.wav", None),
        (PATTERN, "7__32.wav", None),
        (PATTERN, "sub/7_a_32.wav", None),
        ("{label}/{name}.wav", "yes/a b.wav", {"label": "yes", "name": "a b"}),
        ("{label}/{name}.wav", "yes/deep/a.wav", None),
        ("{label}/{name}.wav", "a.wav", None),
        ("x{label}.wav", "x.wav", None),
        ("{a}.wav{label}.wav", "1.wav", None),
        ("only.wav", "only.wav", {}),
    ],
)
def test_a_name_is_read_by_its_pattern(pattern: str, name: str, fields: dict | None) -> None:
    assert NamePattern(pattern).read(name) == fields


def test_a_pattern_of_many_fields_is_fast() -> None:
    pattern = "_".join(f"{{f{number}}}" for number in range(30)) + "x.wav"
    assert NamePattern(pattern).read("_a" * 5000 + ".wav") is None


@pytest.mark.parametrize("where", ["folder", "zip"])
def test_a_folder_and_a_zip_file_are_the_same_data_set(
    tmp_path: Path, folder: Path, where: str
) -> None:
    path = folder
    if where == "zip":
        path = tmp_path / "digits.zip"
        path.write_bytes(zip_of({**digits(), "__MACOSX/._0_a_0.wav": b"x", "read.me": b"x"}))
    else:
        write_folder(folder, {"notes.txt": b"x", "._0_a_0.wav": b"x", ".git/x.wav": b"x"})
    dataset = config(path).build(0)
    assert [len(each) for each in (dataset.train, dataset.validation, dataset.test)] == [48, 12, 20]
    problem = dataset.problem
    assert problem.input_shape == (26, 20)  # 0.25 s: 1 + 2000 // 80 frames
    assert (problem.task, problem.outputs, problem.is_sequence) == ("classification", 10, True)
    assert not problem.varies
    assert problem.names == tuple("0123456789")
    again = config(folder).build(0)
    assert dataset.train.inputs.equal(again.train.inputs)
    assert dataset.test.targets.equal(again.test.targets)


def test_folders_can_name_the_classes_and_a_capital_suffix_counts(tmp_path: Path) -> None:
    files = {
        f"{word}/{n}.WAV": wav(tone(f)) for word, f in (("no", 300), ("yes", 900)) for n in range(6)
    }
    path = write_folder(tmp_path, files)
    dataset = config(path, pattern="{label}/{name}.wav", test=FractionConfig(fraction=0.5)).build(0)
    assert dataset.problem.names == ("no", "yes")
    assert dataset.test.targets.bincount().tolist() == [3, 3]
    other = config(path, pattern="{label}/{name}.wav", test=FractionConfig(fraction=0.5)).build(1)
    assert other.test.inputs.shape == dataset.test.inputs.shape


def test_each_band_is_standardized_by_the_training_split(folder: Path) -> None:
    dataset = config(folder).build(0)
    frames = dataset.train.inputs.flatten(0, 1)
    torch.testing.assert_close(frames.mean(0), torch.zeros(20), atol=1e-4, rtol=0)
    torch.testing.assert_close(frames.std(0, correction=0), torch.ones(20), atol=1e-4, rtol=0)
    assert dataset.test.inputs.flatten(0, 1).mean(0).abs().max() > 1e-3
    assert len(dataset.prepared["mean"]) == 20


def test_recordings_are_cropped_to_their_middle_or_padded_with_silence(tmp_path: Path) -> None:
    loud, silence = np.full(800, 0.5), np.zeros(400)
    preprocessing = config(tmp_path, seconds=0.1).preprocessing
    both = preprocessing.sound(wav(np.concatenate([silence, loud, silence])), "x.wav")
    assert both.shape == (800,)
    assert both.min() > 0.49
    padded = preprocessing.sound(wav(loud[:401]), "x.wav")
    assert padded.nonzero().flatten().tolist() == list(range(199, 600))


def test_sequences_keep_their_lengths(folder: Path) -> None:
    dataset = config(folder, seconds=None).build(0)
    assert dataset.problem.varies
    assert dataset.problem.input_shape == (1 + (2400 + 16 * 7) // 80, 20)
    (inputs, lengths), (targets,), *_ = next(dataset.train.serve(8, seed=0).epoch(0))
    assert inputs.shape[0] == len(lengths) == len(targets) == 8
    assert lengths.unique().numel() > 1
    for row, length in zip(inputs, lengths.tolist(), strict=True):
        assert row[length:].abs().sum() == 0  # padding is the mean
        assert row[:length].abs().sum(1).min() > 0


def spoken(samples: object, names: tuple[str, ...]) -> list[str]:
    texts = zip(samples.targets.tolist(), samples.target_lengths.tolist(), strict=True)
    return ["".join(names[symbol] for symbol in text[:length]) for text, length in texts]


def test_labels_can_be_spelled_for_a_transcription(folder: Path) -> None:
    spelling = dict(zip("0123456789", WORDS, strict=True))
    dataset = config(folder, seconds=None, task="transcription", spelling=spelling).build(0)
    names = dataset.problem.names
    assert names == ("<blank>", *sorted(set("".join(WORDS))))
    assert dataset.problem.outputs == len(names)
    assert sorted(spoken(dataset.test, names)) == sorted(2 * WORDS)
    (_, lengths), targets, *_ = next(dataset.train.serve(8, seed=0).epoch(0))
    texts, frames, symbols = targets
    assert frames.equal(lengths)
    assert (texts > 0).sum(1).equal(symbols)


def test_transcripts_come_from_a_table(tmp_path: Path) -> None:
    files = {f"{n}.wav": wav(tone(300 + 100 * n)) for n in range(6)}
    rows = [f'"a, {n % 3}",{n}.wav' for n in range(6)]
    table = "\ufefftext,file\n" + "\n".join(rows) + "\n"
    path = write_folder(tmp_path, {**files, "said.csv": table.encode()})
    dataset = config(
        path,
        pattern="{name}.wav",
        test=FieldConfig(field="name", values=[4, 5]),
        seconds=None,
        task="transcription",
        transcripts="said.csv",
        validation_fraction=0.0,
    ).build(0)
    assert spoken(dataset.test, dataset.problem.names) == ["a, 1", "a, 2"]


@pytest.mark.parametrize("changes", [{}, {"seconds": None}, {"task": "transcription"}])
def test_files_to_predict_equal_their_training_inputs(folder: Path, changes: dict) -> None:
    if "task" in changes:
        changes = {**changes, "seconds": None}
    settings = config(folder, **changes)
    dataset = settings.build(0)
    tested = [f"{digit}_{'ab'[index]}_{index}.wav" for digit in range(10) for index in range(2)]
    samples = settings.prepare([str(folder / name) for name in tested], dataset.prepared)
    frames = samples.inputs.shape[1]
    torch.testing.assert_close(samples.inputs, dataset.test.inputs[:, :frames])
    if dataset.problem.varies:
        assert samples.lengths.equal(dataset.test.lengths)
    assert len(next(samples.serve(30).epoch(0)).targets) == (3 if "task" in changes else 1)


MASKS = SpecAugmentConfig(time_masks=2, time_width=6, frequency_masks=1, frequency_width=4)


def test_masks_are_a_pure_function_of_seed_epoch_and_sample() -> None:
    inputs, rows = torch.ones(8, 40, 20), torch.arange(8)
    masked = MASKS.masked(inputs, Draws(3, 5, rows))
    assert MASKS.masked(inputs, Draws(3, 5, rows)).equal(masked)
    turned = MASKS.masked(inputs, Draws(3, 5, rows.flip(0)))
    assert turned.equal(masked.flip(0))  # of the sample, wherever it stands in a batch
    others = [Draws(4, 5, rows), Draws(3, 6, rows), Draws(3, 5, rows + 8)]
    assert all(not masked.equal(MASKS.masked(inputs, other)) for other in others)
    assert inputs.min() == 1  # what is held stays as it is


def test_masks_are_as_many_and_as_wide_as_allowed() -> None:
    rows = torch.arange(2000)
    hidden = MASKS.masked(torch.ones(2000, 40, 20), Draws(0, 0, rows)) == 0
    in_time, in_frequency = hidden.all(2), hidden.all(1)
    assert hidden.equal(in_time.unsqueeze(2) | in_frequency.unsqueeze(1))
    assert in_time.sum(1).unique().tolist() == list(range(13))
    assert in_frequency.sum(1).unique().tolist() == list(range(5))
    share = in_frequency.sum(1).bincount() / 2000
    assert share == pytest.approx([0.2] * 5, abs=0.04)  # each width as often as another
    assert in_time.any(0).all()
    assert in_frequency.any(0).all()


def test_masks_lie_within_a_sequence_and_cover_a_fifth_at_most() -> None:
    lengths = torch.full((500,), 15)
    hidden = MASKS.masked(torch.ones(500, 40, 20), Draws(0, 0, torch.arange(500)), lengths) == 0
    in_time = hidden.all(2)
    assert not in_time[:, 15:].any()
    assert in_time[:, :15].any(0).all()
    assert in_time.sum(1).max() <= 2 * 15 // 5


@pytest.mark.parametrize("off", [{"time_width": 0, "frequency_width": 0}, {}])
def test_no_masks_change_nothing(off: dict) -> None:
    none = off or {"time_masks": 0, "frequency_masks": 0}
    inputs = torch.randn(3, 10, 5, generator=torch.Generator().manual_seed(0))
    assert SpecAugmentConfig(**none).masked(inputs, Draws(0, 0, torch.arange(3))).equal(inputs)


def test_only_training_batches_are_masked_and_epochs_are_reproducible(folder: Path) -> None:
    dataset = config(folder, augment=MASKS).build(0)
    plain = config(folder).build(0)
    batches = dataset.train.serve(16, seed=1)

    def inputs(source: object, epoch: int) -> torch.Tensor:
        return torch.cat([batch.inputs[0] for batch in source.epoch(epoch)])

    served = inputs(batches, 0)
    assert served.equal(inputs(batches, 0))
    unmasked = inputs(plain.train.serve(16, seed=1), 0)
    assert not served.equal(unmasked)
    assert ((served == unmasked) | (served == 0)).all()
    assert inputs(dataset.train.serve(16), 0).equal(plain.train.inputs)  # read without learning
    assert inputs(dataset.validation.serve(16, seed=1), 0).equal(
        inputs(plain.validation.serve(16, seed=1), 0)
    )


def test_ten_pitches_are_learned(bptrain: Callable, folder: Path) -> None:
    written = folder.parent / "config.yaml"
    written.write_text(
        f"data: {{kind: audio_folder, path: '{folder}', pattern: '{PATTERN}', sample_rate: 8000,\n"
        "  seconds: 0.25, test: {kind: field, field: index, values: [0, 1]}, batch_size: 16,\n"
        "  features: {n_fft: 256, hop: 80, mels: 20}, augment: {time_width: 4}}\n"
        "model: {kind: mlp, hidden: [32]}\n"
        "optimizer: {kind: adam, lr: 1e-2}\n"
        "train: {epochs: 10}\n"
    )
    fitted = bptrain("fit", written, "--run-dir", "run")
    assert fitted.exit_code == 0, fitted.stderr
    assert "test accuracy 100.00%" in fitted.stdout
    words = [folder / "3_a_0.wav", folder / "8_b_1.wav"]
    said = bptrain("predict", "run", *words, "--csv")
    assert said.exit_code == 0, said.stderr
    assert [line.split(",")[1] for line in said.stdout.strip().splitlines()[1:]] == ["3", "8"]


def test_the_real_digits_are_what_their_authors_published(bptrain_data: Path) -> None:
    path = bptrain_data / "free-spoken-digits.zip"
    dataset = config(path, test=FieldConfig(field="index", values=[0, 1, 2, 3, 4])).build(0)
    assert len(dataset.test) == 300
    assert len(dataset.train) + len(dataset.validation) == 2700
    assert dataset.test.targets.bincount().tolist() == [30] * 10
