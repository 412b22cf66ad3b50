# SPDX-License-Identifier: Apache-2.0
"""Figures of several methods or runs below each other."""

from __future__ import annotations

from collections.abc import Mapping
import math

from rich.table import Table

Rows = Mapping[str, Mapping[str, float]]
"""Name of a method or run -> figure by its name in DepthErrors."""

FIGURES = {
    'd1': 'd1',
    'd2': 'd2',
    'd3': 'd3',
    'abs_rel': 'REL',
    'sq_rel': 'sq rel [m]',
    'rms': 'RMS [m]',
    'rms_log': 'RMS log',
    'log10': 'log10',
    'silog': 'SILog',
}
"""Heading of each figure, in the order of the papers."""


def errors_table(title: str, *sections: Rows, row_heading: str = '') -> Table:
    """
    Return a table of errors for the terminal, with a line between the sections.

    Parameters
    ----------
    title : str
    *sections : Rows
        Such as our runs, then published ones; `dataclasses.asdict` of DepthErrors is a row.
        Missing figures and NaN become '-'; figures that no row has get no column.
    row_heading : str

    """
    table = Table(title=title, title_justify='left')
    table.add_column(row_heading, overflow='fold')
    columns = figures_of(*sections)
    for name in columns:
        table.add_column(FIGURES[name], justify='right')
    for rows in sections:
        for row, figures in rows.items():
            table.add_row(row, *(figure_text(name, figures.get(name)) for name in columns))
        table.add_section()
    return table


def figures_of(*sections: Rows) -> list[str]:
    """Return the names of the figures that any row has, in the order of the papers."""
    present = {name for rows in sections for figures in rows.values() for name in figures}
    return [name for name in FIGURES if name in present]


def figure_text(name: str, value: float | None) -> str:
    """Return a figure as papers print it: three digits, SILog two; '-' for none."""
    if value is None or math.isnan(value):
        return '-'
    return f'{value:.2f}' if name == 'silog' else f'{value:.3f}'
