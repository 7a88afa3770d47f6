"""The report as Chromium shows it."""

import html
import json
import shutil
import subprocess
from pathlib import Path

import pytest

from ssd.tools.report import write_report
from tests.tools.report.sets import FACTS, HOSTILE, evaluated, three_classes

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="no Chromium")]

# A page with the report in frames of three widths; it measures them, and becomes a text of JSON.
_PAGE = """<!doctype html><meta charset="utf-8"><body>
<iframe width="1200" height="900" src="report.html"></iframe>
<iframe width="375" height="900" src="report.html"></iframe>
<iframe width="718" height="900" src="report.html"></iframe>
<script>
onload = () => {
  const [wide, narrow, paper] = [...document.querySelectorAll("iframe")].map((frame) => frame.contentDocument);
  for (const page of [wide, narrow, paper]) page.querySelectorAll("details").forEach((part) => { part.open = true; });
  const facts = [wide, narrow].map((page) => ({
    width: page.documentElement.scrollWidth,
    images: page.images.length,
    broken: [...page.images].filter((i) => !(i.naturalWidth > 0 && i.naturalHeight > 0 && i.width > 0)).length,
    background: page.defaultView.getComputedStyle(page.body).backgroundColor,
    isDark: page.querySelector("picture img").currentSrc === page.querySelector("source").srcset,
    fetched: page.defaultView.performance.getEntriesByType("resource").map((entry) => entry.name),
  }));
  const caption = [...wide.querySelectorAll("caption")].find((c) => c.textContent.startsWith("All classes"));
  const table = caption.parentNode;
  const orders = [0, 3, 3, 0, 0].map((column, number) => {
    if (number) table.tHead.rows[0].cells[column].firstElementChild.click();
    return [...table.tBodies[0].rows].map((row) => row.cells[0].textContent);
  });
  wide.querySelector('a[href="#errors"]').click();
  const sorted = table.tHead.rows[0].cells[0].getAttribute("aria-sort");
  for (const rule of paper.styleSheets[0].cssRules)
    if (rule.media && rule.media.mediaText === "print") rule.media.mediaText = "all";
  const rights = [...paper.querySelectorAll("table")].map((table) => table.getBoundingClientRect().right);
  const found = { facts, orders, sorted, hash: wide.location.hash, printed: Math.max(...rights) };
  document.body.textContent = JSON.stringify(found);
};
</script>"""


@pytest.mark.parametrize("is_dark", [False, True])
def test_report_in_browser(is_dark: bool, tmp_path: Path) -> None:
    write_report(evaluated(*three_classes(), tmp_path), FACTS, tmp_path)
    (tmp_path / "frames.html").write_text(_PAGE)
    scheme = f"--blink-settings=preferredColorScheme={int(not is_dark)}"
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--allow-file-access-from-files"]
    flags += ["--enable-logging=stderr", scheme, f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom"]
    address = (tmp_path / "frames.html").as_uri()
    run = subprocess.run([str(CHROMIUM), *flags, address], capture_output=True, text=True, timeout=120, check=True)
    assert "CONSOLE" not in run.stderr  # errors, and what the policy of the page forbids
    found = json.loads(html.unescape(run.stdout.partition("<body>")[2].partition("</body>")[0]))
    for facts, width in zip(found["facts"], (1200, 375), strict=True):
        assert facts["width"] <= width
        assert facts["images"] >= 8
        assert facts["broken"] == 0
        assert facts["background"] == ("rgb(22, 25, 29)" if is_dark else "rgb(255, 255, 255)")
        assert facts["isDark"] is is_dark
        assert all(name.startswith("data:") for name in facts["fetched"])
    unsorted, falling, rising, *by_name = found["orders"]
    assert unsorted == ["cat", "dog", HOSTILE]
    assert falling[-1] == HOSTILE  # which has no AP
    assert (rising, by_name[0]) == ([falling[1], falling[0], HOSTILE], by_name[1][::-1])
    assert by_name[1].index("dog") < by_name[1].index("cat")
    assert found["sorted"] == "descending"
    assert found["hash"] == "#errors"
    assert found["printed"] <= 718  # an A4 page
