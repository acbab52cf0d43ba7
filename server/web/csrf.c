/*
 * csrf: whether a write comes from a page of ours, whether the name in Host is one of ours, and the session's cookie.
 *
 * Three things must agree for a write from a browser: SameSite on the cookie (the browser's part), from where it was
 * sent (Origin, Sec-Fetch-Site, else Referer), and the session's token in the form or in X-CSRF-Token. The local socket
 * has no cookies and is exempt.
 */
#include <string.h>
#include <strings.h>

#include "base/digest.h"
#include "base/weaken.h"
#include "web/life.h"

static bool same_text(const char *a, size_t a_len, const char *b, size_t b_len)
{
	return a_len == b_len && strncasecmp(a, b, a_len) == 0;
}

bool host_known(struct life *l)
{
	const struct web *w = l->web;
	const char *host;
	size_t len;
	unsigned port;

	if (WEAK(host_known))
		return true;
	if (!l->host || !guard_host(l->host->value, strlen(l->host->value), &host, &len, &port))
		return false;
	/* An address is not a name that somebody else's name server could point here. */
	if (guard_host_literal(host, len))
		return true;
	if (w->public_host)
		return same_text(host, len, w->public_host, w->public_host_len);
	/* Nobody said by which name people come: on an open address any will do, on loopback none other is needed. */
	return w->o.conf->allow_plain_http;
}

/* "https://host[:port]" against the public address, and against what this request was sent to. */
static bool origin_ours(const struct life *l, const char *origin, size_t len)
{
	const struct web *w = l->web;

	if (w->public_origin[0] && same_text(origin, len, w->public_origin, strlen(w->public_origin)))
		return true;
	if (w->secure || len < 8 || strncasecmp(origin, "http://", 7) != 0 || !l->host)
		return false;
	return same_text(origin + 7, len - 7, l->host->value, strlen(l->host->value));
}

/* What the browser says of the page that asks: one of ours, or the person himself (address bar, bookmark). */
static bool fetch_ours(const char *site)
{
	return strcmp(site, "same-origin") == 0 || strcmp(site, "none") == 0;
}

/* A link from elsewhere may be followed; a private page or answer is not a part of somebody else's page. */
static enum err embedding(struct life *l)
{
	const char *site = req_header(&l->r, "Sec-Fetch-Site"), *mode, *dest;

	if (!site || fetch_ours(site) || (l->r.route->needs & NEED_NO_SESSION))
		return ERR_OK;
	mode = req_header(&l->r, "Sec-Fetch-Mode");
	dest = req_header(&l->r, "Sec-Fetch-Dest");
	if (mode && dest && strcmp(mode, "navigate") == 0 && strcmp(dest, "document") == 0)
		return ERR_OK;
	return err_set(ERR_DENIED, "Another site asked for this to put it into a page of its own. Open the address itself.");
}

static bool referer_ours(const struct life *l, const char *from)
{
	const char *scheme = strstr(from, "://");

	return scheme && origin_ours(l, from, (size_t)(scheme - from) + 3 + strcspn(scheme + 3, "/?#"));
}

/*
 * Without any of these it is a program or a very old browser. Then nothing counts that a browser adds by itself (the
 * cookie), and no form, which another site's page could send.
 */
static enum err program(const struct life *l)
{
	if (l->r.by_token || (!l->r.has_session && l->form.n == 0))
		return ERR_OK;
	return err_set(ERR_DENIED, "It was not said from where this was sent. A program that uses a session or a form sends the header "
	    "Origin with this server's address. Nothing was changed.");
}

enum err csrf_origin(struct life *l)
{
	const char *origin = req_header(&l->r, "Origin"), *site = req_header(&l->r, "Sec-Fetch-Site"), *from = req_header(&l->r, "Referer");

	if (l->r.local)
		return ERR_OK;
	if (l->r.method == METHOD_GET)
		return WEAK(csrf_embedding) ? ERR_OK : embedding(l);
	if ((site && !fetch_ours(site) && !WEAK(csrf_fetch_site)) || (origin && !origin_ours(l, origin, strlen(origin)) && !WEAK(csrf_origin)) ||
	    (!origin && !site && from && !referer_ours(l, from) && !WEAK(csrf_referer)))
		return err_set(ERR_DENIED, "This was sent from another site. Nothing was changed.");
	return origin || site || from || WEAK(csrf_nowhere) ? ERR_OK : program(l);
}

enum err csrf_token(struct life *l)
{
	struct req *r = &l->r;

	if (r->local || WEAK(csrf_token))
		return ERR_OK;
	const char *given = req_header(r, "X-CSRF-Token");
	if (!given)
		given = req_form(r, "csrf");
	size_t n = strlen(r->session.csrf);
	if (!r->has_session || !n || !given || strlen(given) != n || !bytes_equal_secret(given, r->session.csrf, n))
		return err_set(ERR_DENIED, "The form was made for another session. Load the page again; nothing was changed.");
	return ERR_OK;
}

const char *cookie_token(struct life *l)
{
	const char *name = l->web->cookie_name;
	size_t name_len = strlen(name);
	const char *found = NULL;
	size_t found_len = 0;

	for (size_t i = 0; i < l->n_headers; i++) {
		const struct guard_header *h = &l->headers[i];
		if (h->name_len != 6 || strncasecmp(h->name, "Cookie", 6) != 0)
			continue;
		for (const char *p = h->value; *p;) {
			p += strspn(p, " \t;");
			size_t n = strcspn(p, ";");
			if (n > name_len && strncmp(p, name, name_len) == 0 && p[name_len] == '=') {
				/* Two of that name: one was planted by a neighbour domain, and it cannot be told which. */
				if (found)
					return NULL;
				found = p + name_len + 1;
				found_len = n - name_len - 1;
			}
			p += n;
		}
	}
	while (found_len && (found[found_len - 1] == ' ' || found[found_len - 1] == '\t'))
		found_len--;
	if (!found || found_len != SESSION_TOKEN - 1)
		return NULL;
	for (size_t i = 0; i < found_len; i++) {
		char c = found[i];
		if (!(c >= '0' && c <= '9') && !(c >= 'A' && c <= 'Z') && !(c >= 'a' && c <= 'z') && c != '-' && c != '_')
			return NULL;
	}
	return arena_dupn(l->r.arena, found, found_len);
}
