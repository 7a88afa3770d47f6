"""The report as Chromium shows it."""

from pathlib import Path

import pytest

from ssd.tools.report import write_report
from tests.tools.report.browser import CHROMIUM, open_browser
from tests.tools.report.sets import FACTS, HOSTILE, evaluated, three_classes

pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="no Chromium")]

_ORDER = "[...document.querySelectorAll('caption')].find(c => c.textContent.startsWith('All classes')).parentNode"
_NAMES = f"[...({_ORDER}).tBodies[0].rows].map(row => row.cells[0].textContent)"


def _click(column: int) -> str:
    return f"({_ORDER}).tHead.rows[0].cells[{column}].firstElementChild.click()"


def test_report_in_browser(tmp_path: Path) -> None:
    path = write_report(evaluated(*three_classes(), tmp_path), FACTS, tmp_path)
    with open_browser(tmp_path / "profile") as browser:
        for width, dark in ((1200, False), (1200, True), (375, False), (375, True)):
            browser.open(path, width=width, dark=dark)
            assert browser.run("document.documentElement.scrollWidth") <= width
            broken = "[...document.images].filter(i => !(i.naturalWidth > 0 && i.naturalHeight > 0 && i.width > 0))"
            assert browser.run(f"{broken}.length") == 0
            assert browser.run("document.images.length") >= 8
            background = browser.run("getComputedStyle(document.body).backgroundColor")
            assert background == ("rgb(22, 25, 29)" if dark else "rgb(255, 255, 255)")
            # The plots are those of the theme; their addresses differ.
            is_dark = "document.images[0].currentSrc === document.querySelector('source').srcset"
            assert browser.run(is_dark) is dark

        assert browser.run(_NAMES) == ["cat", "dog", HOSTILE]
        browser.run(_click(3))  # AP, highest first
        first = browser.run(_NAMES)
        assert first[-1] == HOSTILE  # which has none
        browser.run(_click(3))
        assert browser.run(_NAMES) == [first[1], first[0], HOSTILE]
        assert browser.run(f"({_ORDER}).tHead.rows[0].cells[3].getAttribute('aria-sort')") == "ascending"
        browser.run(_click(0))
        browser.run(_click(0))
        assert sorted(browser.run(_NAMES)) == sorted(["cat", "dog", HOSTILE])
        assert browser.run(_NAMES).index("dog") < browser.run(_NAMES).index("cat")

        browser.run("document.querySelector('a[href=\"#errors\"]').click()")
        assert browser.run("location.hash") == "#errors"
        top = browser.run("document.getElementById('errors').getBoundingClientRect().top")
        assert 0 <= top < 120
        browser.open(path, width=718)  # an A4 page
        browser.call("Emulation.setEmulatedMedia", media="print")
        tables = "[...document.querySelectorAll('table')].map(table => table.getBoundingClientRect().right)"
        assert max(browser.run(tables)) <= 718
        assert browser.messages == []
        assert all(address.startswith(("file:", "data:")) for address in browser.requests)
        assert {address for address in browser.requests if address.startswith("file:")} <= {
            path.resolve().as_uri() + suffix for suffix in ("", "#errors")
        }
