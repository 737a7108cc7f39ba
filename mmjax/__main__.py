"""`python -m mmjax`: lists the commands."""

COMMANDS = {
    "mmjax.audit": "audit a trained cell: use of its modalities, groups, calibration, robustness",
    "mmjax.build": "as mmjax.data.build; near-duplicates also by features of published weights",
    "mmjax.chat": "converse with a language model, also about images and recordings, in the terminal or on a page",
    "mmjax.claims": "run, judge and report published claims",
    "mmjax.data": "describe a data set: splits, modalities, classes, and what is dropped",
    "mmjax.data.build": "build a cleaned, leak-free evaluation set with a card from a table or a folder",
    "mmjax.parts": "list every encoder, fusion, head, decoder and loss with shapes, parameters and sources",
    "mmjax.predict": "answer new images, texts and recordings with a trained cell",
    "mmjax.pretrained": "fetch published weights",
    "mmjax.questions": "answer and score public questions about images with a vision-language model",
    "mmjax.report": "make one page from run folders",
    "mmjax.robust.privacy": "audit the cells of a run that were trained with canaries",
    "mmjax.search": "serve a page on which a trained cell searches by texts, images and recordings",
    "mmjax.sweep": "run the cells and folds of an experiment as jobs, on a cluster or side by side",
    "mmjax.transcribe": "write down or translate speech with Whisper",
}


def main() -> None:
    width = max(map(len, COMMANDS))
    print("Experiments are Python files: python experiments/NAME.py --help. Other commands, each with --help:\n")
    for name, purpose in COMMANDS.items():
        print(f"    python -m {name:{width}}    {purpose}")


if __name__ == "__main__":
    main()
