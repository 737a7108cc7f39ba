"""A user's own files and arrays as a data set: sources, and the kinds of inputs, targets and splits that can be stated."""

from mmjax.data.custom.arrays import from_arrays
from mmjax.data.custom.data import TableData
from mmjax.data.custom.input_kinds import Images, Sounds, Texts, TimeSeries, Vectors, Videos
from mmjax.data.custom.manifest import from_manifest
from mmjax.data.custom.splitting import HeldOut, KFold, SplitColumn
from mmjax.data.custom.target_kinds import Captions, Labels, Scores, TagSets

__all__ = [
    "Captions",
    "HeldOut",
    "Images",
    "KFold",
    "Labels",
    "Scores",
    "Sounds",
    "SplitColumn",
    "TableData",
    "TagSets",
    "Texts",
    "TimeSeries",
    "Vectors",
    "Videos",
    "from_arrays",
    "from_manifest",
]
