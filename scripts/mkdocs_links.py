"""Links to files of the repository outside docs/ become plain text on the site; on a code host they are links."""

import re


def on_page_markdown(markdown: str, **_) -> str:
    """The text of a page without links to ../ files."""
    return re.sub(r"\[([^\]]+)\]\(\.\./(?:\.\./)?(?:experiments|tests|data|mmjax|scripts)[^)]*\)", r"\1", markdown)
