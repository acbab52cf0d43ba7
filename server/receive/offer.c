/* What a delivery offers, checked before a byte of it is used: heads, signatures, chain, and the list of files. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/lines.h"
#include "base/sys.h"
#include "base/weaken.h"
#include "receive/receive.h"
#include "repo/sshsig.h"

/* --- the chain --------------------------------------------------------------------------------------------------------- */

static enum err refuse(const struct receiver *r, const char *what, const struct head *h)
{
	return err_set(ERR_DENIED, "release %llu %s; this receiver holds release %llu, term %llu", (unsigned long long)h->number, what,
	    (unsigned long long)r->accepted.number, (unsigned long long)r->accepted.term);
}

/* o: the head before, in this delivery or accepted (number 0: none). */
static enum err check_next(struct receiver *r, const struct offer *before, const struct head *h, const struct sha256 *digest, struct offer *o)
{
	const struct accepted *x = &r->accepted;
	const bool first = !before->head.number;
	const uint64_t last = first ? x->number : before->head.number, term = first ? x->term : before->head.term;
	const struct sha256 *chain = first ? &x->head : &before->digest;

	if (strcmp(h->site, r->site))
		return refuse(r, "is of another site", h);
	if (first && x->number && h->number == x->number && sha256_equal(digest, &x->head)) {
		o->again = true;
		return ERR_OK;
	}
	if (last && h->number == last)
		return refuse(r, "is another one with that number", h);
	if (h->number < last)
		return refuse(r, "is older", h);
	if (h->term < term && !WEAK(receive_term))
		return refuse(r, "has a lower term", h);
	o->again = false;
	if (last && !sha256_equal(&h->previous, chain))
		return refuse(r, "does not follow: heads between are missing, or it is of another history", h);
	return ERR_OK;
}

static bool member_is(const struct tar *t, const char *what, uint64_t number, const char *tail)
{
	char name[64];

	snprintf(name, sizeof(name), "%s/%llu%s", what, (unsigned long long)number, tail);
	return !strcmp(t->name, name);
}

/* One head and its signature; t stands at the head. */
static enum err read_head(struct receiver *r, struct tar *t, struct offer *o)
{
	struct buf bytes = BUF_INIT(HEAD_LIMIT), armored = BUF_INIT(SSHSIG_ARMORED_LIMIT);
	const struct offer before = *o;
	struct head h;
	bool got = false;
	enum err e = tar_text(t, &bytes);

	if (!e)
		e = head_decode(&h, buf_text(&bytes), bytes.len, r->a);
	if (!e && !member_is(t, "release", h.number, ""))
		e = err_set(ERR_INPUT, "%.200s is not where a head belongs", t->name);
	if (!e)
		e = tar_next(t, &got);
	if (!e && (!got || !member_is(t, "release", h.number, ".sig")))
		e = err_set(ERR_INPUT, "the signature of release %llu is missing", (unsigned long long)h.number);
	if (!e)
		e = tar_text(t, &armored);
	if (!e) {
		sha256_of(&o->digest, bytes.p, bytes.len);
		e = signer_check(r, &h, &o->digest, &bytes, &armored);
	}
	if (!e)
		e = check_next(r, &before, &h, &o->digest, o);
	o->head = h;
	o->bytes = e ? NULL : arena_dupn(r->a, bytes.p, bytes.len);
	buf_release(&bytes);
	buf_release(&armored);
	return e;
}

/* --- the list ------------------------------------------------------------------------------------------------------------ */

#define LIST_FILE "list"

enum err new_list_begin(struct receiver *r, bool whole, struct new_list *l)
{
	struct manifest_source from_base, from_sent;
	enum err e;

	/* check_sent() has looked at each line of what was sent. */
	*l = (struct new_list){ .sent = { .raw = true } };
	e = image_list(r, r->accepted.image, true, &l->base);
	if (!e)
		e = manifest_reading_add(&l->sent, r->incoming, LIST_FILE);
	if (e)
		return e;
	from_base = l->base.source;
	from_sent = l->sent.source;
	if (whole)
		l->source = from_sent;
	else
		manifest_merge_init(&l->merge, &from_base, &from_sent, false, &l->source);
	return ERR_OK;
}

void new_list_end(struct new_list *l)
{
	manifest_reading_end(&l->base);
	manifest_reading_end(&l->sent);
}

static enum err save_list(struct receiver *r, struct tar *t, const struct offer *o)
{
	/* What is added and what goes, each line at its longest, but for a list that nobody could make. */
	const uint64_t most = (o->head.sums.count + r->accepted.sums.count + 1) * (LINES_LONGEST / 2);
	char piece[65536];
	size_t n;
	int fd;
	enum err e = ERR_OK;

	if (t->size > most)
		return err_set(ERR_TOO_BIG, "the list of files is larger than release %llu could have", (unsigned long long)o->head.number);
	fd = sys_open(r->incoming, LIST_FILE, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return err_sys(ERR_FAILED, "incoming/" LIST_FILE);
	while (!e && !(e = tar_read(t, piece, sizeof(piece), &n)) && n)
		if (sys_write_all(fd, piece, n))
			e = err_sys(ERR_FAILED, "incoming/" LIST_FILE);
	(void)sys_close(fd);
	return e;
}

/* Each line is one, and none has notes about files on a disk: they are the receiver's own. */
static enum err check_sent(struct receiver *r)
{
	struct manifest_reading sent = { .n = 0 };
	struct manifest_line l;
	bool got;
	enum err e = manifest_reading_add(&sent, r->incoming, LIST_FILE);

	while (!e && !(e = sent.source.next(sent.source.arg, &l, &got)) && got)
		if (l.noted)
			e = err_set(ERR_INPUT, "the list of files has a line of another kind");
	manifest_reading_end(&sent);
	return e;
}

struct manifest_line line_kept(struct receiver *r, const struct manifest_line *l)
{
	struct manifest_line out = *l;

	out.text = arena_dupn(r->a, l->text, l->len);
	out.path.s = out.text + (l->path.s - l->text);
	return out;
}

struct checking {
	struct receiver *r;
	struct offer *o;
	struct manifest_summing sums;
	struct comparing idle;
	uint64_t i;
};

static void keep_sent(struct checking *c, const struct manifest_line *base, const struct manifest_line *sent)
{
	const uint64_t i = c->i++;

	if (c->o->n_sent > OFFER_KEPT || (base && manifest_same_bytes(base, sent)))
		return;
	if (c->o->n_sent < OFFER_KEPT)
		c->o->sent[c->o->n_sent] = (struct sent_line){ line_kept(c->r, sent), i };
	c->o->n_sent++;
}

/* The new list is what was sent, and of a difference what it does not speak of, too. */
static enum err check_pair(void *arg, const struct manifest_line *base, const struct manifest_line *sent)
{
	struct checking *c = arg;
	struct manifest_line l;
	enum err e;

	if (sent && sent->gone)
		return c->o->whole ? err_set(ERR_INPUT, "a whole list of files has a line that takes %s away", sent->path.s) : ERR_OK;
	if (sent)
		keep_sent(c, base, sent);
	else if (c->o->whole)
		return ERR_OK;
	e = comparing_line(&c->idle, sent ? sent : base);
	l = sent ? *sent : *base;
	l.noted = false;
	manifest_sum_add(&c->sums, &l);
	return e;
}

static enum err check_list(struct receiver *r, struct offer *o)
{
	struct checking c = { .r = r, .o = o };
	struct manifest_sums sums;
	struct new_list l;
	enum err e = new_list_begin(r, o->whole, &l);

	o->sent = arena_alloc(r->a, OFFER_KEPT * sizeof(*o->sent));
	manifest_sum_begin(&c.sums);
	if (!e)
		e = comparing_begin(&c.idle, r, o);
	if (!e)
		e = manifest_pairs(&l.base.source, &l.sent.source, check_pair, &c);
	e = comparing_end(&c.idle, e);
	manifest_sum_end(&c.sums, &sums);
	new_list_end(&l);
	if (!e && (sums.count != o->head.sums.count || sums.size != o->head.sums.size || !sha256_equal(&sums.files, &o->head.sums.files) ||
	              !sha256_equal(&sums.manifest, &o->head.sums.manifest)))
		e = err_set(ERR_DENIED, "the list of files is not the one that release %llu names", (unsigned long long)o->head.number);
	return e;
}

enum err offer_read(struct receiver *r, struct tar *t, struct offer *o)
{
	unsigned heads = 0;
	bool got;
	enum err e;

	*o = (struct offer){ .again = false };
	for (e = signers_take(r, t, &got); !e && got && !strncmp(t->name, "release/", 8); e = tar_next(t, &got)) {
		if (++heads > HEADS_MOST)
			return err_set(ERR_TOO_BIG, "there are more than %d heads in the delivery", HEADS_MOST);
		e = read_head(r, t, o);
		/* What is here already needs nothing else: the sender waits for its receipt. */
		if (e || o->again)
			return e;
	}
	if (e)
		return e;
	if (!heads)
		return err_set(ERR_INPUT, "the delivery has no head");
	if (o->head.expires <= clock_wall())
		return refuse(r, "has expired", &o->head);
	/* What the old key signed counts as a part of the chain up to its last release, and never as the newest. */
	if (o->head.number < keychain_release(r) && !WEAK(receive_old_key))
		return refuse(r, "is from before a change of the key, after which there were others", &o->head);
	if (!got || (strcmp(t->name, "manifest") && strcmp(t->name, "difference")))
		return err_set(ERR_INPUT, "the delivery has no list of files");
	o->whole = !strcmp(t->name, "manifest");
	/* It is signed, so it is worth a look; that takes longer than all the rest, and goes on beside it. */
	look_begin(r, receiver_idle(r));
	e = save_list(r, t, o);
	if (!e)
		e = check_sent(r);
	return e ? e : check_list(r, o);
}

/* --- what is lacking --------------------------------------------------------------------------------------------------------- */

void spool_name(const struct manifest_line *l, char out[104])
{
	struct sha256 path;
	char hex[SHA256_HEX];

	path_hash(l->path, &path);
	hex_of(hex, path.b, sizeof(path.b));
	hex_of(out + 33, l->sha256.b, sizeof(l->sha256.b));
	memcpy(out, hex, 32);
	out[32] = '-';
}

struct needing {
	struct receiver *r;
	struct buf text;
	int fd;
	uint64_t i, from, to, count, largest, total;
	bool open;
	struct manifest_along lacking;
	int image; /* of a first delivery: the image that one before it has begun to fill; -1: none */
};

static void put_range(struct needing *n)
{
	if (n->open)
		buf_fmt(&n->text, "%llu-%llu\n", (unsigned long long)n->from, (unsigned long long)n->to);
	n->open = false;
}

/* What arrived of a delivery that was cut off counts if its bytes are right. */
static bool in_spool(struct receiver *r, const struct manifest_line *l)
{
	struct sha256 sha;
	uint64_t size;
	char name[104];
	int fd;
	bool good;

	spool_name(l, name);
	if (r->spool_checked && !faccessat(r->incoming, name, R_OK, AT_SYMLINK_NOFOLLOW))
		return true;
	fd = openat(r->incoming, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0)
		return spool_take(r, l);
	good = !file_sha256(fd, &sha, &size) && sha256_equal(&sha, &l->sha256) && size == l->size;
	(void)close(fd);
	if (!good)
		(void)sys_unlink(r->incoming, name, 0);
	return good;
}

static enum err lacking_begin(struct needing *n)
{
	enum err e = manifest_reading_add(&n->lacking.list, n->r->incoming, LACKING_FILE);

	return e == ERR_NOT_FOUND ? ERR_OK : e ? e : manifest_along_begin(&n->lacking);
}

/* The same for what stands in its place already: with its time, which it gets last, and the right bytes. */
static bool in_image(const struct needing *n, const struct manifest_line *l)
{
	struct stat st;

	return (n->r->spool_checked ? file_in_image(n->image, l, &st) : file_as_signed(n->image, l, &st)) && file_timed(l, &st);
}

/* The i-th line that was sent: is it here? */
static enum err need_line(struct needing *n, const struct manifest_line *sent, uint64_t i)
{
	struct manifest_full full;
	enum err e = manifest_full(&full, sent);

	receive_goes_on();
	if (e || in_spool(n->r, &full.line) || (n->image >= 0 && in_image(n, &full.line)))
		return e;
	if (n->open && n->to + 1 != i)
		put_range(n);
	if (!n->open)
		n->from = i;
	n->open = true;
	n->to = i;
	n->count++;
	n->total += sent->size;
	if (sent->size > n->largest)
		n->largest = sent->size;
	if (n->text.len < 65536)
		return ERR_OK;
	if (sys_write_all(n->fd, n->text.p, n->text.len))
		return err_sys(ERR_FAILED, "incoming/need");
	buf_reset(&n->text);
	return ERR_OK;
}

static enum err need_pair(void *arg, const struct manifest_line *base, const struct manifest_line *sent)
{
	struct needing *n = arg;
	struct manifest_line *lacking;
	uint64_t i;
	enum err e;

	if (!sent || sent->gone)
		return ERR_OK;
	i = n->i++;
	/* Not to be had from the live image? */
	e = manifest_along_find(&n->lacking, sent->path, &lacking);
	if (e || (base && manifest_same_bytes(base, sent) && !lacking))
		return e;
	return need_line(n, sent, i);
}

static enum err need_all(struct needing *n, const struct offer *o)
{
	struct new_list l;
	enum err e = ERR_OK;

	if (o->n_sent <= OFFER_KEPT && !n->lacking.has) {
		for (size_t k = 0; k < o->n_sent && !e; k++)
			e = need_line(n, &o->sent[k].line, o->sent[k].i);
		return e;
	}
	e = new_list_begin(n->r, o->whole, &l);
	if (!e)
		e = manifest_pairs(&l.base.source, &l.sent.source, need_pair, n);
	new_list_end(&l);
	return e;
}

enum err offer_need(struct receiver *r, const struct offer *o, uint64_t *count)
{
	struct needing n = { .r = r, .text = BUF_INIT(1 << 20), .image = placing_left(r) };
	char limits[80];
	enum err e = spool_settle(r);

	if (!e)
		e = lacking_begin(&n);
	n.fd = sys_open(r->incoming, "need", O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW, 0600);
	if (!e && n.fd < 0)
		e = err_sys(ERR_FAILED, "incoming/need");
	if (!e)
		e = need_all(&n, o);
	put_range(&n);
	if (!e && sys_write_all(n.fd, buf_text(&n.text), n.text.len))
		e = err_sys(ERR_FAILED, "incoming/need");
	if (n.fd >= 0)
		(void)sys_close(n.fd);
	/* What an rsync may bring. */
	snprintf(limits, sizeof(limits), "%llu %llu %llu\n", (unsigned long long)n.largest, (unsigned long long)n.total, (unsigned long long)n.count);
	if (!e)
		e = file_write_fast(r->incoming, "limits", limits, strlen(limits), 0600);
	if (!e)
		e = spool_clear(r);
	r->spool_checked = !e;
	manifest_reading_end(&n.lacking.list);
	if (n.image >= 0)
		(void)close(n.image);
	buf_release(&n.text);
	*count = n.count;
	return e;
}
