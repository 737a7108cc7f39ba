"""Video encoders for the contract suite."""

import jax

from mmjax.encoders.each_image import EachImage
from mmjax.encoders.image import CNN
from mmjax.encoders.key_tokens import KeyTokens
from mmjax.encoders.series import TimeTransformer
from mmjax.encoders.video import FrameWise, VideoMAE, ViViT
from mmjax.nn import LSTM
from mmjax.types import Padded
from tests.contracts.inputs import BATCH


def video(key, length=4, size=4):
    values, lengths = jax.random.split(key)
    return Padded(
        jax.random.normal(values, (BATCH, length, size, size, 2)), jax.random.randint(lengths, (BATCH,), 1, length + 1)
    )


ENCODERS = {
    "frames_lstm": (FrameWise(CNN(widths=(4,)), LSTM(5), every_step=False), video),
    "frames_transformer": (
        FrameWise(CNN(widths=(4,), dropout=0.3), TimeTransformer(depth=1, heads=2, hidden=8, dropout=0.3)),
        video,
    ),
    "each_image": (EachImage(CNN(widths=(4,), dropout=0.3)), video),
    "key_frames": (KeyTokens(FrameWise(CNN(widths=(4,)), LSTM(5)), keep=2, width=3), video),
    "vivit": (ViViT(tubelet=(2, 2, 2), width=8, depth=1, heads=2, hidden=8, dropout=0.3), video),
    "videomae": (VideoMAE(tubelet=(2, 2, 2), width=8, depth=1, heads=2, hidden=8, dropout=0.3), video),
}
