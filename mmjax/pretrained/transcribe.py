"""Speech -> text by a Whisper model from `load`.

transcribe = Transcriber(load("whisper-base"), language="cs", timestamps=True, fallback=Fallback())
(text,) = transcribe([(samples, 16_000)])
(transcript,) = transcribe.transcripts([(samples, 16_000)])    # segments with times, and the language
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mmjax.nn.checks import positive
from mmjax.pretrained import Pretrained, WeightsError
from mmjax.pretrained.audio import Recording, WhisperPreprocessing, at_rate, pad_or_cut, stack_waves
from mmjax.pretrained.tokenizer_files import read_tokenizer
from mmjax.pretrained.whisper_decode import Decoded, Fallback, WindowDecoder, padded_rows
from mmjax.pretrained.whisper_rules import LoopGuard
from mmjax.pretrained.whisper_tokens import WhisperTokens
from mmjax.pretrained.whisper_windows import SECONDS_PER_FRAME, Segment, previous_prompt, segments_of, window_advance
from mmjax.types import Padded

__all__ = ["Piece", "Transcriber", "Transcript"]


class Transcript(NamedTuple):
    """text: of a recording. language: its code; "" for English-only models. segments: parts with start, end and token ids; one
    per window without timestamps. texts: of the segments."""

    text: str
    language: str
    segments: tuple[Segment, ...]
    texts: tuple[str, ...]


@dataclass
class Piece:
    """A recording, or a part of it that is transcribed independently, and the state of its transcription.

    owner: number of the recording. offset: of its first frame in the recording. source: its frames [n bands], or its samples if
    it is a single window. length: in frames, without padding. seek: the first frame of its next window. conditioned: whether
    that window gets the previous text.
    """

    owner: int
    offset: int
    source: np.ndarray | Padded
    length: int
    seek: int = 0
    segments: list[Segment] = field(default_factory=list)
    conditioned: bool = False


@dataclass(frozen=True, eq=False)
class Transcriber:
    """Transcribes or translates recordings, in windows of 30 s.

    With timestamps, a window starts where the last segment of the previous one ended (Radford et al., 2023, section 3.8).
    Without, a longer recording is cut into windows of equal length, which may end within a word.

    weights: a Whisper model from a folder with tokenizer.json. language: of the speech, such as "cs"; None detects it in the
    first window. task: "transcribe", or "translate" to English. timestamps: whether segments have times. seconds: length of a
    window, None for the longest. Whisper was trained on 30 s only. tiny.en transcribes short sentences equally well with 10 s,
    ten times faster, and repeats itself endlessly with 5 s. max_tokens: per window. batch_size: windows decoded at once. beams:
    of beam search, 1 for greedy search. fallback: to higher temperatures; None decodes each window once. guard: against
    repetition loops; each loop is reduced to one copy, after the last temperature if there is a fallback. None leaves loops in.
    condition: whether a window gets the text of the previous ones as a prompt, unless its temperature was 0.5 or above. seed:
    of the sampling.
    """

    weights: Pretrained
    language: str | None = None
    task: str = "transcribe"
    timestamps: bool = False
    seconds: float | None = None
    max_tokens: int = 200
    batch_size: int = 8
    beams: int = 1
    fallback: Fallback | None = None
    guard: LoopGuard | None = None
    condition: bool = False
    seed: int = 0

    def __post_init__(self):
        positive(self, "max_tokens", "batch_size", "beams")
        if not SECONDS_PER_FRAME <= self.window <= self._longest:
            raise ValueError(f"Transcriber.seconds is {self.seconds}; it must be at most {self._longest}, the longest window")

    @property
    def _longest(self) -> float:
        return self.weights.module.encoder.positions * 2 * SECONDS_PER_FRAME

    @property
    def window(self) -> float:
        """The length of a window in seconds."""
        return self._longest if self.seconds is None else self.seconds

    def __call__(self, recordings: Iterable[Recording]) -> list[str]:
        """The text of each recording."""
        return [transcript.text for transcript in self.transcripts(recordings)]

    def transcripts(
        self, recordings: Iterable[Recording], progress: Callable[[float, float], None] = lambda done, total: None
    ) -> list[Transcript]:
        """The transcript of each recording. progress: is called with the transcribed and the total seconds."""
        self.tokens.check(self.language, self.task)
        waves = [at_rate(recording, self.preprocessing.rate) for recording in recordings]
        pieces = [piece for owner, wave in enumerate(waves) for piece in self._pieces(owner, wave)]
        languages = self._run(pieces, progress)
        found = []
        for number in range(len(waves)):
            segments = [segment for piece in pieces if piece.owner == number for segment in piece.segments]
            texts = [" ".join(self._text(segment).split()) for segment in segments]
            text = " ".join("".join(map(self._text, segments)).split())
            found.append(Transcript(text, languages.get(number, ""), tuple(segments), tuple(texts)))
        return found

    def segments(self, frames: Sequence[np.ndarray], lengths: Sequence[int]) -> list[list[Segment]]:
        """The segments of recordings given as log-mel frames [n bands]. lengths: number of frames before the padding."""
        self.tokens.check(self.language, self.task)
        pieces = [Piece(number, 0, one, length) for number, (one, length) in enumerate(zip(frames, lengths, strict=True))]
        self._run(pieces, lambda done, total: None)
        return [piece.segments for piece in pieces]

    @cached_property
    def preprocessing(self) -> WhisperPreprocessing:
        return replace(self.weights.preprocessing, seconds=self.window)

    @cached_property
    def tokenizer(self) -> Any:
        """The tokenizer of the `tokenizers` library."""
        file = self.weights.folder / "tokenizer.json" if self.weights.folder else None
        if file is None or not file.is_file():
            raise WeightsError(f"{self.weights.folder}: transcription needs a tokenizer.json")
        return read_tokenizer(file, ())

    @cached_property
    def tokens(self) -> WhisperTokens:
        """The special tokens."""
        return WhisperTokens.of(self.tokenizer, self.weights.config, self.weights.folder)

    @cached_property
    def decoder(self) -> WindowDecoder:
        """The compiled functions."""
        given = self.tokens, self.timestamps, self.max_tokens, self.beams
        return WindowDecoder(self.weights.module, self.weights.variables, *given, guard=self.guard)

    @cached_property
    def _finish(self) -> Callable[[Padded], Padded]:
        return jax.jit(self.preprocessing.finish)

    @property
    def _window(self) -> int:
        """Frames of a window."""
        return self.preprocessing.samples // 160

    def _text(self, segment: Segment) -> str:
        return self.tokenizer.decode([number for number in segment.ids if number < self.tokens.end])

    def _pieces(self, owner: int, wave: np.ndarray) -> list[Piece]:
        """The recording as one piece if its windows depend on each other, otherwise a piece for each window."""
        size = self.preprocessing.samples
        if (self.timestamps or self.condition) and len(wave):
            whole = Padded(np.pad(wave, (0, -len(wave) % size)), np.int32(len(wave)))
            return [Piece(owner, 0, np.asarray(self._finish(stack_waves([whole])).x[0]), -(-len(wave) // 160))]
        pieces = []
        for start in range(0, len(wave), size):
            part = wave[start : start + size]
            pieces.append(Piece(owner, start // 160, pad_or_cut(part, size), -(-len(part) // 160)))
        return pieces

    def _run(self, pieces: list[Piece], progress: Callable[[float, float], None]) -> dict[int, str]:
        """Decodes all windows; {recording: language}, without English-only models."""
        given = self.language if self.tokens.languages else None
        languages = {piece.owner: given for piece in pieces} if given else {}
        waiting = [piece for piece in pieces if piece.length]
        while waiting:
            batch, waiting = waiting[: self.batch_size], waiting[self.batch_size :]
            self._decode(batch, languages)
            waiting += [piece for piece in batch if piece.seek < piece.length]
            done = sum(min(piece.seek, piece.length) for piece in pieces)
            progress(done * SECONDS_PER_FRAME, sum(piece.length for piece in pieces) * SECONDS_PER_FRAME)
        return languages

    def _frames(self, batch: list[Piece]) -> Padded:
        """The next window of each piece, and silent rows."""
        rows = padded_rows(len(batch))
        x = np.zeros((rows, self._window, self.preprocessing.bands), np.float32)
        waves = [row for row, piece in enumerate(batch) if isinstance(piece.source, Padded)]
        if waves:
            silence = Padded(np.zeros(self.preprocessing.samples, np.float32), np.int32(0))
            sources = [batch[row].source for row in waves] + [silence] * (padded_rows(len(waves)) - len(waves))
            x[waves] = self._finish(stack_waves(sources)).x[: len(waves)]
        for row, piece in enumerate(batch):
            if row not in waves:
                window = piece.source[piece.seek : min(piece.seek + self._window, piece.length)]
                x[row, : len(window)] = window
        return Padded(jnp.asarray(x), jnp.full(rows, self._window))

    def _decode(self, batch: list[Piece], languages: dict[int, str]) -> None:
        """Decodes the next window of each piece. languages: of the recordings; those that are detected are added."""
        memory = self.decoder.encode(self._frames(batch))
        if self.tokens.languages and any(piece.owner not in languages for piece in batch):
            codes = {number: code for code, number in self.tokens.languages.items()}
            for piece, number in zip(batch, np.asarray(self.decoder.languages(memory)).tolist()):
                languages.setdefault(piece.owner, codes[number])
        prompts = []
        for piece in batch:
            previous = previous_prompt(piece.segments, self.tokens) if piece.conditioned else []
            prompts.append(previous + self.tokens.prompt(languages.get(piece.owner), self.task, self.timestamps))
        key = jax.random.key(self.seed)
        keys = jnp.stack([jax.random.fold_in(key, piece.offset + piece.seek) for piece in batch])
        for piece, found in zip(batch, self.decoder.decode(memory, prompts, self.fallback, keys)):
            self._add(piece, found)

    def _add(self, piece: Piece, found: Decoded) -> None:
        first, frames = self.tokens.first_timestamp, min(self._window, piece.length - piece.seek)
        ids = self.guard.without_loops(found.ids, first) if self.guard else found.ids
        if not found.silent:
            piece.segments += segments_of(ids, first, piece.offset + piece.seek, frames)
        piece.seek += frames if found.silent else window_advance(found.ids, first, frames)
        piece.conditioned = self.condition and found.temperature < 0.5

