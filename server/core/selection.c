#include "core/selection.h"

#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/json.h"
#include "base/mem.h"

/* A path of 4,096 bytes, each of which could be escaped to two, and the rest of the line. */
#define LINE_LIMIT (2 * PATH_LIMIT + 256)
/* Lines are digested so many bytes at a time: one by one, the calls cost more than the digest. */
#define LINES 16384

struct selection_digest {
	struct sha256_stream *sha256;
	struct buf lines;
};

static void digest_lines(struct selection_digest *d)
{
	sha256_stream_add(d->sha256, buf_text(&d->lines), d->lines.len);
	buf_reset(&d->lines);
}

struct selection_digest *selection_digest_new(const char *act)
{
	struct selection_digest *d = mem_alloc(sizeof(*d));

	d->sha256 = sha256_stream_new();
	d->lines = BUF_INIT(LINES + LINE_LIMIT);
	struct json_out o = { .b = &d->lines };
	json_out_begin(&o, '{');
	json_out_kstr(&o, "act", act);
	json_out_end(&o, '}');
	buf_char(&d->lines, '\n');
	return d;
}

void selection_digest_add(struct selection_digest *d, struct path path, enum file_state state, const struct sha256 *sha256, bool exec)
{
	/* Canonical JSON: members sorted, no blanks; only the path has anything to escape. */
	struct json_out o = { .b = &d->lines };

	buf_str(&d->lines, exec ? "{\"exec\":true,\"path\":" : "{\"exec\":false,\"path\":");
	json_out_strn(&o, path.s, path.len);
	buf_str(&d->lines, ",\"sha256\":\"");
	buf_hex(&d->lines, sha256->b, sizeof(sha256->b));
	buf_str(&d->lines, "\",\"state\":\"");
	buf_str(&d->lines, state_name(state));
	buf_str(&d->lines, "\"}\n");
	if (d->lines.len >= LINES)
		digest_lines(d);
}

void selection_digest_end_free(struct selection_digest *d, struct sha256 *out)
{
	digest_lines(d);
	sha256_stream_end_free(d->sha256, out);
	buf_release(&d->lines);
	free(d);
}

bool selection_takes(const char *act, enum file_state state)
{
	if (strcmp(act, "sign") == 0)
		return state == STATE_UNSIGNED || state == STATE_CHANGED;
	if (strcmp(act, "review") == 0)
		return state != STATE_UNPUBLISHABLE;
	if (strcmp(act, "revoke") == 0)
		return state == STATE_SIGNED || state == STATE_CHANGED || state == STATE_MISSING || state == STATE_PREAPPROVED;
	return false;
}

const char *selection_refusal(const char *act, enum file_state state)
{
	if (strcmp(act, "sign") == 0) {
		if (state == STATE_UNPUBLISHABLE)
			return "it cannot be published, so it cannot be signed";
		if (state == STATE_MISSING)
			return "it is gone from staging: there is nothing to sign; revoke it to take it from production";
		return NULL;
	}
	if (strcmp(act, "review") == 0) {
		if (state == STATE_UNPUBLISHABLE)
			return "it cannot be published, so there is nothing to review";
		return NULL;
	}
	if (strcmp(act, "revoke") == 0) {
		if (state == STATE_UNSIGNED)
			return "it is not approved: there is nothing to revoke";
		if (state == STATE_REVOKED)
			return "it is revoked already";
		return NULL;
	}
	return "this act does not take files";
}
