/*
 * HTTP and HTTPS through libcurl, which is loaded only when it is needed: its libraries take longer to load than most
 * commands take over the local socket.
 */
#include <curl/curl.h>
#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

#include "base/sys.h"
#include "ctl/ctl.h"

struct curl_api {
	CURLcode (*global_init)(long);
	CURL *(*easy_init)(void);
	CURLcode (*setopt)(CURL *, CURLoption, ...);
	CURLcode (*perform)(CURL *);
	CURLcode (*getinfo)(CURL *, CURLINFO, ...);
	void (*cleanup)(CURL *);
	const char *(*strerror)(CURLcode);
	struct curl_slist *(*append)(struct curl_slist *, const char *);
	void (*free_all)(struct curl_slist *);
};

static bool load(struct curl_api *to)
{
	void *lib = dlopen("libcurl.so.4", RTLD_NOW);
	static const char *const names[] = { "curl_global_init", "curl_easy_init", "curl_easy_setopt", "curl_easy_perform",
		"curl_easy_getinfo", "curl_easy_cleanup", "curl_easy_strerror", "curl_slist_append", "curl_slist_free_all" };
	void *symbols[9];

	_Static_assert(sizeof symbols == sizeof *to, "one symbol a member");
	if (!lib) {
		fprintf(stderr, "drydock: a server by address needs libcurl (Debian: libcurl4): %s\n", dlerror());
		return false;
	}
	for (size_t i = 0; i < sizeof names / sizeof *names; i++)
		if (!(symbols[i] = dlsym(lib, names[i]))) {
			fprintf(stderr, "drydock: libcurl: %s\n", dlerror());
			return false;
		}
	memcpy(to, symbols, sizeof *to);
	return to->global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK;
}

static struct curl_api api;
static bool ready;
static pthread_once_t loading = PTHREAD_ONCE_INIT;

static void load_once(void)
{
	ready = load(&api);
}

static size_t take_body(char *p, size_t size, size_t n, void *arg)
{
	struct ctl *c = arg;
	long status = 0;

	if (c->sink >= 0 && api.getinfo(c->handle, CURLINFO_RESPONSE_CODE, &status) == CURLE_OK && status == 200) {
		c->sunk = true;
		return sys_write_all(c->sink, p, size * n) ? 0 : size * n;
	}
	buf_add(&c->answer, p, size * n);
	return buf_check(&c->answer) ? 0 : size * n;
}

/* Keep the session's cookie: the first one that the server sets, without its attributes. */
static size_t take_header(char *p, size_t size, size_t n, void *arg)
{
	struct ctl *c = arg;
	const size_t len = size * n;

	if (len > 11 && strncasecmp(p, "Set-Cookie:", 11) == 0) {
		size_t from = 11 + (p[11] == ' '), end = from;

		while (end < len && p[end] != ';' && p[end] != '\r' && p[end] != '\n')
			end++;
		if (end - from < sizeof c->cookie) {
			memcpy(c->cookie, p + from, end - from);
			c->cookie[end - from] = '\0';
		}
	}
	return len;
}

static enum ctl_exit call(struct ctl *c, const char *method, const char *target, const char *body, size_t body_len)
{
	struct curl_slist *headers = NULL;
	enum ctl_exit rc = EXIT_UNREACHABLE;
	CURL *h;
	CURLcode code;
	long status = 0;

	pthread_once(&loading, load_once);
	if (!ready)
		return EXIT_BROKEN;
	h = api.easy_init();
	if (!h)
		return EXIT_BROKEN;
	buf_reset(&c->answer);
	c->handle = h;
	headers = api.append(headers, "Accept: application/json");
	headers = api.append(headers, "Expect:");
	headers = api.append(headers, arena_printf(c->arena, "Origin: %s", c->place));
	if (body)
		headers = api.append(headers, "Content-Type: application/json");
	if (*c->token)
		headers = api.append(headers, arena_printf(c->arena, "Authorization: Bearer %s", c->token));
	if (*c->cookie)
		headers = api.append(headers, arena_printf(c->arena, "Cookie: %s", c->cookie));
	if (*c->csrf)
		headers = api.append(headers, arena_printf(c->arena, "X-CSRF-Token: %s", c->csrf));
	api.setopt(h, CURLOPT_URL, arena_printf(c->arena, "%s/api/v1%s", c->place, target));
	api.setopt(h, CURLOPT_PROTOCOLS_STR, "http,https");
	api.setopt(h, CURLOPT_NOSIGNAL, 1L);
	api.setopt(h, CURLOPT_CONNECTTIMEOUT, 20L);
	api.setopt(h, CURLOPT_CUSTOMREQUEST, method);
	api.setopt(h, CURLOPT_HTTPHEADER, headers);
	api.setopt(h, CURLOPT_WRITEFUNCTION, take_body);
	api.setopt(h, CURLOPT_WRITEDATA, c);
	api.setopt(h, CURLOPT_HEADERFUNCTION, take_header);
	api.setopt(h, CURLOPT_HEADERDATA, c);
	if (body) {
		api.setopt(h, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)body_len);
		api.setopt(h, CURLOPT_POSTFIELDS, body);
	}
	code = api.perform(h);
	if (code != CURLE_OK) {
		if (!c->quiet)
			fprintf(stderr, "drydock: %s: %s.\n", c->place, api.strerror(code));
	} else {
		api.getinfo(h, CURLINFO_RESPONSE_CODE, &status);
		c->status = (int)status;
		rc = EXIT_DONE;
	}
	api.free_all(headers);
	api.cleanup(h);
	return rc;
}

const struct transport transport_curl = { call };
