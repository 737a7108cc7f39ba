"""The special tokens of a Whisper model: start, languages, tasks, timestamps, and tokens that are never generated."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmjax.pretrained.files import WeightsError, read_json
from mmjax.pretrained.source import Settings

__all__ = ["TASKS", "WhisperTokens"]

TASKS = ("transcribe", "translate")
"""The task of speech in any language: its text, or an English translation."""


@dataclass(frozen=True)
class WhisperTokens:
    """Token ids of a model (Radford et al., 2023, figure 1).

    vocabulary: number of token ids. positions: the longest sequence of the decoder, prompt included. start: id of
    <|startoftranscript|>. end: id of <|endoftext|>. previous: id of <|startofprev|>. no_timestamps: id of <|notimestamps|>;
    the ids after it are timestamps 0.00, 0.02, 0.04, ... seconds, and the id before it means "no speech". languages: {code:
    id}, such as {"cs": 50283}; empty for English-only models. tasks: {name: id}. special: ids of all special tokens. suppress:
    ids that are never generated. suppress_first: ids that cannot be the first one. max_initial: number of the latest timestamp
    at which the first segment of a window can start.
    """

    vocabulary: int
    positions: int
    start: int
    end: int
    previous: int
    no_timestamps: int
    languages: Mapping[str, int]
    tasks: Mapping[str, int]
    special: tuple[int, ...] = ()
    suppress: tuple[int, ...] = ()
    suppress_first: tuple[int, ...] = ()
    max_initial: int = 50

    @staticmethod
    def of(tokenizer: Any, config: Mapping[str, Any], folder: Path) -> "WhisperTokens":
        """From tokenizer.json, generation_config.json and, in older files, config.json. Raises WeightsError if a token is
        missing.

        tokenizer: of the `tokenizers` library. config: the content of config.json. folder: of the weights.
        """
        ids = {token.content: number for number, token in tokenizer.get_added_tokens_decoder().items()}

        def find(name: str) -> int:
            if name not in ids:
                raise WeightsError(f"{folder}: tokenizer.json has no {name}")
            return ids[name]

        newer = Settings(str(folder), read_json(folder / "generation_config.json"), file="generation_config.json")
        older = Settings(str(folder), config)

        def listed(name: str) -> tuple[int, ...]:
            found = [settings for settings in (newer, older) if settings.config.get(name) not in (None, [])]
            return found[0].integers(name, minimum=0) if found else ()

        vocabulary = older.integer("vocab_size")
        no_timestamps = find("<|notimestamps|>")
        multilingual = newer.flag("is_multilingual", vocabulary >= 51_865)
        codes = {name[2:-2]: number for name, number in ids.items() if re.fullmatch(r"<\|[a-z]{2,3}\|>", name)}
        return WhisperTokens(
            vocabulary,
            older.integer("max_target_positions"),
            find("<|startoftranscript|>"),
            find("<|endoftext|>"),
            ids.get("<|startofprev|>", no_timestamps - 2),
            no_timestamps,
            codes if multilingual else {},
            {task: find(f"<|{task}|>") for task in TASKS} if multilingual else {},
            tuple(sorted({number for number in ids.values() if number <= no_timestamps})),
            listed("suppress_tokens"),
            listed("begin_suppress_tokens"),
            newer.integer("max_initial_timestamp_index", 50, minimum=0),
        )

    @property
    def first_timestamp(self) -> int:
        """The id of the timestamp of 0 s."""
        return self.no_timestamps + 1

    @property
    def no_speech(self) -> int:
        """The id that the model predicts after the start token if there is no speech; <|nocaptions|> in older files."""
        return self.no_timestamps - 1

    def check(self, language: str | None, task: str) -> None:
        """Raises WeightsError unless the model has this language and task. None for a language that will be detected."""
        if task not in TASKS:
            raise WeightsError(f"task is {task!r}; it must be one of {', '.join(TASKS)}")
        if not self.languages and (language not in (None, "en") or task != "transcribe"):
            asked = f"language is {language!r}" if task == "transcribe" else f"task is {task!r}"
            raise WeightsError(f"{asked}, but this model only transcribes English; whisper-base knows more languages")
        if self.languages and language is not None and language not in self.languages:
            raise WeightsError(f"language is {language!r}; the languages of this model are {', '.join(self.languages)}")

    def prompt(self, language: str | None, task: str, timestamps: bool) -> list[int]:
        """The first token ids of the decoder. English-only models have no language and no task."""
        self.check(language, task)
        given = [self.languages[language], self.tasks[task]] if self.languages and language is not None else []
        return [self.start, *given, *([] if timestamps else [self.no_timestamps])]

    def never(self, timestamps: bool) -> tuple[int, ...]:
        """Ids that are never generated: suppressed ones, special tokens, and timestamps unless they are wanted."""
        times = () if timestamps else range(self.first_timestamp, self.vocabulary)
        return tuple(sorted({*self.suppress, *self.special, *times} - {self.end}))
