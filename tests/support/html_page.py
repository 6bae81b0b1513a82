# SPDX-License-Identifier: Apache-2.0
"""The HTML report of diff, read by html.parser: its sections with their tables, and its headings."""

from html.parser import HTMLParser

VOID = {"meta", "br", "link", "img", "hr"}


class Table:
    def __init__(self):
        self.caption, self.head, self.rows, self.scopes = "", [], [], []


class Section:
    def __init__(self, title=""):
        self.title, self.text, self.tables = title, "", []


class Page(HTMLParser):
    """Raises AssertionError where elements are not nested."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.sections = [Section()]  # what stands before the first <h2>, then one for each
        self.headings, self.ids, self.links, self.language = [], [], [], None  # headings: [(level, text)]
        self.open = []
        self.style = ""
        self.feed(text)
        self.close()
        assert not self.open, self.open

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        if "id" in attrs:
            self.ids.append(attrs["id"])
        if "href" in attrs:
            self.links.append(attrs["href"])
        if tag == "html":
            self.language = attrs.get("lang")
        elif tag in ("h1", "h2", "h3", "h4"):
            self.headings.append((int(tag[1]), ""))
            if tag == "h2":
                self.sections.append(Section())
        elif tag == "table":
            self.sections[-1].tables.append(Table())
        elif tag == "tr" and "thead" not in self.open:
            self.table.rows.append([])
        elif tag == "th":
            self.table.scopes.append(attrs.get("scope"))
        if tag in ("td", "th"):
            self.cells.append("")
        if tag == "br" and ("td" in self.open or "th" in self.open):
            self.cells[-1] += "\n"
        if tag not in VOID and not self.get_starttag_text().endswith("/>"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)

    @property
    def table(self):
        return self.sections[-1].tables[-1]

    @property
    def cells(self):
        return self.table.head if "thead" in self.open else self.table.rows[-1]

    def handle_endtag(self, tag):
        assert self.open and self.open.pop() == tag, (tag, self.open)

    def handle_data(self, data):
        if not self.open:
            return
        if "style" in self.open:
            self.style += data
        elif "caption" in self.open:
            self.table.caption += data
        elif "td" in self.open or "th" in self.open:
            self.cells[-1] += data
        elif self.open[-1] in ("h1", "h2", "h3", "h4"):
            level, text = self.headings[-1]
            self.headings[-1] = (level, text + data)
            if level == 2:
                self.sections[-1].title += data
        elif "svg" not in self.open:
            self.sections[-1].text += data

    def section(self, title):
        [found] = [section for section in self.sections if section.title == title]
        return found
