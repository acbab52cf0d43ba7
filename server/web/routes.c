#include <string.h>

#include "web/life.h"
#include "web/serve.h"

#define ROUTE(method, address, right, needs, body_limit, handler) handler_fn handler;
#include "web/api/routes.def"
#include "web/pages/routes.def"
#undef ROUTE

#define ROUTE(method, address, right, needs, body_limit, handler) { method, address, right, needs, body_limit, handler },
const struct route routes[] = {
	{ METHOD_GET, "/healthz", ROLE_NONE, NEED_NO_SESSION | ROUTE_MEMORY, 0, serve_health },
	{ METHOD_GET, "/metrics", ROLE_NONE, NEED_NO_SESSION | ROUTE_MEMORY, 0, serve_metrics },
	{ METHOD_GET, "/static/:name", ROLE_NONE, NEED_NO_SESSION | ROUTE_MEMORY, 0, serve_static },
	{ METHOD_GET, "/favicon.ico", ROLE_NONE, NEED_NO_SESSION | ROUTE_MEMORY, 0, serve_favicon },
	{ METHOD_GET, "/preview/:token/*path", ROLE_NONE, NEED_NO_SESSION, 0, serve_preview },
#include "web/api/routes.def"
#include "web/pages/routes.def"
	{ 0 },
};
#undef ROUTE

/* Does the decoded path fit, and with what in its parts? Parts of the path hold no slash. */
static bool fits(struct life *l, const char *address)
{
	const char *a = address, *p = l->decoded;

	l->n_segments = 0;
	l->rest = NULL;
	for (;;) {
		if (a[0] == '/' && a[1] == '*') {
			/* A row that ends in a path takes its address without one too, with a slash and without. */
			if (*p && *p != '/')
				return false;
			l->rest = *p ? p : "/";
			return true;
		}
		if (!*a || !*p)
			return !*a && !*p;
		if (*a != '/' || *p != '/')
			return false;
		a++;
		p++;
		size_t a_len = strcspn(a, "/"), p_len = strcspn(p, "/");
		if (a[0] == ':') {
			if (p_len == 0 || l->n_segments == LIFE_SEGMENTS)
				return false;
			l->segments[l->n_segments].name = a + 1;
			/* Copied when the row has been found; until then the length is in the text up to its slash. */
			l->segments[l->n_segments++].value = p;
		} else if (a_len != p_len || memcmp(a, p, a_len) != 0) {
			return false;
		}
		a += a_len;
		p += p_len;
	}
}

static void keep_parts(struct life *l)
{
	for (size_t i = 0; i < l->n_segments; i++) {
		const char *name = l->segments[i].name, *value = l->segments[i].value;
		l->segments[i].name = arena_dupn(l->r.arena, name, strcspn(name, "/"));
		l->segments[i].value = arena_dupn(l->r.arena, value, strcspn(value, "/"));
	}
}

const struct route *route_find(struct life *l, enum method method, unsigned *allow)
{
	*allow = 0;
	for (const struct route *r = routes; r->address; r++) {
		if (!fits(l, r->address))
			continue;
		if (r->method & method) {
			keep_parts(l);
			return r;
		}
		*allow |= r->method;
	}
	l->n_segments = 0;
	l->rest = NULL;
	return NULL;
}

enum err routes_check(void)
{
	for (const struct route *r = routes; r->address; r++) {
		bool site = strstr(r->address, "/:site") != NULL;
		const char *why = NULL;

		if (r->address[0] != '/' || !r->handler)
			why = "has no address or no handler";
		else if ((r->method & ~(unsigned)METHOD_GET) && !(r->needs & (NEED_CSRF | NEED_NO_SESSION)))
			why = "writes without NEED_CSRF";
		else if ((r->needs & NEED_CSRF) && (r->needs & NEED_NO_SESSION))
			why = "has NEED_CSRF without a session that could hold the token";
		else if ((r->needs & NEED_CSRF) && (r->method & METHOD_GET))
			why = "takes GET and a token";
		else if ((r->right != ROLE_NONE || (r->needs & (NEED_SITE_ADMIN | ROUTE_ANCESTOR))) && !site)
			why = "has a right without a site";
		else if (site && (r->needs & NEED_NO_SESSION))
			why = "shows a site to anybody";
		if (why)
			return err_set(ERR_FAILED, "the route %s %s", r->address, why);
	}
	return ERR_OK;
}
