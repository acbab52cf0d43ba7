#include "base/err.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define ERR_SIZE 1024

static _Thread_local char slot[ERR_SIZE];
static _Thread_local unsigned wait_seconds;

/* A sentence that was cut must not end inside a character: it may go into JSON. */
static void cut_at_character(char *s, size_t len)
{
	size_t i = len, back = 0;

	while (i > 0 && back < 3 && ((unsigned char)s[i - 1] & 0xc0) == 0x80) {
		i--;
		back++;
	}
	if (i == 0)
		return;
	unsigned char lead = (unsigned char)s[i - 1];
	size_t want = lead >= 0xf0 ? 3 : lead >= 0xe0 ? 2 : lead >= 0xc0 ? 1 : 0;
	if (want > back)
		s[i - 1] = '\0';
}

/* Append at `at`; returns the new length. The text is made elsewhere first, since an argument may be the slot itself. */
static size_t put(char *to, size_t at, const char *fmt, va_list ap)
{
	int n = vsnprintf(to + at, ERR_SIZE - at, fmt, ap);

	if (n < 0) {
		to[at] = '\0';
		return at;
	}
	if ((size_t)n < ERR_SIZE - at)
		return at + (size_t)n;
	cut_at_character(to, ERR_SIZE - 1);
	return strlen(to);
}

static size_t put_fmt(char *to, size_t at, const char *fmt, ...) PRINTF_LIKE(3, 4);
static size_t put_fmt(char *to, size_t at, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	size_t n = put(to, at, fmt, ap);
	va_end(ap);
	return n;
}

enum err err_set(enum err code, const char *fmt, ...)
{
	char text[ERR_SIZE];
	int saved = errno;
	va_list ap;

	va_start(ap, fmt);
	put(text, 0, fmt, ap);
	va_end(ap);
	memcpy(slot, text, sizeof(slot));
	errno = saved;
	return code;
}

enum err err_sys(enum err code, const char *fmt, ...)
{
	char text[ERR_SIZE], reason[128];
	int saved = errno;
	va_list ap;

	va_start(ap, fmt);
	size_t n = put(text, 0, fmt, ap);
	va_end(ap);
	put_fmt(text, n, ": %s", strerror_r(saved, reason, sizeof(reason)));
	memcpy(slot, text, sizeof(slot));
	errno = saved;
	return code;
}

enum err err_prefix(enum err code, const char *fmt, ...)
{
	char text[ERR_SIZE];
	int saved = errno;
	va_list ap;

	va_start(ap, fmt);
	size_t n = put(text, 0, fmt, ap);
	va_end(ap);
	put_fmt(text, n, ": %s", slot);
	memcpy(slot, text, sizeof(slot));
	errno = saved;
	return code;
}

enum err err_wait(unsigned seconds, const char *fmt, ...)
{
	char text[ERR_SIZE];
	int saved = errno;
	va_list ap;

	va_start(ap, fmt);
	put(text, 0, fmt, ap);
	va_end(ap);
	memcpy(slot, text, sizeof(slot));
	wait_seconds = seconds;
	errno = saved;
	return ERR_WAIT;
}

unsigned err_wait_seconds(void)
{
	return wait_seconds;
}

const char *err_text(void)
{
	return slot;
}

const char *err_name(enum err code)
{
	switch (code) {
	case ERR_OK:
		return "ok";
	case ERR_INPUT:
		return "input";
	case ERR_DENIED:
		return "denied";
	case ERR_NOT_FOUND:
		return "not-found";
	case ERR_STALE:
		return "stale";
	case ERR_BUSY:
		return "busy";
	case ERR_WAIT:
		return "wait";
	case ERR_TOO_BIG:
		return "too-big";
	case ERR_RETRY:
		return "retry";
	case ERR_FAILED:
		return "failed";
	}
	return "unknown";
}
