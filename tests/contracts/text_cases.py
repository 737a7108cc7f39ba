"""Text encoders for the contract suite."""

import jax.numpy as jnp

from mmjax.encoders.bert import BERT
from mmjax.encoders.dual import Pooled, TextTransformer
from mmjax.encoders.lora import LoRA
from mmjax.encoders.sentence import SentencePooling
from mmjax.encoders.text import BagOfEmbeddings, TextRNN, WordEmbeddings
from mmjax.nn import GRU, LSTM, RNN, AttentionPool, Bidirectional, last_token
from mmjax.nn.pooling import masked_max, position_weighted_mean
from tests.contracts.inputs import token_ids

TRANSFORMER = TextTransformer(vocabulary=30, width=8, depth=1, heads=2, hidden=12, positions=9, dropout=0.3)
# name -> (module, key -> input)
ENCODERS = {
    "text_words": (WordEmbeddings(vocabulary=30, width=6), token_ids),
    "text_bag": (BagOfEmbeddings(vocabulary=30, embedding=6, dropout=0.3), token_ids),
    "text_lstm": (TextRNN(vocabulary=30, embedding=6, layer=LSTM(6), dropout=0.3), token_ids),
    "text_gru_states": (TextRNN(vocabulary=30, embedding=6, layer=GRU(5), every_step=True, dropout=0.3), token_ids),
    "text_rnn_bidirectional": (TextRNN(vocabulary=30, embedding=6, layer=Bidirectional(RNN(4)), dropout=0.3), token_ids),
    "bert": (BERT(vocabulary=30, width=8, depth=1, heads=2, hidden=12, positions=9, dropout=0.3), token_ids),
    "text_causal": (TRANSFORMER, token_ids),
    "text_full_attention": (TRANSFORMER.clone(causal=False), token_ids),
    "pooled_last_token": (Pooled(TRANSFORMER, last_token), token_ids),
    "attention_pooled": (Pooled(TRANSFORMER, AttentionPool(2, 12)), token_ids),
    "sentences": (
        Pooled(TRANSFORMER, SentencePooling((masked_max, position_weighted_mean), (5,), (jnp.tanh,), (True,))),
        token_ids,
    ),
    "lora": (LoRA(BERT(vocabulary=30, width=8, depth=1, heads=2, hidden=12, positions=9, dropout=0.3), rank=2), token_ids),
}
