"""Layers shared by encoders, fusions and decoders."""

from mmjax.nn.attention import Attention, AttentionPool, Block, Transformer, attend
from mmjax.nn.conv import Conv, adaptive_mean_pool, max_pool
from mmjax.nn.depth import Deep, Remat, Scan
from mmjax.nn.dropout import Dropout
from mmjax.nn.norm import BatchNorm
from mmjax.nn.pooling import any_token, first_token, last_state, last_token, masked_mean, masked_softmax
from mmjax.nn.recurrent import GRU, LSTM, RNN, Bidirectional, Stack
from mmjax.nn.search import beam, greedy
from mmjax.nn.stochastic_depth import StochasticDepth

__all__ = [
    "GRU",
    "LSTM",
    "RNN",
    "Attention",
    "AttentionPool",
    "BatchNorm",
    "Bidirectional",
    "Block",
    "Conv",
    "Deep",
    "Dropout",
    "Remat",
    "Scan",
    "Stack",
    "StochasticDepth",
    "Transformer",
    "adaptive_mean_pool",
    "any_token",
    "attend",
    "beam",
    "first_token",
    "greedy",
    "last_state",
    "last_token",
    "masked_mean",
    "masked_softmax",
    "max_pool",
]
