/*
 * One node's log, from its first record on, trusting nothing: each commit is byte by byte what DryDock writes for its
 * record, signed by the node; each record names the one before it. Reading and verifying go on two threads, ahead of
 * whoever takes the records up.
 */
#include <stdlib.h>
#include <string.h>

#include "base/pool.h"
#include "base/weaken.h"
#include "check/internal.h"

#define BODY_LIMIT ((size_t)2 << 20)
#define FILES_LIMIT ((size_t)256 << 20)
#define RULES_LIMIT ((size_t)64 << 20)
#define THREADS 2
#define SMALL_FILES (256 * 1024) /* bytes: longer lists are read when their turn comes, so that memory stays bounded */

enum err log_open(struct log *l, const struct blob_id *tip, const struct blob_id *after, struct blob_id *broken)
{
	struct blob_id at = *tip;
	size_t cap = 0;
	enum err e = ERR_OK;

	l->ids = NULL;
	l->n = 0;
	while (!e && !blob_id_zero(&at) && !(after && blob_id_equal(&at, after))) {
		struct blob_id now = at;

		if (l->n == cap)
			l->ids = mem_grow(l->ids, &cap, l->n + 1, sizeof(*l->ids));
		l->ids[l->n++] = now;
		e = repo_commit_parent(l->repo, &now, &at);
		if (e)
			*broken = now;
	}
	if (!e && after && blob_id_zero(&at))
		e = err_set(ERR_NOT_FOUND, "the log does not lead back to the commit that it is followed from");
	for (size_t i = 0; i < l->n / 2; i++) {
		struct blob_id x = l->ids[i];

		l->ids[i] = l->ids[l->n - 1 - i];
		l->ids[l->n - 1 - i] = x;
	}
	return e;
}

void log_close(struct log *l)
{
	free(l->ids);
	l->ids = NULL;
	l->n = 0;
}

/* --- one record ----------------------------------------------------------------------------------------------------- */

struct ahead {
	struct log_entry e;
	uint8_t signer[32]; /* the key that signed it, if signed is true: whether it is the right one is told in order */
	bool is_signed;
	/* what is wrong with it, in its arena; told in order by the thread that takes the records up */
	struct { enum finding_id id; const char *what; } bad[4];
	size_t n_bad;
};

static void bad(struct ahead *a, enum finding_id id, const char *what)
{
	a->e.damaged = true;
	if (a->n_bad == sizeof(a->bad) / sizeof(*a->bad))
		return;
	a->bad[a->n_bad].id = id;
	a->bad[a->n_bad++].what = arena_dup(a->e.arena, what);
}

static void bad_object(struct ahead *a, enum err e, const char *part)
{
	char what[512];

	snprintf(what, sizeof(what), "its %s cannot be read: %.400s", part, err_text());
	bad(a, e == ERR_NOT_FOUND ? FINDING_OBJECT_MISSING : FINDING_OBJECT_DAMAGED, what);
}

/* The lines of files, each in the form that DryDock writes, in path order. */
static void read_files(struct ahead *a, struct repo *repo)
{
	struct log_entry *e = &a->e;
	struct sha256 digest;
	const char *p, *end;
	size_t n = 0;
	enum err err = repo_blob_read(repo, &e->parts.files, &e->files_text);

	if (err)
		return bad_object(a, err, "list of files");
	sha256_of(&digest, buf_text(&e->files_text), e->files_text.len);
	if (!sha256_equal(&digest, &e->record.files_sha256))
		return bad(a, FINDING_LOG_DIGEST, "its list of files has another digest than its record says");
	e->files = mem_array(e->record.files_count + 1, sizeof(*e->files));
	p = buf_text(&e->files_text);
	end = p + e->files_text.len;
	while (p < end && n < e->record.files_count) {
		const char *newline = memchr(p, '\n', (size_t)(end - p)), *next = newline ? newline + 1 : end;

		if (record_file_decode(&e->files[n], p, (size_t)(next - p), e->arena))
			return bad(a, FINDING_LOG_FORMAT, err_text());
		if (n && path_compare(e->files[n - 1].path, e->files[n].path) >= 0)
			return bad(a, FINDING_LOG_FORMAT, "its list of files is not in path order");
		p = next;
		n++;
	}
	if (p < end || n != e->record.files_count)
		bad(a, FINDING_LOG_DIGEST, "its list has another number of files than its record says");
}

/* Longer lists are read in their turn. */
static void choose_limit(struct repo *repo, struct log_entry *e)
{
	uint64_t size;

	if (!repo_blob_size(repo, &e->parts.files, &size) && size > SMALL_FILES)
		e->files_text.limit = FILES_LIMIT;
}

static void read_entry(const struct log *l, struct ahead *a, struct repo *repo)
{
	struct log_entry *e = &a->e;
	enum err err = repo_log_read(repo, &e->commit, &e->parts);

	if (err == ERR_INPUT)
		return bad(a, FINDING_LOG_FOREIGN, err_text());
	if (err)
		return bad_object(a, err, "commit");
	err = repo_blob_read(repo, &e->parts.record, &e->body);
	if (err)
		return bad_object(a, err, "record");
	sha256_of(&e->digest, buf_text(&e->body), e->body.len);
	if (record_decode(&e->record, buf_text(&e->body), e->body.len, e->arena))
		return bad(a, FINDING_LOG_FORMAT, err_text());
	e->read = true;
	if (strcmp(e->record.site, l->site) != 0)
		bad(a, FINDING_LOG_CHAIN, "its record is of another site");
	if (strcmp(e->record.node, node_key_id(l->key)) != 0)
		bad(a, FINDING_LOG_CHAIN, "its record is of another node");
	if (e->record.seq != e->seq) {
		char what[128];

		snprintf(what, sizeof(what), "its record is number %llu and stands at place %llu", (unsigned long long)e->record.seq, (unsigned long long)e->seq);
		bad(a, FINDING_LOG_CHAIN, what);
	}
	a->is_signed = repo_log_verify(repo, &e->commit, &e->parts, &e->record, &e->digest, a->signer) == ERR_OK;
	if (!a->is_signed)
		bad(a, FINDING_LOG_SIGNATURE, err_text());
	choose_limit(repo, e);
	if (e->files_text.limit <= SMALL_FILES)
		read_files(a, repo);
}

/* --- ahead ---------------------------------------------------------------------------------------------------------- */

static void entry_begin(struct log_entry *e, const struct log *l, size_t index)
{
	*e = (struct log_entry){ .seq = l->before + index + 1, .commit = l->ids[index], .body = BUF_INIT(BODY_LIMIT), .files_text = BUF_INIT(SMALL_FILES),
		.rules_text = BUF_INIT(RULES_LIMIT), .arena = arena_new() };
}

static void entry_release(struct log_entry *e)
{
	if (e->record.fields)
		json_decref(e->record.fields);
	buf_release(&e->body);
	buf_release(&e->files_text);
	buf_release(&e->rules_text);
	free(e->files);
	arena_free(e->arena);
}

#define BATCH ((size_t)16) /* records that a thread takes up at a time */
#define BATCHES ((size_t)64) /* that are read ahead, at most: while the database takes rows, nobody waits */
#define BATCH_BYTES ((size_t)8 << 20) /* of all of them, short of the last few */

struct batch {
	struct ahead list[BATCH];
	size_t bytes;
	bool read;
};

struct reading {
	struct log *l;
	size_t n_batches;
	pthread_t owner; /* who takes them up */
	pthread_mutex_t lock; /* around what follows */
	pthread_cond_t moved;
	struct batch *ring; /* of BATCHES; one that is being read is its thread's */
	size_t next, taken; /* which one is read next, and is the first that was not taken up */
	size_t bytes;
	bool ended;
};

struct reader {
	struct reading *r;
	struct repo *repo;
	struct pool_beside thread;
};

static size_t batch_size(const struct reading *r, size_t nth)
{
	return nth + 1 < r->n_batches ? BATCH : r->l->n - nth * BATCH;
}

/* Of a thread that has the lock, and has it again afterwards. */
static void read_batch(struct reading *r, struct repo *repo)
{
	const size_t nth = r->next++;
	struct batch *b = &r->ring[nth % BATCHES];
	size_t bytes = 0;

	pthread_mutex_unlock(&r->lock);
	for (size_t i = 0; i < batch_size(r, nth); i++) {
		struct ahead *a = &b->list[i];

		memset(a, 0, sizeof(*a));
		entry_begin(&a->e, r->l, nth * BATCH + i);
		read_entry(r->l, a, repo);
		bytes += a->e.body.cap + a->e.files_text.cap + arena_used(a->e.arena) + (a->e.files ? a->e.record.files_count * sizeof(*a->e.files) : 0);
	}
	pthread_mutex_lock(&r->lock);
	b->bytes = bytes;
	b->read = true;
	r->bytes += bytes;
	pthread_cond_broadcast(&r->moved);
}

static bool room(const struct reading *r)
{
	return r->next < r->n_batches && r->next - r->taken < BATCHES && (r->bytes < BATCH_BYTES || r->next == r->taken);
}

static void read_ahead(void *arg)
{
	struct reader *me = arg;
	struct reading *r = me->r;

	pthread_mutex_lock(&r->lock);
	while (!r->ended && r->next < r->n_batches) {
		if (room(r))
			read_batch(r, me->repo);
		else if (pthread_equal(pthread_self(), r->owner))
			break; /* there was no thread for it: who takes them up reads as well */
		else
			pthread_cond_wait(&r->moved, &r->lock);
	}
	pthread_mutex_unlock(&r->lock);
}

/* --- in order -------------------------------------------------------------------------------------------------------- */

struct order {
	struct sha256 prev; /* digest of the record before */
	struct blob_id rules; /* the rules before */
	struct sha256 rules_digest;
	bool known; /* prev is */
};

static void read_rules(struct log *l, struct ahead *a, struct order *o)
{
	struct log_entry *e = &a->e;
	enum err err;

	/* Most records leave the rules alone. */
	e->rules_changed = !blob_id_equal(&e->parts.rules, &o->rules);
	if (e->rules_changed) {
		err = repo_blob_read(l->repo, &e->parts.rules, &e->rules_text);
		if (err)
			return bad_object(a, err, "rules");
		o->rules = e->parts.rules;
		sha256_of(&o->rules_digest, buf_text(&e->rules_text), e->rules_text.len);
	}
	if (!sha256_equal(&o->rules_digest, &e->record.policy))
		bad(a, FINDING_LOG_DIGEST, "its rules have another digest than its record says");
}

/* Signed by the key that is the node's at this record. Which keys those are, the records before it say. */
static void check_key(struct log *l, struct ahead *a)
{
	struct keychain *chain = &l->check->keys;
	struct log_entry *e = &a->e;

	if (e->seq == 1 && keychain_take(chain, &e->record))
		return bad(a, FINDING_LOG_SIGNATURE, err_text());
	/* The first record was told to be damaged. Its node's id is that of the first key all the same. */
	if (!chain->n && a->is_signed) {
		char id[SHA256_HEX];

		key_id(a->signer, id);
		if (strcmp(id, node_key_id(l->key)) == 0)
			keychain_begin(chain, a->signer, e->record.at);
	}
	if (a->is_signed && key_expect(chain, e->seq, a->signer)) {
		a->is_signed = false;
		bad(a, FINDING_LOG_SIGNATURE, err_text());
	}
	/* A change that is itself in doubt changes nothing. */
	if (e->seq != 1 && a->is_signed && keychain_take(chain, &e->record))
		bad(a, FINDING_LOG_KEY, err_text());
}

static void finish(struct log *l, struct ahead *a, struct order *o)
{
	struct log_entry *e = &a->e;
	char subject[128], hex[COMMIT_HEX];

	if (e->read) {
		if (e->files_text.limit > SMALL_FILES)
			read_files(a, l->repo);
		read_rules(l, a, o);
		check_key(l, a);
		if (o->known && !sha256_equal(&e->record.prev, &o->prev))
			bad(a, FINDING_LOG_CHAIN, "its record does not name the one before it");
		o->prev = e->digest;
	}
	o->known = e->read;
	snprintf(subject, sizeof(subject), "record %llu, commit %s", (unsigned long long)e->seq, commit_hex(&e->commit, hex));
	for (size_t i = 0; i < a->n_bad; i++) {
		found(l->check, a->bad[i].id, subject, "%s", a->bad[i].what);
		l->check->log_damaged = true;
	}
}

/* Whoever has an old key could write another history with it; the node's own key says which one is right. */
static void check_last_key(struct log *l)
{
	const struct key_time *last = keychain_last(&l->check->keys);
	char print[KEY_PRINT];

	if (!last || node_key_is(l->key, last->key) || WEAK(key_last))
		return;
	found(l->check, FINDING_LOG_KEY, l->check->log_ref, "its newest key is %s, and that is not the node's (node.key)", key_print(last->key, print));
	l->check->log_damaged = true;
}

/* Who would have to wait for a batch that nobody has begun reads it himself. */
static struct batch *wait_batch(struct reading *r, size_t nth)
{
	struct batch *b = &r->ring[nth % BATCHES];

	pthread_mutex_lock(&r->lock);
	while (!b->read) {
		if (r->next == nth)
			read_batch(r, r->l->repo);
		else
			pthread_cond_wait(&r->moved, &r->lock);
	}
	pthread_mutex_unlock(&r->lock);
	return b;
}

static void drop_batch(struct reading *r)
{
	struct batch *b = &r->ring[r->taken % BATCHES];

	for (size_t i = 0; i < batch_size(r, r->taken); i++)
		entry_release(&b->list[i].e);
	pthread_mutex_lock(&r->lock);
	b->read = false;
	r->bytes -= b->bytes;
	r->taken++;
	pthread_cond_broadcast(&r->moved);
	pthread_mutex_unlock(&r->lock);
}

static enum err take_batch(struct log *l, struct batch *b, size_t n, struct order *o, enum err (*fn)(void *arg, const struct log_entry *e), void *arg)
{
	enum err e = ERR_OK;

	for (size_t i = 0; i < n && !e; i++) {
		if (stopped(l->check))
			return err_set(ERR_BUSY, "the check was ended before it was done");
		finish(l, &b->list[i], o);
		e = fn(arg, &b->list[i].e);
	}
	return e;
}

/* Readers that go on until there is nothing left to be read, or r->ended. */
static enum err readers_begin(struct reader readers[THREADS], struct reading *r)
{
	enum err e = ERR_OK;

	for (size_t i = 0; i < THREADS && !e; i++) {
		readers[i].r = r;
		e = repo_open_like(&readers[i].repo, r->l->repo);
	}
	for (size_t i = 0; i < THREADS && !e; i++)
		pool_beside_start(&readers[i].thread, read_ahead, &readers[i]);
	return e;
}

static void readers_end(struct reader readers[THREADS], struct reading *r)
{
	pthread_mutex_lock(&r->lock);
	r->ended = true;
	pthread_cond_broadcast(&r->moved);
	pthread_mutex_unlock(&r->lock);
	for (size_t i = 0; i < THREADS; i++) {
		pool_beside_wait(&readers[i].thread);
		repo_close(readers[i].repo);
	}
}

enum err log_each(struct log *l, enum err (*fn)(void *arg, const struct log_entry *e), void *arg)
{
	struct reading r = { .l = l, .n_batches = (l->n + BATCH - 1) / BATCH, .owner = pthread_self(), .ring = mem_array(BATCHES, sizeof(*r.ring)) };
	struct reader readers[THREADS] = { { .r = NULL } };
	struct order o = { .known = true };
	enum err e;

	l->check->keys.n = 0;
	pthread_mutex_init(&r.lock, NULL);
	pthread_cond_init(&r.moved, NULL);
	e = readers_begin(readers, &r);
	while (!e && r.taken < r.n_batches) {
		e = take_batch(l, wait_batch(&r, r.taken), batch_size(&r, r.taken), &o, fn, arg);
		drop_batch(&r);
	}
	readers_end(readers, &r);
	while (r.taken < r.next)
		drop_batch(&r);
	if (!e && l->n)
		check_last_key(l);
	pthread_cond_destroy(&r.moved);
	pthread_mutex_destroy(&r.lock);
	free(r.ring);
	return e;
}

enum err log_one(struct log *l, size_t nth, enum err (*fn)(void *arg, const struct log_entry *e), void *arg)
{
	struct ahead a = { .n_bad = 0 };
	enum err e;

	entry_begin(&a.e, l, nth);
	read_entry(l, &a, l->repo);
	if (a.e.read && a.e.files_text.limit > SMALL_FILES)
		read_files(&a, l->repo);
	/* What is damaged was told; of what cannot be read nothing is expected. */
	e = a.e.read && (a.e.files || !a.e.record.files_count) ? fn(arg, &a.e) : ERR_OK;
	entry_release(&a.e);
	return e;
}
