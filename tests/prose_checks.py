"""How long a notebook's main line is, and whether its numbers are outputs."""

import os
import re
from pathlib import Path

import yaml

#: Digits, with commas for thousands and one decimal point.
NUMBER = re.compile(r"(?<![\w.])\d{1,3}(?:,\d{3})+(?!\d)|\d+(?:\.\d+)?")
#: Names with a number, which are no claims.
NAMES = re.compile(
    r"Figures? \d+(?:(?:,| and|–) ?\d+)*|Steps? \d+|step \d(?!\d)"
    r"|[Nn]otebooks? \d\d|\d\d ·|Figs?\. ?\d+|Table \d+|Exercise \d+"
    r"|^#+ .*$|^\*\*\d+ · |§ ?[\d.]+\w?|\w*[A-Za-z_]\d+\w*",
    re.M,
)


def main_line(notebook):
    """The cells from the title to the summary."""
    cells = notebook.cells
    (end,) = [
        i for i, cell in enumerate(cells) if cell.source.startswith("## Summ")
    ]
    return cells[:end]


def plain(text):
    """Prose without code, formulas, addresses and tags."""
    text = re.sub(r"```.*?```", " ", text, flags=re.S)
    text = re.sub(r"`[^`]*`", " ", text)
    text = re.sub(r"\$\$[^$]+\$\$|\$[^$]+\$", " ", text)
    text = re.sub(r"!\[.*?\]\(.*?\)", " ", text)
    text = re.sub(r"\]\([^)]*\)", "] ", text)
    return re.sub(r"<[^>]+>", " ", text)


def words(cells):
    """Words of prose, tables and folded solutions included."""
    found = 0
    for cell in cells:
        if cell.cell_type == "markdown":
            # A code span or a formula is read, too: as one word.
            text = re.sub(r"```.*?```", " ", cell.source, flags=re.S)
            text = re.sub(r"`[^`]*`|\$\$?[^$]+\$\$?", " formula ", text)
            found += len(re.findall(r"\w[\w'’.,%-]*", plain(text)))
    return found


def numbers(text):
    """`(value, decimals)` of each number in a text."""
    found = []
    for token in NUMBER.findall(text):
        token = token.replace(",", "")
        found.append((float(token), len(token.partition(".")[2])))
    return found


def claims(text):
    """The numbers of a piece of prose, as `(text, value, decimals)`."""
    return [
        (f"{value:.{decimals}f}", value, decimals)
        for value, decimals in numbers(NAMES.sub(" ", plain(text)))
    ]


def is_printed(value, decimals, printed):
    """Whether a number of the prose is one that was printed, or rounds it.

    A share may be printed as 0.52 and written as 52 %.
    """
    for other, digits in printed:
        for factor, places in ((1, digits), (100, digits - 2)):
            off = abs(factor * other - value)
            if places >= decimals and off <= 0.5001 * 10**-decimals:
                return True
    return False


def printed(cell):
    """The numbers of a cell's outputs, titles of figures included."""
    text = []
    for output in cell.get("outputs", []):
        text.append(output.get("text", ""))
        text.append(output.get("data", {}).get("text/plain", ""))
        for about in output.get("metadata", {}).values():
            text.append(about.get("alt", "") if about else "")
    return numbers("\n".join(text))


def listed(stem):
    """Numbers that are no outputs: of the papers, and settings."""
    here = Path(__file__).parent / "prose"
    path = Path(os.environ.get("XAI_PROSE", here)) / f"{stem}.yml"
    parts = yaml.safe_load(path.read_text(encoding="utf-8"))
    return {float(value) for part in parts.values() for value in part or []}


SOLUTION = re.compile(r"<details><summary>Solution.*?</details>", re.S)


def without_solutions(text):
    """Their numbers are compared with what they print, when they run."""
    return SOLUTION.sub(" ", text)


def in_solutions(notebook):
    """The numbers in the text of the folded solutions."""
    return {
        value
        for cell in notebook.cells
        for text in SOLUTION.findall(cell.source)
        for _, value, _ in claims(text)
    }
