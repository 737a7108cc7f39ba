"""Files of any source -> an evaluation set: cleaned, grouped, split, checked and described (`python -m mmjax.data.build`)."""

__all__ = [
    "agreement", "audio_match", "build", "card", "check_audio", "check_image", "check_text", "clean", "croissant",
    "deidentify", "duplicates", "features", "finding", "image_match", "items", "label_errors", "nearest", "options",
    "personal_audio", "personal_image", "personal_text", "planted", "read", "shortcuts", "split", "text_match", "tune",
    "write", "write_tfds",
]  # fmt: skip
