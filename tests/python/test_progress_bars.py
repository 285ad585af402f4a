"""A batch in a progress bar of tqdm."""

from __future__ import annotations

import asyncio
import io

import pytest
import tqdm
import tqdm.asyncio

from conftest import business

IDS = [*(business(number) for number in range(5)), business(0), "not an id"]


def test_b17_progress_bar_shows_the_total_of_a_batch(client):
    screen = io.StringIO()
    results = list(tqdm.tqdm(client.business_tokens(IDS), file=screen, ascii=True))
    assert len(results) == len(IDS)
    assert "0/7" in screen.getvalue(), "the bar has no total"
    assert "100%" in screen.getvalue()
    assert "7/7" in screen.getvalue()


def test_b17_progress_bar_shows_the_total_of_a_batch_in_a_task(client):
    screen = io.StringIO()

    async def read():
        bar = tqdm.asyncio.tqdm(client.business_tokens(IDS), file=screen, ascii=True)
        return [result async for result in bar]

    assert len(asyncio.run(read())) == len(IDS)
    assert "0/7" in screen.getvalue(), "the bar has no total"
    assert "7/7" in screen.getvalue()


@pytest.mark.parametrize("given", [iter, set, tuple])
def test_b17_progress_bar_knows_the_total_of_any_iterable(client, given):
    bar = tqdm.tqdm(client.business_tokens(given(IDS)), file=io.StringIO())
    assert bar.total == len(list(bar))
