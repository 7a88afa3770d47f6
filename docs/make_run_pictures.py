"""The pictures of the pages on training, data and reports: ``python docs/make_run_pictures.py [FOLDER]``.

Taken from what these commands have written into the working directory, to FOLDER (docs/images/run by default)::

    ssd data scenes --output datasets/scenes
    ssd data browse quickstart -o sheets --num 8
    ssd data anchors quickstart -o anchors
    ssd train quickstart --log-step 50
    ssd test outputs/quickstart
"""

import base64
import io
import re
import shutil
import sys
from pathlib import Path

import numpy as np
from PIL import Image

from ssd.visualization.drawing import mosaic

RUN = Path("outputs/quickstart")
WIDTH = 1100  # pixels
EMBEDDED = re.compile(r'<img src="data:image/(?:svg\+xml|jpeg);base64,([^"]+)" width="\d+" height="\d+" alt="([^"]*)"')


def make_pictures(folder: Path) -> None:
    """Write all pictures to a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(RUN / "learning_curves.svg", folder)
    anchors = EMBEDDED.findall(Path("anchors/priors.html").read_text())[0][0]
    (folder / "anchors.svg").write_bytes(base64.b64decode(anchors))
    save(Image.open(RUN / "first_batch.jpg"), folder / "first_batch.jpg")
    save(Image.open("sheets/browse_01.jpg"), folder / "browse.jpg")
    page = (RUN / "inference" / "scenes_test" / "report.html").read_text()
    embedded = [(alt, base64.b64decode(content)) for content, alt in EMBEDDED.findall(page)]
    for start, name in (("Curves of F1", "report_f1.svg"), ("Confusion matrix", "report_confusion.svg")):
        (folder / name).write_bytes(next(content for alt, content in embedded if alt.startswith(start)))
    images = [np.asarray(Image.open(io.BytesIO(content))) for alt, content in embedded if alt.startswith("Image ")]
    save(Image.fromarray(mosaic(images[-6:-3], columns=3)), folder / "report_images.jpg")


def save(image: Image.Image, path: Path) -> None:
    """Write a JPEG file of at most WIDTH pixels across."""
    image.thumbnail((WIDTH, 10 * WIDTH))
    image.save(path, quality=75)


if __name__ == "__main__":
    make_pictures(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "images" / "run")
