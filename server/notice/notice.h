/*
 * notice: mail and webhooks when a target of a site fails or what is live there is not what was signed, and when it is well again.
 *
 * One thread for each site that has a channel (mail_to, webhook). After each run, and during one that goes on for more than a
 * minute after it brought news, it compares what each channel was last told (table notice) with how the targets stand now (those
 * that are being sent to: as before), and sends one message with all that differs: so a restart, or a
 * mail server that was away, neither loses a message nor repeats it, and what came and went meanwhile is not told. A site
 * whose syncs cannot run at all for half a minute is told as the target `*`; so is one whose last run cut no release since an
 * admin has to look first (the removal guard, a forced plan that was overtaken), once for each such list. What a receiver found to differ from what was
 * signed is told in the same way; in the table it is the target's name with a `!`.
 *
 * Mail goes to an SMTP server, or through a sendmail command. A webhook is a POST of JSON, signed with HMAC-SHA256 if
 * there is a secret. The program send-notice speaks both, so that no answer from outside is parsed in the daemon.
 */
#ifndef DRYDOCK_NOTICE_NOTICE_H
#define DRYDOCK_NOTICE_NOTICE_H

#include "conf/conf.h"
#include "db/db.h"
#include "sync/sync.h"

struct notice;
/* *out is NULL if the site has no channel. Both outlive what it is given; stop it before the site's sync. */
enum err notice_start(struct notice **out, const struct conf *conf, const struct conf_site *site, struct sync *y, const struct db_address *address) MUST_CHECK;
void notice_stop(struct notice *n); /* frees; a message that is being sent is given up, and sent after the next start */

/* The channels of a site, from 0: false past the last. */
struct notice_channel {
	struct sha256 key; /* of the table's rows */
	const char *url; /* of a webhook; NULL: mail */
	char shown[256]; /* for admins: "mail to ...", "webhook https://host"; a webhook's path may be a secret */
};
bool notice_channel(const struct conf_site *site, size_t i, struct notice_channel *out);
/* Of what a channel was last told (db_notice.failing): the targets (`*` once) that fail, or (live) on which something else is live; "a b". */
const char *notice_targets(const char *told, bool live, struct arena *a);
const char *notice_words(const char *told, bool live, struct arena *a); /* the same for people: "a, the sync itself" */
/* Send a test through one, now: waits up to a minute. by: who asks. ERR_FAILED with what the other side said. */
enum err notice_test(const struct conf *conf, const struct conf_site *site, const struct notice_channel *ch, const char *by) MUST_CHECK;

#endif
