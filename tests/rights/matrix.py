"""Who may use which address on which path, said a second time: of the program it knows the columns of the route tables, and else
only the words of the manual and ROUTES, which says of each row what its handler asks for besides.

Used by tests/web/test_matrix_paths.py, which has a server with this site and these people.
"""
import pathlib
import re
import urllib.parse

import oracle
from oracle import ADMIN, REVIEW, ROLES, SIGN, VIEW

TOP = pathlib.Path(__file__).resolve().parents[2]
ROW = re.compile(r'^\s*ROUTE\(METHOD_(\w+), "([^"]+)", ROLE_(\w+), ([^,]+),', re.M)
ROWS = [(m, a, ROLES.index(r.lower()), {n.strip() for n in needs.split("|")}) for name in ("pages", "api")
        for m, a, r, needs in ROW.findall((TOP / "server/web" / name / "routes.def").read_text())]
OP = "00000000-0000-4000-8000-000000000000"
ZEROS = "0" * 64

# --- the site ------------------------------------------------------------------------------------------------------------

CHANGED = ["/index.html", "/a/index.html", "/a/sub/x.html", "/a/p q%61é.html", "/ab/index.html", "/b/index.html"]
REVOKED = ["/a/old.html", "/b/old.html"]
FILES = {**{p: "changed" for p in CHANGED}, **{p: "revoked" for p in REVOKED}}
DIRS = {place for p in FILES for place in oracle.upwards(p)[1:]}
LIVE = set(CHANGED)  # in the newest release

# --- who there is: where the rule stands, and which ------------------------------------------------------------------------

GROUPS = {f"g{role}": {"/a": role} for role in ROLES}
GROUPS["gshut"] = {"/": "none"}
GROUPS["gdeep"] = {"/a/sub": "sign"}
GROUPS["groot"] = {"/": "review"}


def people():
    """{name: (own rules, groups)}"""
    out = {"norole": ({}, [])}
    for i, role in enumerate(ROLES):
        out[f"user{role}"] = ({"/a": role}, [])
        out[f"group{role}"] = ({}, [f"g{role}"])
        # his own rule wins, whichever is higher
        out[f"both{role}"] = ({"/a": role}, ["gnone" if i > VIEW else "gadmin"])
        # the highest of two
        out[f"two{role}"] = ({}, [f"g{role}", f"g{ROLES[i // 2]}" if i else "gshut"])
        out[f"root{role}"] = ({"/": role}, [])
        # taken back or given below what he has on "/"
        out[f"over{role}"] = ({"/": ROLES[ADMIN - i], "/a": role}, [])
    out["groupspaths"] = ({}, ["gdeep", "groot", "gnone"])
    out["deep"] = ({"/a/sub": "view"}, ["gadmin"])
    # something may be seen, by the rules, below what is a file
    out["belowfile"] = ({"/b/old.html/x": "view"}, [])
    return out


PEOPLE = people()
RULES = {(f"own:@{g}", path): ROLES.index(role) for g, rules in GROUPS.items() for path, role in rules.items()}
RULES.update({(f"own:{name}", path): ROLES.index(role) for name, (own, _) in PEOPLE.items() for path, role in own.items()})
PLACES = sorted({path for _, path in RULES})


class Who:
    """What the oracle knows of somebody."""

    def __init__(self, name):
        self.name = name
        self.is_nobody = name is None
        self.groups = [f"own:@{g}" for g in PEOPLE[name][1]] if name else []
        self.roles, self.seen = {}, {}

    def role(self, path):
        if path not in self.roles:
            self.roles[path] = oracle.role(RULES, f"own:{self.name}", self.groups, path)
        return self.roles[path]

    def sees(self, path):
        """Itself, or as a name above something."""
        if path not in self.seen:
            self.seen[path] = oracle.sees_below(RULES, f"own:{self.name}", self.groups, path, [path, *PLACES])
        return self.seen[path]

    def file(self, path):
        return path in FILES and self.role(path) >= VIEW

    def directory(self, path):
        return path in DIRS and self.sees(path)


# --- how a path is said ------------------------------------------------------------------------------------------------------


class Said:
    """text: the path as a person or program writes it; means: what it is, None: nothing; raw: the bytes in an address, if they
    are not those that text has there."""

    def __init__(self, relation, text, means="same", raw=None):
        self.relation, self.text, self.raw = relation, text, raw
        self.means = text if means == "same" else means
        self.slash = len(text) > 1 and text.endswith("/") and self.means is not None
        self.garbled = raw is not None and means is None and ".." not in text  # not even letters: nobody is asked who he is

    def __repr__(self):
        return f"{self.relation} {self.raw or self.text}"


SAID = [
    Said("same", "/a"), Said("parent", "/"), Said("child", "/a/index.html"), Said("child", "/a/sub"), Said("grandchild", "/a/sub/x.html"),
    Said("child", "/a/p q%61é.html"), Said("sibling", "/b"), Said("below sibling", "/b/index.html"), Said("beside", "/ab"),
    Said("below beside", "/ab/index.html"), Said("above", "/index.html"), Said("missing", "/a/nothing.html"),
    Said("missing", "/a/nothing/at/all"), Said("missing", "/b/nothing.html"), Said("missing", "/nothing"), Said("revoked", "/a/old.html"),
    Said("revoked", "/b/old.html"), Said("below a file", "/b/old.html/x"), Said("below a file", "/a/index.html/x"),
    Said("trailing slash", "/a/", "/a"), Said("trailing slash", "/a/index.html/", "/a/index.html"), Said("trailing slash", "/b/", "/b"),
    Said("trailing slash", "/a/sub/", "/a/sub"), Said("doubled slash", "//a", None), Said("doubled slash", "/a//index.html", None),
    Said("doubled slash", "/a//", None), Said("dots", "/a/../b/index.html", None), Said("dots", "/b/./index.html", None),
    Said("case", "/A"), Said("blank", "/a "), Said("percent in the name", "/%61/index.html"),
    Said("percent", "/a/index.html", raw="/%61/%69ndex.html"), Said("percent", "/b/index.html", raw="/%62/inde%78.html"),
    Said("percent twice", "/%62/index.html", raw="/%2562/index.html"), Said("percent dots", "/a/../b/index.html", None, raw="/a/%2e%2e/b/index.html"),
    Said("percent NUL", "/a\0b", None, raw="/a%00b"), Said("percent half", "/a%", None, raw="/a%6"), Said("not UTF-8", "/a?", None, raw="/a/%ff"),
    Said("overlong", "/a?b", None, raw="/a%c0%afb"),
]
SLASH = Said("percent slash", "/b/index.html", raw="/b%2Findex.html")  # in a query it is the path, in an address it is nothing


def in_address(said):
    return said.raw or urllib.parse.quote(said.text)


# --- what each address asks for ------------------------------------------------------------------------------------------------

OK = "allowed"


def gate(who, right, needs, path):
    """What the columns of a row say: None, he gets as far as the handler."""
    if "ROUTE_ANY_SITE_ADMIN" in needs and who.role("/") < ADMIN:
        return 403
    if path is None:
        return None
    names = "ROUTE_ANCESTOR" in needs
    if who.role(path) < VIEW and not (names and who.sees(path)):
        return 404
    if "NEED_SITE_ADMIN" in needs:
        return None if who.role("/") == ADMIN else 403
    return None if who.role(path) >= right or names else 403


def whoever(who, path):
    return OK


def there(who, path):
    return OK if who.file(path) or who.directory(path) else 404


def released(who, path):
    index = path.rstrip("/") + "/index.html"
    return OK if any(p in LIVE and who.role(p) >= VIEW for p in (path, index)) else 404


def at_least(need, hidden=404):
    """An act on a path, whether anything is there or not."""
    def then(who, path):
        return hidden if who.role(path) < VIEW else OK if who.role(path) >= need else 403
    return then


NEED = {"sign": SIGN, "review": REVIEW, "revoke": SIGN}
BY_DIRECTORY = {"sign": {"changed"}, "review": {"changed", "revoked"}, "revoke": {"changed"}}


def files_of(act, need, no_dirs=None, empty=OK, senseless=OK):
    """An act on files: no_dirs, a directory as such is not taken; empty: the answer if there is nothing to take;
    senseless: the answer for a file in a state that is not for this act, whatever his right on it."""
    def then(who, path):
        if who.file(path):
            if act == "revoke" and FILES[path] == "revoked":
                return senseless
            return OK if who.role(path) >= need else 403
        if not who.directory(path):
            return 404
        if no_dirs:
            return no_dirs
        taken = [p for p in FILES if oracle.inside(p, path) and who.file(p) and FILES[p] in BY_DIRECTORY[act]]
        if not taken:
            return empty
        return 403 if any(who.role(p) < need for p in taken) else OK
    return then


class Ask:
    """How a row is asked. where: "target", "query", "json", "form", "paths" (a list in JSON), "files" (the same with digests),
    "ticks" (a list in a form), "record" (the number of a record about the path), "none" (the row has no path);
    ok: the status of somebody who may; text: what only his answer says; slash: what a path with a slash at its end gets."""

    def __init__(self, where, then=whoever, ok=(200,), text=None, slash=None, **body):
        self.where, self.then, self.ok, self.text, self.slash, self.body = where, then, ok, text, slash, body


def query(then=whoever, ok=(200,)):
    return [Ask("query", then, ok)]


def path_in_json(need, ok, text, **body):
    return [Ask("json", at_least(need), ok, text, slash=400, **body)]


def api_files(act):
    return [Ask("paths", files_of(act, NEED[act]), (409,), slash=400, recursive=True, selection=ZEROS),
            Ask("files", files_of(act, NEED[act], no_dirs=400), (409,), slash=400)]


def page_files(act):
    return [Ask("ticks", files_of(act, NEED[act], senseless=400), (409,), selection=ZEROS),
            Ask("form", files_of(act, NEED[act], no_dirs=400), (409,), slash=400, sha256=ZEROS)]


def selections():
    return [Ask("paths", files_of(act, VIEW, senseless=409), slash=400, recursive=True, act=act) for act in NEED]


def confirms():
    return [Ask("ticks", files_of(act, NEED[act], empty=400, senseless=400), act=act) for act in NEED]


ANYTHING = tuple(s for s in range(200, 500) if s not in (401, 403))
ALONE = [Ask("none", ok=ANYTHING)]
BAD = {"deep": "neither true nor false"}  # refused after the rights, before anything is begun
NEVER = [Ask("query", lambda who, path: 404)]  # nothing of his runs under that id
ENDS = []  # would end the session: only without one
RECORD = [Ask("record", lambda who, path: OK if who.role(path) >= VIEW else 404)]
RULE_GONE = {"principal": "own:norole", "role": None}

ROUTES = {
    ("GET", "/login"): ALONE,
    ("POST", "/login"): ENDS,
    ("POST", "/logout"): ENDS,
    ("GET", "/account"): ALONE,
    ("POST", "/account/sessions"): ALONE,
    ("POST", "/account/tokens"): ALONE,
    ("POST", "/account/tokens/revoke"): ALONE,
    ("GET", "/events"): ALONE,
    ("GET", "/"): ALONE,
    ("GET", "/s/:site/"): query(),
    ("GET", "/s/:site/tree/*path"): [Ask("target", there, (200, 303))],
    ("GET", "/s/:site/file/*path"): [Ask("target", there, (200, 303))],
    ("POST", "/s/:site/confirm"): confirms(),
    ("POST", "/s/:site/sign"): page_files("sign"),
    ("POST", "/s/:site/review"): page_files("review"),
    ("POST", "/s/:site/revoke"): page_files("revoke"),
    ("GET", "/s/:site/acts/:op"): NEVER,
    ("GET", "/s/:site/acts/:op/events"): query(),
    ("GET", "/s/:site/sync"): query(),
    ("POST", "/s/:site/sync/test"): [Ask("form", ok=(404,))],
    ("GET", "/s/:site/notices"): query(),
    ("POST", "/s/:site/notices"): [Ask("form")],
    ("POST", "/s/:site/sync/force"): [Ask("form", ok=(400,))],
    ("POST", "/s/:site/sync/hold"): [Ask("form", at_least(ADMIN, 409), (409,), "is not held", remove="1")],
    ("POST", "/s/:site/sync/removal"): [Ask("form", ok=(400,))],
    ("POST", "/s/:site/sync/catch-up"): [Ask("form", ok=(400,))],
    ("GET", "/s/:site/sync/:run/events"): query(),
    ("GET", "/s/:site/events"): query(),
    ("GET", "/s/:site/sync/:run"): query(),
    ("GET", "/s/:site/targets/:target"): query(),
    ("GET", "/s/:site/rollback/:number"): query(),
    ("POST", "/s/:site/rollback/:number"): [Ask("form", ok=(400,))],
    ("GET", "/s/:site/reapprove"): query(ok=(400,)),
    ("POST", "/s/:site/reapprove"): [Ask("form", ok=(400,))],
    ("GET", "/s/:site/history"): query(),
    ("GET", "/s/:site/check"): query(),
    ("POST", "/s/:site/check"): [Ask("form", ok=(303,))],
    ("GET", "/s/:site/evidence"): query(ok=(200, 404)),
    ("GET", "/s/:site/record/:seq"): RECORD,
    ("GET", "/s/:site/rules"): query(),
    ("POST", "/s/:site/rules"): [Ask("form", at_least(ADMIN, 403), (409,), "There is no rule for", principal="own:norole", role="remove")],
    ("POST", "/s/:site/rules/check"): [Ask("form", at_least(ADMIN, 403), principal="own:norole", role="view")],
    ("POST", "/s/:site/rules/require"): [Ask("form", at_least(ADMIN, 400), (400,), "nothing is asked for", reviews="0")],
    ("GET", "/s/:site/rules/lint"): query(),
    ("GET", "/s/:site/rules/explain"): query(),
    ("GET", "/s/:site/fields"): query(),
    ("POST", "/s/:site/fields"): [Ask("form", at_least(ADMIN, 409), (409,), "There is no field", name="nothing", remove="1")],
    ("GET", "/s/:site/preapprovals"): query(),
    ("POST", "/s/:site/preapprovals"): [Ask("form", at_least(ADMIN, 409), (409,), "is not pre-approved", remove="1")],
    ("POST", "/api/v1/login"): ENDS,
    ("POST", "/api/v1/logout"): ENDS,
    ("GET", "/api/v1/whoami"): ALONE,
    ("GET", "/api/v1/sessions"): ALONE,
    ("POST", "/api/v1/sessions/end"): ALONE,
    ("GET", "/api/v1/tokens"): ALONE,
    ("POST", "/api/v1/tokens"): ALONE,
    ("POST", "/api/v1/tokens/revoke"): ALONE,
    ("GET", "/api/v1/sites"): ALONE,
    ("GET", "/api/v1/events"): ALONE,
    ("GET", "/api/v1/users"): ALONE,
    ("POST", "/api/v1/users"): ALONE,
    ("GET", "/api/v1/groups"): ALONE,
    ("POST", "/api/v1/groups"): ALONE,
    ("GET", "/api/v1/groups/:group"): ALONE,
    ("POST", "/api/v1/groups/:group/members"): ALONE,
    ("GET", "/api/v1/counter"): ALONE,
    ("POST", "/api/v1/counter"): ALONE,
    ("GET", "/api/v1/queue"): ALONE,
    ("POST", "/api/v1/queue"): ALONE,
    ("GET", "/api/v1/sites/:site/status"): query(there),
    ("GET", "/api/v1/sites/:site/file"): query(there),
    ("POST", "/api/v1/sites/:site/selection"): selections(),
    ("POST", "/api/v1/sites/:site/sign"): api_files("sign"),
    ("POST", "/api/v1/sites/:site/review"): api_files("review"),
    ("POST", "/api/v1/sites/:site/revoke"): api_files("revoke"),
    ("GET", "/api/v1/sites/:site/acts/:id"): NEVER,
    ("GET", "/api/v1/sites/:site/diff"): query(there, (200, 400)),
    ("GET", "/api/v1/sites/:site/content"): query(there, (200, 400)),
    ("GET", "/api/v1/sites/:site/log"): query(),
    ("GET", "/api/v1/sites/:site/records/:seq"): RECORD,
    ("GET", "/api/v1/sites/:site/roles"): query(),
    ("POST", "/api/v1/sites/:site/roles"): path_in_json(ADMIN, (404,), "There is no rule for", **RULE_GONE),
    ("POST", "/api/v1/sites/:site/roles/preview"): path_in_json(ADMIN, (200,), None, principal="own:norole", role="view"),
    ("GET", "/api/v1/sites/:site/roles/lint"): query(),
    ("GET", "/api/v1/sites/:site/requirements"): query(),
    ("POST", "/api/v1/sites/:site/requirements"): path_in_json(ADMIN, (404,), "nothing is asked for", reviews=0),
    ("GET", "/api/v1/sites/:site/fields"): query(),
    ("POST", "/api/v1/sites/:site/fields"): path_in_json(ADMIN, (404,), "There is no field", name="nothing", remove=True),
    ("GET", "/api/v1/sites/:site/access"): query(),
    ("GET", "/api/v1/sites/:site/preapprovals"): query(),
    ("POST", "/api/v1/sites/:site/preapprovals"): path_in_json(ADMIN, (404,), "is not pre-approved", remove=True),
    ("GET", "/api/v1/sites/:site/sync"): query(),
    ("GET", "/api/v1/sites/:site/sync/plan"): query(),
    ("POST", "/api/v1/sites/:site/sync/force"): [Ask("json", ok=(400,))],
    ("POST", "/api/v1/sites/:site/sync/removal"): [Ask("json", ok=(400,))],
    ("GET", "/api/v1/sites/:site/holds"): query(),
    ("POST", "/api/v1/sites/:site/holds"): path_in_json(ADMIN, (404,), "is not held", remove=True),
    ("GET", "/api/v1/sites/:site/sync/runs"): query(),
    ("GET", "/api/v1/sites/:site/sync/runs/:run"): query(),
    ("GET", "/api/v1/sites/:site/targets"): query(),
    ("POST", "/api/v1/sites/:site/targets/:name/test"): [Ask("json", ok=(404,))],
    ("POST", "/api/v1/sites/:site/targets/:name/catch-up"): [Ask("json", ok=(400,))],
    ("GET", "/api/v1/sites/:site/notices"): query(),
    ("POST", "/api/v1/sites/:site/notices/test"): [Ask("json")],
    ("GET", "/api/v1/sites/:site/releases"): query(),
    ("GET", "/api/v1/sites/:site/releases/:number"): query(),
    ("GET", "/api/v1/sites/:site/releases/:number/head"): query(),
    ("GET", "/api/v1/sites/:site/releases/:number/signature"): query(),
    ("GET", "/api/v1/sites/:site/releases/:number/files"): query(),
    ("GET", "/api/v1/sites/:site/releases/:number/diff"): query(),
    ("GET", "/api/v1/sites/:site/releases/:number/rollback"): query(),
    ("POST", "/api/v1/sites/:site/releases/:number/rollback"): [Ask("json", ok=(400,))],
    ("GET", "/api/v1/sites/:site/reapprove"): query(ok=(400,)),
    ("POST", "/api/v1/sites/:site/reapprove"): [Ask("json", ok=(400,))],
    ("GET", "/api/v1/sites/:site/releases/:number/verify"): query(),
    ("GET", "/api/v1/sites/:site/whence"): query(released),
    ("GET", "/api/v1/sites/:site/evidence"): query(ok=(200, 404)),
    ("GET", "/api/v1/sites/:site/check"): query(),
    ("POST", "/api/v1/sites/:site/check"): [Ask("json", ok=(400,), **BAD)],
    ("GET", "/api/v1/check"): ALONE,
    ("POST", "/api/v1/check"): [Ask("none", ok=ANYTHING, **BAD)],
}


def expected(row, ask, who, said):
    """401 or 303 (to the login), 400, 403, 404, or OK."""
    _, address, right, needs = row
    in_target = ask.where == "target"
    if in_target and (said.means is None or said is SLASH):
        return 400  # of the address itself, whoever asks
    if ask.where == "query" and said.garbled:
        return 400
    if who.is_nobody:
        if "NEED_NO_SESSION" in needs:
            return OK
        return 401 if {"ROUTE_API", "ROUTE_STREAM"} & needs else 303
    if ask.where == "none":
        return gate(who, right, needs, None) or OK
    listed = ask.where in ("paths", "files", "ticks", "record")  # the row itself is asked about the site then
    if said.means is None and not listed:
        return 400
    refused = gate(who, right, needs, "/" if listed else said.means)
    if refused:
        return refused
    if said.means is None or (said.slash and ask.slash):
        return 400
    if listed and ask.where != "record" and not who.sees(said.means):
        return 404
    return ask.then(who, said.means)
