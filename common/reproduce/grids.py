"""A table of texts: in Markdown for a file, in aligned columns for a terminal."""
import re
import textwrap
from dataclasses import dataclass

from common.system.errors import printable

GAP = "  "
NUMBERS = re.compile(r"[-+.\d ±→*]*")
BEST = "*"  # behind the best cell of a row, in a terminal


@dataclass(frozen=True)
class Grid:
    """headings: of each column, the first that of the rows' names; rows: lists of as many texts; best: the (row, column) of
    the best cells."""
    title: str
    headings: list
    rows: list
    best: frozenset = frozenset()

    def markdown(self):
        rows = [[f"**{text}**" if (row, column) in self.best else text for column, text in enumerate(texts)]
                for row, texts in enumerate(self.rows)]
        lines = [f"**{self.title}**", ""] if self.title else []
        return "\n".join([*lines, _line(self.headings).replace("|  |", "| |"), _line(["---"] * len(self.headings)),
                          *map(_line, rows)])

    def terminal(self, width):
        """Lines of at most so many columns: a table that is wider comes in several, each with the rows' names."""
        rows = [[printable(text) + (BEST if (row, column) in self.best else " " * self._has_best(column))
                 for column, text in enumerate(texts)] for row, texts in enumerate(self.rows)]
        columns = [_Column(heading, texts, width) for heading, texts in
                   zip(self.headings, zip(*rows, strict=True), strict=True)]
        names, *rest = columns
        lines = [self.title, ""] if self.title else []
        while rest:
            count = 1
            while count < len(rest) and names.width + sum(len(GAP) + c.width for c in rest[:count + 1]) <= width:
                count += 1
            lines += [*_side_by_side([names, *rest[:count]]), ""]
            rest = rest[count:]
        return lines[:-1]

    def _has_best(self, column):
        return any(place[1] == column for place in self.best)


def _line(texts):
    return f"| {' | '.join(texts)} |"


class _Column:
    """The heading and the cells of a column, each a list of lines as wide as the column."""

    def __init__(self, heading, texts, most):
        limit = max(16, most // 3)
        words = max(map(len, heading.split()), default=0)
        self.width = min(max(limit, words), max([words, *map(len, texts)], default=0)) if texts else words
        align = str.rjust if all(NUMBERS.fullmatch(text) for text in texts) else str.ljust
        self.heading, *self.cells = [[align(line, self.width) for line in _wrapped(text, self.width)]
                                     for text in (heading, *texts)]


def _wrapped(text, width):
    """The lines of a text; one that is short enough keeps its spaces."""
    return [text] if len(text) <= width else textwrap.wrap(text, width, break_on_hyphens=False)


def _side_by_side(columns):
    """The lines of some columns under their headings."""
    height = max(len(column.heading) for column in columns)
    lines = []
    for k in range(height):  # headings stand at the bottom
        lines.append([column.heading[k - height + len(column.heading)] if k >= height - len(column.heading) else
                      " " * column.width for column in columns])
    lines.append(["-" * column.width for column in columns])
    for cells in zip(*(column.cells for column in columns), strict=True):
        for k in range(max(map(len, cells))):
            lines.append([cell[k] if k < len(cell) else " " * column.width
                          for cell, column in zip(cells, columns, strict=True)])
    return [GAP.join(line).rstrip() for line in lines]
