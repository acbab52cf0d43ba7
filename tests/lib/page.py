"""A page as a person (or a browser) finds it: text, links, forms. Reading it checks that the HTML is sound.

    page = Page(answer)                      # a requests.Response or text
    page.h1, page.text, page.links, page.forms
    page.form("/s/www/rules").fields         # name -> value of what it would send
    page.send(browser, form, note="...")     # fills in and sends, as the browser would
"""
import re
import time
from html.parser import HTMLParser

VOID = {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr"}
# in SVG these stand alone, closed by "/>"
SHAPES = {"circle", "path", "rect", "use", "line", "polygon"}


class Form:
    def __init__(self, attrs):
        self.action = attrs.get("action", "")
        self.method = attrs.get("method", "get").lower()
        self.fields = {}
        self.buttons = []

    def __repr__(self):
        return f"<form {self.method} {self.action} {self.fields}>"


class Page(HTMLParser):
    def __init__(self, answer):
        super().__init__(convert_charrefs=True)
        self.status = getattr(answer, "status_code", None)
        source = answer if isinstance(answer, str) else answer.text
        self.source = source
        self.title = self.h1 = ""
        self.links, self.forms, self.ids, self.texts, self.errors = [], [], set(), [], []
        self.classes = set()
        self._open, self._form, self._select, self._area = [], None, None, None
        self._chosen = False
        self.feed(source)
        self.close()
        if self._open:
            self.errors.append(f"not closed: {self._open}")
        if "{{" in source or "}}" in source:
            self.errors.append("braces of a template")
        assert not self.errors, self.errors
        self.text = " ".join(" ".join(self.texts).split())

    def handle_starttag(self, tag, attrs):
        names = [name for name, _ in attrs]
        if len(names) != len(set(names)):
            self.errors.append(f"<{tag}> has an attribute twice: {names}")
        attrs = dict(attrs)
        for name in names:
            if name.startswith("on") or name == "style":
                self.errors.append(f"<{tag} {name}>: inline code")
        if tag == "script" and not attrs.get("src", "").startswith("/static/"):
            self.errors.append(f"a script of somebody else's: {attrs}")
        if "id" in attrs:
            if attrs["id"] in self.ids:
                self.errors.append(f"id {attrs['id']} twice")
            self.ids.add(attrs["id"])
        self.classes.update((attrs.get("class") or "").split())
        # HTML closes rows and cells by itself, as long lists of ours leave it to
        if tag in ("td", "th", "tr"):
            self._end_row(("td", "th") if tag != "tr" else ("td", "th", "tr"))
        if tag not in VOID and tag not in SHAPES:
            self._open.append(tag)
        if tag == "a" and attrs.get("href"):
            self.links.append(attrs["href"])
            if attrs["href"].lower().startswith(("javascript:", "data:")):
                self.errors.append(attrs["href"])
        if tag == "form":
            if self._form:
                self.errors.append("a form in a form")
            self._form = Form(attrs)
            self.forms.append(self._form)
        if self._form is not None:
            self._control(tag, attrs)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in VOID and tag not in SHAPES:
            self.handle_endtag(tag)

    def _control(self, tag, attrs):
        form, name = self._form, attrs.get("name")
        if tag == "input" and name:
            kind = attrs.get("type", "text")
            if kind == "checkbox":
                form.fields.setdefault(name, [])
                if "checked" in attrs:
                    form.fields[name].append(attrs.get("value", "on"))
            elif name.endswith("[]"):
                form.fields.setdefault(name, []).append(attrs.get("value", ""))
            else:
                form.fields[name] = attrs.get("value") or ""
        elif tag == "textarea" and name:
            self._area = name
            form.fields[name] = ""
        elif tag == "select" and name:
            self._select = name
        elif tag == "option" and self._select:
            self._chosen = self._select not in form.fields or "selected" in attrs
            if self._chosen:
                form.fields[self._select] = attrs.get("value", "")
            self._chosen = self._chosen and "value" not in attrs  # then its text is the value
        elif tag == "button":
            form.buttons.append((name, attrs.get("value")))

    def _end_row(self, tags):
        while self._open and self._open[-1] in tags:
            self._open.pop()

    def handle_endtag(self, tag):
        if tag in SHAPES:
            return
        if tag in ("tr", "tbody", "thead", "table"):
            self._end_row(("td", "th") if tag == "tr" else ("td", "th", "tr"))
        if tag in VOID or not self._open or self._open[-1] != tag:
            self.errors.append(f"</{tag}> closes {self._open[-3:]}, at {self.getpos()}")
            return
        self._open.pop()
        if tag == "form":
            self._form = None
        elif tag == "select":
            self._select = None
        elif tag == "textarea":
            self._area = None

    def handle_data(self, data):
        if "script" in self._open or "style" in self._open:
            self.errors.append("inline code")
        if self._area and self._form:
            self._form.fields[self._area] += data
            return
        if self._chosen and self._form and self._select and self._open[-1] == "option":
            self._form.fields[self._select] += data
        if "title" in self._open:
            self.title += data
            return
        if "h1" in self._open:
            self.h1 += data
        self.texts.append(data)

    def form(self, action, **having):
        """The form with that action, and with these values if several have it."""
        found = [f for f in self.forms if f.action == action and all(f.fields.get(k) == v for k, v in having.items())]
        assert found, (action, having, self.forms)
        return found[0]

    @staticmethod
    def send(browser, form, wait=True, **values):
        """What a browser does with a filled-in form; redirects are not followed. An act that takes long (on a machine that
        has much to do, any may) is waited for on its page, as a person would; wait=False: that page's address is the answer."""
        fields = {**form.fields, **{k.rstrip("_"): v for k, v in values.items()}}
        if form.method == "post":
            answer = browser.post(form.action, data=fields, headers={"Origin": browser.base}, allow_redirects=False)
            place = answer.headers.get("Location", "")
            for _ in range(4000 if wait and re.fullmatch(r"/s/[^/]+/acts/[0-9a-f-]{36}", place) else 0):
                time.sleep(0.05)
                answer = browser.get(place, allow_redirects=False)
                if answer.status_code != 200:
                    break
            return answer
        return browser.get(form.action, params=fields, allow_redirects=False)
