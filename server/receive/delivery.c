/*
 * A delivery, from the greeting to the receipt.
 *
 *   receiver  {"receiver":1,"site":...,"number":N,"term":T,"head":...,"key":...,"keys":C,"receipt":...,"signature":...,
 *             "report":...,"report_signature":...}; the receipt is that of what was accepted, the report what `verify` found
 *   sender    a tar: key/K, key/K.sig for each change of DryDock's key after the C-th (or after none); release/M, release/M.sig
 *             for each head after N, then `manifest` (whole) or `difference`
 *   receiver  need, a line "FROM-TO" for each range of "+" lines whose bytes it lacks, "."
 *   sender    `look`, empty: some of it came beside the stream (receive/rsync.c); the receiver says need again. Any number
 *             of times
 *   sender    the tar goes on: files/PATH for each of them, in order; its end
 *   receiver  {"receipt":...,"signature":...,...} or {"refused":...,"number":N,"term":T}
 *
 * A head that was accepted already is answered with its receipt at once.
 */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/lines.h"
#include "base/sys.h"
#include "receive/receive.h"

#define STREAM_BLOCK (256 * 1024)
#define WORD_EVERY (20 * CLOCK_SECOND) /* a third of the silence that DryDock puts up with by default */

static void send_json(int out, json_t *v)
{
	struct buf text = BUF_INIT(1 << 20);

	if (v && !json_canonical(&text, v)) {
		buf_char(&text, '\n');
		(void)sys_write_all(out, text.p, text.len);
	}
	json_decref(v);
	buf_release(&text);
}

static void greet(struct receiver *r, int out)
{
	char head[SHA256_HEX] = "";
	json_t *v;

	if (r->accepted.number)
		hex_of(head, r->accepted.head.b, sizeof(r->accepted.head.b));
	v = json_pack("{s:i, s:s, s:I, s:I, s:s, s:s, s:I}", "receiver", 1, "site", r->site, "number", (json_int_t)r->accepted.number, "term",
	    (json_int_t)r->accepted.term, "head", head, "key", node_key_public(r->key), "keys", (json_int_t)json_array_size(r->statements) / 2);
	if (r->accepted.number) {
		json_object_set_new(v, "receipt", json_string(r->accepted.receipt));
		json_object_set_new(v, "signature", json_string(r->accepted.signature));
	}
	report_add(r, v);
	send_json(out, v);
}

/* --- the bytes ------------------------------------------------------------------------------------------------------------ */

static enum err send_need(struct receiver *r, int out)
{
	char block[65536];
	ssize_t n;
	int fd = openat(r->incoming, "need", O_RDONLY | O_CLOEXEC);
	enum err e = fd < 0 ? err_sys(ERR_FAILED, "incoming/need") : ERR_OK;

	if (!e && sys_write_all(out, "need\n", 5))
		e = err_sys(ERR_FAILED, "the stream");
	while (!e && (n = read(fd, block, sizeof(block))) > 0)
		if (sys_write_all(out, block, (size_t)n))
			e = err_sys(ERR_FAILED, "the stream");
	if (!e && sys_write_all(out, ".\n", 2))
		e = err_sys(ERR_FAILED, "the stream");
	if (fd >= 0)
		(void)close(fd);
	return e;
}

struct taking {
	struct receiver *r;
	struct tar *t;
	struct lines *need;
	unsigned long long from, to, i;
	bool more, got; /* got: the stream stands at a member */
	struct placing placing;
	char *block;
};

static enum err next_range(struct taking *k)
{
	char *line;
	size_t n;
	enum err e = lines_next(k->need, &line, &n);

	k->more = !e && line && sscanf(line, "%llu-%llu", &k->from, &k->to) == 2;
	return e;
}

/* Its bytes, which have to be those of the line. */
static enum err take_bytes(struct taking *k, const struct manifest_line *l, int fd)
{
	struct sha256_stream *s = sha256_stream_new();
	struct sha256 sha;
	size_t n;
	enum err e = ERR_OK;

	while (!e && !(e = tar_read(k->t, k->block, STREAM_BLOCK, &n)) && n) {
		sha256_stream_add(s, k->block, n);
		if (sys_write_all(fd, k->block, n))
			e = err_sys(ERR_FAILED, "the image's disk");
	}
	sha256_stream_end_free(s, &sha);
	return !e && !sha256_equal(&sha, &l->sha256) ? err_set(ERR_DENIED, "%s is not what %s signed", l->path.s, l->signer) : e;
}

static enum err take_to_spool(struct taking *k, const struct manifest_line *l)
{
	char name[104];
	int fd = sys_open(k->r->incoming, "arriving", O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW, 0600);
	enum err e;

	if (fd < 0)
		return err_sys(ERR_FAILED, "incoming/arriving");
	e = take_bytes(k, l, fd);
	(void)sys_close(fd);
	spool_name(l, name);
	return !e && sys_rename(k->r->incoming, "arriving", k->r->incoming, name) ? err_sys(ERR_FAILED, "incoming") : e;
}

static enum err take_file(struct taking *k, const struct manifest_line *l)
{
	int fd;
	enum err e;

	if (!k->got || strncmp(k->t->name, "files", 5) || strcmp(k->t->name + 5, l->path.s))
		return err_set(ERR_DENIED, "%s is missing in the delivery, or something else is in its place: %.200s", l->path.s, k->got ? k->t->name : "the end");
	if (k->t->size != l->size)
		return err_set(ERR_DENIED, "%s has %llu bytes in the delivery, and %llu were signed by %s", l->path.s, (unsigned long long)k->t->size,
		    (unsigned long long)l->size, l->signer);
	fd = placing_open(&k->placing, l);
	if (fd < 0) {
		e = take_to_spool(k, l);
	} else {
		e = take_bytes(k, l, fd);
		if (!e)
			e = placing_add(&k->placing, l, fd);
		(void)sys_close(fd);
		receive_step("placed");
		if (e)
			placing_drop(&k->placing, l);
	}
	return e ? e : tar_next(k->t, &k->got);
}

static enum err take_line(void *arg, const struct manifest_line *l)
{
	struct taking *k = arg;
	struct manifest_full full;
	enum err e = ERR_OK;

	if (l->gone || !k->more)
		return ERR_OK;
	if (k->i >= k->from && k->i <= k->to && !(e = manifest_full(&full, l)))
		e = take_file(k, &full.line);
	if (!e && k->i == k->to)
		e = next_range(k);
	k->i++;
	return e;
}

/* got: the stream stands at the first of them already. */
static enum err take_files(struct receiver *r, struct tar *t, const struct offer *o, bool got_first)
{
	struct taking k = { .r = r, .t = t, .got = got_first, .placing = { .dirs = { .image = -1 } }, .block = mem_alloc(STREAM_BLOCK) };
	struct manifest_line l;
	struct new_list list = { .base = { .n = 0 } };
	bool got;
	int fd = openat(r->incoming, "need", O_RDONLY | O_CLOEXEC);
	enum err e = fd < 0 ? err_sys(ERR_FAILED, "incoming/need") : placing_begin(&k.placing, r);

	if (!e)
		e = new_list_begin(r, o->whole, &list);
	k.need = lines_new(fd, LINES_LONGEST);
	if (!e)
		e = next_range(&k);
	while (!e && k.more && !(e = list.sent.source.next(list.sent.source.arg, &l, &got)) && got)
		e = take_line(&k, &l);
	new_list_end(&list);
	e = placing_end(&k.placing, e);
	if (!e && k.got)
		e = err_set(ERR_DENIED, "%.200s is in the delivery, and was not asked for", t->name);
	lines_free(k.need);
	free(k.block);
	if (fd >= 0)
		(void)close(fd);
	return e;
}

/* --- accepted ---------------------------------------------------------------------------------------------------------------- */

static enum err make_receipt(struct receiver *r, const struct offer *o, struct accepted *now)
{
	char at[CLOCK_TEXT_SIZE], head[SHA256_HEX];
	struct buf text = BUF_INIT(4096), armored = BUF_INIT(4096);
	json_t *v;
	enum err e;

	clock_text(clock_wall(), at);
	hex_of(head, o->digest.b, sizeof(o->digest.b));
	v = json_pack("{s:i, s:s, s:I, s:I, s:s, s:s}", "v", 1, "site", r->site, "number", (json_int_t)o->head.number, "term", (json_int_t)o->head.term,
	    "head", head, "at", at);
	e = json_canonical(&text, v);
	json_decref(v);
	buf_char(&text, '\n');
	if (!e)
		e = node_key_sign(r->key, RECEIPT_SPACE, text.p, text.len, &armored);
	if (!e) {
		now->receipt = arena_dup(r->a, buf_text(&text));
		now->signature = arena_dup(r->a, buf_text(&armored));
	}
	buf_release(&text);
	buf_release(&armored);
	return e;
}

static int64_t last_word; /* 0: nobody waits */

/* On standard error, which ssh carries beside the stream and the kit passes on. */
void receive_goes_on(void)
{
	if (!last_word || clock_boot() - last_word < WORD_EVERY)
		return;
	last_word = clock_boot();
	fputs("production is at work\n", stderr);
}

/* Somebody may still be reading the image that was live. */
static void let_rest(struct receiver *r, int image)
{
	struct stat st;
	int64_t since;

	if (image == r->live || fstatat(r->dir, "switched", &st, 0))
		return;
	since = clock_wall() - ((int64_t)st.st_mtim.tv_sec * CLOCK_SECOND + st.st_mtim.tv_nsec / 1000);
	for (int64_t left = since < 0 ? 0 : r->rest_us - since; left > 0; left -= WORD_EVERY) {
		clock_sleep(left < WORD_EVERY ? left : WORD_EVERY);
		receive_goes_on();
	}
}

static enum err accept_offer(struct receiver *r, const struct offer *o, struct image_counts *counts)
{
	const int image = receiver_idle(r);
	struct accepted now = { .number = o->head.number, .term = o->head.term, .head = o->digest, .sums = o->head.sums, .image = image };
	enum err e;

	let_rest(r, image);
	e = image_bring(r, image, o, counts);
	if (!e)
		e = make_receipt(r, o, &now);
	receive_step("brought");
	if (!e)
		e = receiver_accept(r, &now);
	receive_step("accepted");
	if (!e)
		e = receiver_switch(r, image);
	receive_step("switched");
	if (!e)
		e = file_remove_tree(r->dir, "incoming");
	if (!e && sys_mkdir(r->dir, "incoming", 0700))
		e = err_sys(ERR_FAILED, "%s/incoming", r->dir_name);
	return e;
}

static void answer(struct receiver *r, int out, const struct image_counts *c)
{
	send_json(out, json_pack("{s:s, s:s, s:I, s:I, s:I, s:I}", "receipt", r->accepted.receipt, "signature", r->accepted.signature, "written",
	    (json_int_t)c->written, "copied", (json_int_t)c->copied, "removed", (json_int_t)c->removed, "mended", (json_int_t)c->mended));
}

/* Say what is needed, and again after each look, until the stream goes on. */
static enum err say_need(struct receiver *r, struct tar *t, struct offer *o, int out, bool *got)
{
	uint64_t need;
	enum err e;

	do {
		e = offer_need(r, o, &need);
		if (!e)
			e = send_need(r, out);
		receive_step("asked");
		if (!e)
			e = tar_next(t, got);
	} while (!e && *got && !strcmp(t->name, "look") && !t->size);
	return e;
}

int receive_stream(struct receiver *r, int in, int out)
{
	struct tar t = { .fd = in };
	struct image_counts counts = { 0 };
	struct offer o;
	bool got;
	enum err e;

	/* What sshd has to give is taken in while files are written. */
	sys_pipe_widen(in);
	last_word = clock_boot();
	greet(r, out);
	e = offer_read(r, &t, &o);
	receive_step("offered");
	if (!e && !o.again) {
		e = say_need(r, &t, &o, out, &got);
		if (!e)
			e = take_files(r, &t, &o, got);
		receive_step("arrived");
		if (!e)
			e = accept_offer(r, &o, &counts);
	}
	if (e) {
		send_json(out, json_pack("{s:s, s:I, s:I}", "refused", err_text(), "number", (json_int_t)r->accepted.number, "term", (json_int_t)r->accepted.term));
		return 1;
	}
	answer(r, out, &counts);
	return 0;
}
