# SPDX-License-Identifier: Apache-2.0
"""Figures of several methods or runs below each other."""

from __future__ import annotations

from collections.abc import Mapping
import math

from rich import box
from rich.markup import escape
from rich.table import Table
from rich.text import Text

Rows = Mapping[str, Mapping[str, float]]
"""Name of a method or run -> figure by its name in DepthErrors; `asdict` of one is a row."""
Sections = Mapping[str, Rows]
"""Heading -> rows; the rows without a heading ('') are ours."""

FIGURES = {
    'd1': 'd1',
    'd2': 'd2',
    'd3': 'd3',
    'abs_rel': 'REL',
    'sq_rel': 'SqREL [m]',
    'rms': 'RMS [m]',
    'rms_log': 'RMS log',
    'log10': 'log10',
    'silog': 'SILog',
}
"""Heading of each figure, in the order of the papers."""

_ROW_NAME_WIDTH = 13


def errors_table(title: str, sections: Sections) -> Table:
    """
    Return a table of errors for the terminal.

    Parameters
    ----------
    title : str
        Above the table.
    sections : Sections
        Such as our runs under '', then published ones. Missing figures and NaN become '-', and
        figures that no row has get no column.

    """
    table = Table(
        title=escape(title),
        title_justify='left',
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        padding=(0, 1, 0, 0),
    )
    table.add_column('', min_width=_ROW_NAME_WIDTH)
    columns = figures_of(sections)
    for name in columns:
        table.add_column(escape(FIGURES[name].replace(' ', '\n')), justify='right', no_wrap=True)
    for heading, rows in sections.items():
        if heading:
            table.add_row(Text(heading, style='dim'))
        for row, figures in rows.items():
            values = (figure_text(name, figures.get(name)) for name in columns)
            table.add_row(Text(row, style='' if heading else 'bold'), *values)
        table.add_section()
    return table


def figures_of(sections: Sections) -> list[str]:
    """Return the names of the figures that any row has, in the order of the papers."""
    rows = (figures for section in sections.values() for figures in section.values())
    present = {name for figures in rows for name in figures}
    return [name for name in FIGURES if name in present]


def figure_text(name: str, value: float | None) -> str:
    """Return a figure as papers print it: three digits, SILog two; '-' for none."""
    if value is None or math.isnan(value):
        return '-'
    return f'{value:.2f}' if name == 'silog' else f'{value:.3f}'
