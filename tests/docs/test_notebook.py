"""The notebook of examples/ runs from its first cell to its last, and labels the sounds rightly."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest
from conftest import ROOT
from nbclient import NotebookClient

NOTEBOOK = ROOT / "examples" / "sounds.ipynb"
PLACE_S = 300  # for one cell on a busy machine


@pytest.fixture(scope="module")
def cells() -> list[str]:
    """What each code cell shows at its end, as text."""
    notebook = nbformat.read(NOTEBOOK, as_version=4)  # type: ignore[no-untyped-call]
    client = NotebookClient(
        notebook, timeout=PLACE_S, resources={"metadata": {"path": str(NOTEBOOK.parent)}}
    )
    client.execute()
    shown = []
    for cell in notebook.cells:
        results = [each.data["text/plain"] for each in cell.get("outputs", ()) if "data" in each]
        shown += results
    return shown


def test_each_cell_shows_what_it_should(cells: list[str]) -> None:
    first, one, hops, table, alike, followed, ended = cells
    assert "50" in first
    assert "siren.wav" in first
    assert "chirping_birds" in one
    assert one.endswith("False)")
    assert hops.count("chirping_birds") == 3
    for text in (table, followed):
        for name in ("birds.wav", "knock.wav", "siren.wav", "chirping_birds", "door_wood_knock"):
            assert name in text
    assert alike.count("1.0") >= 3  # each is like itself
    assert followed.count("accepted") == 3
    assert ended == "0"


def test_it_is_kept_without_outputs() -> None:
    """They would go stale, and name the machine that made them."""
    notebook = nbformat.read(NOTEBOOK, as_version=4)  # type: ignore[no-untyped-call]
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert code
    assert [cell for cell in code if cell.outputs or cell.execution_count] == []
    assert Path(NOTEBOOK).stat().st_size < 20_000
