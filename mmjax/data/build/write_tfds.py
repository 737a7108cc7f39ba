"""Writes a set for TFDS as array_record, without TensorFlow: media encoded, one TFDS split for each split."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["VERSION", "tensorflow_datasets", "tfds_name", "write_tfds"]

VERSION = "1.0.0"


def tfds_name(name: str) -> str:
    """The name of the set as TFDS requires it: lowercase letters, digits and underscores."""
    return re.sub(r"\W+", "_", name.lower(), flags=re.ASCII).strip("_") or "set"


def write_tfds(folder: Path, name: str, rows: Sequence[dict[str, Any]], kinds: dict[str, str], licence: str) -> Path:
    """Writes folder/tfds/<name>/<version> from the rows and media of `folder`; returns it.

    All features are texts but "group" (int64) and media (bytes of the encoded file); "" is absent. Rows keep their order.
    Read it with `tfds.builder_from_directory(path).as_data_source("test")`. Raises ImportError without tensorflow-datasets.
    """
    tfds = tensorflow_datasets()
    media = [modality for modality, kind in sorted(kinds.items()) if kind != "text"]
    features: dict[str, Any] = {key: tfds.features.Text() for key in rows[0]}
    features |= {key: tfds.features.Tensor(shape=(), dtype=np.object_) for key in media}
    features["group"] = tfds.features.Scalar(np.int64)
    connector = tfds.features.FeaturesDict(features)
    target = folder / "tfds" / tfds_name(name) / VERSION
    target.mkdir(parents=True)
    splits = []
    for split in dict.fromkeys(row["split"] for row in rows):
        file = tfds.core.ShardedFileTemplate(
            data_dir=target, dataset_name=tfds_name(name), split=split, filetype_suffix="array_record"
        )
        examples = [_example(folder, row, media) for row in rows if row["split"] == split]
        size = _write_records(Path(file.sharded_filepath(shard_index=0, num_shards=1)), connector, examples)
        splits.append(tfds.core.SplitInfo(name=split, shard_lengths=[len(examples)], num_bytes=size, filename_template=file))
    identity = tfds.core.dataset_info.DatasetIdentity(
        name=tfds_name(name), version=tfds.core.Version(VERSION), data_dir=str(target), module_name=""
    )
    info = tfds.core.DatasetInfo(
        builder=identity, description="See README.md.", features=connector, license=licence, disable_shuffling=True
    )
    info.set_file_format(tfds.core.FileFormat.ARRAY_RECORD)
    info.set_splits(tfds.core.splits.SplitDict(splits))
    info.write_to_directory(target)
    return target


def tensorflow_datasets() -> Any:
    """The module. Raises ImportError, naming what is missing."""
    try:
        import tensorflow_datasets as library
    except ImportError as error:
        raise ImportError("writing array_record needs tensorflow-datasets, importlib_resources and array-record") from error
    return library


def _example(folder: Path, row: dict[str, Any], media: Sequence[str]) -> dict[str, Any]:
    cells = {key: "" if value is None else value for key, value in row.items()}
    return cells | {key: (folder / row[key]).read_bytes() if row[key] else b"" for key in media}


def _write_records(file: Path, connector: Any, examples: Sequence[dict[str, Any]]) -> int:
    """Writes one file of records with the options of TFDS; returns the size of its examples in bytes. TFDS itself writes the
    features of an example in an order that differs between processes."""
    from array_record.python.array_record_module import ArrayRecordWriter
    from tensorflow_datasets.core.example_serializer import ExampleSerializer

    serializer = ExampleSerializer(connector.get_serialized_info())
    writer = ArrayRecordWriter(str(file), "group_size:1")
    size = 0
    for example in examples:
        record = serializer.get_tf_example(connector.encode_example(example)).SerializeToString(deterministic=True)
        writer.write(record)
        size += len(record)
    writer.close()
    return size
