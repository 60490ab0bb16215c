"""A run during which the machine itself stood still says nothing about us: it is done again, once.

watch.mjs has a timer that does nothing but watch itself, and tells when it was late (stood_still).
A test that fails while it was is repeated; no bound is weakened for it, and the words are printed.
"""

import pytest
from _pytest.runner import runtestprotocol

STOOD_STILL = "'event': 'stood_still'"


def excused(reports):
    said = [text for r in reports for text in (r.longreprtext, *(t for _, t in r.sections))]
    return any(r.failed for r in reports) and any(STOOD_STILL in text for text in said)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item, nextitem):
    item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
    reports = runtestprotocol(item, nextitem=nextitem, log=False)
    if excused(reports):
        print(f"\n{item.nodeid}: the machine stood still meanwhile; once more")
        item._initrequest()
        reports = runtestprotocol(item, nextitem=nextitem, log=False)
    for report in reports:
        item.ihook.pytest_runtest_logreport(report=report)
    item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
    return True
