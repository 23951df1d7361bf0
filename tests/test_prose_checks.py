"""The checks of the prose: what they count, and what they find."""

import nbformat
import pytest
from prose_checks import (
    claims,
    in_solutions,
    is_printed,
    numbers,
    printed,
    without_solutions,
    words,
)

pytestmark = pytest.mark.quick


def test_words_of_prose_without_code():
    cells = [
        nbformat.v4.new_markdown_cell("## Step 1\n\nIt *is* 5 % of $a + b$."),
        nbformat.v4.new_code_cell("not_counted = 1"),
        nbformat.v4.new_markdown_cell("```python\nnor = this\n```\n`but it`"),
        nbformat.v4.new_markdown_cell("[a link](https://long.address/x/y)"),
    ]
    assert words(cells) == 2 + 5 + 1 + 2


@pytest.mark.parametrize(
    "text, found",
    [
        ("1,000 pictures of 96 × 96, 0.25 off", [1000, 96, 96, 0.25]),
        ("0–255, −8.6 on average, 52 %", [0, 255, 8.6, 52]),
        ("Figure 3 and Figures 1–2 of notebook 02, Step 4, §3.2", []),
        ("`patch=16`, $2 \\cdot 3$, [a 3](b4), conv4, ```\n5\n```", [3]),
        ("**2 · Predict.** Two of 3.", [3]),
        ("## Step 5 · The 7 panels", []),
    ],
)
def test_numbers_that_the_prose_claims(text, found):
    assert [value for _, value, _ in claims(text)] == found


@pytest.mark.parametrize(
    "claim, output, right",
    [
        ("52", "52%", True),
        ("52", "hits 0.52", True),
        ("52", "0.5", False),  # fewer digits than the claim
        ("21", "20.9", True),
        ("20.9", "21", False),
        ("0.25", "0.246", True),
        ("0.25", "0.256", False),
        ("53", "52%", False),
        ("8.6", "-8.6", True),
        ("1000", "1,000", True),
    ],
)
def test_whether_a_number_was_printed(claim, output, right):
    ((value, decimals),) = numbers(claim)
    assert is_printed(value, decimals, numbers(output)) == right


def test_titles_of_figures_are_outputs():
    output = nbformat.v4.new_output(
        "display_data",
        {"text/plain": "<A map.>"},
        metadata={
            "image/png": {"alt": "A map. Panels: drop 3.1.", "width": 2}
        },
    )
    cell = nbformat.v4.new_code_cell("draw()", outputs=[output])
    assert printed(cell) == [(3.1, 1)]


def test_solutions_are_checked_apart():
    text = "Now 3.<details><summary>Solution</summary>\nIt is 4.</details> 5"
    assert [value for _, value, _ in claims(without_solutions(text))] == [3, 5]
    cell = nbformat.v4.new_markdown_cell(text)
    assert in_solutions(nbformat.v4.new_notebook(cells=[cell])) == {4}
