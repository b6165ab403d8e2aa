"""Between logs and pages: cutting a log into pages, and what a page proves to its receiver."""

from svcmesh.catalog.log import Log
from svcmesh.catalog.messages import Page

PAGE_BYTES = 64
"""About what a page takes besides its entries; also a summary, and a want."""


def size_bytes(page: Page) -> int:
    """About what a page takes in a message."""
    return PAGE_BYTES + sum(entry.size_bytes for entry in page.entries)


def next_page(
    log: Log, after: int, budget_bytes: int, *, is_external: bool, is_full: bool = False
) -> Page:
    """A log's records above a sequence, up to about a size and at least one if there is one."""
    entries, through = log.page(after, budget_bytes)
    return Page(
        is_external, log.origin, log.base, log.floor, after, through, is_full, tuple(entries)
    )


def loose_pages(log: Log, after: int, budget_bytes: int, *, is_external: bool) -> list[Page]:
    """Records past a log's first gap, above a sequence and up to about a size, each by itself."""
    pages: list[Page] = []
    for entry in log.loose:
        if entry.seq <= after:
            continue
        if budget_bytes <= 0:
            break
        before = entry.seq - 1
        page = Page(
            is_external, log.origin, log.base, log.floor, before, entry.seq, False, (entry,)
        )
        pages.append(page)
        budget_bytes -= size_bytes(page)
    return pages


def advance(log: Log, page: Page) -> None:
    """Take in what a page says about its completeness."""
    # A delta from below its sender's floor lacks the deletes that its sender has forgotten.
    after = page.after if page.is_full else max(page.after, page.floor)
    log.advance(after, page.through)
