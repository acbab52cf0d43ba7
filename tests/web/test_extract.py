"""PDF and office files: their text on the file's page, escaped, and what differs; hostile ones end in a sentence."""
import io
import zipfile
import zlib

import pytest
from drydock import Drydock
from page import Page

EVIL = "<script>alert(1)</script>"
W = 'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"'


def pdf(*lines, packed=False):
    """A small PDF with lines of text; packed: a content stream that swells to 200 MB."""
    escape = lambda s: s.replace("\\", "\\\\").replace("(", "\\(").replace(")", "\\)")  # noqa: E731
    stream = ("BT /F1 12 Tf 50 750 Td 14 TL " + " ".join(f"({escape(s)}) Tj T*" for s in lines) + " ET").encode()
    extra = b""
    if packed:
        stream = zlib.compress(b"BT /F1 12 Tf (x) Tj ET\n" * 9_000_000, 9)
        extra = b"/Filter /FlateDecode "
    objects = [b"<< /Type /Catalog /Pages 2 0 R >>", b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
               b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Contents 4 0 R /Resources << /Font << /F1 5 0 R >> >> >>",
               b"<< " + extra + b"/Length %d >>\nstream\n" % len(stream) + stream + b"\nendstream",
               b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>"]
    out, at = io.BytesIO(b"%PDF-1.4\n"), []
    out.seek(0, 2)
    for i, body in enumerate(objects, 1):
        at.append(out.tell())
        out.write(b"%d 0 obj\n" % i + body + b"\nendobj\n")
    start = out.tell()
    out.write(b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1) + b"".join(b"%010d 00000 n \n" % p for p in at))
    out.write(b"trailer\n<< /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % (len(objects) + 1, start))
    return out.getvalue()


def archive(**members):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as z:
        for name, text in members.items():
            z.writestr(name.replace("__", "/").replace("_xml", ".xml"), text)
    return out.getvalue()


def docx(*paragraphs):
    body = "".join(f"<w:p><w:r><w:t>{p}</w:t></w:r></w:p>" for p in paragraphs)
    return archive(word__document_xml=f'<?xml version="1.0"?><w:document {W}><w:body>{body}</w:body></w:document>')


def odt(*paragraphs):
    return archive(mimetype="application/vnd.oasis.opendocument.text",
                   content_xml="<office:document-content>" + "".join(f"<text:p a='&gt;'>{p}</text:p>" for p in paragraphs) + "</office:document-content>")


@pytest.fixture(scope="module")
def site():
    files = {"/a.pdf": pdf("Price list", "Coffee 2.50", EVIL), "/a.docx": docx("Price list", "Coffee &amp; cake &#8364;2.50 &lt;b&gt;"),
             "/a.odt": odt("Open text", "second line"), "/a.xlsx": archive(xl__sharedStrings_xml="<sst><si><t>one cell</t></si><si><t>another</t></si></sst>"),
             "/a.pptx": archive(ppt__slides__slide1_xml="<p:sld><a:p><a:t>first slide</a:t></a:p></p:sld>",
                                ppt__slides__slide2_xml="<p:sld><a:p><a:t>second slide</a:t></a:p></p:sld>"),
             "/broken.pdf": b"%PDF-1.7\n\0\0\0 nothing of a PDF", "/broken.docx": b"PK\3\4 no archive", "/empty.pdf": b"",
             "/script.docx": docx("&lt;script&gt;alert(1)&lt;/script&gt;"), "/big.pdf": pdf("x", packed=True),
             "/bomb.docx": docx("A" * 60_000_000), "/image.bin": b"\0\1\2", "/outside.docx": archive(**{"..__..__etc__passwd": "x"})}
    with Drydock(files=files, accounts=("alice",)) as d:
        d.add_account("bob", "view", "/other")
        yield d


def text_of(browser, path, status=200):
    page = Page(browser.get(f"/s/www/file{path}"))
    assert page.status == status
    return page


def test_the_text_is_shown_beside_the_download(site):
    alice = site.login("alice")
    page = text_of(alice, "/a.pdf")
    assert "Price list" in page.text and "Coffee 2.50" in page.text
    assert EVIL in page.text and EVIL not in page.source  # as text
    assert any("/content?path=" in link for link in page.links)
    page = text_of(alice, "/a.docx")
    assert "Coffee & cake €2.50 <b>" in page.text
    page = text_of(alice, "/a.odt")
    assert "Open text" in page.text and "second line" in page.text
    assert "one cell" in text_of(alice, "/a.xlsx").text
    page = text_of(alice, "/a.pptx")
    assert "first slide" in page.text and "second slide" in page.text
    page = text_of(alice, "/script.docx")
    assert EVIL in page.text and EVIL not in page.source
    assert "Text in the file" not in text_of(alice, "/image.bin").text


def test_what_differs_between_the_versions(site):
    for path in ("/a.pdf", "/a.odt"):
        site.must("POST", "/api/v1/sites/www/sign", {"paths": [path], "as_staged": True})
    site.write("/a.pdf", pdf("Price list", "Coffee 3.10", EVIL))
    site.write("/a.odt", odt("Open text", "second line") + b"\0")  # other bytes, the same words
    alice = site.login("alice")
    page = text_of(alice, "/a.pdf")
    assert "1 line removed, 1 added" in page.text
    assert "removed: Coffee 2.50" in page.text and "added: Coffee 3.10" in page.text
    page = text_of(alice, "/a.odt")
    assert "The text is the same in both versions" in page.text


def test_hostile_files_end_in_a_sentence(site):
    alice = site.login("alice")
    for path in ("/broken.pdf", "/broken.docx", "/empty.pdf", "/outside.docx"):
        assert "The text cannot be shown" in text_of(alice, path).text, path
    # what swells is cut, or given up: the page comes all the same, and the server goes on
    page = text_of(alice, "/bomb.docx")
    assert "not shown" in page.text or "cannot be shown" in page.text
    assert text_of(alice, "/big.pdf").h1
    assert "Price list" in text_of(alice, "/a.pdf").text


def test_who_may_not_see_the_file_sees_no_text(site):
    assert site.login("bob").get("/s/www/file/a.pdf").status_code == 404
