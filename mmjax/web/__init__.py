"""What the pages of `mmjax.search` and `mmjax.chat` share: the server, its safety, reading of requests, and files of pages.

Modules are imported one by one, so that `--help` works without the packages of the extra "demo".
"""

__all__: list[str] = []
