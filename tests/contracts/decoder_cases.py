"""Decoders and fusions of the contract suite, and an encoder of each family. To add a decoder, add one line."""

from mmjax.decoders import GPT2, AttentionLSTM, Decoder, Flamingo, Interleaved, LanguageModel, both_ways_in_images
from mmjax.encoders import LoRA
from mmjax.fusion.early import JoinTokens
from mmjax.fusion.joint import Concat
from tests.contracts import audio_cases, features_cases, image_cases, series_cases, text_cases, video_cases

VOCABULARY, LENGTH = 7, 4

SMALL = LanguageModel(VOCABULARY, width=6, depth=1, heads=2, kv_heads=1, head_width=4, hidden=5, dropout=0.2)
# The output of each decoder has its name.
DECODERS = {
    "transformer": Decoder(VOCABULARY, width=8, depth=1, heads=2, hidden=12, positions=LENGTH + 1, prompt=(3, 0), dropout=0.2),
    "lora": LoRA(Decoder(VOCABULARY, width=8, depth=1, heads=2, hidden=12, positions=LENGTH + 1, dropout=0.2), rank=2),
    "lstm": AttentionLSTM(VOCABULARY, width=6, embedding=5, attention=4, dropout=0.2),
    # The memory is a prefix, as wide as the model.
    "language_model": SMALL,
    # All vectors stand within the prompt; those beyond the memory are padding.
    "interleaved": Interleaved(SMALL, (3, *range(VOCABULARY, VOCABULARY + 60), 0), both_ways_in_images),
    "flamingo": Flamingo(SMALL, heads=2, hidden=5),
    "gpt2": GPT2(VOCABULARY, width=6, depth=1, heads=2, hidden=5, prompt=(3, 0), dropout=0.2),
}
# A memory of many tokens, and of one.
FUSIONS = {
    "join_tokens": JoinTokens(width=6, dropout=0.2),
    "concat": Concat(width=6, dropout=0.2),
}
FAMILIES = {
    "image": image_cases.ENCODERS["cnn"],
    "text": text_cases.ENCODERS["text_gru_states"],
    "audio": audio_cases.ENCODERS["frame_gru_bidirectional"],
    "video": video_cases.ENCODERS["frames_lstm"],
    "series": series_cases.ENCODERS["tcn"],
    "features": features_cases.ENCODERS["features"],
}
