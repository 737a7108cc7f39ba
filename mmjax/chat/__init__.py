"""Conversations with language models and trained cells, in the terminal or on a page: `python -m mmjax.chat WEIGHTS|RUN`."""

from mmjax.chat.cell import ChatCell, chat_cell
from mmjax.chat.conversation import answer, fitted, reply
from mmjax.chat.messages import user_message
from mmjax.chat.model import ChatModel, ChatPrompt, chat_weights, chat_with_cell

__all__ = [
    "ChatCell", "ChatModel", "ChatPrompt", "answer", "chat_cell", "chat_weights", "chat_with_cell", "fitted", "reply",
    "user_message",
]  # fmt: skip
