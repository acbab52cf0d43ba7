/*
 * guard: the first look at a request, before anything is routed. Pure: facts in, a status out.
 *
 * libmicrohttpd 0.9.75 lets through what a proxy in front may read differently (a second Content-Length, both kinds of
 * length, "Content-Length :", two Hosts, folded lines, bare line feeds). Whatever two parsers could read differently
 * is refused here with a closed connection.
 */
#ifndef DRYDOCK_WEB_GUARD_H
#define DRYDOCK_WEB_GUARD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define GUARD_HEADERS 64 /* at most so many header lines */
#define GUARD_TARGET 16384 /* bytes of a request target */

/* Lengths are the raw ones: a NUL inside shows as a length past strlen. */
struct guard_header {
	const char *name;
	size_t name_len;
	const char *value;
	size_t value_len;
};

struct guard_facts {
	const char *method, *version;
	const char *target; /* as it came, nothing decoded */
	size_t target_len;
	const struct guard_header *headers;
	size_t n_headers;
	bool too_many; /* there were more headers than GUARD_HEADERS */
	bool folded; /* a header went on over a line */
	bool bare_lf; /* a line ended without CR */
	bool nul; /* a line held a NUL, or another byte that the parser took for its end */
	bool whole_target; /* target was longer than GUARD_TARGET if false */
};

struct guard_body {
	bool present; /* a body is announced */
	bool chunked; /* then length is not known */
	uint64_t length;
};

/* 0: fine, *body filled; otherwise the status to refuse with, and why in a sentence that does not repeat outside text. */
unsigned guard_check(const struct guard_facts *f, struct guard_body *body, const char **why);

/* The one header of that name (case does not count); NULL if absent. */
const struct guard_header *guard_find(const struct guard_header *headers, size_t n, const char *name);

/*
 * The name in a Host header or an origin, without its port: letters, digits, '.', '-', '_', or an address in brackets.
 * False if it is anything else. *host points into text; port 0: none given.
 */
bool guard_host(const char *text, size_t len, const char **host, size_t *host_len, unsigned *port);
/* A host that is an address, or "localhost": no name server can point it elsewhere. */
bool guard_host_literal(const char *host, size_t len);

#endif
