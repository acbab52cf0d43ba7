/*
 * Any bytes as a request: the first line is the target, the others are headers; what the guard lets through holds what
 * guard.h and form.h promise.
 */
#include "base/utf8.h"
#include "web/form.h"
#include "web/guard.h"
#include "web/web.h"

static void must(bool holds)
{
	if (!holds)
		abort();
}

static size_t split(const uint8_t *data, size_t size, struct guard_header *headers, struct arena *a)
{
	size_t n = 0;

	while (size && n < GUARD_HEADERS) {
		const uint8_t *end = memchr(data, '\n', size);
		size_t len = end ? (size_t)(end - data) : size;
		const char *line = arena_dupn(a, data, len), *colon = memchr(line, ':', len);
		size_t name = colon ? (size_t)(colon - line) : len;
		headers[n].name = arena_dupn(a, line, name);
		headers[n].name_len = name;
		headers[n].value_len = colon ? len - name - 1 : 0;
		headers[n].value = arena_dupn(a, colon ? colon + 1 : "", headers[n].value_len);
		n++;
		data += end ? len + 1 : len;
		size -= end ? len + 1 : len;
	}
	return n;
}

static void check_fields(const char *text, size_t len, struct arena *a)
{
	struct fields f;
	const char *first;

	if (fields_parse(&f, text, len, a))
		return;
	must(f.n <= FORM_NAMES);
	first = fields_get(&f, "csrf");
	must(!first || (utf8_valid(first, strlen(first)) && fields_count(&f, "csrf") == 1));
	for (size_t i = 0; i < fields_count(&f, "path[]"); i++)
		must(fields_at(&f, "path[]", i) && utf8_valid(fields_at(&f, "path[]", i), strlen(fields_at(&f, "path[]", i))));
	must(!fields_at(&f, "path[]", fields_count(&f, "path[]")));
}

static void check_target(const char *target, size_t len, struct arena *a)
{
	const char *path;
	size_t n = strcspn(target, "?");
	struct buf again = BUF_INIT(1u << 20);
	const char *twice;

	if (n < len)
		check_fields(target + n + 1, len - n - 1, a);
	if (target_decode(&path, target, n, a)) {
		buf_release(&again);
		return;
	}
	must(path[0] == '/' && strlen(path) <= n && utf8_clean(path, strlen(path), false));
	must(!strstr(path, "//") && !strstr(path, "/../") && !strstr(path, "/./"));
	/* Written as we write addresses it is the same again. */
	percent_encode(&again, path, false);
	must(target_decode(&twice, buf_text(&again), again.len, a) == ERR_OK && strcmp(path, twice) == 0);
	buf_release(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct arena *a = arena_new();
	struct guard_header headers[GUARD_HEADERS];
	struct guard_body body;
	const char *why = NULL, *host;
	const uint8_t *end = memchr(data, '\n', size);
	size_t host_len;
	unsigned port;
	size_t len = end ? (size_t)(end - data) : size;
	struct guard_facts f = { .method = "POST", .version = "HTTP/1.1", .whole_target = len <= GUARD_TARGET, .headers = headers };

	f.target_len = len <= GUARD_TARGET ? len : GUARD_TARGET;
	f.target = arena_dupn(a, data, f.target_len);
	f.n_headers = end ? split(end + 1, size - len - 1, headers, a) : 0;
	if (guard_check(&f, &body, &why) == 0) {
		const struct guard_header *h = guard_find(headers, f.n_headers, "host");
		must(f.whole_target && f.target[0] == '/' && strlen(f.target) == f.target_len);
		must(h != NULL && !(body.chunked && body.length));
		must(body.present == (body.chunked || body.length));
		if (guard_host(h->value, h->value_len, &host, &host_len, &port))
			must(host_len > 0 && port <= 65535 && !memchr(host, '/', host_len) && !memchr(host, '@', host_len));
		check_target(f.target, f.target_len, a);
	} else {
		must(why != NULL);
	}
	check_fields((const char *)data, size, a);
	const char *ours = address_of_ours(arena_dupn(a, data, size));
	must(ours[0] == '/' && ours[1] != '/' && !strpbrk(ours, "\\\r\n\t"));
	arena_free(a);
	return 0;
}
