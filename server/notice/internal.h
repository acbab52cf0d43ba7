/* internal: what the files of notice/ share. */
#ifndef DRYDOCK_NOTICE_INTERNAL_H
#define DRYDOCK_NOTICE_INTERNAL_H

#include "notice/notice.h"

/* In the place of a target's name: the syncs of the site as such. In the table more may follow: which reason they were stopped for. */
#define NOTICE_SYNCS "*"

struct notice_item {
	const char *target;
	bool live; /* it is about what is live there; else about syncs to it */
	bool failed; /* or differs; else it is well again */
	uint64_t differences;
	uint64_t release; /* that it holds; 0: not known */
	int64_t since, next; /* wall clock; next 0: no retry is planned */
};
struct notice_message {
	const struct conf *conf;
	const struct conf_site *site;
	const char *test_by; /* a test, and who asked for it; NULL: not one */
	const struct notice_item *items;
	size_t n;
	const char *why; /* what the last run said, "" if nothing failed */
	uint64_t run; /* 0: none */
	int64_t at;
};

/* --- text.c -------------------------------------------------------------------------------------------------------- */

/* A whole RFC 5322 message, lines ended by CRLF, nothing in it but ASCII. */
enum err notice_mail(const struct notice_message *m, struct buf *out) MUST_CHECK;
void notice_json(const struct notice_message *m, struct buf *out);
/* A value of a header as RFC 2047 writes it: folded, and as it is if it is short ASCII. */
void notice_header(struct buf *out, const char *text);

/* --- send.c -------------------------------------------------------------------------------------------------------- */

enum err notice_send(const struct notice_message *m, const struct notice_channel *ch, atomic_int *cancel) MUST_CHECK;

#endif
