"""Importers of folders of recordings: of a user's own, and the Free Spoken Digit Dataset."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from neurozoo.core.shapes import SignalShape
from neurozoo.data.importers.common import SPLITS, UNKNOWN, files_in, origin_of
from neurozoo.data.importers.delimited import open_csv
from neurozoo.data.importers.detected import DetectedFormat
from neurozoo.data.importers.sound_files import ENDINGS, Recording, open_recording, read_samples, resampled
from neurozoo.data.importers.splitting import Seed, check_division, described, divided, natural, split_by_values
from neurozoo.data.store import Store, StoreWriter
from neurozoo.errors import DataError, suggestion
from neurozoo.files.text import as_text, printable

__all__ = ["SIGNAL", "detect_audio", "import_audio_folder", "import_fsdd"]

SIGNAL = "audio"
_FSDD = {
    "licence": "CC BY-SA 4.0 (derived data under the same licence)",
    "citation": "Jackson et al.: Free Spoken Digit Dataset; doi:10.5281/zenodo.1342401",
}
_FSDD_NAME = "{label}_{speaker}_{index}"
_PROTOCOLS: Mapping[str, tuple[str, Mapping[str, Sequence[str]]]] = {
    "official": ("index", {"valid": ["5..9"], "test": ["0..4"]}),
    "unseen-speakers": (
        "speaker",
        {"train": ["george", "jackson", "lucas"], "valid": ["nicolas"], "test": ["theo", "yweweler"]},
    ),
}
_TOGETHER = 64
"""Recordings in memory at once."""
_MOST_FILES = 2_000_000
_FIELD = re.compile(r"\{([A-Za-z]\w*)\}|\*")


def import_fsdd(source: Path, dest: Path, *, protocol: Literal["official", "unseen-speakers"] = "official") -> Store:
    """Make a store of the Free Spoken Digit Dataset: waveforms ``audio`` of 8 kHz, and ten classes.

    ``official`` divides by the number of the recording: 0 to 4 to test, as its authors do, and 5 to 9 to valid, which
    they do not have. ``unseen-speakers`` trains on george, jackson and lucas, chooses on nicolas, and tests on theo and
    yweweler.

    Args:
        source: The folder ``recordings`` with ``DIGIT_SPEAKER_INDEX.wav``, or the folder that holds it.
        dest: The store's folder; new or empty.
        protocol: Which recordings are train, valid and test.

    Raises:
        DataError: A file is named otherwise or is malformed, or a speaker of the protocol is missing.
    """
    folder = source / "recordings" if (source / "recordings").is_dir() else source
    field, chosen = _PROTOCOLS[protocol]
    samples = _by_name(folder, _FSDD_NAME)
    names = split_by_values([sample.fields[field] for sample in samples], field, chosen, folder)
    origin = origin_of("fsdd", source.name, _FSDD, protocol=protocol)
    origin |= {"splits": described(names, f"by {field}, the protocol {protocol}")}
    return _write(samples, names, dest, origin, "refuse", None)


def import_audio_folder(
    source: Path,
    dest: Path,
    *,
    pattern: str = "",
    table: str = "",
    split_by: str = "",
    train: Sequence[str] = (),
    valid: Sequence[str] = (),
    test: Sequence[str] = (),
    seed: Seed = 0,
    channels: Literal["refuse", "mix"] = "refuse",
    rate: Annotated[int, Field(ge=1, le=10_000_000)] | None = None,
) -> Store:
    """Make a store of a folder of recordings, WAV or FLAC: waveforms ``audio`` and a class for each.

    Samples are kept as int16 if all files have 16 bit or fewer, else as float32 in -1..1.

    Args:
        source: The folder; files of its subfolders belong to it.
        dest: The store's folder; new or empty.
        pattern: How a file's path without its ending, or the end of it, names its fields: ``{label}_{speaker}_{index}``
            for ``7_george_12.wav``, ``{split}/{label}/*`` for ``test/yes/a.wav``. ``{label}`` is the class, ``{split}``
            the split, other names may be used by ``split_by``; ``*`` is any text. By default the folder is the label:
            ``{label}/*``.
        table: A CSV file with a column ``file`` (path below ``source``) and any of ``label``, ``split`` and others, in
            the place of the pattern, or in addition to one. Files that it does not name are left out.
        split_by: The field that divides the samples, such as ``speaker``. Without ``train``, ``valid``, ``test``
            its values are drawn as groups: no value is in two splits.
        train: Values of ``split_by``, or ranges of whole numbers ``10..44``; by default the rest.
        valid: The same for valid.
        test: The same for test.
        seed: Seed of a draw. Without ``split_by`` and ``{split}``, 15 % of each class are drawn for valid and test.
        channels: Whether a file of several channels is refused, or their mean is taken.
        rate: Samples a second: files of others are resampled, by a polyphase filter. By default all have to agree.

    Raises:
        DataError: A file does not fit the pattern, is malformed or of another rate, or a split rule does not fit.
    """
    samples = _by_table(source, Path(table), pattern) if table else _by_name(source, pattern or "{label}/*")
    fields = samples[0].fields
    chosen = {"train": train, "valid": valid, "test": test}
    if "label" not in fields:
        raise DataError(
            f"{source}: nothing says the classes; there are the fields {', '.join(fields) or 'none'}, and "
            "{label} in the pattern, or a column label, is the class"
        )
    if split_by and split_by not in fields:
        raise DataError(
            f"--split-by {split_by}: there are the fields {', '.join(fields)}" + suggestion(split_by, fields)
        )
    check_division(split_by, chosen)
    names, rule = divided(
        source,
        len(samples),
        given=None if split_by or "split" not in fields else [sample.fields["split"] for sample in samples],
        what="the field split",
        where=[str(sample.path) for sample in samples],
        by=split_by,
        groups=[sample.fields[split_by] for sample in samples] if split_by else None,
        chosen=chosen,
        classes=[sample.fields["label"] for sample in samples],
        seed=seed,
    )
    options = {"pattern": pattern, "table": Path(table).name, "split_by": split_by, **chosen, "seed": seed}
    origin = origin_of("audio-folder", source.name, UNKNOWN, **options, channels=channels, rate=rate)
    return _write(samples, names, dest, origin | {"splits": rule}, channels, rate)


def detect_audio(source: Path) -> DetectedFormat | None:
    """Detect recordings; None if there are none."""
    if source.is_file() and source.name.endswith(ENDINGS):
        why = f"{source.name} is a recording; the importer takes the folder of the classes' folders"
        return DetectedFormat("audio-folder", why, folder=source.absolute().parent.parent)
    if not source.is_dir() or not (sounds := files_in(source, *ENDINGS, below=True)):
        return None
    names = [path.relative_to(source).as_posix() for path in sounds]
    saw = tuple(names[:3]) + ((f"... ({len(names):,})",) if len(names) > 3 else ())
    if all(re.fullmatch(r"(?:recordings/)?[0-9]_[a-z]+_[0-9]+\.wav", name) for name in names):
        return DetectedFormat("fsdd", "it holds DIGIT_SPEAKER_INDEX.wav", saw, ("--protocol", "unseen-speakers"))
    if all("/" in name for name in names):
        return DetectedFormat("audio-folder", "it holds recordings in folders, which may be their classes", saw)
    return DetectedFormat("audio-folder", "it holds recordings", saw, ("--pattern", "{label}_*"))


@dataclass(frozen=True)
class _Sample:
    """A recording, its name in the store, and what is known about it."""

    path: Path
    id: str
    fields: Mapping[str, str]


def _matcher(pattern: str) -> re.Pattern[str]:
    """Return the expression of a pattern, which has to match the end of a path from a folder's start."""
    names = [match[1] for match in _FIELD.finditer(pattern) if match[1]]
    left = _FIELD.sub("", pattern)
    if not names or len(set(names)) < len(names) or {"{", "}"} & set(left):
        raise DataError(f"--pattern {pattern!r}: give each field once, as {{name}}, such as {_FSDD_NAME}")
    if re.search(r"(\}|\*)(\{|\*)", pattern):
        raise DataError(f"--pattern {pattern!r}: two fields touch, so that nothing says where one ends")
    parts, end = [], 0
    for match in _FIELD.finditer(pattern):
        parts += [re.escape(pattern[end : match.start()]), f"(?P<{match[1]}>[^/]+?)" if match[1] else "[^/]*"]
        end = match.end()
    return re.compile("(?:.*/)?" + "".join(parts) + re.escape(pattern[end:]))


def _by_name(source: Path, pattern: str) -> list[_Sample]:
    matcher = _matcher(pattern)
    samples = []
    for path in _sounds(source):
        inside = path.relative_to(source).with_suffix("").as_posix()
        match = matcher.fullmatch(inside)
        if match is None:
            raise DataError(
                f"{path}: its name does not fit the pattern {pattern!r}; give another --pattern, or a --table"
            )
        id = as_text(inside, str(path))
        fields = {name: as_text(value, f"{path}: {name}") for name, value in match.groupdict().items()}
        samples.append(_Sample(path, id, fields))
    return sorted(samples, key=lambda sample: natural(sample.id))


def _by_table(source: Path, table: Path, pattern: str) -> list[_Sample]:
    matcher = _matcher(pattern) if pattern else None
    samples: dict[str, _Sample] = {}
    with open_csv(table) as rows:
        if "file" not in rows.columns:
            raise DataError(f"{table}:1: the columns are {', '.join(rows.columns)[:200]}; one has to be called file")
        for where, cells in rows:
            fields = dict(zip(rows.columns, cells, strict=True))
            name = fields.pop("file")
            parts = Path(name).parts
            if not name or Path(name).is_absolute() or ".." in parts:
                raise DataError(f"{where}: {name!r} is not a path below the folder; give one")
            if name in samples:
                raise DataError(f"{where}: {name!r} is there twice; remove a row")
            path = source / name
            if not path.is_file():
                raise DataError(f"{where}: there is no {path}")
            if path.suffix not in ENDINGS:
                raise DataError(f"{where}: {name!r} is no {' or '.join(ENDINGS[::2])} file; convert it")
            inside = Path(name).with_suffix("").as_posix()
            match = matcher.fullmatch(inside) if matcher else None
            if matcher and match is None:
                raise DataError(f"{where}: {name!r} does not fit the pattern {pattern!r}; give another")
            known = {**(match.groupdict() if match else {}), **fields}
            samples[name] = _Sample(
                path, inside, {key: as_text(value, f"{where}: {key}") for key, value in known.items()}
            )
            if len(samples) > _MOST_FILES:
                raise DataError(f"{table}: more than {_MOST_FILES:,} files; divide it")
    if not samples:
        raise DataError(f"{table} names no file")
    return list(samples.values())


def _sounds(source: Path) -> list[Path]:
    files = files_in(source, *ENDINGS, below=True)
    if not files:
        raise DataError(f"{source} holds no {' or '.join(ENDINGS[::2])} file; give the folder of the recordings")
    if len(files) > _MOST_FILES:
        raise DataError(f"{source} holds more than {_MOST_FILES:,} files; divide it")
    return files


def _write(
    samples: Sequence[_Sample],
    names: Sequence[str],
    dest: Path,
    origin: dict[str, Any],
    channels: str,
    rate: int | None,
) -> Store:
    recordings = [open_recording(sample.path) for sample in samples]
    first = recordings[0]
    for recording in recordings:
        if rate is None and recording.rate != first.rate:
            raise DataError(
                f"{recording.path} has {recording.rate} samples a second and {first.path} {first.rate}; give --rate "
                "HZ to resample all to one"
            )
        if channels == "refuse" and recording.channels > 1:
            raise DataError(f"{recording.path} has {recording.channels} channels; --channels mix takes their mean")
    common = rate or first.rate
    whole = all(each.dtype == "int16" and each.rate == common and each.channels == 1 for each in recordings)
    dtype = "int16" if whole else "float32"
    longest = max(-(-each.length * common // each.rate) for each in recordings)
    classes = sorted({sample.fields["label"] for sample in samples}, key=natural)
    shape = SignalShape((), longest, dtype, True, 1 / common)
    with StoreWriter(dest, signals={SIGNAL: shape}, task="multiclass", outputs=classes, origin=origin) as writer:
        for split in SPLITS:
            places = [place for place, name in enumerate(names) if name == split]
            for start in range(0, len(places), _TOGETHER):
                chunk = places[start : start + _TOGETHER]
                writer.add(
                    split,
                    {SIGNAL: [_waveform(recordings[place], common, dtype) for place in chunk]},
                    [classes.index(samples[place].fields["label"]) for place in chunk],
                    ids=[printable(samples[place].id) for place in chunk],
                )
    return Store(dest)


def _waveform(recording: Recording, rate: int, dtype: str) -> NDArray[Any]:
    """Return one channel ``[samples]`` at the rate, in the dtype."""
    samples = read_samples(recording)
    if dtype == "int16":
        return samples[:, 0]
    scaled = samples.astype(np.float32) / 2**15 if samples.dtype == np.int16 else samples
    mixed = scaled[:, 0] if recording.channels == 1 else scaled.astype(np.float64).mean(axis=1)
    return mixed.astype(np.float32) if recording.rate == rate else resampled(mixed, recording.rate, rate)
