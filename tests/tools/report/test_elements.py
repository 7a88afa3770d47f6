from ssd.tools.report.elements import Column, definitions, escape, number, table
from ssd.tools.report.page import Section, make_page


def test_text_is_escaped() -> None:
    assert escape('<a href="x">\'&') == "&lt;a href=&quot;x&quot;&gt;&#x27;&amp;"
    assert escape("a\x00\udc80é\n") == "a��é\n"
    assert "<b>" not in definitions("facts", [("<b>", "<b>")]) + table("<b>", [Column("<b>", hint="<b>")], [("<b>",)])
    page = make_page("<b>", "<b>", "", [Section("one", "<b>", "<p>content</p>")])
    assert "<b>" not in page
    assert "<p>content</p>" in page


def test_numbers_of_a_table_sort_by_value_and_show_what_is_not_defined() -> None:
    columns = [Column("name"), Column("AP", ".2f"), Column("objects", ",d"), Column("note")]
    text = table("A table", columns, [("cat", 0.123456, 12345, "x"), ("dog", float("nan"), None, None)])
    assert '<td class="number" data-value="0.123456">0.12</td>' in text
    assert '<td class="number" data-value="12345">12,345</td>' in text
    assert (text.count('data-value="">–</td>'), text.count('<th scope="row">')) == (2, 2)
    assert number(float("nan"), ".2f") == "–"
