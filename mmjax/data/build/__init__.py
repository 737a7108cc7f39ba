"""Files of any source -> an evaluation set: cleaned, grouped, split, checked and described (`python -m mmjax.data.build`)."""
