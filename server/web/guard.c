#include "web/guard.h"

#include <arpa/inet.h>
#include <string.h>
#include <strings.h>

#include "base/weaken.h"

static bool token_char(unsigned char c)
{
	if ((c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z'))
		return true;
	return c && strchr("!#$%&'*+-.^_`|~", c);
}

static bool hex_digit(unsigned char c)
{
	return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

static bool name_is(const struct guard_header *h, const char *name, size_t len)
{
	return h->name_len == len && strncasecmp(h->name, name, len) == 0;
}

const struct guard_header *guard_find(const struct guard_header *headers, size_t n, const char *name)
{
	size_t len = strlen(name);

	for (size_t i = 0; i < n; i++)
		if (name_is(&headers[i], name, len))
			return &headers[i];
	return NULL;
}

/* Blanks around a value do not count. */
static void trim(const char **p, size_t *len)
{
	while (*len && ((*p)[0] == ' ' || (*p)[0] == '\t')) {
		(*p)++;
		(*len)--;
	}
	while (*len && ((*p)[*len - 1] == ' ' || (*p)[*len - 1] == '\t'))
		(*len)--;
}

bool guard_host(const char *text, size_t len, const char **host, size_t *host_len, unsigned *port)
{
	size_t n = 0;

	*port = 0;
	if (len == 0 || len > 260)
		return false;
	if (text[0] == '[') {
		const char *end = memchr(text, ']', len);
		if (!end)
			return false;
		n = (size_t)(end - text) + 1;
		for (size_t i = 1; i < n - 1; i++)
			if (!hex_digit((unsigned char)text[i]) && text[i] != ':' && text[i] != '.')
				return false;
		if (n < 4)
			return false;
	} else {
		while (n < len && text[n] != ':') {
			unsigned char c = (unsigned char)text[n];
			if (!(c >= '0' && c <= '9') && !(c >= 'A' && c <= 'Z') && !(c >= 'a' && c <= 'z') && c != '.' && c != '-' && c != '_')
				return false;
			n++;
		}
		if (n == 0 || n > 253)
			return false;
	}
	*host = text;
	*host_len = n;
	if (n == len)
		return true;
	if (text[n] != ':' || len - n < 2 || len - n > 6)
		return false;
	for (size_t i = n + 1; i < len; i++) {
		if (text[i] < '0' || text[i] > '9')
			return false;
		*port = *port * 10 + (unsigned)(text[i] - '0');
	}
	return *port > 0 && *port <= 65535;
}

bool guard_host_literal(const char *host, size_t len)
{
	char text[64];
	struct in_addr v4;
	struct in6_addr v6;

	if (len == 9 && strncasecmp(host, "localhost", 9) == 0)
		return true;
	if (len == 0 || len >= sizeof(text))
		return false;
	bool six = host[0] == '[';
	memcpy(text, six ? host + 1 : host, six ? len - 2 : len);
	text[six ? len - 2 : len] = '\0';
	return six ? inet_pton(AF_INET6, text, &v6) == 1 : inet_pton(AF_INET, text, &v4) == 1;
}

static unsigned refuse(const char **why, unsigned status, const char *sentence)
{
	*why = sentence;
	return status;
}

static unsigned check_target(const struct guard_facts *f, const char **why)
{
	const unsigned char *t = (const unsigned char *)f->target;

	if (!f->whole_target)
		return refuse(why, 414, "The address is too long.");
	if (f->target_len == 0 || t[0] != '/')
		return refuse(why, 400, "The address must begin with a slash.");
	for (size_t i = 0; i < f->target_len; i++) {
		if ((t[i] <= 0x20 || t[i] >= 0x7f || t[i] == '#' || t[i] == '\\') && !WEAK(guard_target))
			return refuse(why, 400, "The address holds a byte that must be written as %XX.");
		if (t[i] != '%')
			continue;
		if (i + 2 >= f->target_len || !hex_digit(t[i + 1]) || !hex_digit(t[i + 2]))
			return refuse(why, 400, "The address holds a '%' without two hexadecimal digits.");
		if (t[i + 1] == '0' && t[i + 2] == '0')
			return refuse(why, 400, "The address holds a NUL.");
	}
	return 0;
}

static unsigned check_header(const struct guard_header *h, const char **why)
{
	if (h->name_len == 0 || !h->name)
		return refuse(why, 400, "A header has no name.");
	for (size_t i = 0; i < h->name_len; i++)
		if (!token_char((unsigned char)h->name[i]) && !WEAK(guard_name))
			return refuse(why, 400, "A header's name holds a blank or another byte that does not belong there.");
	for (size_t i = 0; i < h->value_len; i++) {
		unsigned char c = (unsigned char)h->value[i];
		if ((c < 0x20 && c != '\t') || c == 0x7f)
			return refuse(why, 400, "A header holds a control character.");
	}
	return 0;
}

static unsigned check_length(const char *value, size_t len, struct guard_body *body, const char **why)
{
	trim(&value, &len);
	if (len == 0 || len > 15)
		return refuse(why, 400, "Content-Length is not a number.");
	for (size_t i = 0; i < len; i++) {
		if ((value[i] < '0' || value[i] > '9') && !WEAK(guard_length))
			return refuse(why, 400, "Content-Length is not a number.");
		body->length = body->length * 10 + (uint64_t)(value[i] - '0');
	}
	body->present = body->length > 0;
	return 0;
}

unsigned guard_check(const struct guard_facts *f, struct guard_body *body, const char **why)
{
	const struct guard_header *length = NULL, *coding = NULL, *host = NULL;
	unsigned n_length = 0, n_coding = 0, n_host = 0, status;
	const char *name;
	size_t name_len;
	unsigned port;

	*body = (struct guard_body){ 0 };
	bool old = strcmp(f->version, "HTTP/1.0") == 0;
	if (!old && strcmp(f->version, "HTTP/1.1") != 0)
		return refuse(why, 505, "Only HTTP/1.1 and HTTP/1.0 are spoken here.");
	if (f->folded && !WEAK(guard_folded))
		return refuse(why, 400, "A header goes on over a line.");
	if (f->bare_lf && !WEAK(guard_bare_lf))
		return refuse(why, 400, "A line ends without a carriage return.");
	if (f->nul && !WEAK(guard_nul))
		return refuse(why, 400, "A line holds a byte that cannot be in it.");
	if (f->too_many && !WEAK(guard_headers))
		return refuse(why, 431, "There are too many headers.");
	if ((status = check_target(f, why)))
		return status;
	for (size_t i = 0; i < f->n_headers; i++) {
		const struct guard_header *h = &f->headers[i];
		if ((status = check_header(h, why)))
			return status;
		if (name_is(h, "Content-Length", 14)) {
			length = h;
			n_length++;
		} else if (name_is(h, "Transfer-Encoding", 17)) {
			coding = h;
			n_coding++;
		} else if (name_is(h, "Host", 4)) {
			host = h;
			n_host++;
		}
	}
	if (n_length > 1 && !WEAK(guard_lengths))
		return refuse(why, 400, "There is more than one Content-Length.");
	if (n_coding > 1 && !WEAK(guard_codings))
		return refuse(why, 400, "There is more than one Transfer-Encoding.");
	if (length && coding && !WEAK(guard_both))
		return refuse(why, 400, "There are both Content-Length and Transfer-Encoding.");
	if (n_host != 1 && !(host && WEAK(guard_hosts)))
		return refuse(why, 400, "There must be exactly one Host.");
	const char *value = host->value;
	size_t value_len = host->value_len;
	trim(&value, &value_len);
	if (!guard_host(value, value_len, &name, &name_len, &port))
		return refuse(why, 400, "Host is not a name with an optional port.");
	if (length && (status = check_length(length->value, length->value_len, body, why)))
		return status;
	if (coding) {
		value = coding->value;
		value_len = coding->value_len;
		trim(&value, &value_len);
		if ((old || value_len != 7 || strncasecmp(value, "chunked", 7) != 0) && !WEAK(guard_coding))
			return refuse(why, old ? 400 : 501, "The only Transfer-Encoding understood is chunked, with HTTP/1.1.");
		body->present = body->chunked = true;
	}
	const struct guard_header *expect = guard_find(f->headers, f->n_headers, "Expect");
	if (expect && strcasecmp(expect->value, "100-continue") != 0)
		return refuse(why, 417, "The only Expect understood is 100-continue.");
	return 0;
}
