"""The prebuilt OHIF viewer, unmodified, on our origin server: it draws what we render."""

from __future__ import annotations

import base64
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
from PIL import Image

from dicomlab import Archive
from dicomlab.samples.phantom import phantom_datasets
from tests.peers.jupyter import Jupyter
from tests.peers.lab import PICTURES, Chromium
from tests.peers.ohif import ohif

DRAWN = """() => {
    const canvas = document.querySelector('canvas.cornerstone-canvas');
    if (!canvas || !canvas.width) return false;
    const data = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
    const greys = new Set();
    for (let at = 0; at < data.length; at += 4 * 97) greys.add(data[at]);
    return greys.size > 16;
}"""


def grey(octets: bytes) -> Any:
    return np.asarray(Image.open(BytesIO(octets)).convert("L"))


@pytest.mark.browser
def test_ohif_draws_what_we_render(chromium: Chromium) -> None:
    package = ohif()
    with Archive() as archive, chromium.page() as page:
        archive.add([phantom_datasets(patients=1, slices=6)], progress=False).raise_for_failures()
        series = archive.web.find("series", Modality="CT")
        study = series["StudyInstanceUID"].iloc[0]
        url = archive.mount_viewer(package)
        page.goto(f"{url}viewer?StudyInstanceUIDs={study}")
        page.wait_for_function(DRAWN, timeout=90_000)
        PICTURES.mkdir(parents=True, exist_ok=True)
        (PICTURES / "ohif.png").write_bytes(page.screenshot())
        shown = page.evaluate("() => document.querySelector('canvas.cornerstone-canvas').toDataURL('image/png')")
        canvas = grey(base64.b64decode(shown.partition(",")[2]))
        instances = archive.web.find("instance", StudyInstanceUID=study).instances()
        rendered = [
            grey(requests.get(
                f"{archive.web}/studies/{i.study_instance_uid}/series/{i.series_instance_uid}/instances/{i.sop_instance_uid}"
                "/rendered?viewport=256,256", headers={"Accept": "image/png"}, timeout=30,
            ).content)
            for i in instances
        ]  # fmt: skip
        side = min(canvas.shape)
        top, left = ((length - side) // 2 for length in canvas.shape)
        square = np.asarray(Image.fromarray(canvas[top : top + side, left : left + side]).resize((256, 256)))
        likeness = max(np.corrcoef(square.ravel(), one.ravel())[0, 1] for one in rendered)
        assert likeness > 0.95
        away = [asked for asked in page.asked if not asked.startswith((url, "data:", "blob:" + url))]
        assert away == []
        frames = [asked for asked in page.asked if "/frames/1" in asked]
        assert len(frames) >= 1


@pytest.mark.browser
def test_ohif_draws_behind_a_proxy(chromium: Chromium, tmp_path: Path) -> None:
    """From JupyterLab on another machine: everything it asks for goes through the Jupyter server, below its path."""
    package = ohif()
    with Archive() as archive, Jupyter(tmp_path) as jupyter, chromium.page() as page:
        archive.add([phantom_datasets(patients=1, slices=3)], progress=False).raise_for_failures()
        study = archive.web.find("series", Modality="CT")["StudyInstanceUID"].iloc[0]
        port = archive.mount_viewer(package).rstrip("/").rpartition(":")[2]
        url = f"{jupyter.url}proxy/{port}/"
        page.goto(f"{jupyter.url}api?token={jupyter.token}")  # signs in
        page.asked.clear()
        page.goto(f"{url}viewer?StudyInstanceUIDs={study}")
        page.wait_for_function(DRAWN, timeout=90_000)
        away = [
            asked
            for asked in page.asked
            if not asked.startswith((url, "data:", f"blob:http://127.0.0.1:{jupyter.port}/"))
        ]
        assert away == []
        assert any("/frames/1" in asked for asked in page.asked)
        assert page.complaints == []
