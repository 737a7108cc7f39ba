"""Decoders: (token ids, Tokens) -> next-token logits, with an explicit cache value."""
