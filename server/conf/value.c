/* One value: converted, within its bounds, of its kind. */
#include <arpa/inet.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#include "base/utf8.h"
#include "conf/conf.h"
#include "conf/options.h"

#define TEXT_LIMIT 1023 /* bytes of a text without a limit of its own */

static enum err check_url(const char *text, bool page)
{
	const char *rest;

	if (!strncmp(text, "http://", 7))
		rest = text + 7;
	else if (!strncmp(text, "https://", 8))
		rest = text + 8;
	else
		return err_set(ERR_INPUT, "\"%s\" does not begin with http:// or https://", text);
	if (!*rest || *rest == '/' || strpbrk(rest, " \"<>\\^`{|}@"))
		return err_set(ERR_INPUT, "\"%s\" is not an address such as https://drydock.example.org", text);
	if (!page && strpbrk(rest, "/?#"))
		return err_set(ERR_INPUT, "\"%s\" must end with the host or port, without a \"/\"", text);
	return ERR_OK;
}

static enum err check_secret(const char *text)
{
	struct stat st;

	if (text[0] != '/')
		return err_set(ERR_INPUT, "\"%s\" is not an absolute path", text);
	if (stat(text, &st))
		return err_sys(ERR_INPUT, "%s", text);
	if (!S_ISREG(st.st_mode))
		return err_set(ERR_INPUT, "%s is not a file", text);
	if (st.st_mode & 077)
		return err_set(ERR_INPUT, "%s holds a secret but others can read it: chmod 600 %s", text, text);
	return ERR_OK;
}

bool name_bytes(const char *text, const char *allowed)
{
	return *text && text[strspn(text, allowed)] == '\0';
}

/* What travels in an SMTP command and in a header without quoting (a subset of RFC 5321's Mailbox). */
static bool mail_address(const char *text)
{
	const size_t name = strspn(text, LOWER UPPER DIGIT "!#$%&'*+-/=?^_`{|}~.");

	return name && text[0] != '-' && text[name] == '@' && name_bytes(text + name + 1, LOWER UPPER DIGIT "-.");
}

static enum err check_text(const struct option *o, const char *text)
{
	size_t limit = o->high ? o->high : TEXT_LIMIT;
	unsigned char address[sizeof(struct in6_addr)];

	if (strlen(text) > limit)
		return err_set(ERR_INPUT, "longer than %zu bytes", limit);
	if (!utf8_clean(text, strlen(text), false))
		return err_set(ERR_INPUT, "not valid UTF-8, or with control characters");
	if (!*text) {
		if (o->fallback && !*o->fallback)
			return ERR_OK;
		return err_set(ERR_INPUT, "may not be empty");
	}
	switch (o->check) {
	case CHECK_NOTHING:
		break;
	case CHECK_DIRECTORY:
		if (text[0] != '/')
			return err_set(ERR_INPUT, "\"%s\" is not an absolute path: write it from the root, beginning with \"/\"", text);
		break;
	case CHECK_SECRET:
		return check_secret(text);
	case CHECK_ADDRESS:
		if (inet_pton(AF_INET, text, address) != 1 && inet_pton(AF_INET6, text, address) != 1)
			return err_set(ERR_INPUT, "\"%s\" is not a numeric address such as 127.0.0.1 or ::1", text);
		break;
	case CHECK_URL:
		return check_url(text, false);
	case CHECK_PAGE_URL:
		return check_url(text, true);
	case CHECK_LOG_LEVEL:
		if (strcmp(text, "debug") && strcmp(text, "info") && strcmp(text, "warn") && strcmp(text, "error"))
			return err_set(ERR_INPUT, "\"%s\" is none of debug, info, warn, error", text);
		break;
	case CHECK_KIT:
		if (!name_bytes(text, LOWER UPPER DIGIT "_-.") || text[0] == '.' || text[0] == '-')
			return err_set(ERR_INPUT, "\"%s\" is not the name of a kit: letters, digits, \"-\", \"_\" and \".\"", text);
		break;
	case CHECK_NAME:
		if (!name_bytes(text, LOWER UPPER DIGIT "_-.") || text[0] == '-')
			return err_set(ERR_INPUT, "\"%s\" is not a user name", text);
		break;
	case CHECK_HOST:
		if (!name_bytes(text, LOWER UPPER DIGIT "-.") || text[0] == '.' || text[0] == '-' || strstr(text, ".."))
			return err_set(ERR_INPUT, "\"%s\" is not a host name", text);
		break;
	case CHECK_HEADER:
		if (!name_bytes(text, LOWER UPPER DIGIT "-_") || !strcasecmp(text, "Cookie") || !strcasecmp(text, "Authorization") || !strcasecmp(text, "Host"))
			return err_set(ERR_INPUT, "\"%s\" is not the name of a header of its own, such as X-Remote-User", text);
		break;
	case CHECK_ORDER:
		if (strcmp(text, "own") && strcmp(text, "unix") && strcmp(text, "own unix") && strcmp(text, "unix own"))
			return err_set(ERR_INPUT, "\"%s\" is none of \"own\", \"unix\", \"own unix\", \"unix own\"", text);
		break;
	case CHECK_PAIR:
		if (!strchr(text, '=') || text[0] == '=')
			return err_set(ERR_INPUT, "\"%s\" is not of the form key=value", text);
		break;
	case CHECK_MAIL:
		if (!mail_address(text))
			return err_set(ERR_INPUT, "\"%s\" is not a mail address such as web@example.org", text);
		break;
	case CHECK_MAIL_URL:
		if ((strncmp(text, "smtp://", 7) && strncmp(text, "smtps://", 8)) || !name_bytes(strstr(text, "://") + 3, LOWER UPPER DIGIT "-.:[]"))
			return err_set(ERR_INPUT, "\"%s\" is not of the form smtp://HOST:PORT or smtps://HOST:PORT", text);
		break;
	}
	return ERR_OK;
}

static enum err parse_number(uint64_t *out, const char *text)
{
	uint64_t n = 0;
	const char *p = text;

	if (!*p || strlen(p) > 18)
		return err_set(ERR_INPUT, "\"%s\" is not a number", text);
	for (; *p; p++) {
		if (*p < '0' || *p > '9')
			return err_set(ERR_INPUT, "\"%s\" is not a number", text);
		n = n * 10 + (uint64_t)(*p - '0');
	}
	*out = n;
	return ERR_OK;
}

static enum err parse_bool(bool *out, const char *text)
{
	static const char *const YES[] = { "yes", "true", "on" }, *const NO[] = { "no", "false", "off" };

	for (size_t i = 0; i < 3; i++) {
		if (!strcmp(text, YES[i]) || !strcmp(text, NO[i])) {
			*out = !strcmp(text, YES[i]);
			return ERR_OK;
		}
	}
	return err_set(ERR_INPUT, "\"%s\" is neither yes nor no", text);
}

static enum err check_bounds(const struct option *o, uint64_t v)
{
	struct buf low = BUF_INIT(64), high = BUF_INIT(64);
	enum err e = ERR_OK;

	if (v >= o->low && v <= o->high)
		return ERR_OK;
	if (o->type == OPTION_DURATION) {
		conf_duration_text((int64_t)o->low, &low);
		conf_duration_text((int64_t)o->high, &high);
	} else if (o->type == OPTION_SIZE) {
		conf_size_text(o->low, &low);
		conf_size_text(o->high, &high);
	} else {
		buf_u64(&low, o->low);
		buf_u64(&high, o->high);
	}
	e = err_set(ERR_INPUT, "must lie between %s and %s", buf_text(&low), buf_text(&high));
	buf_release(&low);
	buf_release(&high);
	return e;
}

enum err option_set(const struct option *o, const char *text, void *base, struct arena *a)
{
	char *at = base ? (char *)base + o->at : NULL;
	uint64_t n = 0;
	int64_t us = 0;
	bool yes = false;
	enum err e = ERR_OK;

	switch (o->type) {
	case OPTION_TEXT:
	case OPTION_WORDS:
		e = check_text(o, text);
		if (!e && at && o->type == OPTION_TEXT)
			*(const char **)at = arena_dup(a, text);
		break;
	case OPTION_NUMBER:
		if ((e = parse_number(&n, text)) || (e = check_bounds(o, n)))
			break;
		if (at)
			*(unsigned *)at = (unsigned)n;
		break;
	case OPTION_BOOL:
		e = parse_bool(&yes, text);
		if (!e && at)
			*(bool *)at = yes;
		break;
	case OPTION_DURATION:
		if ((e = conf_duration(&us, text)) || (e = check_bounds(o, (uint64_t)us)))
			break;
		if (at)
			*(int64_t *)at = us;
		break;
	case OPTION_SIZE:
		if ((e = conf_size(&n, text)) || (e = check_bounds(o, n)))
			break;
		if (at)
			*(uint64_t *)at = n;
		break;
	}
	return e;
}
