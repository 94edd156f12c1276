"""The account of the demo opens in a browser without a complaint, in light and dark."""

from __future__ import annotations

from pathlib import Path

import pytest

import dicomlab
from dicomlab.notebook.account import Account
from dicomlab.samples.phantom import phantom_datasets
from tests.peers.lab import AXE, PICTURES, Chromium
from tests.peers.npm import package

pytestmark = pytest.mark.browser


def test_it_opens_without_a_complaint(chromium: Chromium, tmp_path: Path) -> None:
    account = Account("What was done")
    with dicomlab.Archive() as archive:
        archive.add(phantom_datasets(1, 2), progress=False)
        with dicomlab.trace() as wire:
            account.add("Found", archive.node.find("study", progress=False))
        account.add("On the wire", wire)
        account.add("The model", dicomlab.model_map(archive))
    path = account.write(tmp_path)
    PICTURES.mkdir(parents=True, exist_ok=True)
    for scheme in ("light", "dark"):
        with chromium.page() as page:
            page.emulate_media(color_scheme=scheme)
            page.goto(path.as_uri())
            assert page.complaints == []
            assert {url.partition(":")[0] for url in page.asked} == {"file"}
            (PICTURES / f"account-{scheme}.png").write_bytes(page.screenshot(full_page=True))
            box = page.locator("details", has_text="Upper Layer").first
            box.locator("summary").click()
            assert "presentation contexts accepted" in box.inner_text()
            page.evaluate((package(*AXE) / "axe.min.js").read_text())
            serious = """async () => {
                const found = await axe.run();
                return found.violations.filter(one => ['serious', 'critical'].includes(one.impact))
                    .map(one => one.id + one.nodes[0].html);
            }"""
            assert page.evaluate(serious) == []
