"""`python -m mmjax.search RUN CELL --gallery DIR|SPLIT`: a page on which a trained cell searches, also for mixed queries."""

import argparse
import importlib.util
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from mmjax.web.serve import add_flags, check_flags, listen, serve

__all__ = ["SAMPLES", "SPLITS", "main"]

SPLITS = ("train", "validation", "test")
SAMPLES = {"text": "a", "image": np.zeros((16, 16, 3), np.uint8), "sound": (np.zeros(16_000, np.float32), 16_000)}


def main(arguments: list[str] | None = None) -> None:
    """Reads the command line, embeds the gallery and serves the page until Ctrl-C. Exits with one line for an error."""
    parser = argparse.ArgumentParser(
        prog="python -m mmjax.search", description="A page on which a trained cell searches, by any combination of modalities."
    )
    parser.add_argument("run", type=Path, metavar="RUN", help="run folder")
    parser.add_argument("cell", metavar="CELL", help="a cell of the run with a retrieval task")
    parser.add_argument(
        "--gallery",
        default="test",
        metavar="DIR|SPLIT",
        help="a folder of images, recordings or texts, or train, validation, test or all of the run's data (default: test)",
    )
    parser.add_argument("--modality", help="of the gallery's items (default: the folder's, or image if the cell has it)")
    add_flags(parser)
    parser.add_argument("--cache", type=Path, help="where embeddings are kept (default: mmjax/galleries in the user's cache)")
    parser.add_argument("--approximate", action="store_true", help="search by faiss's graph, kept beside the embeddings")
    given = parser.parse_args(arguments)
    try:
        check_flags(given)
    except (ImportError, ValueError) as error:
        sys.exit(f"error: {error}")
    if given.approximate and importlib.util.find_spec("faiss") is None:
        sys.exit("error: --approximate needs faiss: pip install 'mmjax[search]'")
    from mmjax.data.decode import DataError
    from mmjax.describe import DescribeError
    from mmjax.pretrained.files import WeightsError
    from mmjax.runs.schema import RunError

    console = Console()
    try:
        listening, address = listen(given.host, given.port)
        with listening:
            app = _application(given, console)
            console.print(f"search page: {address}   (Ctrl-C ends it)", highlight=False, markup=False)
            serve(app, listening)
    except KeyError as error:
        sys.exit(f"error: {error.args[0]}")
    except (DataError, DescribeError, RunError, WeightsError, ImportError, ValueError, OSError) as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit(130)


def _application(given: argparse.Namespace, console: Console) -> Any:
    """The application over the embedded gallery; the first query is answered here, so that all programs are compiled."""
    from mmjax.results import load_run
    from mmjax.search.embed import Embedder, space_of
    from mmjax.search.exact import Resident
    from mmjax.search.searcher import Searcher, embedded, fingerprint, indexed
    from mmjax.search.server import application
    from mmjax.web.application import hosts_of

    run = load_run(given.run)
    cell = run[given.cell]
    model = cell.models[0]
    collection, kinds = _collection(given, run, model)
    embedder = Embedder(model, space_of(model.tasks, collection.modality, tuple(model.readers)))
    kinds = {name: kinds[name] for name in embedder.space.queries if name in kinds}
    if not kinds:
        raise ValueError(f"cell {given.cell}: no modality of its queries is an image, a recording or a text")
    folder = (given.cache or _cache()) / fingerprint(collection, embedder, cell.folders[0])[:16]
    what = f"gallery: {len(collection):,} items ({collection.modality}) of {collection.name}"
    console.print(what, highlight=False, markup=False)
    with _counting(console, "embedding", len(collection)) as advance:
        gallery, rows, skipped = embedded(collection, embedder, folder, advance)
    if skipped:
        first = skipped[min(skipped)]
        console.print(f"skipped {len(skipped)} items that cannot be read, such as {first}", highlight=False, markup=False)
    engine = indexed(gallery, folder) if given.approximate else Resident.of(gallery)
    searcher = Searcher(collection, embedder, kinds, engine, rows, skipped)
    searcher.answer({name: SAMPLES[kind] for name, kind in kinds.items()})  # compiles all programs of a query
    about = {"run": run.json["name"], "cell": given.cell}
    return application(searcher, about, round(given.upload * 1e6), hosts_of(given.host))


@contextmanager
def _counting(console: Console, label: str, total: int) -> Iterator[Callable[[int], None]]:
    """A progress bar on a terminal; yields a function of the number of newly finished items."""
    from mmjax.progress import Progress

    if not console.is_terminal:
        yield lambda items: None
        return
    with Progress(console) as progress, progress.counting(label, total) as advance:
        yield advance


def _collection(given: argparse.Namespace, run: Any, model: Any) -> tuple[Any, dict[str, str]]:
    """(the gallery's items, {modality: kind} of all modalities that a page can take or show)."""
    from mmjax.search.collection import kind_of, of_dataset, of_folder
    from mmjax.search.embed import galleries_of

    kinds = {name: kind for name, reader in model.readers.items() if (kind := kind_of(reader))}
    possible = {name: kinds[name] for name in galleries_of(model.tasks) if name in kinds}
    if given.modality is not None:
        if given.modality not in possible:
            raise ValueError(f"--modality is {given.modality}; cell {given.cell} searches in {', '.join(possible) or 'none'}")
        possible = {given.modality: possible[given.modality]}
    if not possible:
        raise ValueError(f"cell {given.cell} cannot search: it has no retrieval task of images, recordings or texts")
    if Path(given.gallery).is_dir():
        return of_folder(Path(given.gallery), model.readers, possible), kinds
    if given.gallery not in (*SPLITS, "all"):
        raise ValueError(f"--gallery {given.gallery}: no such folder; it must be a folder, or {', '.join(SPLITS)} or all")
    modality = next((name for name, kind in possible.items() if kind == "image"), next(iter(possible)))
    splits = SPLITS if given.gallery == "all" else (given.gallery,)
    return of_dataset(_dataset(run, given.cell), f"{run.json['name']}, {given.gallery}", splits, modality), kinds


def _dataset(run: Any, cell: str) -> Any:
    """The data of the cell's first model, loaded again."""
    from mmjax.data.splits import with_fold
    from mmjax.describe import DescribeError, from_json

    described = run.json["cells"][cell]
    try:
        data = from_json(described["experiment"]["data"])
        return (data if described["folds"] is None else with_fold(data, described["folds"][0])).load()
    except DescribeError as error:
        raise DescribeError(f"the run's data cannot be loaded again ({error}); give a folder as --gallery") from None


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mmjax" / "galleries"


if __name__ == "__main__":
    main()
