/* Hexadecimal and random bytes: part of digest.h, but free of OpenSSL, which takes longer to load than small programs run. */
#include "base/digest.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/random.h>

void hex_of(char *out, const void *p, size_t n)
{
	static const char digits[] = "0123456789abcdef";
	const unsigned char *s = p;

	for (size_t i = 0; i < n; i++) {
		*out++ = digits[s[i] >> 4];
		*out++ = digits[s[i] & 15];
	}
	*out = '\0';
}

static int lower_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	return -1;
}

int hex_digit(char c)
{
	return c >= 'A' && c <= 'F' ? c - 'A' + 10 : lower_digit(c);
}

bool hex_parse(void *out, size_t n, const char *hex)
{
	unsigned char *to = out;

	for (size_t i = 0; i < n; i++) {
		int high = lower_digit(hex[2 * i]);
		if (high < 0)
			return false;
		int low = lower_digit(hex[2 * i + 1]);
		if (low < 0)
			return false;
		to[i] = (unsigned char)(high << 4 | low);
	}
	return hex[2 * n] == '\0';
}

void random_bytes(void *p, size_t n)
{
	char *s = p;

	while (n) {
		ssize_t got = getrandom(s, n, 0);
		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			abort(); /* the kernel has no random bytes: nothing that follows would be safe */
		s += got;
		n -= (size_t)got;
	}
}
