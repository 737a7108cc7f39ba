"""`python -m mmjax.transcribe FILE... --language cs --timestamps`: the text of recordings, by Whisper."""

import argparse
import sys
from pathlib import Path

__all__ = ["main", "stamp"]


def main(arguments: list[str] | None = None) -> None:
    """Reads the command line and prints the texts. Exits with one line for an error."""
    parser = argparse.ArgumentParser(prog="python -m mmjax.transcribe", description="The text of recordings, by Whisper.")
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE", help="recordings (WAV, FLAC, Ogg, MP3)")
    parser.add_argument("--weights", default="whisper-base", help="name, folder or owner/model (default: %(default)s)")
    parser.add_argument("--language", help="of the speech, such as cs (default: detected)")
    parser.add_argument("--task", default="transcribe", help="transcribe, or translate to English (default: %(default)s)")
    parser.add_argument("--timestamps", action="store_true", help="print a line with times for each segment")
    parser.add_argument("--beams", type=int, default=1, help="of beam search; 1 is greedy search (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=30.0, help="length of a window (default: %(default)s)")
    parser.add_argument("--condition", action="store_true", help="give each window the text of the previous ones")
    parser.add_argument("--fallback", action="store_true", help="decode rejected windows again at higher temperatures")
    given = parser.parse_args(arguments)
    missing = [file for file in given.files if not file.is_file()]
    if missing:
        sys.exit(f"error: {missing[0]}: {'a folder; name its files' if missing[0].is_dir() else 'no such file'}")
    from mmjax.data.decode import DataError, decode_audio
    from mmjax.decoders import Whisper
    from mmjax.pretrained import WeightsError, load
    from mmjax.pretrained.transcribe import Transcriber
    from mmjax.pretrained.whisper_decode import Fallback
    from mmjax.pretrained.whisper_rules import LoopGuard

    try:
        recordings = [(decode_audio(file.read_bytes(), str(file)), 16_000) for file in given.files]
        weights = load(given.weights)
        if not isinstance(weights.module, Whisper):
            raise WeightsError(f"{given.weights}: a {type(weights.module).__name__}; the weights must be of a Whisper model")
        transcribe = Transcriber(
            weights,
            given.language,
            given.task,
            timestamps=given.timestamps,
            seconds=given.seconds,
            beams=given.beams,
            fallback=Fallback() if given.fallback else None,
            guard=LoopGuard(),
            condition=given.condition,
        )
        transcripts = transcribe.transcripts(recordings, _show)
    except (DataError, WeightsError, ImportError, ValueError, OSError) as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
    for file, transcript in zip(given.files, transcripts):
        name = f"{file}: " if len(given.files) > 1 else ""
        if not given.timestamps:
            print(f"{name}{transcript.text}")
            continue
        for segment, text in zip(transcript.segments, transcript.texts):
            print(f"{name}[{stamp(segment.start)} - {stamp(segment.end)}] {text}")


def stamp(seconds: float) -> str:
    """Minutes and seconds: 83.5 -> "01:23.50"."""
    hundredths = round(seconds * 100)
    return f"{hundredths // 6000:02d}:{hundredths // 100 % 60:02d}.{hundredths % 100:02d}"


def _show(done: float, total: float) -> None:
    if sys.stderr.isatty():
        print(f"\r{done:.0f} of {total:.0f} s", end="\n" if done >= total else "", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
