"""Conversations with language models in the terminal: `python -m mmjax.chat WEIGHTS|RUN`."""

from mmjax.chat.conversation import answer, fitted
from mmjax.chat.model import ChatModel, chat_weights, chat_with_cell

__all__ = ["ChatModel", "answer", "chat_weights", "chat_with_cell", "fitted"]
