"""Text that somebody could take for more than text, and what is looked at afterwards."""

from __future__ import annotations

from typing import Any

from playwright.sync_api import expect

from tests.peers.lab import Notebook, strayed

TEXT = r'''
BAD = """<script>window.XSS=1</script><img src=x onerror="window.XSS=1"><svg onload="window.XSS=1">"""
BAD += """</pre></table></style></script><a href="javascript:window.XSS=1">x</a>\u202e\u0007`${window.XSS=1}`"""
TITLE = "<a id=XSS>"  # an element of that id is window.XSS: no script need run
FILE = '<img src=x onerror="window.XSS=1"><a id=XSS>\u202e\u0007'
PERSON = "<script>window.XSS</script><img>\u202e"  # an equals sign would end the group
LONG = BAD + "x" * 100_000
HIGH = BAD + "x" * 60_000  # as much as a VR with a short length takes
'''
"""For a kernel: what a value, an AE title, a file, a person may be called."""
MARK = '<script>window.XSS=1</script><img src=x onerror="window.XSS=1">'
"""How `BAD` begins where it is shown."""
FILE_SHOWN = '<img src=x onerror="window.XSS=1"><a id=XSS>\\x202e\\x07'
TITLE = "<a id=XSS>"
PERSON_SHOWN = "<script>window.XSS</script><img>\\x202e"

FIRED = "() => 'XSS' in window || [...document.querySelectorAll('iframe')].some(f => 'XSS' in (f.contentWindow ?? {}))"
_EXPECTED = ("/probe-", "widget model not found")
"""On the console: of the probe below, and what JupyterLab says where a face that was closed is shown again."""
_SETTLED = """() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => {
    const probe = new Image();  // what has a picture that fails has heard so before this one
    probe.onerror = done;
    probe.src = 'probe-' + Math.random();
})))"""
_OUTPUT = ".jp-NotebookPanel:not(.lm-mod-hidden) .jp-OutputArea-output"
_OURS = f"{_OUTPUT} .dl"
_TAGS = ("script", "img:not([src^='data:image/'])", "svg", "a", "iframe")
_ANYWHERE = ("script", "[id=XSS]", "[href^='javascript']")
_MARKUP = ", ".join([*(f"{_OURS} {tag}" for tag in _TAGS), *(f"{_OUTPUT} {tag}" for tag in _ANYWHERE)])
_UNSEEN = """(output) => {
    const found = [], sly = /[\\u0000-\\u0008\\u000b-\\u001f\\u007f-\\u009f\\u200b-\\u200f\\u2028-\\u202e\\u2066-\\u2069]/;
    const look = (what, text, most) => {
        if (sly.test(text)) found.push(`${what} holds what nobody sees: ${JSON.stringify(text.slice(0, 80))}`);
        if (text.length > most) found.push(`${what} is ${text.length} long: ${text.slice(0, 40)}`);
    };
    for (const root of document.querySelectorAll(`${output} .dl`)) {
        for (const node of [root, ...root.querySelectorAll('*:not(style)')]) {
            for (const {name, value} of node.attributes) if (!value.startsWith('data:image/')) look(`${node.tagName} ${name}`, value, 900);
            const most = node.matches('.dlw-curl, .dlw-octets') ? Infinity : 700;
            for (const text of node.childNodes) if (text.nodeType === Node.TEXT_NODE) look(node.tagName, text.data, most);
        }
    }
    return [...new Set(found)].slice(0, 8);
}"""


def harmless(book: Notebook) -> None:
    """Assert that nothing fired or asked anybody, and that of what we show nothing is markup, invisible or endless."""
    page: Any = book.page
    page.evaluate(_SETTLED)
    assert not page.evaluate(FIRED)
    markup = [node.evaluate("node => node.outerHTML.slice(0, 200)") for node in page.locator(_MARKUP).all()]
    assert not markup, markup
    unseen = page.evaluate(_UNSEEN, _OUTPUT)
    assert not unseen, unseen
    assert [url for url in page.asked if url.endswith("/x")] == []
    assert strayed(page.asked) == []
    complaints = [one for one in page.complaints if not any(words in one for words in _EXPECTED)]
    assert not complaints, complaints


def shows(place: Any, *texts: str) -> None:
    """Wait until each of these stands there as text; where one does not, say whether it was taken for more."""
    for text in texts:
        try:
            expect(place).to_contain_text(text, timeout=15_000)
        except AssertionError:
            assert not place.page.evaluate(FIRED), f"the sentinel fired instead of {text}"
            raise
