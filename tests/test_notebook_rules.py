"""The rules that every notebook keeps, read off the stored files."""

import base64
import builtins
import json
import re
import statistics
import symtable
from itertools import combinations
from pathlib import Path

import nbformat
import prose_checks
import pytest
from notebook_checks import answers, difference, exercises, figures

ROOT = Path(__file__).parents[1]
SLUG = "Gab314/xai-saliency-maps"
PATHS = sorted((ROOT / "notebooks").glob("*.ipynb"))
notebooks = pytest.mark.parametrize("path", PATHS, ids=lambda p: p.stem)


def read(path):
    return nbformat.read(path, as_version=4)


def code_cells(path):
    return [cell for cell in read(path).cells if cell.cell_type == "code"]


def prose(path):
    return [
        cell.source
        for cell in read(path).cells
        if cell.cell_type == "markdown"
    ]


def texts(path):
    """Everything that a cell's outputs print, `(cell number, text)`."""
    for cell in code_cells(path):
        for output in cell.outputs:
            data = output.get("data", {})
            yield (
                cell.execution_count,
                "".join([output.get("text", ""), data.get("text/plain", "")]),
            )


def test_there_are_notebooks_numbered_in_order():
    numbers = [int(path.name[:2]) for path in PATHS]
    assert numbers and numbers == sorted(set(numbers)) and numbers[0] == 0


@notebooks
def test_head(path):
    head = prose(path)[0]
    assert read(path).cells[0].cell_type == "markdown"
    assert re.match(rf"# {path.name[:2]} · \S", head)
    assert (
        f"(https://colab.research.google.com/github/{SLUG}/blob/main/"
        f"notebooks/{path.name})"
    ) in head
    assert re.search(rf"\]\(\.\./images/{path.stem}\.(png|jpg)\)", head)
    assert re.search(r"^\*\*[^*]+\?\*\*$", head, re.M), "the one question"
    for part in "you can", "builds on", "Time:":
        assert part in head


@notebooks
def test_parts_are_there(path):
    headings = [
        line
        for text in prose(path)
        for line in text.splitlines()
        if line.startswith("## ")
    ]
    for part in (
        "paper",
        "Step 1",
        "Check against the truth",
        "What this does not show",
        "Exercises",
        "On a photograph",
        "Summary",
    ):
        assert any(part in heading for heading in headings), part
    everything = "\n".join(prose(path))
    assert re.search(r"^\| symbol \|.*variable.*shape", everything, re.M)
    assert everything.count("<details><summary>Solution") in (2, 3)
    assert "Next:" in prose(path)[-1]
    summary = everything.split("## Summary")[1].split("## Going deeper")[0]
    assert len(re.findall(r"^- ", summary, re.M)) == 3


@notebooks
def test_the_main_line_carries_a_tired_beginner(path):
    cells = prose_checks.main_line(read(path))
    assert prose_checks.words(cells) <= 2200
    assert sum(cell.cell_type == "code" for cell in cells) <= 30
    minutes = re.search(r"\*\*Time:\*\* (\d+) minutes", cells[0].source)
    assert int(minutes[1]) <= 30
    lines = [len(cell.source.splitlines()) for cell in code_cells(path)[2:]]
    assert statistics.median(lines) <= 6
    for cell in read(path).cells:
        if cell.source.startswith("**Figure"):
            caption = cell.source.partition("\n\n")[0]
            cell = nbformat.v4.new_markdown_cell(caption)
            assert prose_checks.words([cell]) <= 60, caption


@notebooks
def test_the_summary_has_a_picture_and_asks_why(path):
    cells = read(path).cells
    end = len(prose_checks.main_line(read(path)))
    (slide,) = [
        i
        for i, cell in enumerate(cells)
        if "summary" in cell.metadata.get("tags", [])
    ]
    assert slide > end and pictures(cells[slide].outputs)
    summary = cells[slide + 1].source + cells[slide + 2].source
    questions = summary.count("<details><summary>Answer</summary>")
    assert questions in (2, 3) and summary.count("Why ") >= 2


@notebooks
def test_the_numbers_of_the_prose_are_printed_above_it(path):
    """Or listed in tests/prose/: numbers of the papers, and settings."""
    given = prose_checks.listed(path.stem)
    above, needed = [], prose_checks.in_solutions(read(path)) & given
    for cell in read(path).cells:
        above += prose_checks.printed(cell)
        if cell.cell_type == "code":
            continue
        text = prose_checks.without_solutions(cell.source)
        for token, value, decimals in prose_checks.claims(text):
            if not prose_checks.is_printed(value, decimals, above):
                needed.add(value)
                assert value in given, (
                    f"{token} is in no output above: {cell.source[:200]}"
                )
    assert given == needed, "listed, and not needed"


def parts(path):
    """The cells under each ``## …`` heading after *Going deeper*."""
    found, deeper = {}, False
    for cell in read(path).cells:
        heading = re.match(r"## (.+)", cell.source)
        if cell.cell_type == "markdown" and heading:
            deeper = deeper or heading[1].startswith("Going deeper")
            if deeper:
                cells = found.setdefault(heading[1], [])
        if deeper:
            cells.append(cell)
    found.pop(next((name for name in found if "deeper" in name), None), None)
    return found


def names(source):
    """Those that a piece of code makes, and those that it uses."""
    made, used = set(), set()

    def walk(scope):
        for symbol in scope.get_symbols():
            own = scope.get_type() == "module"
            if own and (symbol.is_assigned() or symbol.is_imported()):
                made.add(symbol.get_name())
            if symbol.is_referenced() and (own or symbol.is_global()):
                used.add(symbol.get_name())
        for inner in scope.get_children():
            walk(inner)

    walk(symtable.symtable(source, "cells", "exec"))
    return made, used


def test_a_part_after_the_summary_stands_alone():
    """It needs the first two cells of its notebook, and itself."""
    checked = []
    for path in PATHS:
        first = [cell.source for cell in code_cells(path)[:2]]
        for heading, cells in parts(path).items():
            own = [cell.source for cell in cells if cell.cell_type == "code"]
            made, used = names("\n".join(first + own))
            missing = used - made - set(dir(builtins))
            assert not missing, (path.stem, heading)
            assert prose_checks.words(cells) <= 1200, heading
            assert len(own) <= 16, heading
            checked.append(path.stem[:2])
    assert checked.count("06") >= 2


def test_setup_cell_is_the_same_everywhere_and_then_come_the_imports():
    assert len({code_cells(path)[0].source for path in PATHS}) == 1
    assert f'"https://github.com/{SLUG}"' in code_cells(PATHS[0])[0].source
    for path in PATHS:
        lines = code_cells(path)[1].source.splitlines()
        assert all(
            re.match(r"(import|from|    \w|\)|$)", line) for line in lines
        ), path.name
        for cell in code_cells(path)[2:]:
            assert not re.search(r"^(import|from) ", cell.source, re.M)


@notebooks
def test_links_lead_somewhere(path):
    for target in re.findall(r"\]\(([^)#\s]+)", "\n".join(prose(path))):
        if not target.startswith("https://"):
            assert (path.parent / target).is_file(), target


def test_every_address_of_this_project_is_the_one_slug():
    files = [*PATHS, *ROOT.glob("*.*"), *ROOT.glob("*/*.py")]
    for path in filter(Path.is_file, files):
        text = path.read_text(encoding="utf-8")
        for owner in re.findall(
            r"github(?:usercontent)?\.com/(?:github/)?([\w.-]+)/"
            r"xai-saliency-maps",
            text,
        ):
            assert owner == SLUG.split("/")[0], path.name


@notebooks
def test_run_from_top_to_bottom_and_stored(path):
    counts = [cell.execution_count for cell in code_cells(path)]
    assert counts == list(range(1, len(counts) + 1))
    assert path.stat().st_size <= 3_000_000
    assert "widgets" not in read(path).metadata


@notebooks
def test_outputs_are_clean(path):
    for cell in code_cells(path):
        for output in cell.outputs:
            assert output.output_type != "error"
            assert output.get("name") != "stderr", cell.execution_count
            assert not any(
                "javascript" in kind or "widget" in kind
                for kind in output.get("data", {})
            )
    for count, text in texts(path):
        for what, pattern in {
            "a time": r"\d\s?(s|ms|µs|sec|seconds|min)\b",
            "a path": r"(/(home|root|tmp|usr|Users)/|[A-Z]:\\)",
            "a memory address": r"0x[0-9a-fA-F]{6,}",
            "a progress bar": r"\d%\||it/s",
            "digits that another processor rounds otherwise": r"\d\.\d{5,}",
        }.items():
            found = re.search(pattern, text)
            assert not found, f"cell {count} prints {what}: {found[0]!r}"


@notebooks
def test_code_is_short_and_narrow(path):
    for cell in code_cells(path):
        lines = cell.source.splitlines()
        assert len(lines) <= 15, cell.execution_count
        assert max(map(len, lines)) <= 79, cell.execution_count
        assert not lines[-1].rstrip().endswith(";"), cell.execution_count


def pictures(outputs):
    """Kind, data and metadata of each picture among the outputs."""
    return [
        (kind, output.data[kind], output.metadata.get(kind, {}))
        for output in outputs
        for kind in ("image/png", "image/jpeg")
        if kind in output.get("data", {})
    ]


@notebooks
def test_figures_have_captions_in_order_and_alt_text(path):
    cells = read(path).cells
    number = 0
    for cell, below in zip(cells, cells[1:]):
        drawn = pictures(cell.get("outputs", []))
        assert len(drawn) <= 1, "one figure a cell, each with its caption"
        for kind, _, about in drawn:
            number += 1
            assert below.source.startswith(f"**Figure {number}.** ")
            assert len(about.get("alt", "")) > 15, f"Figure {number}: no text"
            (levels,) = figures(cell.outputs)
            assert levels.shape[1] == 2 * about["width"], "for sharp screens"
            if kind == "image/png":
                assert (levels[0] == 255).all(), "as white as the page"
    assert number >= 4
    for mentioned in re.findall(r"Figure (\d+)", "\n".join(prose(path))):
        assert 1 <= int(mentioned) <= number
    for alt, _ in re.findall(r"!\[(.*?)\]\((.*?)\)", "\n".join(prose(path))):
        assert len(alt) > 10


@notebooks
def test_exercises_have_a_stub_a_check_a_solution_and_wrong_answers(path):
    found = exercises(read(path))
    assert len(found) in (2, 3)
    assert len(found) == "\n".join(prose(path)).count("<summary>Solution")
    stored = answers(path.stem)
    assert len(stored) == len(found)
    for answer in stored:
        assert set(answer) <= {"right", "wrong", "wrong type"}
        assert len(answer["wrong"]) >= 2 and answer["wrong type"]
    # With the one of a wrong type, at least three wrong answers each. The
    # notebooks' own run puts all of them through the check: see
    # notebook_checks.py.


@notebooks
def test_formulas_survive_github(path):
    for text in prose(path):
        assert "\\begin{align" not in text
        lines = ["", *text.splitlines(), ""]
        for before, line, after in zip(lines, lines[1:], lines[2:]):
            if "$$" in line:
                assert re.fullmatch(r"\$\$.+\$\$", line), line
                assert before == after == "", line
            for formula in re.findall(r"\$+([^$]+)\$+", line):
                # GitHub takes the backslash before punctuation away.
                assert not re.search(r"\\[,;!{}|]", formula), formula
            if "$$" not in line and "`" not in line:
                assert line.count("$") % 2 == 0, line


@notebooks
def test_widgets_are_followed_by_a_static_figure(path):
    cells = code_cells(path)
    for cell, following in zip(cells, cells[1:]):
        if re.search(r"widgets\.(H|V)Box", cell.source):
            assert figures(following.outputs), following.execution_count


@notebooks
@pytest.mark.parametrize("coarse", [False, True])
def test_figures_are_different_enough_to_be_told_apart(path, coarse):
    """Else the comparison could not notice that two were swapped."""
    drawn = [
        figure for cell in code_cells(path) for figure in figures(cell.outputs)
    ]
    for first, second in combinations(drawn, 2):
        assert difference(first, second, coarse)
    for figure in drawn:
        assert difference(figure, figure * 0 + 255, coarse), "a blank figure"


def test_at_most_five_cells_are_not_compared():
    marks = r"NBVAL_(IGNORE_OUTPUT|SKIP)|nbval-(ignore-output|skip)"
    found = [
        cell
        for path in PATHS
        for cell in code_cells(path)
        if re.search(marks, cell.source + json.dumps(cell.metadata))
    ]
    assert len(found) <= 5
    for cell in found:
        assert "# because" in cell.source


def test_heads_show_the_figures_that_the_notebooks_draw():
    heads = set()
    for path in PATHS:
        (hero,) = [
            cell
            for cell in code_cells(path)
            if "hero" in cell.metadata.get("tags", [])
        ]
        ((kind, image, _),) = pictures(hero.outputs)
        ending = {"image/png": "png", "image/jpeg": "jpg"}[kind]
        name = f"{path.stem}.{ending}"
        stored = (ROOT / "images" / name).read_bytes()
        assert base64.b64decode(image) == stored, name
        assert f"](../images/{name})" in prose(path)[0]
        heads.add(name)
    assert heads == {path.name for path in (ROOT / "images").iterdir()}
