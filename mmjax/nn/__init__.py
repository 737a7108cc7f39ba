"""Layers that encoders and fusions share."""

from mmjax.nn.conv import Conv, max_pool
from mmjax.nn.dropout import Dropout
from mmjax.nn.pooling import any_token, last_state, masked_mean, masked_softmax
from mmjax.nn.recurrent import LSTM

__all__ = ["LSTM", "Conv", "Dropout", "any_token", "last_state", "masked_mean", "masked_softmax", "max_pool"]
