/* verify: is what is live what was signed? Every byte is read; each file that differs is named with who signed it. */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/sys.h"
#include "base/utf8.h"
#include "receive/receive.h"

#define NAMES_LIMIT (REPORT_LIMIT / 2) /* of what a report names; escaped it may become longer */

struct verifying {
	int image;
	FILE *out;
	uint64_t files, bad;
	size_t names; /* bytes */
	json_t *named;
};

static void say(struct verifying *v, const char *what, const struct manifest_line *l, bool is_signed)
{
	struct buf text = BUF_INIT(65536);

	v->bad++;
	utf8_visible(&text, l->path.s, l->path.len, false);
	if (v->out && is_signed)
		fprintf(v->out, "%s: %s (signed by %s, record %llu)\n", what, buf_text(&text), l->signer, (unsigned long long)l->seq);
	else if (v->out)
		fprintf(v->out, "%s: %s\n", what, buf_text(&text));
	v->names += text.len + strlen(is_signed ? l->signer : "") + 64;
	if (v->names < NAMES_LIMIT)
		json_array_append_new(v->named, json_pack("{s:s, s:s, s:s}", "what", what, "path", buf_text(&text), "signer", is_signed ? l->signer : ""));
	buf_release(&text);
}

static enum err verify_pair(void *arg, const struct manifest_line *there, const struct manifest_line *want)
{
	struct verifying *v = arg;
	struct sha256 sha;
	uint64_t size;
	int fd;
	enum err e;

	if (!want) {
		say(v, there->size == UINT64_MAX ? "link or device" : "foreign", there, false);
		return ERR_OK;
	}
	v->files++;
	if (!there) {
		say(v, "missing", want, true);
		return ERR_OK;
	}
	fd = open_below(v->image, want->path.s, O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
	if (fd < 0 || there->size == UINT64_MAX) {
		say(v, "not a file", want, true);
		if (fd >= 0)
			(void)close(fd);
		return ERR_OK;
	}
	e = file_sha256(fd, &sha, &size);
	(void)close(fd);
	if (!e && !sha256_equal(&sha, &want->sha256))
		say(v, "altered", want, true);
	return e;
}

/* How long a text is inside of a text of JSON. */
static size_t escaped(const char *s)
{
	size_t n = 0;

	for (; *s; s++)
		n += *s == '"' || *s == '\\' ? 2 : (unsigned char)*s < 0x20 ? 6 : 1;
	return n;
}

/*
 * The number alone says little: a restored server may give it twice, so the head is named too. By another name than in
 * receipts, so that neither can be taken for the other.
 */
static enum err make_report(struct receiver *r, const struct verifying *v, struct buf *text)
{
	char at[CLOCK_TEXT_SIZE], head[SHA256_HEX];
	json_t *report;
	enum err e;

	clock_text(clock_wall(), at);
	hex_of(head, r->accepted.head.b, sizeof(r->accepted.head.b));
	report = json_pack("{s:i, s:s, s:s, s:I, s:s, s:b, s:I, s:I, s:O}", "v", 1, "site", r->site, "at", at, "number", (json_int_t)r->accepted.number, "release",
	    head, "rolled_back", r->accepted.rolled_back, "files", (json_int_t)v->files, "bad", (json_int_t)v->bad, "named", v->named);
	/* Who plants files chooses their names, and must not make the report too long to be told. */
	for (;;) {
		buf_reset(text);
		e = json_canonical(text, report);
		if (e || escaped(buf_text(text)) <= REPORT_LIMIT || !json_array_size(v->named))
			break;
		json_array_remove(v->named, json_array_size(v->named) - 1);
	}
	json_decref(report);
	return e;
}

static enum err keep_report(struct receiver *r, const struct verifying *v)
{
	struct buf text = BUF_INIT(1 << 20), armored = BUF_INIT(4096), out = BUF_INIT(1 << 20);
	json_t *both = NULL;
	enum err e = make_report(r, v, &text);

	if (!e)
		e = node_key_sign(r->key, RECEIPT_SPACE, text.p, text.len, &armored);
	if (!e) {
		both = json_pack("{s:s, s:s}", "report", buf_text(&text), "report_signature", buf_text(&armored));
		e = json_canonical(&out, both);
	}
	json_decref(both);
	if (!e)
		e = file_write(r->dir, "report", out.p, out.len, 0644);
	buf_release(&text);
	buf_release(&armored);
	buf_release(&out);
	return e;
}

void report_add(struct receiver *r, json_t *to)
{
	struct buf text = BUF_INIT(2 * REPORT_LIMIT);
	json_t *both = NULL;

	if (!file_read(r->dir, "report", &text) && !json_parse(&both, text.p, text.len))
		(void)json_object_update_missing(to, both);
	json_decref(both);
	buf_release(&text);
}

enum err receiver_verify(struct receiver *r, FILE *out, uint64_t *bad)
{
	struct verifying v = { .out = out, .named = json_array() };
	struct manifest_reading list = { .n = 0 };
	struct manifest_source there;
	struct walk *walk = NULL;
	enum err e = r->live < 0 || !r->accepted.number ? err_set(ERR_NOT_FOUND, "nothing is live yet") : ERR_OK;

	*bad = 0;
	if (e)
		goto out;
	v.image = open_below(r->images, IMAGE_NAME(r->live), O_RDONLY | O_DIRECTORY);
	if (v.image < 0) {
		e = err_sys(ERR_FAILED, "%s/images/%s", r->dir_name, IMAGE_NAME(r->live));
		goto out;
	}
	walk = walk_new(v.image, &there);
	e = image_list(r, r->live, false, &list);
	if (!e)
		e = manifest_pairs(&there, &list.source, verify_pair, &v);
	walk_free(walk);
	manifest_reading_end(&list);
	(void)close(v.image);
	if (!receiver_unchanged(r)) {
		e = err_set(ERR_STALE, "another release came while the live one was read");
		goto out;
	}
	*bad = v.bad;
	/* Said even if the report cannot be kept: the disk may be full. */
	if (!e && out)
		fprintf(out, "%llu files, %llu differences\n", (unsigned long long)v.files, (unsigned long long)v.bad);
	if (!e)
		e = keep_report(r, &v);
out:
	json_decref(v.named);
	return e;
}
