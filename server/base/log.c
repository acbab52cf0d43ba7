#include "base/log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/utf8.h"

#define LINE_LIMIT 8192
#define VALUE_LIMIT 2048 /* bytes of a value, before it is made visible */
#define NUMBERS 16

static atomic_int least_level = LOG_LEVEL_INFO;
static _Thread_local const char *request_id = "";

/* A line on the stack: logging must work when memory does not. What passes the end is cut. */
struct line {
	char text[LINE_LIMIT];
	size_t len;
};

static bool put(struct line *l, const char *p, size_t n)
{
	/* Room stays for the mark of a cut, a closing quote and the newline. */
	if (l->len + n > LINE_LIMIT - 8)
		return false;
	memcpy(l->text + l->len, p, n);
	l->len += n;
	return true;
}

/* Characters that would break a line, or show text in another order than it is written (bidirectional controls). */
static bool is_hidden(uint32_t cp)
{
	return cp < 0x20 || (cp >= 0x7f && cp <= 0x9f) || (cp >= 0x200b && cp <= 0x200f) || (cp >= 0x2028 && cp <= 0x202e) ||
	       (cp >= 0x2066 && cp <= 0x2069) || cp == 0xfeff;
}

static bool is_plain(const char *s)
{
	if (*s == '\0')
		return false;
	for (; *s; s++)
		if ((unsigned char)*s <= ' ' || (unsigned char)*s >= 0x7f || *s == '"' || *s == '=' || *s == '\\')
			return false;
	return true;
}

static bool put_hex(struct line *l, const char *s, size_t n)
{
	char text[5];

	for (size_t i = 0; i < n; i++) {
		snprintf(text, sizeof(text), "\\x%02x", (unsigned char)s[i]);
		if (!put(l, text, 4))
			return false;
	}
	return true;
}

static void put_value(struct line *l, const char *s)
{
	size_t n = strnlen(s, VALUE_LIMIT + 1);
	bool cut = n > VALUE_LIMIT, fits = true;

	if (!cut && is_plain(s)) {
		if (!put(l, s, n))
			put(l, "...", 3);
		return;
	}
	if (!put(l, "\"", 1))
		return;
	for (size_t i = 0; i < n && i < VALUE_LIMIT && fits;) {
		uint32_t cp;
		size_t len = utf8_decode(s + i, n - i, &cp);

		if (len == 0) {
			if (n - i < 4 && cut)
				break; /* the cut went through a character */
			fits = put_hex(l, s + i, 1);
			i++;
			continue;
		}
		if (cp == '\n')
			fits = put(l, "\\n", 2);
		else if (cp == '\t')
			fits = put(l, "\\t", 2);
		else if (is_hidden(cp))
			fits = put_hex(l, s + i, len);
		else if (cp == '"' || cp == '\\')
			fits = put(l, cp == '"' ? "\\\"" : "\\\\", 2);
		else
			fits = put(l, s + i, len);
		i += len;
	}
	/* put() keeps eight bytes back for these. */
	if (cut || !fits) {
		memcpy(l->text + l->len, "...", 3);
		l->len += 3;
	}
	l->text[l->len++] = '"';
}

void log_event(enum log_level level, const char *event, ...)
{
	static const char *const names[] = { "debug", "info", "warn", "error" };
	struct line l;
	char at[CLOCK_TEXT_SIZE];
	int saved = errno;
	va_list ap;

	if ((int)level < atomic_load_explicit(&least_level, memory_order_relaxed))
		return;
	l.len = 0;
	clock_text(clock_wall(), at);
	put(&l, "time=", 5);
	put(&l, at, strlen(at));
	put(&l, " level=", 7);
	put(&l, names[level], strlen(names[level]));
	put(&l, " event=", 7);
	put_value(&l, event);
	if (*request_id) {
		put(&l, " req=", 5);
		put_value(&l, request_id);
	}
	va_start(ap, event);
	for (const char *key; (key = va_arg(ap, const char *));) {
		const char *value = va_arg(ap, const char *);
		size_t key_len = strlen(key);

		if (l.len + key_len + 64 > LINE_LIMIT)
			break;
		put(&l, " ", 1);
		put(&l, key, key_len);
		put(&l, "=", 1);
		put_value(&l, value ? value : "-");
	}
	va_end(ap);
	l.text[l.len++] = '\n';
	while (write(STDERR_FILENO, l.text, l.len) < 0 && errno == EINTR)
		;
	errno = saved;
}

const char *log_u64(unsigned long long v)
{
	static _Thread_local char slots[NUMBERS][24];
	static _Thread_local unsigned next;
	char *s = slots[next++ % NUMBERS];

	snprintf(s, sizeof(slots[0]), "%llu", v);
	return s;
}

void log_level_set(enum log_level least)
{
	atomic_store(&least_level, (int)least);
}

void log_request_set(const char *id)
{
	request_id = id ? id : "";
}
