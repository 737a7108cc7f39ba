"""Common formats of data sets on disk. Each loader returns the same value as `mmjax.data.from_manifest`."""

from mmjax.data.formats.captions import coco_captions, flickr8k, karpathy
from mmjax.data.formats.features import mmsa, multibench
from mmjax.data.formats.hugging_face import hugging_face
from mmjax.data.formats.ljspeech import ljspeech
from mmjax.data.formats.webdataset import webdataset

__all__ = ["coco_captions", "flickr8k", "hugging_face", "karpathy", "ljspeech", "mmsa", "multibench", "webdataset"]
