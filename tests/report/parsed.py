"""Reads a page's HTML: the tags, the text and the rows of its tables. Every tag must be closed by its own end."""

from html.parser import HTMLParser

VOID = {"meta", "img", "br", "hr", "input", "link", "wbr"}


class Page(HTMLParser):
    """tags: [(name, attributes)]. text: its pieces. rows: the cells of each row of a table, as written.

    AssertionError if a tag is not closed.
    """

    def __init__(self, text: str):
        super().__init__(convert_charrefs=True)
        self.open, self.tags, self.rows, self.text = [], [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th") and self.rows:
            self.rows[-1].append("")

    def handle_startendtag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open and self.open.pop() == tag, f"</{tag}> closes something else at {self.getpos()}"

    def handle_data(self, data):
        self.text.append(data)
        if {"td", "th"} & set(self.open):
            self.rows[-1][-1] += data

    def lines(self) -> list[list[str]]:
        """The rows of the tables, with single spaces."""
        return [[" ".join(cell.split()) for cell in row] for row in self.rows]
