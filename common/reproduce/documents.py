"""README.md and docs/results/*.md: their parts that are made from results/, between marks."""
import re

from common.reproduce.tables import sections
from common.system.files import replace_file

BLOCK = re.compile(r"(<!-- (results/[^\s:]+|claims): ([\w, -]+) -->\n).*?(<!-- end -->)", re.S)


def fill(root, text_of):
    """Writes text_of(document, name, parts) between the two lines `<!-- results/digits: last_accuracy, choices -->` and
    `<!-- end -->` of a document. They name results/digits and the parts. Where the text is None, what stands there stays.
    Returns the documents changed."""
    changed = []
    for document in ["README.md", *sorted(path.relative_to(root).as_posix() for path in root.glob("docs/results/*.md"))]:
        def filled(block, document=document):
            text = text_of(document, block[2], block[3].split(", "))
            return block[0] if text is None else f"{block[1]}\n{text}\n\n{block[4]}"
        old = (root / document).read_text(encoding="utf-8")
        new = BLOCK.sub(filled, old)
        if new != old:
            replace_file(root / document, lambda file, text=new: file.write(text), "w", encoding="utf-8")
            changed.append(document)
    return changed


def fill_tables(root, folder, table, choices, commands, published):
    """Fills in the tables of a folder under results/. Returns the documents changed."""
    def text_of(document, name, measures):
        if (root / name).resolve() != folder.resolve():
            return None
        grids = sections(table, choices, published, measures)
        return "\n\n".join([*([commands] if "how" in measures else []), *(grid.markdown() for grid in grids)])
    return fill(root, text_of)
