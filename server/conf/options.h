/*
 * options: the table of all options. Everything that is said about an option anywhere comes from its row.
 * To add one: a row here, a member in struct conf, and `drydockd --sample-config > doc/drydock.conf.sample`.
 */
#ifndef DRYDOCK_CONF_OPTIONS_H
#define DRYDOCK_CONF_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/mem.h"

enum option_type {
	OPTION_TEXT, /* const char * */
	OPTION_WORDS, /* struct option_words: a list of texts */
	OPTION_NUMBER, /* unsigned */
	OPTION_BOOL, /* bool */
	OPTION_DURATION, /* int64_t, microseconds */
	OPTION_SIZE, /* uint64_t, bytes */
};

enum option_check {
	CHECK_NOTHING,
	CHECK_DIRECTORY, /* an absolute path; "" only if that is the default */
	CHECK_SECRET, /* an absolute path of a file that only its owner can read */
	CHECK_ADDRESS, /* a numeric IPv4 or IPv6 address */
	CHECK_URL, /* http:// or https://, no path behind the host */
	CHECK_PAGE_URL, /* http:// or https:// */
	CHECK_LOG_LEVEL,
	CHECK_KIT, /* a file name */
	CHECK_NAME, /* a UNIX user name */
	CHECK_HOST, /* a host name */
	CHECK_HEADER, /* the name of an HTTP header */
	CHECK_ORDER, /* own and unix, each at most once, with a blank between */
	CHECK_PAIR, /* key=value */
	CHECK_MAIL, /* name@host */
	CHECK_MAIL_URL, /* smtp:// or smtps://, no path behind the host */
};

/* As two members that follow one another. */
struct option_words { const char *const *list; size_t n; };

struct option {
	const char *name;
	enum option_type type;
	size_t at; /* offsetof in struct conf, conf_site or conf_target */
	const char *fallback; /* as the file would write it; NULL: has to be set. For share directories: below the share directory */
	uint64_t low, high; /* numbers, durations in microseconds, sizes in bytes; text: most bytes in high (0: 1023) */
	enum option_check check;
	bool reload; /* taken up by SIGHUP */
	const char *sample; /* what the sample shows instead of the default; NULL: the default, commented out */
	const char *text; /* for people */
};

extern const struct option conf_options[], conf_site_options[], conf_target_options[]; /* end with a NULL name */

/* --- value.c ------------------------------------------------------------------------------------------------------- */

#define LOWER "abcdefghijklmnopqrstuvwxyz"
#define UPPER "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
#define DIGIT "0123456789"
bool name_bytes(const char *text, const char *allowed); /* one at least, and only those */
/* Convert and check; base NULL only checks. Texts go to the arena. Lists are set by the caller. */
enum err option_set(const struct option *o, const char *text, void *base, struct arena *a) MUST_CHECK;

#endif
